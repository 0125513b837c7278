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
import {
  AUTOMATION_MODES,
  AUTOMATION_STATES,
  ENROLLMENT_STATES,
  STEP_STATES,
} from '../../domain/automation/words.ts';
import { at, prospect } from './people.ts';

/** Who, what and when: what is done with prospects by itself. */
export const automation = pgTable(
  'automation',
  {
    id: uuid('id').primaryKey(),
    name: text('name').notNull(),
    state: text('state', { enum: AUTOMATION_STATES }).notNull(),
    mode: text('mode', { enum: AUTOMATION_MODES }).notNull(),
    /** What the next version will be; while it is a draft, all there is. */
    draft: jsonb('draft').notNull(),
    /** 0 until it is activated. */
    currentVersion: integer('current_version').notNull().default(0),
    /** Which run of its workflow enrolls: an id that was used is never used again. */
    run: integer('run').notNull().default(0),
    /** A transaction after its activation: who matches is read only once all that began before it are over. */
    activatedXid: bigint('activated_xid', { mode: 'number' }),
    /** From when on changed prospects are enrolled, too. */
    enrollsSince: at('enrolls_since'),
    /** When everybody who matched at its start was enrolled. */
    enrolledAt: at('enrolled_at'),
    /** Key of the signatures of its webhooks. */
    webhookSecret: text('webhook_secret').notNull(),
    createdAt: at('created_at').notNull(),
    updatedAt: at('updated_at').notNull(),
  },
  (t) => [
    index('automation_continuous').on(t.id).where(sql`mode = 'continuous' and state = 'active'`),
    uniqueIndex('automation_name').on(sql`lower(${t.name})`),
  ],
);

/** One version of what an automation does; never changed, since enrollments name it. */
export const automationVersion = pgTable(
  'automation_version',
  {
    automationId: uuid('automation_id')
      .notNull()
      .references(() => automation.id),
    version: integer('version').notNull(),
    definition: jsonb('definition').notNull(),
    createdAt: at('created_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.automationId, t.version] })],
);

/** One prospect's way through one automation, which it enters once. */
export const enrollment = pgTable(
  'enrollment',
  {
    id: uuid('id').primaryKey(),
    automationId: uuid('automation_id')
      .notNull()
      .references(() => automation.id),
    version: integer('version').notNull(),
    prospectId: uuid('prospect_id')
      .notNull()
      .references(() => prospect.id),
    state: text('state', { enum: ENROLLMENT_STATES }).notNull(),
    /** Why it ended before its last step, in a code. */
    reason: text('reason'),
    /** Id of the step that is carried out next; `null` behind the last. */
    position: text('position'),
    /** Which workflow run owns it: 1 is `enrollment:<id>`, n is `enrollment:<id>:<n>`. */
    run: integer('run').notNull().default(1),
    enteredAt: at('entered_at').notNull(),
    finishedAt: at('finished_at'),
  },
  (t) => [
    // Of two enrollments that became one by a merge, the other one does not count.
    uniqueIndex('enrollment_once')
      .on(t.automationId, t.prospectId)
      .where(sql`reason is distinct from 'merged'`),
    index('enrollment_prospect').on(t.prospectId),
    index('enrollment_state').on(t.automationId, t.state, t.id),
    index('enrollment_unfinished').on(t.id).where(sql`state in ('running', 'suspended')`),
  ],
);

/** What became of one step for one enrollment: each is applied once. */
export const enrollmentStep = pgTable(
  'enrollment_step',
  {
    enrollmentId: uuid('enrollment_id')
      .notNull()
      .references(() => enrollment.id),
    stepId: text('step_id').notNull(),
    state: text('state', { enum: STEP_STATES }).notNull(),
    /** What it waits for, why it was skipped, or which way an if/else went. */
    reason: text('reason'),
    waitingUntil: at('waiting_until'),
    /** How often a webhook was called. */
    tries: integer('tries').notNull().default(0),
    begunAt: at('begun_at').notNull(),
    at: at('at').notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.enrollmentId, t.stepId] }),
    index('enrollment_step_waiting').on(t.reason, t.enrollmentId).where(sql`state = 'waiting'`),
  ],
);
