import { v7 as uuidv7 } from 'uuid';
import { type FieldValue, isFlag } from '../../domain/automation/definition.ts';
import type { BulkChange } from '../../domain/bulkUpdate/change.ts';
import type { BulkUpdateProgress } from '../../domain/bulkUpdate/progress.ts';
import {
  AFTER_COMMAND,
  type BulkUpdateCommand,
  type BulkUpdateState,
  isOver,
  type Refusal,
} from '../../domain/bulkUpdate/words.ts';
import type { Criteria } from '../../domain/criteria/criteria.ts';
import type { Origin } from '../../domain/words.ts';
import { plain, type Session, type Transaction } from '../connection.ts';
import { type AuditAction, addAuditEntries } from './audit.ts';
import { HEED } from './gate.ts';
import { Conditions, type Page } from './keyset.ts';
import { addToOutbox, type OutboxMessage } from './outbox.ts';

/** A one-time change of a field of everybody who matches, or of the rows that another one changed. */
export interface BulkUpdate extends BulkUpdateProgress {
  readonly id: string;
  /** `null` for an undo. */
  readonly criteria: Criteria | null;
  readonly field: string;
  /** Of an undo each row has its own. */
  readonly value: FieldValue;
  /** Id of the bulk update that it takes back. */
  readonly undoes: string | null;
  readonly actor: string;
  readonly reason: string | null;
  /** Code of what ended it, where it failed. */
  readonly failure: string | null;
  readonly createdAt: Date;
  readonly decidedAt: Date | null;
  readonly finishedAt: Date | null;
}

/** What makes a repeated request harmless. */
export interface BulkUpdateRequest {
  /** The caller's key: the same key and request give the same bulk update. */
  readonly idempotencyKey: string;
  readonly requestHash: Buffer;
}

export type CreatedBulkUpdate =
  | { readonly kind: 'created' | 'existing'; readonly id: string }
  /** The key was used for another request. */
  | { readonly kind: 'key_conflict' };

export type CreatedUndo =
  | CreatedBulkUpdate
  | { readonly kind: 'not_found' }
  /** It is still under way. */
  | { readonly kind: 'not_over' }
  /** It was undone, or is being undone, by this one. */
  | { readonly kind: 'undone'; readonly by: string };

const BY_KEY = plain('select id, request_hash from bulk_update where idempotency_key = $1');
const INSERT = plain(`
  insert into bulk_update (id, state, criteria, field, value, undoes, actor, reason, idempotency_key, request_hash, created_at)
  values ($1, 'queued', $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (idempotency_key) do nothing returning id`);
const LOCK = plain('select state, field, value from bulk_update where id = $1 for no key update');
const UNDO_OF = plain(
  `select id from bulk_update where undoes = $1 and state not in ('cancelled', 'failed')`,
);

/** Makes a bulk update with its outbox entry. Nobody is changed before its workflow runs. */
export async function createBulkUpdate(
  tx: Transaction,
  origin: Origin,
  now: Date,
  change: BulkChange,
  request: BulkUpdateRequest,
): Promise<CreatedBulkUpdate> {
  return (await findByKey(tx, request)) ?? insert(tx, origin, now, { ...change, undoes: null }, request);
}

/**
 * Makes the bulk update that takes another one back: exactly the rows that it changed, each to its own former value.
 * What is undone once is not undone again, unless that was cancelled or failed.
 */
export async function createUndo(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
  request: BulkUpdateRequest,
): Promise<CreatedUndo> {
  const [undone] = await tx.query<{ state: BulkUpdateState; field: string }>(LOCK, [id]);
  if (undone === undefined) return { kind: 'not_found' };
  // Only now: where the same request comes twice at once, the other one has committed.
  const existing = await findByKey(tx, request);
  if (existing !== null) return existing;
  if (!isOver(undone.state)) return { kind: 'not_over' };
  const [by] = await tx.query<{ id: string }>(UNDO_OF, [id]);
  if (by !== undefined) return { kind: 'undone', by: by.id };
  return insert(tx, origin, now, { criteria: null, field: undone.field, value: null, undoes: id }, request);
}

async function insert(
  tx: Transaction,
  origin: Origin,
  now: Date,
  change: Pick<BulkUpdate, 'criteria' | 'field' | 'value' | 'undoes'>,
  request: BulkUpdateRequest,
): Promise<CreatedBulkUpdate> {
  const id = uuidv7();
  const inserted = await tx.query(INSERT, [
    id,
    change.criteria === null ? null : JSON.stringify(change.criteria),
    change.field,
    change.value === null ? null : JSON.stringify(change.value),
    change.undoes,
    origin.actor,
    origin.reason,
    request.idempotencyKey,
    request.requestHash,
    now,
  ]);
  // Somebody else came first with the same key, and has committed by now.
  if (inserted.length === 0) return (await findByKey(tx, request))!;
  await addToOutbox(tx, now, [entry({ type: 'startBulkUpdate', bulkUpdateId: id })]);
  const { field, value, undoes } = change;
  await addAuditEntries(tx, origin, now, [
    // Of a field that may tell of a person only its name: entries outlive the erasing of people (I6).
    {
      action: 'bulk_update.created',
      subject: id,
      after: { field, ...(isFlag(field) && { value }), ...(undoes !== null && { undoes }) },
    },
  ]);
  return { kind: 'created', id };
}

async function findByKey(tx: Transaction, request: BulkUpdateRequest): Promise<CreatedBulkUpdate | null> {
  const [row] = await tx.query<{ id: string; request_hash: Buffer }>(BY_KEY, [request.idempotencyKey]);
  if (row === undefined) return null;
  return request.requestHash.equals(row.request_hash)
    ? { kind: 'existing', id: row.id }
    : { kind: 'key_conflict' };
}

/** An outbox entry about one bulk update; those go out in order. */
export function entry(message: Extract<OutboxMessage, { bulkUpdateId: string }>) {
  return { aggregate: `bulkUpdate:${message.bulkUpdateId}`, message };
}

const COLUMNS = `id, state, criteria, field, value, undoes, actor, reason, total, changed, already_so as "alreadySo", refused,
  failure, created_at as "createdAt", decided_at as "decidedAt", finished_at as "finishedAt"`;
const READ = plain(`select ${COLUMNS} from bulk_update where id = $1`);
const REFUSED_FOR = plain(`
  select refusal, count(*)::int as count from bulk_update_row where bulk_update_id = $1 and outcome = 'refused'
  group by refusal order by refusal`);

type Row = BulkUpdate & Record<string, unknown>;

/** @returns `null` where there is no such bulk update */
export async function readBulkUpdate(on: Session, id: string): Promise<BulkUpdate | null> {
  const [row] = await on.query<Row>(READ, [id]);
  return row ?? null;
}

/** How many rows were refused for what. */
export async function countRefusals(on: Session, id: string): Promise<Partial<Record<Refusal, number>>> {
  const rows = await on.query<{ refusal: Refusal; count: number }>(REFUSED_FOR, [id]);
  return Object.fromEntries(rows.map(({ refusal, count }) => [refusal, count]));
}

/** Bulk updates, the newest first. */
export async function searchBulkUpdates(
  on: Session,
  filter: { readonly state?: BulkUpdateState },
  page: Page,
): Promise<BulkUpdate[]> {
  const conditions = new Conditions();
  conditions.add('id < ?', page.after);
  conditions.add('state = ?', filter.state);
  return on.query<Row>(
    plain(
      `select ${COLUMNS} from bulk_update ${conditions.where} order by id desc ${conditions.limit(page.limit)}`,
    ),
    conditions.values,
  );
}

const SET_STATE = plain('update bulk_update set state = $2 where id = $1');
const END = plain('update bulk_update set state = $2, failure = $3, finished_at = $4 where id = $1');
const REMOVE_PAGES = plain('delete from bulk_update_page where bulk_update_id = $1');

const AUDITED = {
  pause: 'bulk_update.paused',
  resume: 'bulk_update.resumed',
  cancel: 'bulk_update.cancelled',
} as const satisfies Record<BulkUpdateCommand, AuditAction>;

export type CommandedBulkUpdate = 'done' | 'wrong_state' | 'not_found';

/**
 * Pauses, resumes or cancels: no page begins after the commit of a pause or a cancellation, and what was changed stays.
 * Its workflow is told through the outbox.
 */
export async function commandBulkUpdate(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
  command: BulkUpdateCommand,
): Promise<CommandedBulkUpdate> {
  const [row] = await tx.query<{ state: BulkUpdateState }>(LOCK, [id]);
  if (row === undefined) return 'not_found';
  const { from, to } = AFTER_COMMAND[command];
  if (!from.includes(row.state)) return 'wrong_state';
  if (to === 'cancelled') await endBulkUpdate(tx, now, id, to, null);
  else await tx.query(SET_STATE, [id, to]);
  await addToOutbox(tx, now, [entry({ type: 'wakeBulkUpdate', bulkUpdateId: id })]);
  await addAuditEntries(tx, origin, now, [
    { action: AUDITED[command], subject: id, before: { state: row.state }, after: { state: to } },
  ]);
  return 'done';
}

/** Ends a bulk update whose row the caller has locked. */
export async function endBulkUpdate(
  tx: Transaction,
  now: Date,
  id: string,
  state: 'done' | 'cancelled' | 'failed',
  failure: string | null,
): Promise<void> {
  await tx.query(END, [id, state, failure, now]);
  await tx.query(REMOVE_PAGES, [id]);
}

/** Ends one that cannot go on, unless it is over; what was changed stays. */
export async function failBulkUpdate(tx: Transaction, now: Date, id: string, failure: string): Promise<void> {
  const [row] = await tx.query<{ state: BulkUpdateState }>(LOCK, [id]);
  if (row === undefined || isOver(row.state)) return;
  await endBulkUpdate(tx, now, id, 'failed', failure);
  await addAuditEntries(tx, HEED, now, [
    {
      action: 'bulk_update.failed',
      subject: id,
      before: { state: row.state },
      after: { state: 'failed', failure },
    },
  ]);
}
