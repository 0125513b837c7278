import { gateWindowQuantile, sumOfGateWindows } from '../../domain/broadcast/gateWindows.ts';
import { SEND_OUTCOMES, type SendOutcome, type SendState } from '../../domain/words.ts';
import { plain, type Session } from '../connection.ts';
import { Conditions } from './keyset.ts';
import { readSends, type SendView } from './sendSearch.ts';

/** What became of a broadcast's recipients so far; the final report once nothing is unfinished. */
export interface BroadcastReport {
  readonly recipients: number;
  /** Who has no send: not yet, or never where the broadcast is over (cancelled before, or the address had its copy). */
  readonly notReached: number;
  /** An attempt is in the air. */
  readonly attempting: number;
  /** Soft-bounced, and another attempt comes. */
  readonly waiting: number;
  /** Waits because the way out is held back. */
  readonly held: number;
  readonly outcomes: Readonly<Record<SendOutcome, number>>;
  /** How often each cause was among those for which somebody was refused. */
  readonly refusedBecause: readonly { readonly cause: string; readonly count: number }[];
  /** How many had more than one attempt. */
  readonly retried: number;
  /** How long it was from gate to MAIL FROM, in milliseconds; `null` before anything was sent. */
  readonly gateWindowMs: { readonly p50: number; readonly p99: number } | null;
  /** Messages a second, over the time that it was sent in, pauses left out; `null` before it is over. */
  readonly messagesPerSecond: number | null;
}

const COUNTS = plain(`
  select state, outcome, case when outcome = 'suppressed' then outcome_reason end as causes, count(*)::int as count,
    count(*) filter (where attempt_count > 1)::int as retried
  from send where broadcast_id = $1 group by 1, 2, 3`);
const PAGES = plain('select gate_windows from broadcast_page where broadcast_id = $1');
const BROADCAST = plain(`
  select recipients, state, extract(epoch from finished_at - started_at)::float8 - paused_milliseconds / 1000.0 as seconds
  from broadcast where id = $1`);

interface Count extends Record<string, unknown> {
  state: SendState;
  outcome: SendOutcome | null;
  causes: string | null;
  count: number;
  retried: number;
}

/** @returns `null` where there is no such broadcast */
export async function readBroadcastReport(on: Session, broadcastId: string): Promise<BroadcastReport | null> {
  const [[broadcast], counts, pages] = await Promise.all([
    on.query<{ recipients: number; state: string; seconds: number | null }>(BROADCAST, [broadcastId]),
    on.query<Count>(COUNTS, [broadcastId]),
    on.query<{ gate_windows: number[] }>(PAGES, [broadcastId]),
  ]);
  if (broadcast === undefined) return null;
  const of = (which: (count: Count) => boolean) =>
    counts.filter(which).reduce((sum, { count }) => sum + count, 0);
  const causes = new Map<string, number>();
  for (const { causes: some, count } of counts) {
    for (const cause of some?.split(' ') ?? []) causes.set(cause, (causes.get(cause) ?? 0) + count);
  }
  const windows = sumOfGateWindows(pages.map((page) => page.gate_windows));
  const [p50, p99] = [gateWindowQuantile(windows, 0.5), gateWindowQuantile(windows, 0.99)];
  const attempted = of(({ outcome }) => outcome !== 'suppressed' && outcome !== 'cancelled');
  const seconds = broadcast.seconds ?? 0;
  return {
    recipients: broadcast.recipients,
    notReached: broadcast.recipients - of(() => true),
    attempting: of(({ state }) => state === 'attempting'),
    waiting: of(({ state }) => state === 'waiting'),
    held: of(({ state }) => state === 'held' || state === 'queued'),
    outcomes: Object.fromEntries(
      SEND_OUTCOMES.map((outcome) => [outcome, of((count) => count.outcome === outcome)]),
    ) as Record<SendOutcome, number>,
    refusedBecause: [...causes]
      .map(([cause, count]) => ({ cause, count }))
      .sort((a, b) => b.count - a.count || a.cause.localeCompare(b.cause)),
    retried: counts.reduce((sum, { retried }) => sum + retried, 0),
    gateWindowMs: p50 === null || p99 === null ? null : { p50, p99 },
    messagesPerSecond:
      broadcast.state === 'sent' && seconds > 0 ? Math.round((attempted / seconds) * 10) / 10 : null,
  };
}

/** All that is given must hold. */
export interface RecipientFilter {
  readonly state?: SendState;
  readonly outcome?: SendOutcome;
}

/**
 * Sends of a broadcast, in the order of their addresses' ids.
 *
 * @param afterAddressId the address of the last one of the page before
 */
export async function readBroadcastSends(
  on: Session,
  broadcastId: string,
  filter: RecipientFilter,
  afterAddressId: string | undefined,
  limit: number,
): Promise<SendView[]> {
  const conditions = new Conditions();
  conditions.add('broadcast_id = ?', broadcastId);
  conditions.add('state = ?', filter.state);
  conditions.add('outcome = ?', filter.outcome);
  conditions.add('address_id > ?', afterAddressId);
  const rows = await on.query<{ id: string }>(
    plain(`select id from send ${conditions.where} order by address_id ${conditions.limit(limit)}`),
    conditions.values,
  );
  const sends = await readSends(
    on,
    rows.map((row) => row.id),
  );
  const byId = new Map(sends.map((send) => [send.id, send]));
  return rows.map((row) => byId.get(row.id)!);
}
