import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';
import { ONE_CLICK_SCOPES } from '../../domain/words.ts';
import { at, bytea } from './people.ts';

/** The account's settings: one row. */
export const setting = pgTable(
  'setting',
  {
    id: integer('id').primaryKey(),
    scheduleSeconds: jsonb('schedule_seconds').$type<number[]>().notNull(),
    /** Consecutive exhausted sends that set Bounced; 0 = never (I5). */
    softBounceLimit: integer('soft_bounce_limit').notNull(),
    transactionalPassesOptOut: boolean('transactional_passes_opt_out').notNull(),
    /** Whether a complaint sets Email Opt Out beside its own reason. */
    complaintSetsOptOut: boolean('complaint_sets_opt_out').notNull().default(true),
    /** What unsubscribing in one step, by button or by mail, is from. */
    oneClickScope: text('one_click_scope', { enum: ONE_CLICK_SCOPES }).notNull().default('everything'),
    /** Kill switch: no marketing email leaves an automation while it is on. */
    marketingPaused: boolean('marketing_paused').notNull().default(false),
    /** Whether the kill switch goes on by itself when an alert about a rate is raised. */
    pauseMarketingOnAlert: boolean('pause_marketing_on_alert').notNull().default(false),
    /** At most so many marketing emails a prospect within so many days, from all automations together. */
    frequencyCap: jsonb('frequency_cap').$type<{ emails: number; days: number }>(),
    /** Hours, in the prospect's time zone, in which no automation sends marketing email. */
    quietHours: jsonb('quiet_hours').$type<{ from: string; to: string; timeZone: string }>(),
    /** HMAC of a constant under the address key: another key would recognise no suppressed address, so it is refused. */
    addressKeyCheck: bytea('address_key_check').notNull(),
    updatedAt: at('updated_at').notNull(),
  },
  (t) => [check('setting_one_row', sql`${t.id} = 1`)],
);

/** A way out that is held back by a fault of ours. */
export const hold = pgTable('hold', {
  destination: text('destination').primaryKey(),
  category: text('category').notNull(),
  /** How many times in a row it failed; the length of the hold follows from it. */
  level: integer('level').notNull(),
  since: at('since').notNull(),
  until: at('until').notNull(),
});

/** Something that a person has to look at. Raised once, seen again many times, cleared when it is over. */
export const alert = pgTable(
  'alert',
  {
    id: uuid('id').primaryKey(),
    /** What it is about, e.g. `relay_unavailable:relay:smtp.example.com:587`; one open alert each. */
    key: text('key').notNull(),
    kind: text('kind').notNull(),
    detail: text('detail').notNull(),
    count: integer('count').notNull(),
    raisedAt: at('raised_at').notNull(),
    lastSeenAt: at('last_seen_at').notNull(),
    clearedAt: at('cleared_at'),
  },
  (t) => [
    uniqueIndex('alert_open').on(t.key).where(sql`cleared_at is null`),
    index('alert_raised').on(t.raisedAt),
  ],
);

export const SCOPES = ['read', 'write', 'admin'] as const;

/** A key to the API; only its SHA-256 is kept (it has 256 random bits, so a slow hash adds nothing). */
export const apiKey = pgTable('api_key', {
  id: uuid('id').primaryKey(),
  name: text('name').notNull(),
  hash: bytea('hash').notNull().unique('api_key_hash'),
  scopes: text('scopes', { enum: SCOPES }).array().notNull(),
  createdAt: at('created_at').notNull(),
  revokedAt: at('revoked_at'),
});

export const IMPORT_STATES = ['uploading', 'queued', 'running', 'done', 'cancelled', 'failed'] as const;
export const IMPORT_KINDS = ['prospects', 'suppressions'] as const;

/** A CSV file and how far it was taken in. */
export const importJob = pgTable('import_job', {
  id: uuid('id').primaryKey(),
  kind: text('kind', { enum: IMPORT_KINDS }).notNull(),
  state: text('state', { enum: IMPORT_STATES }).notNull(),
  fileName: text('file_name').notNull(),
  /** CSV column name -> field; columns without an entry, or with null, are left out. Complete once the upload has ended. */
  mapping: jsonb('mapping').$type<Record<string, string | null>>().notNull(),
  totalBytes: bigint('total_bytes', { mode: 'number' }).notNull(),
  /** Where the next page begins: bytes taken in, and the line that follows. Committed with the page's rows. */
  cursorBytes: bigint('cursor_bytes', { mode: 'number' }).notNull(),
  cursorLine: bigint('cursor_line', { mode: 'number' }).notNull(),
  rows: integer('rows').notNull(),
  created: integer('created').notNull(),
  updated: integer('updated').notNull(),
  unchanged: integer('unchanged').notNull(),
  rejected: integer('rejected').notNull(),
  optOuts: integer('opt_outs').notNull(),
  failure: text('failure'),
  actor: text('actor').notNull(),
  createdAt: at('created_at').notNull(),
  finishedAt: at('finished_at'),
});

/** The uploaded file in pieces, so that any worker can go on with it; removed when the import is over. */
export const importChunk = pgTable(
  'import_chunk',
  {
    importId: uuid('import_id')
      .notNull()
      .references(() => importJob.id),
    /** Offset of the piece in the file, in bytes. */
    offset: bigint('offset', { mode: 'number' }).notNull(),
    data: bytea('data').notNull(),
  },
  (t) => [primaryKey({ columns: [t.importId, t.offset] })],
);

/** What was wrong with a row, by line and column. */
export const importProblem = pgTable(
  'import_problem',
  {
    importId: uuid('import_id')
      .notNull()
      .references(() => importJob.id),
    line: bigint('line', { mode: 'number' }).notNull(),
    /** Column name in the file; empty where the whole row is meant. */
    column: text('column').notNull(),
    code: text('code').notNull(),
    message: text('message').notNull(),
  },
  (t) => [primaryKey({ columns: [t.importId, t.line, t.column] })],
);
