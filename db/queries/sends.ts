import { v7 as uuidv7 } from 'uuid';
import type { ParsedAddress } from '../../domain/address.ts';
import { MARKETING_PAUSED } from '../../domain/hold.ts';
import type { AttemptTrigger, EmailKind, Origin, SendState } from '../../domain/words.ts';
import { type Database, plain, prepared, type Session, type Transaction } from '../connection.ts';
import { type AddressHasher, ensureAddress } from './addresses.ts';
import { addAuditEntries } from './audit.ts';
import { endSends, isResting } from './ending.ts';
import { readSendFacts, type SendFacts } from './facts.ts';
import { lockProspects, lockSends } from './locks.ts';
import { addToOutbox, sendAggregate } from './outbox.ts';
import { startNextRun, startNextRunIfUnfinished } from './runs.ts';

/** What a caller asks for. */
export interface SendRequest {
  readonly emailId: string;
  /** Left out or `null`: the newest. */
  readonly emailVersion?: number | null;
  readonly prospectId: string;
  readonly listId?: string | null;
  /** The caller's key (I2): the same key and request give the same send, whatever happened in between. */
  readonly idempotencyKey?: string | null;
  /** Tells the same request from another one under the same key. */
  readonly requestHash?: Buffer | null;
  /** The step of an automation that it is made for: one send each (I2). */
  readonly step?: { readonly enrollmentId: string; readonly stepId: string };
  /** A test send: the prospect's fields, sent to this address instead. */
  readonly testTo?: ParsedAddress;
}

export type CreatedSend =
  | { readonly kind: 'created' | 'existing'; readonly sendId: string }
  /** The key was used for another request. */
  | { readonly kind: 'key_conflict' }
  | { readonly kind: 'no_email' | 'no_prospect' | 'no_list' };

const BY_KEY = plain('select id, request_hash from send where idempotency_key = $1');
const EMAIL = plain('select kind, version from email where id = $1 and archived_at is null');
const LIST = plain('select 1 from list where id = $1');
const PROSPECT = plain(`
  select p.address_id, p.email, a.domain from prospect p join address a on a.id = p.address_id
  where p.id = $1 and p.deleted_at is null`);
const SCHEDULE = plain('select schedule_seconds from setting');
const INSERT = plain(`
  insert into send (id, email_id, email_version, kind, prospect_id, address_id, recipient, recipient_domain, list_id, test,
    idempotency_key, request_hash, message_id, schedule_seconds, state, created_at, enrollment_id, step_id)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 'queued', $15, $16, $17)
  on conflict (idempotency_key) where idempotency_key is not null do nothing returning id`);

/**
 * Makes a send with its outbox entry, so that its workflow is started even if everything dies right after the commit.
 * Whether it may be sent is not asked here: the gate decides when its attempt begins.
 *
 * @param messageIdDomain right side of the Message-ID (RFC 5322 section 3.6.4)
 */
export async function createSend(
  tx: Transaction,
  hasher: AddressHasher,
  now: Date,
  request: SendRequest,
  messageIdDomain: string,
): Promise<CreatedSend> {
  const key = request.idempotencyKey ?? null;
  if (key !== null) {
    const existing = await findByKey(tx, key, request.requestHash ?? null);
    if (existing !== null) return existing;
  }
  // Held until the commit: a change of the address waits and then finds this send, to cancel it (I4).
  await lockProspects(tx, [request.prospectId]);
  const [found, [schedule]] = await Promise.all([
    readMakings(tx, request),
    tx.query<{ schedule_seconds: number[] }>(SCHEDULE),
  ]);
  if (found.kind !== 'found') return found;
  const { email, prospect } = found;
  const to = request.testTo;
  const id = uuidv7();
  const recipientDomain = to?.domain ?? prospect.domain;
  const inserted = await tx.query(INSERT, [
    id,
    request.emailId,
    request.emailVersion ?? email.version,
    email.kind,
    request.prospectId,
    to === undefined ? prospect.address_id : await ensureAddress(tx, hasher, now, to),
    to?.given ?? prospect.email,
    recipientDomain,
    request.listId ?? null,
    to !== undefined,
    key,
    request.requestHash ?? null,
    `<${id}@${messageIdDomain}>`,
    JSON.stringify(schedule!.schedule_seconds),
    now,
    request.step?.enrollmentId ?? null,
    request.step?.stepId ?? null,
  ]);
  // Somebody else came first with the same key, and has committed by now.
  if (inserted.length === 0) return (await findByKey(tx, key!, request.requestHash ?? null))!;
  await addToOutbox(tx, now, [
    { aggregate: sendAggregate(id), message: { type: 'startSend', sendId: id, run: 1, recipientDomain } },
  ]);
  return { kind: 'created', sendId: id };
}

/** What a send is made of, as of now. */
async function readMakings(
  tx: Transaction,
  request: Pick<SendRequest, 'emailId' | 'prospectId' | 'listId'>,
): Promise<
  | {
      kind: 'found';
      email: { kind: EmailKind; version: number };
      prospect: { address_id: string; email: string; domain: string };
    }
  | { kind: 'no_email' | 'no_prospect' | 'no_list' }
> {
  const [[email], [prospect], lists] = await Promise.all([
    tx.query<{ kind: EmailKind; version: number }>(EMAIL, [request.emailId]),
    tx.query<{ address_id: string; email: string; domain: string }>(PROSPECT, [request.prospectId]),
    tx.query(LIST, [request.listId ?? null]),
  ]);
  if (email === undefined) return { kind: 'no_email' };
  if (prospect === undefined) return { kind: 'no_prospect' };
  if (request.listId && lists.length === 0) return { kind: 'no_list' };
  return { kind: 'found', email, prospect };
}

async function findByKey(
  tx: Transaction,
  key: string,
  requestHash: Buffer | null,
): Promise<CreatedSend | null> {
  const [row] = await tx.query<{ id: string; request_hash: Buffer | null }>(BY_KEY, [key]);
  if (row === undefined) return null;
  const same = row.request_hash === null ? requestHash === null : requestHash?.equals(row.request_hash);
  return same ? { kind: 'existing', sendId: row.id } : { kind: 'key_conflict' };
}

/** Everything that an attempt needs and that does not decide whether it may begin. */
export interface SendToAttempt {
  readonly sendId: string;
  readonly run: number;
  readonly state: SendState;
  readonly kind: EmailKind;
  readonly listId: string | null;
  readonly prospectId: string;
  readonly addressId: string;
  readonly recipient: string | null;
  readonly recipientDomain: string;
  readonly messageId: string;
  readonly createdAt: Date;
  /** As it was read, without the locks of the gate, which decides. */
  readonly marketingPaused: boolean;
  readonly email: {
    readonly id: string;
    readonly version: number;
    readonly subject: string;
    readonly fromName: string | null;
    readonly fromAddress: string;
    readonly replyTo: string | null;
    readonly html: string | null;
    readonly text: string | null;
  };
  /** Row of the prospect as the merge fields see it. */
  readonly prospect: Readonly<Record<string, unknown>>;
}

const LOAD = prepared(
  'send_to_attempt',
  `select s.run, s.state, s.kind, s.list_id, s.prospect_id, s.address_id, s.recipient, s.recipient_domain, s.message_id, s.created_at,
     v.email_id, v.version, v.subject, v.from_name, v.from_address, v.reply_to, v.html, v.text,
     p.email, p.first_name, p.last_name, p.company, p.title, p.phone, p.country, p.state as prospect_state, p.city, p.postal_code,
     p.website, p.lead_source, p.time_zone, p.custom, s.kind = 'marketing' and setting.marketing_paused as marketing_paused
   from send s cross join setting join email_version v on v.email_id = s.email_id and v.version = s.email_version
   join prospect p on p.id = s.prospect_id
   where s.id = $1`,
);

/** @returns `null` where there is no such send */
export async function loadSendToAttempt(on: Session, sendId: string): Promise<SendToAttempt | null> {
  const [row] = await on.query<Record<string, never>>(LOAD, [sendId]);
  if (row === undefined) return null;
  return {
    sendId,
    run: row.run!,
    state: row.state!,
    kind: row.kind!,
    listId: row.list_id!,
    prospectId: row.prospect_id!,
    addressId: row.address_id!,
    recipient: row.recipient!,
    recipientDomain: row.recipient_domain!,
    messageId: row.message_id!,
    createdAt: row.created_at!,
    marketingPaused: row.marketing_paused!,
    email: {
      id: row.email_id!,
      version: row.version!,
      subject: row.subject!,
      fromName: row.from_name!,
      fromAddress: row.from_address!,
      replyTo: row.reply_to!,
      html: row.html!,
      text: row.text!,
    },
    prospect: { ...(row as object), state: row.prospect_state },
  };
}

/** A retry by hand that is held was no turn of the schedule, whose next one is still to come. */
const HOLD_SEND = plain(`
  with broken_off as (
    update attempt set state = 'finished', outcome = 'soft_bounce', category = 'system', fault_ours = true, rule = $6,
      finished_at = $4
    where send_id = $1 and state = 'gated' returning send_id
  )
  update send set state = 'held', held_reason = $5, next_attempt_at = $2,
    next_slot = case when $7 = 'retry_now' then null else next_slot end
  where id = $1 and run = $3 and (state in ('queued', 'waiting', 'held') or exists (select from broken_off))`);

/** What a send is to wait for. */
interface SendHold {
  readonly sendId: string;
  readonly run: number;
  readonly trigger: AttemptTrigger;
  /** `null`: until it is woken. */
  readonly until: Date | null;
  /** In codes, for people. */
  readonly reason: string;
  /** Why an attempt was broken off that had only been gated. */
  readonly rule: 'worker_lost' | typeof MARKETING_PAUSED;
  readonly now: Date;
}

/**
 * Something holds the send back: nothing was attempted, and it waits for that. An attempt that was only gated is broken
 * off with it.
 */
export async function holdSend(on: Session, hold: SendHold): Promise<void> {
  const { sendId, run, trigger, until, reason, rule, now } = hold;
  await on.query(HOLD_SEND, [sendId, until, run, now, reason, rule, trigger]);
}

const PAUSED = plain(`
  select id, run from send
  where standing = 'held' and held_reason = '${MARKETING_PAUSED}' and id > $1 order by id limit $2`);

/**
 * Wakes a page of the sends that wait for marketing email to go out again; each one's gate then decides.
 *
 * @returns the last one, to go on from, or `null` when there were no more
 */
export async function wakePausedSends(
  tx: Transaction,
  now: Date,
  afterId: string,
  limit: number,
): Promise<string | null> {
  const paused = await tx.query<{ id: string; run: number }>(PAUSED, [afterId, limit]);
  await addToOutbox(
    tx,
    now,
    paused.map(({ id, run }) => ({
      aggregate: sendAggregate(id),
      message: { type: 'wakeSend', sendId: id, run },
    })),
  );
  return paused.length < limit ? null : paused.at(-1)!.id;
}

/** Why a send was cancelled whose enrollment was taken out or ended. */
export const ENROLLMENT_REMOVED = 'enrollment_removed';
/** What was asked for already stays so where an enrollment is taken out: putting it back takes back no more than that. */
const REQUEST_CANCEL = plain(`
  update send set cancel_requested_at = $2, outcome_reason = $3
  where id = $1 and (cancel_requested_at is null or $3 <> '${ENROLLMENT_REMOVED}')`);

export type CommandResult = 'done' | 'requested' | 'already_final' | 'not_found';

/**
 * Cancels a send. One whose attempt is in the air ends with that attempt, unless it is delivered.
 *
 * @returns `requested` where an attempt is in the air
 */
export async function cancelSend(
  tx: Transaction,
  origin: Origin,
  now: Date,
  sendId: string,
): Promise<CommandResult> {
  const send = await lockAndRead(tx, sendId);
  if (send === null) return 'not_found';
  if (send.state === 'final') return 'already_final';
  return cancelLocked(tx, origin, now, [send], origin.reason ?? 'cancelled');
}

const UNFINISHED_OF_PROSPECTS = plain(
  `select id from send where prospect_id = any($1::uuid[]) and state <> 'final' and not test`,
);

/** Cancels all that is unfinished for these prospects, whose locks the caller holds (I4). */
export async function cancelSendsOfProspects(
  tx: Transaction,
  origin: Origin,
  now: Date,
  prospectIds: readonly string[],
  reason: string,
): Promise<void> {
  const rows = await tx.query<{ id: string }>(UNFINISHED_OF_PROSPECTS, [prospectIds]);
  await cancelSends(
    tx,
    origin,
    now,
    rows.map((row) => row.id),
    reason,
  );
}

/** Cancels those of these sends that are not final. */
export async function cancelSends(
  tx: Transaction,
  origin: Origin,
  now: Date,
  ids: readonly string[],
  reason: string,
): Promise<void> {
  if (ids.length === 0) return;
  await lockSends(tx, ids);
  const sends = await readSendFacts(tx, ids, []);
  await cancelLocked(
    tx,
    origin,
    now,
    sends.filter((send) => send.state !== 'final'),
    reason,
  );
}

const UNFINISHED_OF_ENROLLMENT = plain(`select id from send where enrollment_id = $1 and state <> 'final'`);

/** Cancels all that is unfinished of an enrollment, whose prospect's lock the caller holds. */
export async function cancelSendsOfEnrollment(
  tx: Transaction,
  origin: Origin,
  now: Date,
  enrollmentId: string,
): Promise<void> {
  const rows = await tx.query<{ id: string }>(UNFINISHED_OF_ENROLLMENT, [enrollmentId]);
  await cancelSends(
    tx,
    origin,
    now,
    rows.map((row) => row.id),
    ENROLLMENT_REMOVED,
  );
}

const TAKE_CANCEL_BACK = plain(`
  update send set cancel_requested_at = null, outcome_reason = null
  where enrollment_id = $1 and step_id = $2 and state = 'attempting' and outcome_reason = '${ENROLLMENT_REMOVED}'`);

/**
 * Lets the send of a step go on whose attempt has been in the air since before the enrollment was taken out, as if it had
 * not been. The caller holds the lock of the enrollment's prospect.
 */
export async function letSendOfStepGoOn(
  tx: Transaction,
  enrollmentId: string,
  stepId: string,
): Promise<void> {
  await tx.query(TAKE_CANCEL_BACK, [enrollmentId, stepId]);
}

/** First attempted when it goes out: whatever came before was broken off or came to nothing. */
const MAKE_ANEW = plain(`
  update send set email_id = $2, email_version = $3, kind = $4, prospect_id = $5, address_id = $6, recipient = $7,
    recipient_domain = $8, list_id = $9, first_attempt_at = null
  where id = $1`);

/**
 * Makes the send of a step anew that was cancelled with {@link ENROLLMENT_REMOVED}: the same send (I2), of the email and
 * list that the step names now, to the address that the prospect has now: nothing of it ever went to the one before (I4).
 * The caller holds the prospect's lock.
 */
export async function makeSendAnew(
  tx: Transaction,
  now: Date,
  sendId: string,
  request: Pick<SendRequest, 'emailId' | 'prospectId' | 'listId'>,
): Promise<CreatedSend> {
  const found = await readMakings(tx, request);
  if (found.kind !== 'found') return found;
  const { email, prospect } = found;
  await lockSends(tx, [sendId]);
  await tx.query(MAKE_ANEW, [
    sendId,
    request.emailId,
    email.version,
    email.kind,
    request.prospectId,
    prospect.address_id,
    prospect.email,
    prospect.domain,
    request.listId ?? null,
  ]);
  await tx.query(SEND_AGAIN, [sendId]);
  await startNextRun(tx, now, { id: sendId, recipientDomain: prospect.domain });
  return { kind: 'created', sendId };
}

async function cancelLocked(
  tx: Transaction,
  origin: Origin,
  now: Date,
  sends: readonly SendFacts[],
  reason: string,
): Promise<CommandResult> {
  const resting = sends.filter(isResting);
  await endSends(
    tx,
    origin,
    now,
    'cancelled',
    resting.map((send) => ({ send, reason })),
  );
  const inTheAir = sends.filter((send) => !isResting(send));
  // No words of a person: what an attempt ends with is shown in Temporal.
  const code = reason === ENROLLMENT_REMOVED ? ENROLLMENT_REMOVED : 'cancelled';
  for (const send of inTheAir) await tx.query(REQUEST_CANCEL, [send.id, now, code]);
  // By whom and why; the end, which is the attempt's, is written down when it comes.
  await addAuditEntries(
    tx,
    origin,
    now,
    inTheAir.map((send) => ({
      action: 'send.cancel_requested',
      sendId: send.id,
      prospectId: send.prospectId,
      addressId: send.addressId,
      subject: reason,
    })),
  );
  return inTheAir.length > 0 ? 'requested' : 'done';
}

/**
 * Asks the workflow of a waiting or held send to try now.
 *
 * @returns `already_final` also where an attempt is in the air: there is nothing to hurry
 */
export async function requestRetry(
  tx: Transaction,
  origin: Origin,
  now: Date,
  sendId: string,
): Promise<CommandResult> {
  const send = await lockAndRead(tx, sendId);
  if (send === null) return 'not_found';
  if (!isResting(send)) return 'already_final';
  await addToOutbox(tx, now, [
    { aggregate: sendAggregate(send.id), message: { type: 'retrySend', sendId: send.id, run: send.run } },
  ]);
  await addAuditEntries(tx, origin, now, [
    {
      action: 'send.retry_requested',
      sendId: send.id,
      prospectId: send.prospectId,
      addressId: send.addressId,
    },
  ]);
  return 'done';
}

const SETTLE_DELIVERED = plain(
  `update send set outcome = 'delivered', outcome_reason = 'settled', finished_at = $2 where id = $1`,
);
const SEND_AGAIN = plain(`
  update send set state = 'queued', outcome = null, outcome_reason = null, finished_at = null, next_attempt_at = null,
    next_slot = null, slot = -1, schedule_started_at = null, cancel_requested_at = null
  where id = $1`);

export type SettleResult = 'done' | 'not_unknown' | 'not_found';

/**
 * Settles a send whose outcome is unknown (I2): a person knows that it was delivered, or wants it sent again through the
 * gate under the same Message-ID, with a schedule that starts afresh.
 */
export async function settleSend(
  tx: Transaction,
  origin: Origin,
  now: Date,
  sendId: string,
  as: 'delivered' | 'resend',
): Promise<SettleResult> {
  const send = await lockAndRead(tx, sendId);
  if (send === null) return 'not_found';
  if (send.outcome !== 'unknown') return 'not_unknown';
  if (as === 'delivered') {
    await tx.query(SETTLE_DELIVERED, [send.id, now]);
  } else {
    await tx.query(SEND_AGAIN, [send.id]);
    await startNextRun(tx, now, send);
  }
  await addAuditEntries(tx, origin, now, [
    {
      action: as === 'delivered' ? 'send.settled' : 'send.resent',
      sendId: send.id,
      prospectId: send.prospectId,
      addressId: send.addressId,
      before: { state: 'final', outcome: 'unknown' },
      after: as === 'delivered' ? { state: 'final', outcome: 'delivered' } : { state: 'queued' },
    },
  ]);
  return 'done';
}

const READ_DOMAIN = plain('select recipient_domain from send where id = $1');

async function lockAndRead(tx: Transaction, sendId: string): Promise<SendFacts | null> {
  const [row] = await tx.query<{ recipient_domain: string }>(READ_DOMAIN, [sendId]);
  if (row === undefined) return null;
  await lockSends(tx, [sendId]);
  const [send] = await readSendFacts(tx, [sendId], [row.recipient_domain]);
  return send ?? null;
}

const UNFINISHED = plain(
  // A broadcast looks after those whose first attempt it makes.
  `select id, run from send
   where standing in ('queued', 'waiting', 'held', 'attempting') and run > 0 and id > $1 and created_at < $2
   order by id limit $3`,
);

/** A page of unfinished sends, in the order of their ids, for the sweep that looks for lost workflows. */
export async function readUnfinishedSends(
  on: Session,
  afterId: string,
  createdBefore: Date,
  limit: number,
): Promise<{ id: string; run: number }[]> {
  return on.query<{ id: string; run: number }>(UNFINISHED, [afterId, createdBefore, limit]);
}

const PENDING = plain('select 1 from outbox where aggregate = $1 limit 1');

/**
 * Gives a send a new workflow where it is unfinished, still on this run, and nothing about it waits in the outbox.
 *
 * @returns whether it did
 */
export async function restartSend(db: Database, now: Date, sendId: string, run: number): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [entry] = await tx.query(PENDING, [sendAggregate(sendId)]);
    return entry === undefined && startNextRunIfUnfinished(tx, now, sendId, run);
  });
}
