import {
  type Client,
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
} from '@temporalio/client';
import {
  IMAP_POLL_SCHEDULE_ID,
  RATE_CHECK_SCHEDULE_ID,
  SWEEP_SCHEDULE_ID,
  TASK_QUEUES,
  WORKFLOW_TYPES,
} from '../../domain/processes.ts';

export interface ScheduleOptions {
  /** Seconds between two polls of the inbound mailbox; `null` where there is none. */
  readonly imapPollSeconds: number | null;
}

/**
 * Makes the Schedules that are missing; one that somebody has changed is left as it is. The one of the mailbox goes when
 * no mailbox is configured any more.
 */
export async function ensureSchedules(client: Client, { imapPollSeconds }: ScheduleOptions): Promise<void> {
  await ensure(client, SWEEP_SCHEDULE_ID, WORKFLOW_TYPES.sweep, 3_600);
  await ensure(client, RATE_CHECK_SCHEDULE_ID, WORKFLOW_TYPES.rateCheck, 300);
  if (imapPollSeconds === null) await remove(client, IMAP_POLL_SCHEDULE_ID);
  else await ensure(client, IMAP_POLL_SCHEDULE_ID, WORKFLOW_TYPES.imapPoll, imapPollSeconds);
}

async function ensure(
  client: Client,
  scheduleId: string,
  workflowType: string,
  seconds: number,
): Promise<void> {
  try {
    await client.schedule.create({
      scheduleId,
      spec: { intervals: [{ every: `${seconds} seconds` }] },
      policies: { overlap: ScheduleOverlapPolicy.SKIP },
      action: {
        type: 'startWorkflow',
        workflowType,
        workflowId: workflowType,
        taskQueue: TASK_QUEUES.operations,
      },
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
