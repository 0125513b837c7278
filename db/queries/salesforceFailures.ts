import { v7 as uuidv7 } from 'uuid';
import { maskAddresses } from '../../domain/address.ts';
import type { ErrorKind } from '../../domain/salesforce/errorKind.ts';
import type { FailureSide } from '../../domain/salesforce/words.ts';
import { plain, type Session, type Transaction } from '../connection.ts';
import { queuePushes, removePush } from './salesforceQueue.ts';

/** What could not be done to one record or prospect. */
export interface SalesforceFailure {
  readonly id: string;
  /** Id of a record, or `prospect:<id>`. */
  readonly key: string;
  readonly side: FailureSide;
  readonly kind: ErrorKind;
  readonly code: string;
  readonly message: string;
  readonly count: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
  /** When it is tried again; `null` where it is not by itself. */
  readonly nextAt: Date | null;
  readonly dismissedAt: Date | null;
}

export type NewFailure = Pick<SalesforceFailure, 'key' | 'side' | 'kind' | 'code' | 'message'>;

const ADD = plain(`
  insert into salesforce_failure as f (id, key, side, kind, code, message, count, first_at, last_at)
  select n.id, n.key, n.side, n.kind, n.code, n.message, 1, $2, $2
  from jsonb_to_recordset($1::jsonb) as n(id uuid, key text, side text, kind text, code text, message text)
  order by n.key
  on conflict (key, side) do update set kind = excluded.kind, code = excluded.code, message = excluded.message,
    count = f.count + 1, last_at = excluded.last_at, dismissed_at = null
  returning (xmax = 0) as inserted`);
const CLEAR = plain('delete from salesforce_failure where key = any($1::text[]) and side = $2');
const COLUMNS = `f.id, f.key, f.side, f.kind, f.code, f.message, f.count, f.first_at as "firstAt", f.last_at as "lastAt",
  (select q.due_at from salesforce_push q where q.key = f.key) as "nextAt", f.dismissed_at as "dismissedAt"`;
const LIST = plain(`
  select ${COLUMNS} from salesforce_failure f
  where ($1 or f.dismissed_at is null) and ($2::uuid is null or f.id < $2) order by f.id desc limit $3`);
const READ = plain(`select ${COLUMNS} from salesforce_failure f where f.id = $1`);
const DISMISS = plain(
  'update salesforce_failure set dismissed_at = coalesce(dismissed_at, $2) where id = $1',
);
const OPEN = plain('select count(*)::int as open from salesforce_failure where dismissed_at is null');

/**
 * Salesforce repeats the value that it refuses (STRING_TOO_LONG: "First Name: data value too large: … (max length=40)");
 * nothing personal is kept here.
 */
function withoutValues(message: string): string {
  const told = message
    .replace(/(data value too large|invalid email address): [\s\S]*?( \(max|$)/i, '$1$2')
    // Looks like an encoded at sign else.
    .replace(/max length=(\d+)/, 'max length $1');
  return maskAddresses(told).slice(0, 1_000);
}

/** Writes failures down; one of the same record and side is the same one, seen again. */
export async function addFailures(
  tx: Transaction,
  now: Date,
  failures: readonly NewFailure[],
): Promise<void> {
  if (failures.length === 0) return;
  const byPlace = new Map(failures.map((each) => [`${each.side} ${each.key}`, each]));
  const rows = [...byPlace.values()].map(({ key, side, kind, code, message }) => ({
    id: uuidv7(),
    key,
    side,
    kind,
    code,
    message: withoutValues(message),
  }));
  await tx.query(ADD, [JSON.stringify(rows), now]);
}

/** What failed before has worked. */
export async function clearFailures(
  tx: Transaction,
  side: FailureSide,
  keys: readonly string[],
): Promise<void> {
  if (keys.length > 0) await tx.query(CLEAR, [keys, side]);
}

/** Failures, the newest first. */
export async function listFailures(
  on: Session,
  dismissed: boolean,
  beforeId: string | null,
  limit: number,
): Promise<SalesforceFailure[]> {
  return on.query<SalesforceFailure & Record<string, unknown>>(LIST, [dismissed, beforeId, limit]);
}

/** @returns `null` where there is none, or what failed has worked since */
export async function readFailure(on: Session, id: string): Promise<SalesforceFailure | null> {
  const [row] = await on.query<SalesforceFailure & Record<string, unknown>>(READ, [id]);
  return row ?? null;
}

export async function countOpenFailures(on: Session): Promise<number> {
  const [row] = await on.query<{ open: number }>(OPEN);
  return row?.open ?? 0;
}

/** Has the record looked at again at once, on both sides. @returns false where there is no such failure */
export async function retryFailure(tx: Transaction, now: Date, id: string): Promise<boolean> {
  const failure = await readFailure(tx, id);
  if (failure === null) return false;
  await queuePushes(tx, now, [failure.key]);
  return true;
}

/** A person decided that it stays undone until the record changes. @returns false where there is no such failure */
export async function dismissFailure(tx: Transaction, now: Date, id: string): Promise<boolean> {
  const failure = await readFailure(tx, id);
  if (failure === null) return false;
  await tx.query(DISMISS, [id, now]);
  if (failure.side === 'salesforce') await removePush(tx, failure.key);
  return true;
}
