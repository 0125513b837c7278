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
import type { Advanced, EnrollmentActivities, NextMove } from '../activities/enrollment.ts';

/** Something that it may wait for has happened: it looks again. More often than needed does no harm. */
export const wakeEnrollment = defineSignal('wakeEnrollment');
/** Where the enrollment stands, and what became of each step since it was started or put back. */
export const enrollmentStanding = defineQuery<EnrollmentStanding>('enrollmentStanding');

export interface EnrollmentWorkflowInput {
  readonly enrollmentId: string;
  /** Which workflow run of the enrollment this is: 1, or more after it was put back or its workflow was lost. */
  readonly run: number;
  /** What an earlier run, whose history had grown too long, had to show. */
  readonly steps?: readonly Step[];
}

type Step = Advanced['noted'][number];

export interface EnrollmentStanding {
  /** Step ids and codes, in the order in which they were come to. */
  readonly steps: readonly Step[];
  /** `null` until the first steps were taken. */
  readonly next: NextMove | null;
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
  // A receiver in trouble is a result, after which the workflow waits. Only faults throw (database down, worker lost).
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

/**
 * One prospect's way through one automation. What was applied is in the database; this is the process that remembers
 * when to go on.
 */
export async function enrollment(
  input: EnrollmentWorkflowInput,
): Promise<{ state: Extract<NextMove, { kind: 'over' }>['state'] }> {
  const { enrollmentId, run } = input;
  const steps = new Map((input.steps ?? []).map((step) => [step.id, step]));
  let woken = false;
  let standing: NextMove | null = null;
  setHandler(wakeEnrollment, () => {
    woken = true;
  });
  setHandler(enrollmentStanding, () => ({ steps: [...steps.values()], next: standing }));

  for (;;) {
    woken = false;
    const advanced = await advanceEnrollment({ enrollmentId, run, now: Date.now() });
    for (const step of advanced.noted) steps.set(step.id, step);
    const next = advanced.next;
    standing = next;
    setCurrentDetails(detailsOf([...steps.values()], next));
    if (next.kind === 'over') return { state: next.state };
    if (next.kind === 'webhook') {
      await callWebhook({ enrollmentId, run, stepId: next.stepId, now: Date.now() });
      continue;
    }
    const due = await wakeOrTime(() => woken, next.until);
    if (due === 'time' && workflowInfo().continueAsNewSuggested)
      await continueAsNew<typeof enrollment>({ enrollmentId, run, steps: [...steps.values()] });
  }
}

async function wakeOrTime(woken: () => boolean, until: number | null): Promise<'woken' | 'time'> {
  if (until === null) {
    await condition(woken);
    return 'woken';
  }
  return (await condition(woken, Math.max(1, until - Date.now()), { summary: 'wait' })) ? 'woken' : 'time';
}

/** What the Temporal UI shows, in Markdown: one line a step, and what comes next. */
function detailsOf(steps: readonly Step[], next: NextMove): string {
  const lines = steps.map(
    ({ id, state, reason }) => `- ${id}: ${state}${reason === null ? '' : ` (${reason})`}`,
  );
  return [...lines, '', ahead(next)].join('\n');
}

function ahead(next: NextMove): string {
  if (next.kind === 'over') return `Over: ${next.state}`;
  if (next.kind === 'webhook') return `Calling the webhook ${next.stepId}`;
  if (next.until === null) return `Waiting: ${next.reason}`;
  return `Waiting: ${next.reason}, until ${new Date(next.until).toISOString()}`;
}
