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

/** One of the prospect's marketing emails. */
export interface CountedEmail {
  /** When it was sent, in milliseconds of the epoch; what has still to go out counts as of now. */
  readonly at: number;
  /** Whether it has still to go out, and may yet be refused or cancelled. */
  readonly pending: boolean;
}

const DAY_MS = 24 * 3600_000;
/** What depends on an email that has still to go out is asked again after this. */
const PENDING_MS = 15 * 60_000;

/**
 * Whether a marketing email must wait now.
 *
 * @param emails the prospect's marketing emails
 * @param timeZone the prospect's, where known
 */
export function heldBack(
  limits: MarketingLimits,
  emails: readonly CountedEmail[],
  timeZone: string | null,
  now: number,
): HeldBack | null {
  if (limits.marketingPaused) return { reason: 'marketing_paused', until: null };
  const { frequencyCap: cap, quietHours: quiet } = limits;
  if (cap !== null) {
    const counted = emails.filter(({ at }) => at > now - cap.days * DAY_MS).sort((a, b) => b.at - a.at);
    const last = counted.slice(0, cap.emails);
    if (last.length === cap.emails) {
      // Room is made when the oldest of the last N leaves the window, or sooner where one of them does not go out after all.
      const leaves = last.at(-1)!.at + cap.days * DAY_MS;
      const until = last.some(({ pending }) => pending) ? Math.min(leaves, now + PENDING_MS) : leaves;
      return { reason: 'frequency_cap', until };
    }
  }
  if (quiet !== null) {
    const end = endOfHours(timeZone ?? quiet.timeZone, quiet, now);
    if (end > now) return { reason: 'quiet_hours', until: end };
  }
  return null;
}
