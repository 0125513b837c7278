import { sql } from 'drizzle-orm';
import { index, integer, jsonb, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core';
import { BULK_UPDATE_STATES, REFUSALS, ROW_OUTCOMES } from '../../domain/bulkUpdate/words.ts';
import type { Criteria } from '../../domain/criteria/criteria.ts';
import { WAYS } from '../../domain/words.ts';
import { at, bytea } from './people.ts';

/** A one-time change of a field of everybody who matches, and how far it is. */
export const bulkUpdate = pgTable(
  'bulk_update',
  {
    id: uuid('id').primaryKey(),
    state: text('state', { enum: BULK_UPDATE_STATES }).notNull(),
    /** Who is meant; `null` for an undo, which is of the rows that another one changed. */
    criteria: jsonb('criteria').$type<Criteria>(),
    field: text('field').notNull(),
    /** `null` empties the field; of an undo each row has its own. */
    value: jsonb('value'),
    /** The bulk update that it takes back. */
    undoes: uuid('undoes'),
    actor: text('actor').notNull(),
    /** Why, in the words of whoever made it. */
    reason: text('reason'),
    idempotencyKey: text('idempotency_key').notNull(),
    requestHash: bytea('request_hash').notNull(),
    /** Goes up with every worker that takes it over; one that has another epoch has lost it. */
    epoch: integer('epoch').notNull().default(0),
    /** The page that comes next. Committed with the rows of the one before. */
    nextPage: integer('next_page').notNull().default(0),
    pages: integer('pages'),
    /** Rows; `null` until who matches is decided. */
    total: integer('total'),
    changed: integer('changed').notNull().default(0),
    alreadySo: integer('already_so').notNull().default(0),
    refused: integer('refused').notNull().default(0),
    /** Code of what ended it, where it failed. */
    failure: text('failure'),
    createdAt: at('created_at').notNull(),
    /** When it was decided who matches; windows of time in the criteria count from here. */
    decidedAt: at('decided_at'),
    finishedAt: at('finished_at'),
  },
  (t) => [
    uniqueIndex('bulk_update_idempotency').on(t.idempotencyKey),
    // What was undone is undone once; an undo that broke off may be made again.
    uniqueIndex('bulk_update_undone_once')
      .on(t.undoes)
      .where(sql`undoes is not null and state not in ('cancelled', 'failed')`),
    index('bulk_update_unfinished').on(t.id).where(sql`state in ('queued', 'running', 'paused')`),
  ],
);

/** Who is meant, decided once, page by page in the order of their ids; removed when the bulk update is over. */
export const bulkUpdatePage = pgTable(
  'bulk_update_page',
  {
    bulkUpdateId: uuid('bulk_update_id')
      .notNull()
      .references(() => bulkUpdate.id),
    number: integer('number').notNull(),
    prospectIds: uuid('prospect_ids').array().notNull(),
  },
  (t) => [primaryKey({ columns: [t.bulkUpdateId, t.number] })],
);

/**
 * What became of one row. Values are there of changed rows alone, and are emptied when the person is erased. No foreign
 * keys: neither bulk updates nor prospects are ever removed, and half a million checks would cost more than the rows.
 */
export const bulkUpdateRow = pgTable(
  'bulk_update_row',
  {
    bulkUpdateId: uuid('bulk_update_id').notNull(),
    prospectId: uuid('prospect_id').notNull(),
    outcome: text('outcome', { enum: ROW_OUTCOMES }).notNull(),
    refusal: text('refusal', { enum: REFUSALS }),
    before: jsonb('before'),
    after: jsonb('after'),
    /** Whose Bounced was changed: it belongs to the address, and is given back to no other. */
    addressId: uuid('address_id'),
    /** Of a flag, whose word the entry was that was taken off or given back, and its note; `null` where it is its own. */
    way: text('way', { enum: WAYS }),
    note: text('note'),
    at: at('at').notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.bulkUpdateId, t.prospectId] }),
    index('bulk_update_row_refused').on(t.bulkUpdateId, t.prospectId).where(sql`outcome = 'refused'`),
    // Values of a person that is erased.
    index('bulk_update_row_values').on(t.prospectId).where(sql`outcome = 'changed'`),
  ],
);
