import { maskAddresses } from '../../domain/address.ts';
import { holdMilliseconds } from '../../domain/hold.ts';
import { plain, prepared, type Session } from '../connection.ts';
import { raiseAlert } from './alerts.ts';

/** A way out that is held back until `until`. */
export interface Hold {
  readonly destination: string;
  readonly category: string;
  readonly level: number;
  readonly since: Date;
  readonly until: Date;
}

const READ = prepared(
  'hold_of',
  'select destination, category, level, since, until from hold where destination = $1',
);
const RAISE = plain(`
  insert into hold as h (destination, category, level, since, until) values ($1, $2, 1, $3, $4)
  on conflict (destination) do update set category = excluded.category,
    level = case when h.until <= $3 then h.level + 1 else h.level end, until = h.until
  returning level, until`);
const EXTEND = plain('update hold set until = $2 where destination = $1 and until <= $3 returning until');
const CLEAR = plain('delete from hold where destination = $1');
const CLEAR_ALERTS = plain(
  `update alert set cleared_at = $2 where cleared_at is null and right(key, length($1) + 1) = ':' || $1`,
);

/** The hold on a way out, also one that has run out but was not cleared by a success yet; `null` where there is none. */
export async function readHold(on: Session, destination: string): Promise<Hold | null> {
  const [row] = await on.query<Hold & Record<string, unknown>>(READ, [destination]);
  return row ?? null;
}

/**
 * Holds a way out back after a fault of ours, and raises the alert that a person sees. Each failure after a hold ran out
 * makes the next one longer; several failures within one hold are one.
 *
 * @returns until when
 */
export async function raiseHold(
  on: Session,
  now: Date,
  destination: string,
  category: string,
  detail: string | null,
): Promise<Date> {
  const first = new Date(now.getTime() + holdMilliseconds(1));
  const [held] = await on.query<{ level: number; until: Date }>(RAISE, [destination, category, now, first]);
  const until = new Date(now.getTime() + holdMilliseconds(held!.level));
  const [extended] = await on.query<{ until: Date }>(EXTEND, [destination, until, now]);
  await raiseAlert(on, now, {
    key: `${category}:${destination}`,
    kind: category,
    // Where a reply names an address, an alert that outlives the person must not.
    detail: maskAddresses(detail ?? destination),
  });
  return extended?.until ?? held!.until;
}

/** Lets mail leave by this way again after a success, and clears its alerts. */
export async function clearHold(on: Session, now: Date, destination: string): Promise<void> {
  await on.query(CLEAR, [destination]);
  await on.query(CLEAR_ALERTS, [destination, now]);
}
