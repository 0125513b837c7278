import { sql } from 'drizzle-orm';
import { bigint, index, jsonb, pgTable, text, unique, uuid } from 'drizzle-orm/pg-core';
import { SUPPRESSION_REASONS, WAYS } from '../../domain/words.ts';
import { address, at, list } from './people.ts';

/** One reason for which an address is not to be emailed; with a list, only by what is sent to that list. */
export const suppression = pgTable(
  'suppression',
  {
    id: uuid('id').primaryKey(),
    addressId: uuid('address_id')
      .notNull()
      .references(() => address.id),
    reason: text('reason', { enum: SUPPRESSION_REASONS }).notNull(),
    listId: uuid('list_id').references(() => list.id),
    way: text('way', { enum: WAYS }).notNull(),
    actor: text('actor').notNull(),
    note: text('note'),
    createdAt: at('created_at').notNull(),
  },
  (t) => [unique('suppression_once').on(t.addressId, t.reason, t.listId).nullsNotDistinct()],
);

/** A whole domain, with everything below it, that is not to be emailed; its reason is always `manual`. */
export const domainSuppression = pgTable('domain_suppression', {
  id: uuid('id').primaryKey(),
  domain: text('domain').notNull().unique('domain_suppression_once'),
  way: text('way', { enum: WAYS }).notNull(),
  actor: text('actor').notNull(),
  note: text('note'),
  createdAt: at('created_at').notNull(),
});

/** What happened, when, by whom and why (I6). Rows are only ever added: a trigger refuses everything else. */
export const auditEntry = pgTable(
  'audit_entry',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    at: at('at').notNull(),
    /** What happened, e.g. `flag.changed`; the list is in `db/queries/audit.ts`. */
    action: text('action').notNull(),
    way: text('way', { enum: WAYS }).notNull(),
    actor: text('actor').notNull(),
    reason: text('reason'),
    requestId: text('request_id'),
    prospectId: uuid('prospect_id'),
    addressId: uuid('address_id'),
    sendId: uuid('send_id'),
    /** Which flag, field, reason or attempt it was about. */
    subject: text('subject'),
    before: jsonb('before'),
    after: jsonb('after'),
  },
  (t) => [
    index('audit_send').on(t.sendId, t.id),
    // Two entries an attempt, by far the most, are found by their send: they cost these indexes nothing.
    index('audit_prospect')
      .on(t.prospectId, t.id)
      .where(sql`action not in ('attempt.gated', 'attempt.finished')`),
    index('audit_address')
      .on(t.addressId, t.id)
      .where(sql`action not in ('attempt.gated', 'attempt.finished')`),
    index('audit_action').on(t.action, t.id).where(sql`action not in ('attempt.gated', 'attempt.finished')`),
    index('audit_way').on(t.way, t.id).where(sql`way <> 'system'`),
    // Entries are added in the order of time, which is what a BRIN index is small for.
    index('audit_at').using('brin', t.at),
  ],
);
