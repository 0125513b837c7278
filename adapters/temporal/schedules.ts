import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import { SWEEP_SCHEDULE_ID, TASK_QUEUES, WORKFLOW_TYPES } from '../../domain/processes.ts';

/** Makes the hourly Schedule of the sweep where there is none; one that somebody has changed is left as it is. */
export async function ensureSchedules(client: Client): Promise<void> {
  try {
    await client.schedule.create({
      scheduleId: SWEEP_SCHEDULE_ID,
      spec: { intervals: [{ every: '1 hour' }] },
      policies: { overlap: ScheduleOverlapPolicy.SKIP },
      action: {
        type: 'startWorkflow',
        workflowType: WORKFLOW_TYPES.sweep,
        workflowId: WORKFLOW_TYPES.sweep,
        taskQueue: TASK_QUEUES.operations,
      },
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
  }
}
