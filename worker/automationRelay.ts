import type { WorkflowProcesses } from '../adapters/temporal/processes.ts';
import type { Database } from '../db/connection.ts';
import { Programs } from '../db/queries/automations.ts';
import { readUnfinishedBroadcasts } from '../db/queries/broadcasts.ts';
import { enrollChanged } from '../db/queries/enrolling.ts';
import {
  followAutomation,
  moveEnrollments,
  readEnrollmentRun,
  restartEnrollment,
  wakeHeldBack,
} from '../db/queries/enrollmentChanges.ts';
import {
  addToOutbox,
  automationAggregate,
  type OutboxEntry,
  type OutboxMessage,
} from '../db/queries/outbox.ts';
import { wakePausedSends } from '../db/queries/sends.ts';

const PAGE = 500;
/** Each of these is a transaction of its own. */
const MOVE_PAGE = 100;
const NO_ID = '00000000-0000-0000-0000-000000000000';
const programs = new Programs();

type AutomationMessage = Extract<
  OutboxMessage,
  {
    type:
      | 'startEnrollment'
      | 'wakeEnrollment'
      | 'startAutomation'
      | 'wakeAutomation'
      | 'followAutomation'
      | 'moveEnrollments'
      | 'wakeHeldBack';
  }
>;

/**
 * Carries an outbox entry about automations to Temporal, or follows it up page by page. Each page is a transaction of its
 * own, and every one of these may be done again.
 */
export async function deliverToAutomations(
  { db, processes }: { db: Database; processes: WorkflowProcesses },
  now: Date,
  message: AutomationMessage,
): Promise<void> {
  switch (message.type) {
    case 'startEnrollment':
      return processes.startEnrollment(message);
    case 'wakeEnrollment': {
      const { enrollmentId } = message;
      const run = message.run ?? (await readEnrollmentRun(db, enrollmentId));
      if (run === null || (await processes.wakeEnrollment({ enrollmentId, run }))) return;
      // One that is over has nothing to be told; of one that is not, the workflow was lost.
      await restartEnrollment(db, now, enrollmentId, run);
      return;
    }
    case 'startAutomation':
      return processes.startAutomation(message);
    case 'wakeAutomation':
      await processes.wakeAutomation(message);
      return;
    case 'followAutomation':
      return onePage(db, now, message, (after) =>
        db.transaction((tx) => followAutomation(tx, now, message.automationId, after, PAGE)),
      );
    case 'moveEnrollments':
      return onePage(db, now, message, (after) =>
        moveEnrollments(db, programs, now, message.automationId, message.version, after, MOVE_PAGE),
      );
    case 'wakeHeldBack':
      for (const { id, run } of await readUnfinishedBroadcasts(db)) {
        await processes.wakeBroadcast({ broadcastId: id, run });
      }
      await inPages((after) => db.transaction((tx) => wakeHeldBack(tx, now, after, PAGE)));
      return inPages((after) => db.transaction((tx) => wakePausedSends(tx, now, after, PAGE)));
  }
}

/** Looks at everybody whom these entries name, at each once. */
export async function enrollAllChanged(
  { db, now = () => new Date() }: { db: Database; now?: () => Date },
  entries: readonly OutboxEntry[],
): Promise<void> {
  const changed = new Set<string>();
  for (const { message } of entries) {
    if (message.type !== 'prospectsChanged') continue;
    for (const id of message.prospectIds) changed.add(id);
  }
  await enrollChanged(db, programs, now(), [...changed]);
}

/**
 * One page of what an automation's enrollments follow, and an entry for the rest behind all that waits by now: an
 * automation with very many in it keeps nobody else waiting. A relay that dies in between does the page again.
 */
async function onePage(
  db: Database,
  now: Date,
  message: Extract<AutomationMessage, { type: 'followAutomation' | 'moveEnrollments' }>,
  page: (after: string) => Promise<string | null>,
): Promise<void> {
  const next = await page(message.after ?? NO_ID);
  if (next === null) return;
  const aggregate = automationAggregate(message.automationId);
  await db.transaction((tx) => addToOutbox(tx, now, [{ aggregate, message: { ...message, after: next } }]));
}

async function inPages(page: (after: string) => Promise<string | null>): Promise<void> {
  for (let after: string | null = NO_ID; after !== null; ) after = await page(after);
}
