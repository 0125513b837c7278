import { endOfHours, type Hours } from './localTime.ts';

/** What holds marketing email back, by the account's settings: the kill switch all of it, the others that of automations. */
export interface MarketingLimits {
  /** The kill switch. Beside this, the gate asks for it before each attempt of every marketing send. */
  readonly marketingPaused: boolean;
  /** At most so many emails a prospect within so many days of 24 hours. */
  readonly frequencyCap: { readonly emails: number; readonly days: number } | null;
  /** Hours on the prospect's wall; the zone is that of prospects who have none. */
  readonly quietHours: (Hours & { readonly timeZone: string }) | null;
}

/** Why a Send Email waits, and until when it is asked again; `null`: until somebody switches it on again. */
export interface HeldBack {
  readonly reason: 'marketing_paused' | 'frequency_cap' | 'quiet_hours';
  readonly until: number | null;
}

const DAY_MS = 24 * 3600_000;

/**
 * Whether a marketing email must wait now.
 *
 * @param sentAt times of the prospect's marketing emails, in milliseconds of the epoch
 * @param timeZone the prospect's, where known
 */
export function heldBack(
  limits: MarketingLimits,
  sentAt: readonly number[],
  timeZone: string | null,
  now: number,
): HeldBack | null {
  if (limits.marketingPaused) return { reason: 'marketing_paused', until: null };
  const { frequencyCap: cap, quietHours: quiet } = limits;
  if (cap !== null) {
    const counted = sentAt.filter((at) => at > now - cap.days * DAY_MS).sort((a, b) => b - a);
    // Room is made when the oldest of the last N leaves the window.
    const oldest = counted[cap.emails - 1];
    if (oldest !== undefined) return { reason: 'frequency_cap', until: oldest + cap.days * DAY_MS };
  }
  if (quiet !== null) {
    const end = endOfHours(timeZone ?? quiet.timeZone, quiet, now);
    if (end > now) return { reason: 'quiet_hours', until: end };
  }
  return null;
}
