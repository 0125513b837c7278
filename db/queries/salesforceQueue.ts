import { v7 as uuidv7 } from 'uuid';
import { plain, type Session, type Transaction } from '../connection.ts';
import { addToOutbox } from './outbox.ts';

/** Something that has to be looked at on its way to Salesforce. */
export interface QueuedPush {
  /** Id of a record, or `prospect:<id>`. */
  readonly key: string;
  readonly version: number;
  readonly failures: number;
}

const ADD = plain(`
  insert into salesforce_push as q (key, queued_at, due_at)
  select k, $2, $2 from unnest($1::text[]) k order by k
  on conflict (key) do update set version = q.version + 1, failures = 0, due_at = excluded.due_at`);
const TAKE = plain(`
  select key, version, failures from salesforce_push where due_at <= $1 order by due_at, key limit $2`);
const NEXT = plain('select min(due_at) as due from salesforce_push');
const DONE = plain(`
  delete from salesforce_push q using jsonb_to_recordset($1::jsonb) as d(key text, version bigint)
  where q.key = d.key and q.version = d.version`);
const LATER = plain(`
  update salesforce_push q set failures = q.failures + 1, due_at = d.due_at
  from jsonb_to_recordset($1::jsonb) as d(key text, version bigint, due_at timestamptz)
  where q.key = d.key and q.version = d.version`);
const REMOVE = plain('delete from salesforce_push where key = $1');
const BACKLOG = plain('select count(*)::int as entries, min(queued_at) as oldest from salesforce_push');

/** Queues records and prospects; what is queued already is looked at once more. */
export async function queuePushes(tx: Transaction, now: Date, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  await tx.query(ADD, [[...new Set(keys)], now]);
  await wake(tx, now);
}

function wake(tx: Transaction, now: Date): Promise<void> {
  return addToOutbox(tx, now, [
    { aggregate: `salesforce:${uuidv7()}`, message: { type: 'pushToSalesforce' } },
  ]);
}

/** What is due, in the order in which it became so. Nothing is locked: there is one who pushes. */
export async function readDuePushes(on: Session, now: Date, limit: number): Promise<QueuedPush[]> {
  const rows = await on.query<{ key: string; version: string; failures: number }>(TAKE, [now, limit]);
  return rows.map((row) => ({ ...row, version: Number(row.version) }));
}

/** When the next entry is due; `null` where there is none. */
export async function nextPushAt(on: Session): Promise<Date | null> {
  const [row] = await on.query<{ due: Date | null }>(NEXT);
  return row?.due ?? null;
}

/** Removes what was pushed; what has changed meanwhile stays. */
export async function finishPushes(tx: Transaction, pushed: readonly QueuedPush[]): Promise<void> {
  if (pushed.length === 0) return;
  await tx.query(DONE, [JSON.stringify(pushed.map(({ key, version }) => ({ key, version })))]);
}

/** Puts off what failed; what has changed meanwhile is due already. */
export async function putOffPushes(
  tx: Transaction,
  failed: readonly { readonly push: QueuedPush; readonly dueAt: Date }[],
): Promise<void> {
  if (failed.length === 0) return;
  const rows = failed.map(({ push, dueAt }) => ({ key: push.key, version: push.version, due_at: dueAt }));
  await tx.query(LATER, [JSON.stringify(rows)]);
}

const OVERDUE = plain('select 1 from salesforce_push where due_at < $1 limit 1');
const OVERDUE_MS = 10_000;

/** Wakes the push where something is overdue, since its workflow was lost. */
export async function wakeOverduePushes(tx: Transaction, now: Date): Promise<void> {
  const late = await tx.query(OVERDUE, [new Date(now.getTime() - OVERDUE_MS)]);
  if (late.length > 0) await wake(tx, now);
}

/** A person decided that it need not be pushed. */
export async function removePush(tx: Transaction, key: string): Promise<void> {
  await tx.query(REMOVE, [key]);
}

/** How many entries wait, and since when the oldest does. */
export async function pushBacklog(on: Session): Promise<{ entries: number; oldestAt: Date | null }> {
  const [row] = await on.query<{ entries: number; oldest: Date | null }>(BACKLOG);
  return { entries: row?.entries ?? 0, oldestAt: row?.oldest ?? null };
}
