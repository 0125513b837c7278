import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';
import { CATEGORIES } from '../../domain/bounce/verdict.ts';
import {
  ATTEMPT_OUTCOMES,
  ATTEMPT_STATES,
  ATTEMPT_TRIGGERS,
  EMAIL_KINDS,
  SEND_OUTCOMES,
  SEND_STATES,
} from '../../domain/words.ts';
import { enrollment } from './automation.ts';
import { PART_OF_MESSAGE } from './outboxParts.ts';
import { at, bytea } from './people.ts';

/** The content of what is sent; each change of it is a new version. */
export const email = pgTable('email', {
  id: uuid('id').primaryKey(),
  name: text('name').notNull(),
  kind: text('kind', { enum: EMAIL_KINDS }).notNull(),
  version: integer('version').notNull(),
  createdAt: at('created_at').notNull(),
  updatedAt: at('updated_at').notNull(),
  archivedAt: at('archived_at'),
});

/** One version of an email's content; never changed, since sends name it. */
export const emailVersion = pgTable(
  'email_version',
  {
    emailId: uuid('email_id')
      .notNull()
      .references(() => email.id),
    version: integer('version').notNull(),
    subject: text('subject').notNull(),
    fromName: text('from_name'),
    fromAddress: text('from_address').notNull(),
    replyTo: text('reply_to'),
    html: text('html'),
    text: text('text'),
    createdAt: at('created_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.emailId, t.version] })],
);

/**
 * One email to one prospect (I2), with the address it keeps (I4). Prospect, address and list have no foreign keys: what
 * they name is never removed, whoever makes a send has locked prospect and address, and checking them anew for each send
 * cost a sixth of a broadcast. What makes most of the writes keeps out of an index wherever it can.
 */
export const send = pgTable(
  'send',
  {
    id: uuid('id').primaryKey(),
    emailId: uuid('email_id').notNull(),
    emailVersion: integer('email_version').notNull(),
    kind: text('kind', { enum: EMAIL_KINDS }).notNull(),
    /** Whose fields fill the merge fields; for a test send not the person it goes to. */
    prospectId: uuid('prospect_id').notNull(),
    addressId: uuid('address_id').notNull(),
    /** The address as given; cleared when the person is erased. */
    recipient: text('recipient'),
    recipientDomain: text('recipient_domain').notNull(),
    /** The list that it is sent to, where there is one: unsubscribing from that list stops it. */
    listId: uuid('list_id'),
    /** Which step of which enrollment it was made for: one send each (I2). */
    enrollmentId: uuid('enrollment_id').references(() => enrollment.id),
    stepId: text('step_id'),
    /** The broadcast that it is part of. */
    broadcastId: uuid('broadcast_id'),
    /** A test send goes to a colleague's address with a prospect's fields and counts for nothing. */
    test: boolean('test').notNull().default(false),
    idempotencyKey: text('idempotency_key'),
    requestHash: bytea('request_hash'),
    messageId: text('message_id').notNull(),
    /** Offsets of the attempts from the first one, in seconds; `null`: those of its broadcast. */
    scheduleSeconds: jsonb('schedule_seconds').$type<number[]>(),
    state: text('state', { enum: SEND_STATES }).notNull(),
    /** Why it is held, in codes: `marketing_paused`, or the category of a fault of ours. Counts only while it is held. */
    heldReason: text('held_reason'),
    outcome: text('outcome', { enum: SEND_OUTCOMES }),
    /**
     * State, or outcome where it is final, of whatever is to be found by it; `null` for what was delivered and for first
     * attempts that a broadcast makes: what nearly all sends are, from their gate to their end, changes in no index.
     */
    standing: text('standing').generatedAlwaysAs(
      sql`case when state = 'final' then nullif(outcome, 'delivered') when state = 'attempting' and run = 0 then null else state end`,
    ),
    /**
     * Why it ended so, in codes: a suppression's causes, a category, who cancelled. While an attempt is in the air, why it
     * is to be cancelled.
     */
    outcomeReason: text('outcome_reason'),
    /** Whether its end counts against nobody because it was a fault of ours (I5). Of attempts alone: whatever else ended it leaves it as it is. */
    faultOurs: boolean('fault_ours').notNull().default(false),
    /**
     * Which workflow run owns it: 1 is `emailSend:<id>`, n is `emailSend:<id>:<n>`; 0 while its broadcast makes its first
     * attempt.
     */
    run: integer('run').notNull().default(1),
    attemptCount: integer('attempt_count').notNull().default(0),
    /** Index of the schedule's offset that was used last; -1 before the first. */
    slot: integer('slot').notNull().default(-1),
    /** When the schedule began to run: the first attempt, or the first one after it was sent again by hand. */
    scheduleStartedAt: at('schedule_started_at'),
    firstAttemptAt: at('first_attempt_at'),
    nextAttemptAt: at('next_attempt_at'),
    /** Index of the offset that the next attempt uses. */
    nextSlot: integer('next_slot'),
    cancelRequestedAt: at('cancel_requested_at'),
    createdAt: at('created_at').notNull(),
    finishedAt: at('finished_at'),
  },
  (t) => [
    uniqueIndex('send_idempotency').on(t.idempotencyKey).where(sql`idempotency_key is not null`),
    uniqueIndex('send_enrollment_step').on(t.enrollmentId, t.stepId).where(sql`enrollment_id is not null`),
    // One copy an address.
    uniqueIndex('send_broadcast_address').on(t.broadcastId, t.addressId).where(sql`broadcast_id is not null`),
    index('send_address').on(t.addressId, t.firstAttemptAt),
    index('send_prospect').on(t.prospectId, t.id),
    index('send_standing').on(t.standing, t.id).where(sql`standing is not null`),
    // Those that a suppressed domain ends.
    index('send_resting_domain')
      .using('btree', sql`reverse(recipient_domain) text_pattern_ops`)
      .where(sql`standing in ('queued', 'waiting', 'held')`),
    // Those that a workflow cares for.
    index('send_unfinished').on(t.id).where(sql`standing in ('queued', 'waiting', 'held', 'attempting')`),
    index('send_email').on(t.emailId, t.id),
  ],
);

/** One try to deliver a send, made together with it or under its lock. `epoch` tells who owns it: whoever does not hold it may not transmit. */
export const attempt = pgTable(
  'attempt',
  {
    sendId: uuid('send_id').notNull(),
    number: integer('number').notNull(),
    epoch: integer('epoch').notNull(),
    state: text('state', { enum: ATTEMPT_STATES }).notNull(),
    trigger: text('trigger', { enum: ATTEMPT_TRIGGERS }).notNull(),
    outcome: text('outcome', { enum: ATTEMPT_OUTCOMES }),
    category: text('category', { enum: CATEGORIES }),
    faultOurs: boolean('fault_ours').notNull().default(false),
    rule: text('rule'),
    phase: text('phase'),
    replyCode: integer('reply_code'),
    enhancedCode: text('enhanced_code'),
    replyText: text('reply_text'),
    remoteHost: text('remote_host'),
    gatedAt: at('gated_at').notNull(),
    handingOverAt: at('handing_over_at'),
    finishedAt: at('finished_at'),
    nextAttemptAt: at('next_attempt_at'),
  },
  (t) => [
    primaryKey({ columns: [t.sendId, t.number] }),
    // Attempts of a day are found by the order in which they came, which costs a write next to nothing.
    index('attempt_gated').using('brin', t.gatedAt),
  ],
);

/** What the relay has yet to tell Temporal; entries of one aggregate go out in the order of their ids. */
export const outbox = pgTable(
  'outbox',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    aggregate: text('aggregate').notNull(),
    message: jsonb('message').$type<import('../queries/outbox.ts').OutboxMessage>().notNull(),
    part: text('part').notNull().generatedAlwaysAs(sql.raw(PART_OF_MESSAGE)),
    createdAt: at('created_at').notNull(),
  },
  (t) => [index('outbox_aggregate').on(t.aggregate, t.id), index('outbox_part').on(t.part, t.id)],
);
