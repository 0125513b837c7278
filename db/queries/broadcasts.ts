import { v7 as uuidv7 } from 'uuid';
import type { Audience } from '../../domain/broadcast/audience.ts';
import { type BroadcastCommand, type BroadcastState, mayBe } from '../../domain/broadcast/words.ts';
import type { EmailKind, Origin } from '../../domain/words.ts';
import { plain, prepared, type Session, type Transaction } from '../connection.ts';
import { type AuditAction, addAuditEntries } from './audit.ts';
import { endSends } from './ending.ts';
import { readSendFacts } from './facts.ts';
import { Conditions, type Page } from './keyset.ts';
import { lockSends } from './locks.ts';
import { addToOutbox, type OutboxMessage } from './outbox.ts';
import { cancelSends } from './sends.ts';

/** One email to many; what became of its recipients is told by `broadcastReport.ts`. */
export interface Broadcast {
  readonly id: string;
  readonly name: string;
  readonly emailId: string;
  /** Fixed when it is started. */
  readonly emailVersion: number | null;
  readonly audience: Audience;
  readonly state: BroadcastState;
  /** Most messages a minute; `null`: as fast as they are taken. */
  readonly perMinute: number | null;
  readonly startAt: Date | null;
  /** Which run of its workflow cares for it; 0 until it is started. */
  readonly run: number;
  /** How many recipients it has, as far as they are written down. */
  readonly recipients: number;
  readonly preparedAt: Date | null;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
}

export interface BroadcastRequest {
  readonly name: string;
  readonly emailId: string;
  readonly audience: Audience;
  readonly perMinute: number | null;
  /** The caller's key (I2): the same key and request give the same broadcast. */
  readonly idempotencyKey: string;
  readonly requestHash: Buffer;
}

export type CreatedBroadcast =
  | { readonly kind: 'created' | 'existing'; readonly broadcastId: string }
  /** The key was used for another request. */
  | { readonly kind: 'key_conflict' }
  | { readonly kind: 'no_email' };

const EMAIL = plain('select kind, version from email where id = $1 and archived_at is null');
const BY_KEY = plain('select id, request_hash from broadcast where idempotency_key = $1');
const INSERT = plain(`
  insert into broadcast (id, name, email_id, audience, state, per_minute, idempotency_key, request_hash, created_at)
  values ($1, $2, $3, $4, 'draft', $5, $6, $7, $8)
  on conflict (idempotency_key) where idempotency_key is not null do nothing returning id`);

/** Kind and newest version of an email. @returns `null` where there is no such email, or it is archived */
export async function findEmailInUse(
  on: Session,
  id: string,
): Promise<{ kind: EmailKind; version: number } | null> {
  const [email] = await on.query<{ kind: EmailKind; version: number }>(EMAIL, [id]);
  return email ?? null;
}

/** Makes a draft; nothing is sent before it is started. */
export async function createBroadcast(
  tx: Transaction,
  now: Date,
  request: BroadcastRequest,
): Promise<CreatedBroadcast> {
  const existing = await findByKey(tx, request);
  if (existing !== null) return existing;
  if ((await findEmailInUse(tx, request.emailId)) === null) return { kind: 'no_email' };
  const id = uuidv7();
  const { name, emailId, audience, perMinute, idempotencyKey, requestHash } = request;
  const [made] = await tx.query(INSERT, [
    id,
    name,
    emailId,
    JSON.stringify(audience),
    perMinute,
    idempotencyKey,
    requestHash,
    now,
  ]);
  // Somebody else came first with the same key, and has committed by now.
  return made === undefined ? (await findByKey(tx, request))! : { kind: 'created', broadcastId: id };
}

async function findByKey(tx: Transaction, request: BroadcastRequest): Promise<CreatedBroadcast | null> {
  const [row] = await tx.query<{ id: string; request_hash: Buffer }>(BY_KEY, [request.idempotencyKey]);
  if (row === undefined) return null;
  return row.request_hash.equals(request.requestHash)
    ? { kind: 'existing', broadcastId: row.id }
    : { kind: 'key_conflict' };
}

const COLUMNS = `id, name, email_id as "emailId", email_version as "emailVersion", audience, state,
  per_minute as "perMinute", start_at as "startAt", run, recipients, prepared_at as "preparedAt",
  created_at as "createdAt", started_at as "startedAt", finished_at as "finishedAt"`;
const READ = plain(`select ${COLUMNS} from broadcast where id = $1`);

/** @returns `null` where there is no such broadcast */
export async function readBroadcast(on: Session, id: string): Promise<Broadcast | null> {
  const [row] = await on.query<Broadcast & Record<string, unknown>>(READ, [id]);
  return row ?? null;
}

/** Broadcasts, the newest first. */
export async function searchBroadcasts(
  on: Session,
  filter: { readonly state?: BroadcastState },
  page: Page,
): Promise<Broadcast[]> {
  const conditions = new Conditions();
  conditions.add('id < ?', page.after);
  conditions.add('state = ?', filter.state);
  return on.query<Broadcast & Record<string, unknown>>(
    plain(
      `select ${COLUMNS} from broadcast ${conditions.where} order by id desc ${conditions.limit(page.limit)}`,
    ),
    conditions.values,
  );
}

/** Aggregate of everything about one broadcast: its entries go out in order. */
function broadcastAggregate(broadcastId: string): string {
  return `broadcast:${broadcastId}`;
}

/** Tells the workflow of a broadcast to look at it. */
export function wakeOf({ id, run }: Pick<Broadcast, 'id' | 'run'>): {
  aggregate: string;
  message: OutboxMessage;
} {
  return { aggregate: broadcastAggregate(id), message: { type: 'wakeBroadcast', broadcastId: id, run } };
}

/*
 * A command waits for the gates of the broadcast that have begun, and keeps new ones waiting until its commit: nobody is
 * gated after a pause or a cancellation was committed. First of all locks.
 */
const LOCK_GATES = plain('select pg_advisory_xact_lock(hashtextextended($1, 4802))');
const SHARE_GATES = prepared(
  'share_broadcast_gates',
  'select pg_advisory_xact_lock_shared(hashtextextended($1, 4802))',
);
const LOCK = plain(`select ${COLUMNS} from broadcast where id = $1 for no key update`);

/** Shares the broadcast with other gates; before all other locks. */
export async function shareGates(tx: Transaction, broadcastId: string): Promise<void> {
  await tx.query(SHARE_GATES, [broadcastId]);
}

const STATE = prepared('broadcast_state', 'select state from broadcast where id = $1');

/** Where a broadcast stands; decided on only after {@link shareGates}, in a statement of its own. */
export async function readBroadcastState(tx: Transaction, id: string): Promise<BroadcastState | null> {
  const [row] = await tx.query<{ state: BroadcastState }>(STATE, [id]);
  return row?.state ?? null;
}

/** Keeps a broadcast as it is until the transaction ends, its gates included. @returns `null` where there is no such broadcast */
export async function lockBroadcast(tx: Transaction, id: string): Promise<Broadcast | null> {
  await tx.query(LOCK_GATES, [id]);
  const [row] = await tx.query<Broadcast & Record<string, unknown>>(LOCK, [id]);
  return row ?? null;
}

const START = plain(`
  update broadcast set state = $2, start_at = $3, email_version = $4, schedule_seconds = setting.schedule_seconds, run = 1,
    started_at = $5
  from setting where broadcast.id = $1`);
const PAUSE = plain(`update broadcast set state = 'paused', paused_at = $2 where id = $1`);
/** What it was paused for before it began is no part of the time that it took. */
const RESUME = plain(`
  update broadcast set state = $2, paused_at = null, paused_milliseconds = paused_milliseconds
    + case when started_at is null then 0 else coalesce(extract(epoch from $3 - paused_at) * 1000, 0)::bigint end
  where id = $1`);
const CANCEL = plain(`update broadcast set state = 'cancelled', finished_at = $2 where id = $1`);

export type BroadcastChanged =
  | { readonly kind: 'done' | 'not_found' | 'email_archived' }
  /** What it is, as the command found it. */
  | { readonly kind: 'wrong_state'; readonly state: BroadcastState };

const AUDITED = {
  start: 'broadcast.started',
  pause: 'broadcast.paused',
  resume: 'broadcast.resumed',
  cancel: 'broadcast.cancelled',
} as const satisfies Record<BroadcastCommand, AuditAction>;

/**
 * Starts, pauses, resumes or cancels a broadcast. Nobody is gated after the commit of a pause or a cancellation; a
 * cancellation also ends the sends that wait for another attempt, page by page.
 *
 * @param startAt when a start takes effect; `null`: now
 */
export async function changeBroadcast(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
  command: BroadcastCommand,
  startAt: Date | null = null,
): Promise<BroadcastChanged> {
  const broadcast = await lockBroadcast(tx, id);
  if (broadcast === null) return { kind: 'not_found' };
  if (!mayBe(command, broadcast.state)) return { kind: 'wrong_state', state: broadcast.state };
  const state = await apply(tx, now, broadcast, command, startAt);
  if (state === null) return { kind: 'email_archived' };
  await addAuditEntries(tx, origin, now, [
    { action: AUDITED[command], subject: id, before: { state: broadcast.state }, after: { state } },
  ]);
  return { kind: 'done' };
}

async function apply(
  tx: Transaction,
  now: Date,
  broadcast: Broadcast,
  command: BroadcastCommand,
  startAt: Date | null,
): Promise<BroadcastState | null> {
  const { id: broadcastId } = broadcast;
  const aggregate = broadcastAggregate(broadcastId);
  switch (command) {
    case 'start': {
      const email = await findEmailInUse(tx, broadcast.emailId);
      if (email === null) return null;
      const state = startAt !== null && startAt > now ? 'scheduled' : 'sending';
      await tx.query(START, [broadcastId, state, startAt, email.version, state === 'scheduled' ? null : now]);
      await addToOutbox(tx, now, [{ aggregate, message: { type: 'startBroadcast', broadcastId, run: 1 } }]);
      return state;
    }
    case 'pause':
      await tx.query(PAUSE, [broadcastId, now]);
      await addToOutbox(tx, now, [wakeOf(broadcast)]);
      return 'paused';
    case 'resume': {
      const waits = broadcast.startAt !== null && broadcast.startedAt === null;
      const state = waits ? 'scheduled' : 'sending';
      await tx.query(RESUME, [broadcastId, state, now]);
      await addToOutbox(tx, now, [wakeOf(broadcast)]);
      return state;
    }
    case 'cancel':
      await tx.query(CANCEL, [broadcastId, now]);
      if (broadcast.state !== 'draft') {
        await addToOutbox(tx, now, [
          wakeOf(broadcast),
          { aggregate: `${aggregate}:sends`, message: { type: 'endSendsOfBroadcast', broadcastId } },
        ]);
      }
      return 'cancelled';
  }
}

/** Not over; or cancelled while a lane had a page of it that nobody left since. */
const HAS_WORK = `(b.state in ('scheduled', 'sending', 'paused') or b.state = 'cancelled'
    and exists (select from broadcast_page g where g.broadcast_id = b.id and g.state = 'claimed'))`;
const NEXT_RUN = plain(`
  update broadcast b set run = run + 1 where id = $1 and run = $2 and ${HAS_WORK} returning run`);

/**
 * Gives a broadcast that has work left a new workflow, where its workflow of this run was lost.
 *
 * @returns whether it did
 */
export async function restartBroadcast(
  tx: Transaction,
  now: Date,
  broadcastId: string,
  run: number,
): Promise<boolean> {
  const [row] = await tx.query<{ run: number }>(NEXT_RUN, [broadcastId, run]);
  if (row === undefined) return false;
  await addToOutbox(tx, now, [
    {
      aggregate: broadcastAggregate(broadcastId),
      message: { type: 'startBroadcast', broadcastId, run: row.run },
    },
  ]);
  return true;
}

const UNFINISHED = plain(`
  select b.id, b.run from broadcast b
  where ${HAS_WORK}
    and not exists (select from outbox o where o.aggregate = 'broadcast:' || b.id) order by b.id`);

/** Broadcasts that have work left and about which nothing waits in the outbox, for the sweep. */
export async function readUnfinishedBroadcasts(on: Session): Promise<{ id: string; run: number }[]> {
  return on.query<{ id: string; run: number }>(UNFINISHED);
}

/** What a broadcast's workflow does next. */
export type BroadcastStep =
  | { readonly kind: 'wait'; readonly until: Date }
  /** Until somebody resumes or cancels it. */
  | { readonly kind: 'paused' }
  | { readonly kind: 'prepare' }
  /** So many pages are not done; more where the lane of a lost worker would not run for so few. */
  | { readonly kind: 'send'; readonly pages: number }
  | { readonly kind: 'over'; readonly state: BroadcastState | 'superseded' };

const BEGIN = plain(`update broadcast set state = 'sending', started_at = $2 where id = $1`);
/** Counted up to the highest lane that has one: only a lane of that number takes back what a lost worker had. */
const UNDONE = plain(`
  select greatest(count(*)::int, max(lane) + 1) as undone,
    case when bool_and(state = 'open' and coalesce(open_from > $2, false)) then min(open_from) end as until
  from broadcast_page where broadcast_id = $1 and state <> 'done'`);
const SENT = plain(`update broadcast set state = 'sent', finished_at = $2 where id = $1`);

/** Moves a broadcast on as far as its time has come, and says what is to be done. */
export async function nextBroadcastStep(
  tx: Transaction,
  now: Date,
  id: string,
  run: number,
): Promise<BroadcastStep> {
  const broadcast = await lockBroadcast(tx, id);
  if (broadcast === null || broadcast.run !== run) return { kind: 'over', state: 'superseded' };
  const { state, startAt } = broadcast;
  if (state === 'paused') return { kind: 'paused' };
  if (state !== 'scheduled' && state !== 'sending') return { kind: 'over', state };
  if (state === 'scheduled') {
    if (startAt !== null && startAt > now) return { kind: 'wait', until: startAt };
    await tx.query(BEGIN, [id, now]);
  }
  if (broadcast.preparedAt === null) return { kind: 'prepare' };
  const [row] = await tx.query<{ undone: number; until: Date | null }>(UNDONE, [id, now]);
  if (row!.until !== null) return { kind: 'wait', until: row!.until };
  if (row!.undone > 0) return { kind: 'send', pages: row!.undone };
  await tx.query(SENT, [id, now]);
  return { kind: 'over', state: 'sent' };
}

/** Locked in the order of the mark, which may come at the same moment. */
const BREAK_OFF_GATED = plain(`
  with gated as (
    select a.send_id, a.number from send s join attempt a on a.send_id = s.id and a.state = 'gated'
    where s.id = any($1::uuid[]) and s.run = 0 and s.state = 'attempting' order by a.send_id for no key update of a
  )
  update attempt a set state = 'finished', outcome = 'refused', epoch = a.epoch + 1, finished_at = $2
  from gated g where a.send_id = g.send_id and a.number = g.number returning a.send_id`);

/** Why a send was cancelled whose broadcast was. */
export const BROADCAST_CANCELLED = 'broadcast_cancelled';

/**
 * Cancels those of these sends whose first attempt was gated and not marked: nobody will make it, and whoever still has
 * it fails to mark it (I2). It ends as where its gate refuses it.
 *
 * @returns which were
 */
export async function cancelGatedSends(
  tx: Transaction,
  origin: Origin,
  now: Date,
  ids: readonly string[],
): Promise<Set<string>> {
  if (ids.length === 0) return new Set();
  await lockSends(tx, ids);
  const rows = await tx.query<{ send_id: string }>(BREAK_OFF_GATED, [ids, now]);
  const brokenOff = rows.map((row) => row.send_id);
  const sends = await readSendFacts(tx, brokenOff, []);
  await endSends(
    tx,
    origin,
    now,
    'cancelled',
    sends.map((send) => ({ send, reason: BROADCAST_CANCELLED })),
  );
  return new Set(brokenOff);
}

const UNFINISHED_SENDS = plain(`
  select id, address_id from send
  where broadcast_id = $1 and address_id > $2 and state <> 'final' order by address_id limit $3`);

/**
 * Cancels up to `limit` sends of a broadcast that are not final; one that is being handed over ends with its attempt,
 * unless it is delivered. What its lane takes back from being handed over is cancelled when the page is left.
 *
 * @returns the last address looked at, to go on from, or `null` when there were no more
 */
export async function endSendsOfBroadcast(
  tx: Transaction,
  origin: Origin,
  now: Date,
  broadcastId: string,
  afterAddressId: string,
  limit: number,
): Promise<string | null> {
  const rows = await tx.query<{ id: string; address_id: string }>(UNFINISHED_SENDS, [
    broadcastId,
    afterAddressId,
    limit,
  ]);
  const ids = rows.map((row) => row.id);
  const ended = await cancelGatedSends(tx, origin, now, ids);
  await cancelSends(
    tx,
    origin,
    now,
    ids.filter((id) => !ended.has(id)),
    BROADCAST_CANCELLED,
  );
  return rows.length < limit ? null : rows.at(-1)!.address_id;
}
