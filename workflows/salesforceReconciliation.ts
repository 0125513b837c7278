import {
  ActivityFailure,
  CancellationScope,
  isCancellation,
  proxyActivities,
  sleep,
  uuid4,
} from '@temporalio/workflow';
import type { SalesforceActivities } from '../activities/salesforce.ts';

export interface SalesforceReconciliationInput {
  readonly mode: 'changes' | 'full' | 'dry_run';
  /** Of a run that was asked for by hand; those of a Schedule make their own. */
  readonly runId?: string;
}

const { reconcileSalesforce } = proxyActivities<SalesforceActivities>({
  // Millions of records at some thousand a second.
  startToCloseTimeout: '12 hours',
  // The activity beats every 5 s: three beats missed and its worker is taken for dead.
  heartbeatTimeout: '20 seconds',
  // What Salesforce cannot do for now is a result. What throws is a fault of ours: a database that restarts is back by
  // then, and the next run of the Schedule comes anyway.
  retry: {
    initialInterval: '1 second',
    backoffCoefficient: 2,
    maximumInterval: '1 minute',
    maximumAttempts: 12,
  },
});

const { failSalesforceRun } = proxyActivities<SalesforceActivities>({
  // One short transaction.
  startToCloseTimeout: '30 seconds',
  retry: { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '1 minute' },
});

/**
 * Brings Heed and Salesforce in step, page by page; started by a Schedule or by hand. Where it is and what it did is in
 * the database, so a page that was done is not done again after a crash. While Salesforce is down or its limit near, it
 * waits here.
 */
export async function salesforceReconciliation(
  input: SalesforceReconciliationInput,
): Promise<{ state: string }> {
  const run = { mode: input.mode, runId: input.runId ?? uuid4() };
  try {
    for (;;) {
      const result = await reconcileSalesforce({ ...run, now: Date.now() });
      if ('state' in result) return { state: result.state };
      await sleep(Math.max(1_000, result.pausedUntil - Date.now()));
    }
  } catch (error) {
    const wasCancelled = isCancellation(error);
    const gaveUp = error instanceof ActivityFailure;
    if (!wasCancelled && !gaveUp) throw error;
    const failure = gaveUp && !wasCancelled ? (error.cause?.message ?? error.message) : 'It was cancelled.';
    await CancellationScope.nonCancellable(() => failSalesforceRun({ ...run, now: Date.now(), failure }));
    if (wasCancelled) throw error;
    return { state: 'failed' };
  }
}
