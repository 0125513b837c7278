import {
  type Client,
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
  type ScheduleSpec,
} from '@temporalio/client';
import {
  IMAP_POLL_SCHEDULE_ID,
  RATE_CHECK_SCHEDULE_ID,
  SALESFORCE_SCHEDULE_IDS,
  SWEEP_SCHEDULE_ID,
  TASK_QUEUES,
  WORKFLOW_TYPES,
} from '../../domain/processes.ts';

export interface ScheduleOptions {
  /** Seconds between two polls of the inbound mailbox; `null` where there is none. */
  readonly imapPollSeconds: number | null;
  /** When to reconcile with Salesforce: changes every so many seconds, everything once a day (UTC); `null`: never. */
  readonly salesforce: {
    readonly changesSeconds: number;
    readonly fullAt: { readonly hour: number; readonly minute: number };
  } | null;
}

/**
 * Makes the Schedules that are missing; one that somebody has changed is left as it is. Those of the mailbox and of
 * Salesforce go when neither is configured any more.
 */
export async function ensureSchedules(
  client: Client,
  { imapPollSeconds, salesforce }: ScheduleOptions,
): Promise<void> {
  await ensure(client, SWEEP_SCHEDULE_ID, WORKFLOW_TYPES.sweep, 3_600);
  await ensure(client, RATE_CHECK_SCHEDULE_ID, WORKFLOW_TYPES.rateCheck, 300);
  if (imapPollSeconds === null) await remove(client, IMAP_POLL_SCHEDULE_ID);
  else await ensure(client, IMAP_POLL_SCHEDULE_ID, WORKFLOW_TYPES.imapPoll, imapPollSeconds);
  for (const mode of ['changes', 'full'] as const) {
    if (salesforce === null) {
      await remove(client, SALESFORCE_SCHEDULE_IDS[mode]);
      continue;
    }
    const spec: ScheduleSpec =
      mode === 'changes'
        ? { intervals: [{ every: `${salesforce.changesSeconds} seconds` }] }
        : { calendars: [salesforce.fullAt] };
    await create(client, SALESFORCE_SCHEDULE_IDS[mode], spec, {
      workflowType: WORKFLOW_TYPES.salesforceReconciliation,
      workflowId: `${WORKFLOW_TYPES.salesforceReconciliation}-${mode}`,
      taskQueue: TASK_QUEUES.salesforce,
      args: [{ mode }],
    });
  }
}

async function ensure(
  client: Client,
  scheduleId: string,
  workflowType: string,
  seconds: number,
): Promise<void> {
  await create(
    client,
    scheduleId,
    { intervals: [{ every: `${seconds} seconds` }] },
    { workflowType, workflowId: workflowType, taskQueue: TASK_QUEUES.operations },
  );
}

async function create(
  client: Client,
  scheduleId: string,
  spec: ScheduleSpec,
  workflow: { workflowType: string; workflowId: string; taskQueue: string; args?: object[] },
): Promise<void> {
  try {
    await client.schedule.create({
      scheduleId,
      spec,
      policies: { overlap: ScheduleOverlapPolicy.SKIP },
      action: { type: 'startWorkflow', ...workflow },
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
  }
}

async function remove(client: Client, scheduleId: string): Promise<void> {
  try {
    await client.schedule.getHandle(scheduleId).delete();
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error;
  }
}
