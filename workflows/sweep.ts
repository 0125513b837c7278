import { continueAsNew, patched, proxyActivities, workflowInfo } from '@temporalio/workflow';
import type { AutomationSweepActivities } from '../activities/automationSweep.ts';
import type { SweepActivities } from '../activities/sweep.ts';

const {
  restartLostSends,
  restartLostImports,
  restartLostBulkUpdates,
  restartLostAutomations,
  restartLostBroadcasts,
  restartLostSalesforceRuns,
} = proxyActivities<SweepActivities & AutomationSweepActivities>({
  // A page of 1,000 sends asks Temporal 1,000 times at the most.
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: '30 seconds',
  // The next hour's sweep comes anyway.
  retry: { initialInterval: '1 second', maximumInterval: '1 minute', maximumAttempts: 5 },
});

export interface SweepInput {
  /** Where an earlier run, whose history had grown too long, came to. */
  readonly after: string;
  readonly restarted: number;
}

/**
 * Gives every unfinished send, import, bulk update, automation, enrollment, broadcast and reconciliation whose workflow
 * was lost (terminated, or gone with its namespace) a new one.
 */
export async function sweep(input?: SweepInput): Promise<{ restarted: number }> {
  let restarted = input?.restarted ?? 0;
  for (let after: string | null = input?.after ?? ''; after !== null; ) {
    if (workflowInfo().continueAsNewSuggested) await continueAsNew<typeof sweep>({ after, restarted });
    const page: { restarted: number; next: string | null } = await restartLostSends({
      after,
      now: Date.now(),
    });
    restarted += page.restarted;
    after = page.next;
  }
  const imports = await restartLostImports({ now: Date.now() });
  const bulkUpdates = await restartLostBulkUpdates({ now: Date.now() });
  const automations = await restartLostAutomations({ now: Date.now() });
  const broadcasts = await restartLostBroadcasts({ now: Date.now() });
  const others = [imports, bulkUpdates, automations, broadcasts];
  if (patched('sweeps-salesforce-runs')) others.push(await restartLostSalesforceRuns({ now: Date.now() }));
  return { restarted: others.reduce((sum, one) => sum + one.restarted, restarted) };
}
