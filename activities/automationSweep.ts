import { heartbeat } from '@temporalio/activity';
import type { WorkflowProcesses } from '../adapters/temporal/processes.ts';
import type { Database } from '../db/connection.ts';
import {
  readEnrollingAutomations,
  readLateEnrollments,
  restartLostAutomation,
  restartLostEnrollment,
} from '../db/queries/automationSweep.ts';
import { automationId, enrollmentId } from '../domain/processes.ts';

const PAGE = 1_000;
/** Questions to Temporal at a time. */
const AT_ONCE = 20;
const NO_ID = '00000000-0000-0000-0000-000000000000';
/** What is late by less may still be on its way. */
const MIN_AGE_MS = 10 * 60_000;

/** Activities of the hourly sweep that concern automations. */
export function createAutomationSweepActivities({
  db,
  processes,
}: {
  db: Database;
  processes: WorkflowProcesses;
}) {
  return {
    /** Restarts automations and enrollments that should have gone on and that no workflow cares for. */
    async restartLostAutomations(input: { readonly now: number }): Promise<{ restarted: number }> {
      const now = new Date(Math.max(Date.now(), input.now));
      const before = new Date(now.getTime() - MIN_AGE_MS);
      let restarted = 0;
      for (const automation of await readEnrollingAutomations(db, before)) {
        heartbeat();
        if (await processes.isRunning(automationId(automation.id, automation.run))) continue;
        if (await restartLostAutomation(db, now, automation)) restarted += 1;
      }
      for (let after: string | null = NO_ID; after !== null; ) {
        const page = await readLateEnrollments(db, after, before, PAGE);
        for (let from = 0; from < page.length; from += AT_ONCE) {
          heartbeat();
          const lost = await Promise.all(
            page.slice(from, from + AT_ONCE).map(async (enrollment) => {
              if (await processes.isRunning(enrollmentId(enrollment.id, enrollment.run))) return false;
              return restartLostEnrollment(db, now, enrollment);
            }),
          );
          restarted += lost.filter(Boolean).length;
        }
        after = page.length < PAGE ? null : page.at(-1)!.id;
      }
      return { restarted };
    },
  };
}

export type AutomationSweepActivities = ReturnType<typeof createAutomationSweepActivities>;
