import type { WorkflowProcesses } from '../adapters/temporal/processes.ts';
import type { Database, Transaction } from '../db/connection.ts';
import { Programs } from '../db/queries/automations.ts';
import { readUnfinishedBroadcasts, wakeOf } from '../db/queries/broadcasts.ts';
import { enrollChanged } from '../db/queries/enrolling.ts';
import {
  followAutomation,
  moveEnrollments,
  readEnrollmentRun,
  restartEnrollment,
  wakeHeldBack,
} from '../db/queries/enrollmentChanges.ts';
import { addToOutbox, type OutboxEntry, type OutboxMessage } from '../db/queries/outbox.ts';
import { wakePausedSends } from '../db/queries/sends.ts';
import { onePage } from './onePage.ts';

const PAGE = 500;
/** Each of these is a transaction of its own. */
const MOVE_PAGE = 100;
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
      | 'wakeHeldBack'
      | 'wakePausedSends';
  }
>;

/**
 * Carries an outbox entry about automations to Temporal, or follows it up page by page. Every one of these may be
 * done again.
 */
export async function deliverToAutomations(
  { db, processes }: { db: Database; processes: WorkflowProcesses },
  now: Date,
  { aggregate, message }: { readonly aggregate: string; readonly message: AutomationMessage },
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
      return onePage(db, now, { aggregate, message }, (tx, after) =>
        followAutomation(tx, now, message.automationId, after, PAGE),
      );
    case 'moveEnrollments':
      // Each enrollment is moved in a transaction of its own.
      return onePage(db, now, { aggregate, message }, (_, after) =>
        moveEnrollments(db, programs, now, message.automationId, message.version, after, MOVE_PAGE),
      );
    case 'wakeHeldBack':
      return onePage(db, now, { aggregate, message }, async (tx, after) => {
        if (message.after === undefined) await wakeTheOthersHeldBack(tx, now);
        return wakeHeldBack(tx, now, after, PAGE);
      });
    case 'wakePausedSends':
      return onePage(db, now, { aggregate, message }, (tx, after) => wakePausedSends(tx, now, after, PAGE));
  }
}

/** Broadcasts, and sends by themselves. */
async function wakeTheOthersHeldBack(tx: Transaction, now: Date): Promise<void> {
  const broadcasts = await readUnfinishedBroadcasts(tx);
  await addToOutbox(tx, now, [
    { aggregate: 'setting:sends', message: { type: 'wakePausedSends' } },
    ...broadcasts.map(wakeOf),
  ]);
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
