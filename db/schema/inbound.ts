import { boolean, index, integer, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core';
import { CATEGORIES } from '../../domain/bounce/verdict.ts';
import { DELIVERY_EVENT_KINDS } from '../../domain/deliveryEvent.ts';
import { EVENT_RESULTS, INBOUND_SOURCES, INBOUND_STATES } from '../../domain/inbound.ts';
import { at, bytea } from './people.ts';
import { send } from './send.ts';

/** What came in about mail that had left, as it came: a message, or the body of a provider's webhook. */
export const inbound = pgTable(
  'inbound',
  {
    id: uuid('id').primaryKey(),
    source: text('source', { enum: INBOUND_SOURCES }).notNull(),
    /** The same thing that comes twice has the same key: a provider's event id, or a digest of the message. */
    dedupeKey: text('dedupe_key').notNull(),
    content: bytea('content').notNull(),
    /** Bytes as it came; more than are kept where it was longer than what is read of a message. */
    size: integer('size').notNull(),
    /** Addresses that it came to (RCPT TO), which may hold a signed return path. */
    recipients: text('recipients').array().notNull(),
    state: text('state', { enum: INBOUND_STATES }).notNull(),
    failure: text('failure'),
    receivedAt: at('received_at').notNull(),
    appliedAt: at('applied_at'),
  },
  (t) => [uniqueIndex('inbound_once').on(t.source, t.dedupeKey), index('inbound_state').on(t.state, t.id)],
);

/** What was understood of it: one event a recipient, and what came of it. */
export const deliveryEvent = pgTable(
  'delivery_event',
  {
    inboundId: uuid('inbound_id')
      .notNull()
      .references(() => inbound.id),
    n: integer('n').notNull(),
    kind: text('kind', { enum: DELIVERY_EVENT_KINDS }).notNull(),
    category: text('category', { enum: CATEGORIES }),
    faultOurs: boolean('fault_ours').notNull(),
    status: text('status'),
    replyCode: integer('reply_code'),
    diagnostic: text('diagnostic'),
    rule: text('rule').notNull(),
    /** The send that it is about; null where it is about none of ours. */
    sendId: uuid('send_id').references(() => send.id),
    result: text('result', { enum: EVENT_RESULTS }).notNull(),
    at: at('at').notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.inboundId, t.n] }),
    index('delivery_event_send').on(t.sendId),
    index('delivery_event_result').on(t.result, t.inboundId),
    index('delivery_event_at').on(t.at),
  ],
);
