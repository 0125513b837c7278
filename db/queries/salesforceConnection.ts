import { type ErrorKind, pauseAfter } from '../../domain/salesforce/errorKind.ts';
import { type Database, plain, type Session, type Transaction } from '../connection.ts';
import { clearAlert, raiseAlert } from './alerts.ts';

/** What the worker found out about the connection to Salesforce. */
export interface SalesforceConnectionState {
  readonly orgId: string | null;
  /** Why the sync is stopped; `null` while it is not. */
  readonly stopped: string | null;
  readonly stoppedAt: Date | null;
  readonly pausedUntil: Date | null;
  readonly pauseKind: ErrorKind | null;
  readonly apiUsed: number | null;
  readonly apiAllowed: number | null;
  readonly apiAt: Date | null;
}

const CREATE = plain('insert into salesforce_connection (id) values (1) on conflict (id) do nothing');
const READ = plain(`
  select org_id as "orgId", stopped, stopped_at as "stoppedAt", paused_until as "pausedUntil", pause_kind as "pauseKind",
    api_used as "apiUsed", api_allowed as "apiAllowed", api_at as "apiAt" from salesforce_connection`);
const STOP = plain(`
  update salesforce_connection set stopped = $1, stopped_at = case when stopped is null then $2 else stopped_at end`);
const GO_ON = plain(
  'update salesforce_connection set stopped = null, stopped_at = null where stopped is not null',
);
const LOCK = plain('select pauses, paused_until from salesforce_connection for update');
const PAUSE = plain(
  'update salesforce_connection set paused_until = $1, pause_kind = $2, pauses = pauses + 1',
);
const ANSWERED = plain(`
  update salesforce_connection set paused_until = null, pause_kind = null, pauses = 0 where pauses > 0`);
const USE = plain('update salesforce_connection set api_used = $1, api_allowed = $2, api_at = $3');
const TAKE_ORG = plain('update salesforce_connection set org_id = coalesce(org_id, $1) returning org_id');

const ALERT = 'salesforce_stopped';

const UNKNOWN: SalesforceConnectionState = {
  orgId: null,
  stopped: null,
  stoppedAt: null,
  pausedUntil: null,
  pauseKind: null,
  apiUsed: null,
  apiAllowed: null,
  apiAt: null,
};

/** The connection as it is known; nothing where there never was one. */
export async function readSalesforceConnection(on: Session): Promise<SalesforceConnectionState> {
  const [row] = await on.query<SalesforceConnectionState & Record<string, unknown>>(READ);
  return row ?? UNKNOWN;
}

/** Stops the sync, and nothing else, until what is denied is allowed. */
export async function stopSalesforce(db: Database, now: Date, why: string): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.query(CREATE);
    await tx.query(STOP, [why, now]);
    await raiseAlert(tx, now, { key: ALERT, kind: ALERT, detail: why });
  });
}

/** What stopped the sync is over. */
export async function goOnWithSalesforce(db: Database, now: Date): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.query(CREATE);
    await tx.query(GO_ON);
    await clearAlert(tx, now, ALERT);
  });
}

/**
 * Asks Salesforce nothing for a while, longer each time in a row.
 *
 * @returns until when
 */
export async function pauseSalesforce(db: Database, now: Date, kind: ErrorKind): Promise<Date> {
  return db.transaction(async (tx) => {
    await tx.query(CREATE);
    const [row] = await tx.query<{ pauses: number; paused_until: Date | null }>(LOCK);
    // Several requests that failed together are one pause.
    if (row!.paused_until !== null && row!.paused_until > now) return row!.paused_until;
    const until = new Date(now.getTime() + pauseAfter(kind, row!.pauses + 1));
    await tx.query(PAUSE, [until, kind]);
    return until;
  });
}

/** Salesforce answered: the next pause is a short one again. */
export async function salesforceAnswered(
  on: Session,
  now: Date,
  use: { readonly used: number; readonly allowed: number } | null,
): Promise<void> {
  await on.query(CREATE);
  await on.query(ANSWERED);
  if (use !== null) await on.query(USE, [use.used, use.allowed, now]);
}

/**
 * The first org that was connected to stays the one: records of another would be taken for its own.
 *
 * @returns whether it is this one
 */
export async function isOurOrg(on: Session, orgId: string): Promise<boolean> {
  await on.query(CREATE);
  const [row] = await on.query<{ org_id: string }>(TAKE_ORG, [orgId]);
  return row!.org_id === orgId;
}

/** Any number; whoever reads records to apply them, or writes some, holds the advisory lock of this name. */
const EXCLUSIVE_LOCK = 4_801_007;
const HOLD = plain(`
  select set_config('idle_in_transaction_session_timeout', '120s', true), pg_advisory_xact_lock(${EXCLUSIVE_LOCK})`);
const STILL_HELD = plain('select 1');

/**
 * Does what reads and writes records by itself: were a page applied that was read before a write of ours, that write
 * would look like a change that Salesforce took back. A holder that is frozen loses the lock after two minutes, with its
 * connection.
 *
 * @param work gets a check that the lock is still held, which throws when it is not
 */
export async function exclusively<T>(
  db: Database,
  work: (stillHeld: () => Promise<void>) => Promise<T>,
): Promise<T> {
  return db.transaction(async (tx: Transaction) => {
    await tx.query(HOLD);
    return work(async () => {
      await tx.query(STILL_HELD);
    });
  });
}
