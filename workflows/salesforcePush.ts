import {
  condition,
  continueAsNew,
  defineSignal,
  patched,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { SalesforceActivities } from '../activities/salesforce.ts';

const { pushToSalesforce } = proxyActivities<SalesforceActivities>({
  // The whole queue of an account after a large bulk update.
  startToCloseTimeout: '12 hours',
  // The activity beats every 5 s: three beats missed and its worker is taken for dead.
  heartbeatTimeout: '20 seconds',
  // What Salesforce cannot do for now is a result. What throws is a fault of ours and passes; what waits must not be lost.
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

/** Something was queued. */
const pushNow = defineSignal('pushNow');

/**
 * Carries what was queued to Salesforce, and what failed again when its time has come. There is one such workflow, and
 * only while something waits; the queue itself is in the database.
 */
export async function salesforcePush(): Promise<void> {
  let asked = false;
  setHandler(pushNow, () => {
    asked = true;
  });
  for (;;) {
    asked = false;
    const { nextAt } = await pushToSalesforce({ now: Date.now() });
    if (asked) {
      // Under changes without a pause it never comes to wait: what was asked for is the first thing that the next run does.
      if (workflowInfo().continueAsNewSuggested && patched('push-goes-on-anew-while-asked')) {
        await continueAsNew<typeof salesforcePush>();
      }
      continue;
    }
    if (nextAt === null) return;
    await condition(() => asked, Math.max(1_000, nextAt - Date.now()));
    if (workflowInfo().continueAsNewSuggested) await continueAsNew<typeof salesforcePush>();
  }
}
