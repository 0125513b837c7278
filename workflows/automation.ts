import {
  condition,
  continueAsNew,
  defineSignal,
  patched,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { AutomationActivities, EnrolledPage } from '../activities/automation.ts';

/** The automation was paused or stopped, or has a new version: it looks again. */
export const wakeAutomation = defineSignal('wakeAutomation');

export interface AutomationWorkflowInput {
  readonly automationId: string;
  /** Which workflow run of the automation this is; each activation, resumption and version has one. */
  readonly run: number;
  /** Where an earlier run, whose history had grown too long, came to. */
  readonly after?: string | null;
  readonly enrolled?: number;
}

const { enrollNextPage } = proxyActivities<AutomationActivities>({
  // A page of 500 from a table of a million: seconds, and a filter that finds few reads much.
  startToCloseTimeout: '5 minutes',
  // A worker that died is noticed at once, not after those minutes.
  heartbeatTimeout: '20 seconds',
  // Only faults throw (database down, worker lost), and they pass: never give up.
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

/**
 * Enrolls everybody who matches an automation, page by page, once its start has come. Who is enrolled is in the
 * database, and entering twice is not possible there; those who come to match later are enrolled by the relay.
 */
export async function automation(input: AutomationWorkflowInput): Promise<{ enrolled: number }> {
  const { automationId, run } = input;
  let after = input.after ?? null;
  let enrolled = input.enrolled ?? 0;
  let woken = false;
  setHandler(wakeAutomation, () => {
    woken = true;
  });
  const goOnAnew = () => continueAsNew<typeof automation>({ automationId, run, after, enrolled });
  for (;;) {
    woken = false;
    const page: EnrolledPage = await enrollNextPage({ automationId, run, after, now: Date.now() });
    if (page.kind === 'over') return { enrolled };
    if (page.kind === 'wait') {
      await condition(() => woken, Math.max(1, page.until - Date.now()), { summary: 'start' });
      // A transaction that stays open for hours has it look again and again. Whatever woke it, the next run looks at once.
      if (workflowInfo().continueAsNewSuggested && patched('enrolling-goes-on-anew-while-waiting'))
        await goOnAnew();
      continue;
    }
    enrolled += page.enrolled;
    if (page.next === null) return { enrolled };
    after = page.next;
    if (workflowInfo().continueAsNewSuggested) await goOnAnew();
  }
}
