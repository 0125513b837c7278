import {
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
} from '@temporalio/workflow';
import type { BulkUpdateActivities } from '../activities/bulkUpdate.ts';
import { type BulkUpdateProgress, describeProgress } from '../domain/bulkUpdate/progress.ts';
import { BULK_UPDATE_COMMANDS, type BulkUpdateCommand, isOver } from '../domain/bulkUpdate/words.ts';

/** It was paused, resumed or cancelled in the database: it looks again. */
export const wakeBulkUpdate = defineSignal('wakeBulkUpdate');
/** How far it is. */
export const bulkUpdateProgress = defineQuery<BulkUpdateProgress | null>('bulkUpdateProgress');

export interface BulkUpdateWorkflowInput {
  readonly bulkUpdateId: string;
  /** How far an earlier run came, whose history had grown long enough. */
  readonly progress?: BulkUpdateProgress;
}

/** Slices of one run: about 150 events, and some minutes of work. */
const SLICES_A_RUN = 20;

const { decideBulkUpdate } = proxyActivities<BulkUpdateActivities>({
  // One statement that reads every prospect and sorts those who match: seconds for a million.
  startToCloseTimeout: '1 hour',
  // The activity beats every 5 s: three beats missed and its worker is taken for dead.
  heartbeatTimeout: '20 seconds',
  // Only faults throw (database down, worker lost), and they pass: never give up.
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

const { takeBulkUpdateSlice } = proxyActivities<BulkUpdateActivities>({
  // A slice ends after ten seconds and the page that is under way then.
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: '20 seconds',
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

const { commandBulkUpdate } = proxyActivities<BulkUpdateActivities>({
  // One short transaction, which may wait for the page that is under way.
  startToCloseTimeout: '1 minute',
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

/**
 * Carries out a bulk update. Rows, outcomes, counts and the place to go on from are in the database; this is the process
 * that goes on after a crash, and waits while it is paused. Signals `pause`, `resume` and `cancel` do what the API does;
 * cancelling the workflow cancels the bulk update: what was changed stays.
 */
export async function bulkUpdate(input: BulkUpdateWorkflowInput): Promise<BulkUpdateProgress> {
  const { bulkUpdateId } = input;
  let progress: BulkUpdateProgress | null = input.progress ?? null;
  let woken = false;
  const show = (now: BulkUpdateProgress): void => {
    progress = now;
    setCurrentDetails(describeProgress(now));
  };
  const tell = (command: BulkUpdateCommand) => commandBulkUpdate({ bulkUpdateId, command, now: Date.now() });
  // Signals that came with the start are handled right where their handlers are set.
  setHandler(bulkUpdateProgress, () => progress);
  setHandler(wakeBulkUpdate, () => {
    woken = true;
  });
  for (const command of BULK_UPDATE_COMMANDS) {
    setHandler(defineSignal(command), async () => {
      await tell(command);
      woken = true;
    });
  }

  try {
    if (progress === null) show(await decideBulkUpdate({ bulkUpdateId, now: Date.now() }));
    for (let slices = 0; slices < SLICES_A_RUN; slices += 1) {
      woken = false;
      const now: BulkUpdateProgress = await takeBulkUpdateSlice({ bulkUpdateId, now: Date.now() });
      show(now);
      if (isOver(now.state)) {
        await condition(allHandlersFinished);
        return now;
      }
      if (now.state === 'paused') await condition(() => woken);
    }
    await condition(allHandlersFinished);
    return await continueAsNew<typeof bulkUpdate>({ bulkUpdateId, progress: progress! });
  } catch (error) {
    if (!isCancellation(error)) throw error;
    return await CancellationScope.nonCancellable(() => tell('cancel'));
  }
}
