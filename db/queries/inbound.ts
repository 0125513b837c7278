import { v7 as uuidv7 } from 'uuid';
import type { Category } from '../../domain/bounce/verdict.ts';
import type { DeliveryEventKind } from '../../domain/deliveryEvent.ts';
import {
  type EventResult,
  type Finding,
  INBOUND_KEPT_OCTETS,
  type InboundReader,
  type InboundSource,
  type InboundState,
  type Understood,
} from '../../domain/inbound.ts';
import { type Database, plain, type Session, type Transaction } from '../connection.ts';
import { applyDeliveryEvent } from './deliveryEvents.ts';
import { addToOutbox } from './outbox.ts';
import { unsubscribeInOneStep } from './unsubscribe.ts';

/** Something that came in, as it is to be kept. */
export interface NewInbound {
  readonly source: InboundSource;
  /** The same thing that comes twice by the same way has the same key. */
  readonly dedupeKey: string;
  /** Only the beginning is kept: {@link INBOUND_KEPT_OCTETS}. */
  readonly content: Uint8Array;
  /** Octets of all of it. */
  readonly size: number;
  readonly recipients: readonly string[];
}

export interface StoredInbound {
  readonly id: string;
  readonly isNew: boolean;
}

/** Text that one row keeps of an address or a diagnostic. */
const LONGEST_TEXT = 2_000;
const LONGEST_STATUS = 20;
const MOST_RECIPIENTS = 100;

const INSERT = plain(`
  insert into inbound (id, source, dedupe_key, content, size, recipients, state, received_at)
  values ($1, $2, $3, $4, $5, $6, 'received', $7)
  on conflict (source, dedupe_key) do nothing returning id`);
const BY_KEY = plain('select id from inbound where source = $1 and dedupe_key = $2');

/**
 * Keeps what came in, and has the relay apply it: one commit, after which it is not lost (I7). What is known already
 * changes nothing.
 */
export async function storeInbound(tx: Transaction, now: Date, item: NewInbound): Promise<StoredInbound> {
  const id = uuidv7();
  const inserted = await tx.query(INSERT, [
    id,
    item.source,
    item.dedupeKey,
    Buffer.from(item.content.subarray(0, INBOUND_KEPT_OCTETS)),
    item.size,
    item.recipients.slice(0, MOST_RECIPIENTS).map((address) => storable(address)),
    now,
  ]);
  if (inserted.length === 0) {
    const [known] = await tx.query<{ id: string }>(BY_KEY, [item.source, item.dedupeKey]);
    return { id: known!.id, isNew: false };
  }
  await addToOutbox(tx, now, [applyEntry(id)]);
  return { id, isNew: true };
}

function applyEntry(id: string) {
  return { aggregate: `inbound:${id}`, message: { type: 'applyInbound' as const, inboundId: id } };
}

const CONTENT = plain('select content from inbound where id = $1');

/** The kept beginning of what came in; `null` where there is no such thing. */
export async function readInboundContent(on: Session, id: string): Promise<Buffer | null> {
  const [row] = await on.query<{ content: Buffer }>(CONTENT, [id]);
  return row?.content ?? null;
}

const WAITING = plain(`select source, content, recipients from inbound where id = $1 and state = 'received'`);
const LOCK = plain(`select 1 from inbound where id = $1 and state = 'received' for no key update`);
const EVENT = plain(`
  insert into delivery_event (inbound_id, n, kind, category, fault_ours, status, reply_code, diagnostic, rule, send_id,
    result, at)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (inbound_id, n) do nothing`);
const APPLIED = plain(`update inbound set state = 'applied', applied_at = $2 where id = $1`);
/** What comes back about somebody who was erased meanwhile is kept like what came before: without a word of it. */
const FORGET_DIAGNOSTICS = plain(`
  update delivery_event e set diagnostic = null from send s
  where e.inbound_id = $1 and s.id = e.send_id and s.recipient is null returning 1`);
const FORGET = plain(`update inbound set content = '', recipients = '{}' where id = $1`);
const FAILED = plain(
  `update inbound set state = 'failed', failure = $2, applied_at = $3 where id = $1 and state = 'received'`,
);

/**
 * Understands one item and applies what it says, all in one transaction; a second time it changes nothing.
 *
 * An item that cannot be read, or that PostgreSQL refuses as data, is marked `failed` with the reason and kept: trying it
 * again would end the same. Trouble of the database is thrown, and the caller tries again.
 *
 * @returns `too_early` where it tells of a send whose attempt is in the air: it stays `received`, and the caller tries
 *   again a little later
 */
export async function applyInbound(
  db: Database,
  now: Date,
  read: InboundReader,
  inboundId: string,
): Promise<'done' | 'too_early'> {
  const [item] = await db.query<{ source: InboundSource; content: Buffer; recipients: string[] }>(WAITING, [
    inboundId,
  ]);
  if (item === undefined) return 'done';
  let understood: Understood;
  try {
    understood = await read(item);
  } catch (error) {
    await db.query(FAILED, [inboundId, reasonOf(error), now]);
    return 'done';
  }
  try {
    return await db.transaction(async (tx) => {
      const [mine] = await tx.query(LOCK, [inboundId]);
      if (mine === undefined) return 'done';
      let tooEarly = false;
      for (const [index, finding] of understood.findings.entries()) {
        if (!(await applyFinding(tx, now, inboundId, index + 1, finding))) tooEarly = true;
      }
      for (const [index, sendId] of understood.unsubscribes.entries()) {
        await applyUnsubscribe(tx, now, inboundId, understood.findings.length + index + 1, sendId);
      }
      if (tooEarly) return 'too_early';
      await tx.query(APPLIED, [inboundId, now]);
      if ((await tx.query(FORGET_DIAGNOSTICS, [inboundId])).length > 0) await tx.query(FORGET, [inboundId]);
      return 'done';
    });
  } catch (error) {
    if (!isRefusedData(error)) throw error;
    await db.query(FAILED, [inboundId, reasonOf(error), now]);
    return 'done';
  }
}

const TRY_AGAIN = plain(
  `update inbound set state = 'received', failure = null, applied_at = null where id = $1 and state = 'failed' returning id`,
);
const EXISTS = plain('select 1 from inbound where id = $1');

/**
 * Has what could not be read or applied tried again, as it came: after a fault of ours was mended.
 *
 * @returns `not_failed` also where it waits already
 */
export async function retryInbound(
  tx: Transaction,
  now: Date,
  id: string,
): Promise<'done' | 'not_failed' | 'not_found'> {
  const [again] = await tx.query(TRY_AGAIN, [id]);
  if (again === undefined) return (await tx.query(EXISTS, [id])).length > 0 ? 'not_failed' : 'not_found';
  await addToOutbox(tx, now, [applyEntry(id)]);
  return 'done';
}

/** @returns false where it came too early, and is told of by no event yet */
async function applyFinding(
  tx: Transaction,
  now: Date,
  inboundId: string,
  n: number,
  finding: Finding,
): Promise<boolean> {
  const { kind, category, faultOurs } = finding;
  const sendId = await findSend(tx, finding);
  const result =
    sendId === null ? 'unmatched' : await applyDeliveryEvent(tx, now, { sendId, kind, category, faultOurs });
  if (result === 'too_early') return false;
  await addEvent(tx, now, inboundId, n, finding, sendId, result);
  return true;
}

/** What a recipient asked for by mail, with a token of ours: the token is all that was read. */
async function applyUnsubscribe(
  tx: Transaction,
  now: Date,
  inboundId: string,
  n: number,
  sendId: string,
): Promise<void> {
  const result = await unsubscribeInOneStep(tx, { way: 'unsubscribe_mail' }, now, sendId);
  const event = { ...UNSUBSCRIBED, sendIds: [sendId] };
  await addEvent(tx, now, inboundId, n, event, result === 'unmatched' ? null : sendId, result);
}

const UNSUBSCRIBED: Omit<Finding, 'sendIds'> = {
  kind: 'unsubscribe',
  category: null,
  faultOurs: false,
  status: null,
  replyCode: null,
  diagnostic: null,
  rule: 'message to the unsubscribe mailbox',
  messageIds: [],
};

async function addEvent(
  tx: Transaction,
  now: Date,
  inboundId: string,
  n: number,
  { kind, category, faultOurs, status, replyCode, diagnostic, rule }: Finding,
  sendId: string | null,
  result: EventResult,
): Promise<void> {
  await tx.query(EVENT, [
    inboundId,
    n,
    kind,
    category,
    faultOurs,
    status === null ? null : storable(status, LONGEST_STATUS),
    replyCode,
    diagnostic === null ? null : storable(diagnostic),
    storable(rule, 200),
    sendId,
    result,
    now,
  ]);
}

const BY_ID = plain('select id from send where id = $1');
const BY_MESSAGE_ID = plain('select id from send where id = $1 and message_id = $2');
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * The send that a finding is about: by what is signed first, then by a Message-ID that is exactly one of ours, which
 * nobody guesses, since it has 74 random bits. An address in the report is never enough.
 */
async function findSend(tx: Transaction, finding: Finding): Promise<string | null> {
  for (const id of finding.sendIds) {
    const [found] = UUID.test(id) ? await tx.query<{ id: string }>(BY_ID, [id]) : [];
    if (found !== undefined) return found.id;
  }
  for (const messageId of finding.messageIds) {
    // Its left side is the id of the send.
    const id = /^<([^@<>]+)@/.exec(messageId)?.[1];
    if (id === undefined || !UUID.test(id)) continue;
    const [found] = await tx.query<{ id: string }>(BY_MESSAGE_ID, [id, messageId]);
    if (found !== undefined) return found.id;
  }
  return null;
}

/** SQLSTATE classes 22 (data exception) and 23 (integrity constraint): the same row would be refused again. */
function isRefusedData(error: unknown): boolean {
  return /^2[23]/.test((error as { code?: string }).code ?? '');
}

function reasonOf(error: unknown): string {
  return storable(error instanceof Error ? error.message : String(error), 500);
}

/** One line that PostgreSQL can keep: no controls, no half characters, bounded. */
function storable(text: string, longest = LONGEST_TEXT): string {
  return text
    .slice(0, longest)
    .toWellFormed()
    .replace(/\p{Cc}+/gu, ' ')
    .trim();
}

/** An item as people see it. */
export interface InboundView {
  readonly id: string;
  readonly source: InboundSource;
  readonly state: InboundState;
  readonly failure: string | null;
  readonly size: number;
  readonly recipients: readonly string[];
  readonly receivedAt: Date;
  readonly appliedAt: Date | null;
  readonly events: readonly DeliveryEventView[];
}

export interface DeliveryEventView {
  readonly n: number;
  readonly kind: DeliveryEventKind;
  readonly category: Category | null;
  readonly faultOurs: boolean;
  readonly status: string | null;
  readonly replyCode: number | null;
  readonly diagnostic: string | null;
  readonly rule: string;
  readonly sendId: string | null;
  readonly result: EventResult;
}

const VIEW = `
  i.id, i.source, i.state, i.failure, i.size, i.recipients, i.received_at as "receivedAt", i.applied_at as "appliedAt",
  coalesce((select jsonb_agg(jsonb_build_object('n', e.n, 'kind', e.kind, 'category', e.category, 'faultOurs', e.fault_ours,
    'status', e.status, 'replyCode', e.reply_code, 'diagnostic', e.diagnostic, 'rule', e.rule, 'sendId', e.send_id,
    'result', e.result) order by e.n) from delivery_event e where e.inbound_id = i.id), '[]') as events`;
const READ = plain(`select ${VIEW} from inbound i where i.id = $1`);
const SEARCH = plain(`
  select ${VIEW} from inbound i
  where ($1::text is null or i.state = $1) and ($2::text is null or i.source = $2)
    and ($3::text is null or exists (select from delivery_event e where e.inbound_id = i.id and e.result = $3))
    and ($4::uuid is null or exists (select from delivery_event e where e.inbound_id = i.id and e.send_id = $4))
    and ($5::uuid is null or i.id < $5)
  order by i.id desc limit $6`);

/** @returns `null` where there is no such item */
export async function readInbound(on: Session, id: string): Promise<InboundView | null> {
  const [row] = await on.query<InboundView & Record<string, unknown>>(READ, [id]);
  return row ?? null;
}

export interface InboundFilter {
  readonly state?: InboundState;
  readonly source?: InboundSource;
  /** With an event that ended so. */
  readonly result?: EventResult;
  /** With an event about this send. */
  readonly sendId?: string;
}

/** What came in, newest first. */
export async function searchInbound(
  on: Session,
  filter: InboundFilter,
  page: { beforeId: string | null; limit: number },
): Promise<InboundView[]> {
  return on.query<InboundView & Record<string, unknown>>(SEARCH, [
    filter.state ?? null,
    filter.source ?? null,
    filter.result ?? null,
    filter.sendId ?? null,
    page.beforeId,
    page.limit,
  ]);
}
