import { sql } from 'drizzle-orm';
import {
  bigint,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';
import type { Audience } from '../../domain/broadcast/audience.ts';
import { BROADCAST_STATES, PAGE_STATES } from '../../domain/broadcast/words.ts';
import { at, bytea } from './people.ts';
import { email } from './send.ts';

/** One email to lists or to everybody who matches a filter. Its recipients become sends when they are gated. */
export const broadcast = pgTable(
  'broadcast',
  {
    id: uuid('id').primaryKey(),
    name: text('name').notNull(),
    emailId: uuid('email_id')
      .notNull()
      .references(() => email.id),
    /** Which version is sent; fixed when it is started. */
    emailVersion: integer('email_version'),
    audience: jsonb('audience').$type<Audience>().notNull(),
    state: text('state', { enum: BROADCAST_STATES }).notNull(),
    /** Most messages a minute; `null`: as fast as they are taken. */
    perMinute: integer('per_minute'),
    startAt: at('start_at'),
    idempotencyKey: text('idempotency_key'),
    requestHash: bytea('request_hash'),
    /** Which run of its workflow cares for it: an id that was used is never used again. 0 until it is started. */
    run: integer('run').notNull().default(0),
    /** Offsets of the attempts of its sends, in seconds; fixed when it is started. */
    scheduleSeconds: jsonb('schedule_seconds').$type<number[]>(),
    /** The last prospect of the recipients that are written down so far. */
    preparedAfter: uuid('prepared_after'),
    /** When all recipients were written down. */
    preparedAt: at('prepared_at'),
    recipients: integer('recipients').notNull().default(0),
    pages: integer('pages').notNull().default(0),
    /** Until when the limit is used up by what has left. */
    pacedUntil: at('paced_until'),
    createdAt: at('created_at').notNull(),
    startedAt: at('started_at'),
    /** Since when it is paused. */
    pausedAt: at('paused_at'),
    /** How long it was paused since it began, before that. */
    pausedMilliseconds: bigint('paused_milliseconds', { mode: 'number' }).notNull().default(0),
    /** When everybody had a first attempt, or it was cancelled. */
    finishedAt: at('finished_at'),
  },
  (t) => [
    uniqueIndex('broadcast_idempotency').on(t.idempotencyKey).where(sql`idempotency_key is not null`),
    index('broadcast_unfinished').on(t.id).where(sql`state in ('scheduled', 'sending', 'paused')`),
  ],
);

/**
 * Who a broadcast goes to, as it was when it began. No foreign keys: what these rows name is never removed, and there are
 * as many of them as messages.
 */
export const broadcastRecipient = pgTable(
  'broadcast_recipient',
  {
    broadcastId: uuid('broadcast_id').notNull(),
    prospectId: uuid('prospect_id').notNull(),
    /** The list that they stand in, where there is one. */
    listId: uuid('list_id'),
  },
  (t) => [primaryKey({ columns: [t.broadcastId, t.prospectId] })],
);

/** Recipients that are worked through together; whoever does not hold its epoch may gate nobody in it. */
export const broadcastPage = pgTable(
  'broadcast_page',
  {
    broadcastId: uuid('broadcast_id')
      .notNull()
      .references(() => broadcast.id),
    number: integer('number').notNull(),
    /** First and last prospect. */
    firstId: uuid('first_id').notNull(),
    lastId: uuid('last_id').notNull(),
    recipients: integer('recipients').notNull(),
    state: text('state', { enum: PAGE_STATES }).notNull(),
    epoch: integer('epoch').notNull().default(0),
    /** Which lane of the broadcast's workflow has it. */
    lane: integer('lane'),
    /** Not to be claimed before: nobody left in it could leave. */
    openFrom: at('open_from'),
    /** How long it was from gate to MAIL FROM; see domain/broadcast/gateWindows.ts. */
    gateWindows: integer('gate_windows').array().notNull().default([]),
    finishedAt: at('finished_at'),
  },
  (t) => [
    primaryKey({ columns: [t.broadcastId, t.number] }),
    index('broadcast_page_undone').on(t.broadcastId, t.number).where(sql`state <> 'done'`),
  ],
);
