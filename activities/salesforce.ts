import { activityInfo } from '@temporalio/activity';
import type { SalesforceClient } from '../adapters/salesforce/client.ts';
import type { Database } from '../db/connection.ts';
import type { AddressHasher } from '../db/queries/addresses.ts';
import { addRun, endRun, type RunMode, type RunState } from '../db/queries/salesforceRuns.ts';
import { beating } from './beating.ts';
import { pushDue } from './salesforcePush.ts';
import { reconcile } from './salesforceReconcile.ts';

export interface SalesforceRunInput {
  readonly runId: string;
  readonly mode: RunMode;
  /** The workflow's time, in milliseconds of the epoch. */
  readonly now: number;
}

/** Where a run stands: over, or until when Salesforce has to be left alone, in milliseconds of the epoch. */
export type SalesforceRunResult = { readonly state: RunState } | { readonly pausedUntil: number };

/** Activities that sync with Salesforce. */
export function createSalesforceActivities({
  db,
  hasher,
  salesforce,
}: {
  db: Database;
  hasher: AddressHasher;
  /** `null` where no Salesforce is configured. */
  salesforce: SalesforceClient | null;
}) {
  return {
    /** Carries a reconciliation on from where it is. Safe to run again after a crash at any line. */
    async reconcileSalesforce(input: SalesforceRunInput): Promise<SalesforceRunResult> {
      const clock = clockFrom(input.now);
      const workflowId = activityInfo().workflowExecution?.workflowId ?? null;
      await addRun(db, clock(), input.runId, input.mode, 'schedule', workflowId);
      if (salesforce === null) {
        await endRun(db, clock(), input.runId, 'stopped', 'HEED_SALESFORCE_LOGIN_URL is not set.');
        return { state: 'stopped' };
      }
      return beating(async (betweenPages) => {
        const standing = await reconcile(
          { db, hasher, client: salesforce },
          clock,
          input.runId,
          betweenPages,
        );
        return standing.kind === 'over'
          ? { state: standing.state }
          : { pausedUntil: standing.until.getTime() };
      });
    },

    /** Ends a run that could not be carried through. */
    async failSalesforceRun(input: SalesforceRunInput & { readonly failure: string }): Promise<void> {
      await endRun(db, clockFrom(input.now)(), input.runId, 'failed', input.failure);
    },

    /**
     * Pushes what is due to Salesforce. Safe to run again after a crash at any line.
     *
     * @returns when there is something to do again, in milliseconds of the epoch; `null` where nothing waits
     */
    async pushToSalesforce(input: { readonly now: number }): Promise<{ nextAt: number | null }> {
      if (salesforce === null) return { nextAt: null };
      return beating(async (betweenBatches) => {
        const next = await pushDue({ db, hasher, client: salesforce }, clockFrom(input.now), betweenBatches);
        return { nextAt: next?.getTime() ?? null };
      });
    },
  };
}

export type SalesforceActivities = ReturnType<typeof createSalesforceActivities>;

function clockFrom(now: number): () => Date {
  return () => new Date(Math.max(Date.now(), now));
}
