import { heartbeat } from '@temporalio/activity';
import type { WorkflowProcesses } from '../adapters/temporal/processes.ts';
import type { Database } from '../db/connection.ts';
import { readUnfinishedBroadcasts, restartBroadcast } from '../db/queries/broadcasts.ts';
import { readUnfinishedBulkUpdates, restartBulkUpdate } from '../db/queries/bulkUpdateSweep.ts';
import { abandonUploads, readUnfinishedImports, restartImport } from '../db/queries/importSweep.ts';
import {
  endRun,
  readUnfinishedRuns,
  readUnfinishedScheduledRuns,
  restartRun,
} from '../db/queries/salesforceRuns.ts';
import { readUnfinishedSends, restartSend } from '../db/queries/sends.ts';
import {
  broadcastId,
  bulkUpdateId,
  emailSendId,
  importFileId,
  salesforceReconciliationId,
} from '../domain/processes.ts';

const PAGE = 1_000;
const NO_ID = '00000000-0000-0000-0000-000000000000';
/** A younger send may still be on its way to Temporal. */
const MIN_AGE_MS = 10 * 60_000;
/** No upload goes on for so long. */
const UPLOAD_MS = 24 * 3_600_000;

export interface SweepInput {
  /** Id of the last send looked at; empty at the start. */
  readonly after: string;
  readonly now: number;
}

/** Activities of the hourly sweep for lost workflows. */
export function createSweepActivities({ db, processes }: { db: Database; processes: WorkflowProcesses }) {
  return {
    /** Looks at one page of unfinished sends and restarts those that no workflow cares for. */
    async restartLostSends(input: SweepInput): Promise<{ restarted: number; next: string | null }> {
      const now = new Date(Math.max(Date.now(), input.now));
      const page = await readUnfinishedSends(
        db,
        input.after || NO_ID,
        new Date(now.getTime() - MIN_AGE_MS),
        PAGE,
      );
      let restarted = 0;
      for (const send of page) {
        heartbeat();
        if (await processes.isRunning(emailSendId(send.id, send.run))) continue;
        if (await restartSend(db, now, send.id, send.run)) restarted += 1;
      }
      return { restarted, next: page.length < PAGE ? null : page.at(-1)!.id };
    },

    /** Restarts imports that no workflow cares for, and gives up uploads that broke off. */
    async restartLostImports(input: { readonly now: number }): Promise<{ restarted: number }> {
      const now = new Date(Math.max(Date.now(), input.now));
      await abandonUploads(db, new Date(now.getTime() - UPLOAD_MS));
      let restarted = 0;
      for (const id of await readUnfinishedImports(db, new Date(now.getTime() - MIN_AGE_MS))) {
        heartbeat();
        if (await processes.isRunning(importFileId(id))) continue;
        if (await restartImport(db, now, id)) restarted += 1;
      }
      return { restarted };
    },

    /** Restarts broadcasts that no workflow cares for; one that is paused is waited for by its workflow. */
    async restartLostBroadcasts(input: { readonly now: number }): Promise<{ restarted: number }> {
      const now = new Date(Math.max(Date.now(), input.now));
      let restarted = 0;
      for (const { id, run } of await readUnfinishedBroadcasts(db)) {
        heartbeat();
        if (await processes.isRunning(broadcastId(id, run))) continue;
        if (await db.transaction((tx) => restartBroadcast(tx, now, id, run))) restarted += 1;
      }
      return { restarted };
    },

    /** Restarts bulk updates that no workflow cares for; one that is paused is waited for by its workflow. */
    async restartLostBulkUpdates(input: { readonly now: number }): Promise<{ restarted: number }> {
      const now = new Date(Math.max(Date.now(), input.now));
      let restarted = 0;
      for (const id of await readUnfinishedBulkUpdates(db, new Date(now.getTime() - MIN_AGE_MS))) {
        heartbeat();
        if (await processes.isRunning(bulkUpdateId(id))) continue;
        if (await restartBulkUpdate(db, now, id)) restarted += 1;
      }
      return { restarted };
    },

    /**
     * Restarts reconciliations that were asked for by hand and that no workflow cares for. Those of a Schedule are ended:
     * its next run goes on from where they were.
     */
    async restartLostSalesforceRuns(input: { readonly now: number }): Promise<{ restarted: number }> {
      const now = new Date(Math.max(Date.now(), input.now));
      let restarted = 0;
      for (const run of await readUnfinishedRuns(db, new Date(now.getTime() - MIN_AGE_MS))) {
        heartbeat();
        if (await processes.isRunning(salesforceReconciliationId(run.id))) continue;
        if (await db.transaction((tx) => restartRun(tx, now, run))) restarted += 1;
      }
      for (const { id, workflowId } of await readUnfinishedScheduledRuns(
        db,
        new Date(now.getTime() - MIN_AGE_MS),
      )) {
        heartbeat();
        if (workflowId !== null && (await processes.isRunning(workflowId))) continue;
        await endRun(db, now, id, 'failed', 'Its workflow was ended before it: terminated, or lost.');
      }
      return { restarted };
    },
  };
}

export type SweepActivities = ReturnType<typeof createSweepActivities>;
