import { v7 as uuidv7 } from 'uuid';
import { plain, type Session } from '../connection.ts';

/** Something that a person has to look at, or had to. */
export interface Alert {
  readonly id: string;
  readonly key: string;
  readonly kind: string;
  readonly detail: string;
  readonly count: number;
  readonly raisedAt: Date;
  readonly lastSeenAt: Date;
  readonly clearedAt: Date | null;
}

const LIST = plain(`
  select id, key, kind, detail, count, raised_at as "raisedAt", last_seen_at as "lastSeenAt", cleared_at as "clearedAt"
  from alert where ($1 or cleared_at is null) and ($2::uuid is null or id < $2) order by id desc limit $3`);

/**
 * Alerts, newest first.
 *
 * @param cleared whether those that are over are wanted too
 */
export async function listAlerts(
  on: Session,
  cleared: boolean,
  beforeId: string | null,
  limit: number,
): Promise<Alert[]> {
  return on.query<Alert & Record<string, unknown>>(LIST, [cleared, beforeId, limit]);
}

const RAISE = plain(`
  insert into alert as a (id, key, kind, detail, count, raised_at, last_seen_at) values ($1, $2, $3, $4, 1, $5, $5)
  on conflict (key) where cleared_at is null
  do update set count = a.count + 1, last_seen_at = excluded.last_seen_at, detail = excluded.detail
  returning count`);
const CLEAR = plain('update alert set cleared_at = $2 where key = $1 and cleared_at is null');

/** Raises an alert, or notes that it was seen again where it is open. @returns whether it is new */
export async function raiseAlert(
  on: Session,
  now: Date,
  alert: { readonly key: string; readonly kind: string; readonly detail: string },
): Promise<boolean> {
  const values = [uuidv7(), alert.key, alert.kind, alert.detail, now];
  const [raised] = await on.query<{ count: number }>(RAISE, values);
  return raised!.count === 1;
}

/** Clears an alert that is over; does nothing where it is not open. */
export async function clearAlert(on: Session, now: Date, key: string): Promise<void> {
  await on.query(CLEAR, [key, now]);
}
