import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  index,
  integer,
  jsonb,
  pgTable,
  text,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';
import { ERROR_KINDS } from '../../domain/salesforce/errorKind.ts';
import type { FieldMapping } from '../../domain/salesforce/mapping.ts';
import type { KnownBase, PlanCounts, PlanSample } from '../../domain/salesforce/plan.ts';
import {
  FAILURE_SIDES,
  RECORD_STATES,
  RUN_MODES,
  RUN_STATES,
  SALESFORCE_OBJECTS,
  SYNC_DIRECTIONS,
} from '../../domain/salesforce/words.ts';
import { at } from './people.ts';

/** How the account syncs with Salesforce: one row. */
export const salesforceSetting = pgTable(
  'salesforce_setting',
  {
    id: integer('id').primaryKey(),
    optOutDirection: text('opt_out_direction', { enum: SYNC_DIRECTIONS }).notNull().default('both'),
    /** Whether a No from Salesforce takes back an opt-out that the person gave by link or mail. */
    mayTakeBack: boolean('may_take_back').notNull().default(false),
    /** Objects whose records become prospects where nobody has their address yet. */
    prospectsFrom: text('prospects_from', { enum: SALESFORCE_OBJECTS }).array().notNull().default([]),
    /** Whether prospects without a record become leads. */
    createsLeads: boolean('creates_leads').notNull().default(false),
    mappings: jsonb('mappings').$type<FieldMapping[]>().notNull(),
    /** When a first full reconciliation was allowed; until then nothing is changed on either side. */
    allowedAt: at('allowed_at'),
    updatedAt: at('updated_at').notNull(),
  },
  (t) => [check('salesforce_setting_one_row', sql`${t.id} = 1`)],
);

/** What the worker found out about the connection: one row. */
export const salesforceConnection = pgTable(
  'salesforce_connection',
  {
    id: integer('id').primaryKey(),
    /** The org that all records are of; another one is refused. */
    orgId: text('org_id'),
    /** Why the sync is stopped; `null` while it is not. */
    stopped: text('stopped'),
    stoppedAt: at('stopped_at'),
    /** Until when nothing is asked of Salesforce, and which kind of error said so. */
    pausedUntil: at('paused_until'),
    pauseKind: text('pause_kind', { enum: ERROR_KINDS }),
    /** How often in a row it had to pause. */
    pauses: integer('pauses').notNull().default(0),
    /** Requests of the last 24 hours as Salesforce counts them, of everybody who uses the org. */
    apiUsed: integer('api_used'),
    apiAllowed: integer('api_allowed'),
    apiAt: at('api_at'),
  },
  (t) => [check('salesforce_connection_one_row', sql`${t.id} = 1`)],
);

/** How far the changes of an object have been read. */
export const salesforceCursor = pgTable('salesforce_cursor', {
  object: text('object', { enum: SALESFORCE_OBJECTS }).primaryKey(),
  /** SystemModstamp; whole seconds, by the clock of Salesforce. */
  modstamp: at('modstamp').notNull(),
  /** When it moved last, by our clock. */
  movedAt: at('moved_at').notNull(),
});

/**
 * A Lead or Contact that Heed has met. It belongs to an address, and through that to a prospect where there is one; an
 * address may have several. What both sides last had in common is kept as flags and keyed hashes, never as text, so that
 * nothing of an erased person is left here.
 */
export const salesforceRecord = pgTable(
  'salesforce_record',
  {
    /** 18 characters. */
    id: text('id').primaryKey(),
    object: text('object', { enum: SALESFORCE_OBJECTS }).notNull(),
    state: text('state', { enum: RECORD_STATES }).notNull(),
    addressId: uuid('address_id'),
    prospectId: uuid('prospect_id'),
    /** The record that it became, where it was merged or converted, until that was followed. */
    successorId: text('successor_id'),
    base: jsonb('base').$type<KnownBase>().notNull(),
    /** What was about to be written, until its result is known: an answer that was lost is recognised by it. */
    written: jsonb('written').$type<KnownBase>(),
    /** Email Opt Out as Salesforce last said it. */
    optedOut: boolean('opted_out').notNull(),
    syncedAt: at('synced_at').notNull(),
  },
  (t) => [
    index('salesforce_record_address').on(t.addressId).where(sql`address_id is not null`),
    index('salesforce_record_prospect').on(t.prospectId).where(sql`prospect_id is not null`),
    index('salesforce_record_successor').on(t.successorId).where(sql`successor_id is not null`),
    // By byte, as Salesforce orders ids.
    index('salesforce_record_in_order').using('btree', t.object, sql`(${t.id} collate "C")`),
  ],
);

/** What has to be looked at on its way to Salesforce: an entry names a record, never a change. */
export const salesforcePush = pgTable(
  'salesforce_push',
  {
    /** Id of the record, or `prospect:<id>` where there is to be one. */
    key: text('key').primaryKey(),
    /** Goes up with every change, so that one that comes while it is pushed is not lost. */
    version: bigint('version', { mode: 'number' }).notNull().default(1),
    queuedAt: at('queued_at').notNull(),
    failures: integer('failures').notNull().default(0),
    dueAt: at('due_at').notNull(),
  },
  (t) => [index('salesforce_push_due').on(t.dueAt)],
);

/** What could not be done to one record or prospect, until it can, or a person says that it need not. */
export const salesforceFailure = pgTable(
  'salesforce_failure',
  {
    id: uuid('id').primaryKey(),
    /** As in the queue. */
    key: text('key').notNull(),
    side: text('side', { enum: FAILURE_SIDES }).notNull(),
    kind: text('kind', { enum: ERROR_KINDS }).notNull(),
    code: text('code').notNull(),
    message: text('message').notNull(),
    count: integer('count').notNull(),
    firstAt: at('first_at').notNull(),
    lastAt: at('last_at').notNull(),
    dismissedAt: at('dismissed_at'),
  },
  (t) => [
    uniqueIndex('salesforce_failure_once').on(t.key, t.side),
    index('salesforce_failure_open').on(t.id).where(sql`dismissed_at is null`),
  ],
);

/** One reconciliation, and how far it is. */
export const salesforceRun = pgTable(
  'salesforce_run',
  {
    id: uuid('id').primaryKey(),
    mode: text('mode', { enum: RUN_MODES }).notNull(),
    state: text('state', { enum: RUN_STATES }).notNull(),
    actor: text('actor').notNull(),
    /** The workflow that carries it through: of a Schedule's runs nothing else tells which that is. */
    workflowId: text('workflow_id'),
    /** Where the next page begins. Committed with what the page before has changed. */
    place: jsonb('place').$type<{
      object: (typeof SALESFORCE_OBJECTS)[number];
      after: string | null;
    } | null>(),
    /** SystemModstamp of the newest record of each object when a full one began: changes are read from there on after it. */
    marks: jsonb('marks').$type<Partial<Record<(typeof SALESFORCE_OBJECTS)[number], string>>>(),
    counts: jsonb('counts').$type<PlanCounts>().notNull(),
    /** Some of the changes, of a dry run. */
    samples: jsonb('samples').$type<PlanSample[]>().notNull().default([]),
    /** Requests that it made. */
    requests: integer('requests').notNull().default(0),
    failure: text('failure'),
    createdAt: at('created_at').notNull(),
    startedAt: at('started_at'),
    finishedAt: at('finished_at'),
  },
  (t) => [index('salesforce_run_mode').on(t.mode, t.id)],
);
