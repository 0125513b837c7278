import { proxyActivities } from '@temporalio/workflow';
import type { SweepActivities } from '../activities/sweep.ts';

const { restartLostSends } = proxyActivities<SweepActivities>({
  // A page of 1,000 sends asks Temporal 1,000 times at the most.
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: '30 seconds',
  // The next hour's sweep comes anyway.
  retry: { initialInterval: '1 second', maximumInterval: '1 minute', maximumAttempts: 5 },
});

/** Gives every unfinished send whose workflow was lost (terminated, or gone with its namespace) a new one. */
export async function sweep(): Promise<{ restarted: number }> {
  let restarted = 0;
  for (let after: string | null = ''; after !== null; ) {
    const page: { restarted: number; next: string | null } = await restartLostSends({
      after,
      now: Date.now(),
    });
    restarted += page.restarted;
    after = page.next;
  }
  return { restarted };
}
