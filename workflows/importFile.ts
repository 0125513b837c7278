import { CancellationScope, isCancellation, proxyActivities } from '@temporalio/workflow';
import type { ImportActivities, ImportResult } from '../activities/import.ts';

export interface ImportFileInput {
  readonly importId: string;
}

const { takeInFile } = proxyActivities<ImportActivities>({
  // A day for one file: at some thousand rows a second that is far more than anybody uploads.
  startToCloseTimeout: '24 hours',
  // The activity beats every 5 s: three beats missed and its worker is taken for dead.
  heartbeatTimeout: '20 seconds',
  // Only faults throw (database down, worker lost), and they pass: never give up, go on from the last page committed.
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

const { stopImport } = proxyActivities<ImportActivities>({
  // One short transaction, which may wait for the page that is being taken in.
  startToCloseTimeout: '1 minute',
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

/**
 * Takes in an uploaded CSV file. Rows, counts and the place to go on from are in the database; this is the process that
 * goes on after a crash. Cancelling it cancels the import: what was taken in stays.
 */
export async function importFile({ importId }: ImportFileInput): Promise<ImportResult> {
  try {
    return await takeInFile({ importId, now: Date.now() });
  } catch (error) {
    if (!isCancellation(error)) throw error;
    return await CancellationScope.nonCancellable(() => stopImport({ importId, now: Date.now() }));
  }
}
