import {
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  proxyActivities,
  proxyLocalActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { Advanced, EnrollmentActivities } from '../activities/enrollment.ts';

/** Something that it may wait for has happened: it looks again. More often than needed does no harm. */
export const wakeEnrollment = defineSignal('wakeEnrollment');
/** Where the enrollment stands; its steps are in the database. */
export const enrollmentStanding = defineQuery<Advanced | null>('enrollmentStanding');

export interface EnrollmentWorkflowInput {
  readonly enrollmentId: string;
  /** Which workflow run of the enrollment this is: 1, or more after it was put back or its workflow was lost. */
  readonly run: number;
}

const { advanceEnrollment } = proxyLocalActivities<EnrollmentActivities>({
  // Some short transactions. Local, since each is done once by its own note whatever happens to the task that it is
  // part of: one event instead of three, and no further workflow task.
  startToCloseTimeout: '30 seconds',
  // Only faults throw (database down), and they pass: never give up, try again within half a minute.
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
  // Longer pauses are timers, so that a task is not kept open while the database is down.
  localRetryThreshold: '5 seconds',
});

const { callWebhook } = proxyActivities<EnrollmentActivities>({
  // The caller gives up after ten seconds.
  startToCloseTimeout: '30 seconds',
  // 15 tries over about a day (the activity counts them); faults of ours beyond that are tried on.
  retry: { initialInterval: '10 seconds', backoffCoefficient: 2.3, maximumInterval: '4 hours' },
});

/**
 * One prospect's way through one automation. What was applied is in the database; this is the process that remembers
 * when to go on.
 */
export async function enrollment(
  input: EnrollmentWorkflowInput,
): Promise<{ state: Extract<Advanced, { kind: 'over' }>['state'] }> {
  const { enrollmentId, run } = input;
  let woken = false;
  let standing: Advanced | null = null;
  setHandler(wakeEnrollment, () => {
    woken = true;
  });
  setHandler(enrollmentStanding, () => standing);

  for (;;) {
    woken = false;
    standing = await advanceEnrollment({ enrollmentId, run, now: Date.now() });
    if (standing.kind === 'over') return { state: standing.state };
    if (standing.kind === 'webhook') {
      await callWebhook({ enrollmentId, run, stepId: standing.stepId, now: Date.now() });
      continue;
    }
    const { until, reason } = standing;
    setCurrentDetails(until === null ? `Waiting: ${reason}` : `Waiting: ${reason}, until ${iso(until)}`);
    const due = await wakeOrTime(() => woken, until);
    if (due === 'time' && workflowInfo().continueAsNewSuggested)
      await continueAsNew<typeof enrollment>(input);
  }
}

async function wakeOrTime(woken: () => boolean, until: number | null): Promise<'woken' | 'time'> {
  if (until === null) {
    await condition(woken);
    return 'woken';
  }
  return (await condition(woken, Math.max(1, until - Date.now()), { summary: 'wait' })) ? 'woken' : 'time';
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
