import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client';
import {
  automationId as automationWorkflowId,
  broadcastId as broadcastWorkflowId,
  bulkUpdateId as bulkUpdateWorkflowId,
  emailSendId,
  enrollmentId as enrollmentWorkflowId,
  importFileId,
  SALESFORCE_PUSH_ID,
  salesforceReconciliationId,
  TASK_QUEUES,
  WORKFLOW_TYPES,
} from '../../domain/processes.ts';
import type { SendOutcome } from '../../domain/words.ts';

/** How long one call to Temporal may take. */
const CALL_MS = 10_000;

/** Heed's workflows, as everything outside of them starts and tells them. Every call may be repeated. */
export interface WorkflowProcesses {
  /** Starts the workflow of a send; does nothing where that run was ever started before. */
  startSend(send: { sendId: string; run: number; recipientDomain: string }): Promise<void>;
  /** Tells that a send was made final. @returns false where the workflow is not running */
  endSend(send: {
    sendId: string;
    run: number;
    outcome: SendOutcome;
    reason: string | null;
  }): Promise<boolean>;
  /** @returns false where the workflow is not running */
  retrySend(send: { sendId: string; run: number; commandId: number }): Promise<boolean>;
  /** Tells that what the send was held for is over. @returns false where the workflow is not running */
  wakeSend(send: { sendId: string; run: number }): Promise<boolean>;
  startImport(importId: string): Promise<void>;
  /** @returns false where the workflow is not running */
  endImport(importId: string): Promise<boolean>;
  startBulkUpdate(bulkUpdateId: string): Promise<void>;
  /** @returns false where the workflow is not running */
  wakeBulkUpdate(bulkUpdateId: string): Promise<boolean>;
  /** Starts a prospect's way through an automation; does nothing where that run was ever started before. */
  startEnrollment(enrollment: { enrollmentId: string; run: number }): Promise<void>;
  /** @returns false where the workflow is not running */
  wakeEnrollment(enrollment: { enrollmentId: string; run: number }): Promise<boolean>;
  /** Starts enrolling; does nothing where that run was ever started before. */
  startAutomation(automation: { automationId: string; run: number }): Promise<void>;
  /** @returns false where the workflow is not running */
  wakeAutomation(automation: { automationId: string; run: number }): Promise<boolean>;
  /** Starts carrying a broadcast through; does nothing where that run was ever started before. */
  startBroadcast(broadcast: { broadcastId: string; run: number }): Promise<void>;
  /** @returns false where the workflow is not running */
  wakeBroadcast(broadcast: { broadcastId: string; run: number }): Promise<boolean>;
  /** Has what is queued pushed to Salesforce, now or as soon as what runs is done. */
  wakeSalesforcePush(): Promise<void>;
  /** Starts a reconciliation; does nothing where that run was ever started before. */
  startSalesforceRun(run: { runId: string; mode: string }): Promise<void>;
  isRunning(workflowId: string): Promise<boolean>;
}

/** Workflows on a real Temporal server. Errors are Temporal's own; they mean that it cannot be reached. */
export function createWorkflowProcesses(client: Client): WorkflowProcesses {
  async function start(type: string, workflowId: string, options: StartOptions): Promise<void> {
    try {
      await client.withDeadline(Date.now() + CALL_MS, () =>
        client.workflow.start(type, {
          // An id that was used stays used: a repeated start must not run a send a second time.
          workflowIdReusePolicy: 'REJECT_DUPLICATE',
          ...options,
          workflowId,
        }),
      );
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  async function signal(workflowId: string, name: string, ...payload: object[]): Promise<boolean> {
    try {
      await client.withDeadline(Date.now() + CALL_MS, () =>
        client.workflow.getHandle(workflowId).signal(name, ...payload),
      );
      return true;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }

  return {
    startSend: ({ sendId, run, recipientDomain }) =>
      start(WORKFLOW_TYPES.emailSend, emailSendId(sendId, run), {
        taskQueue: TASK_QUEUES.sends,
        args: [{ sendId, run, recipientDomain }],
        staticSummary: `email to an address at ${recipientDomain}`,
      }),
    endSend: ({ sendId, run, outcome, reason }) =>
      signal(emailSendId(sendId, run), 'ended', { outcome, reason }),
    retrySend: ({ sendId, run, commandId }) => signal(emailSendId(sendId, run), 'retryNow', { commandId }),
    wakeSend: ({ sendId, run }) => signal(emailSendId(sendId, run), 'wakeSend'),
    startImport: (importId) =>
      start(WORKFLOW_TYPES.importFile, importFileId(importId), {
        taskQueue: TASK_QUEUES.operations,
        args: [{ importId }],
        // One that was lost goes on under its own id; one that is over ends at once.
        workflowIdReusePolicy: 'ALLOW_DUPLICATE',
        staticSummary: 'import of a CSV file',
      }),
    async endImport(importId) {
      try {
        await client.withDeadline(Date.now() + CALL_MS, () =>
          client.workflow.getHandle(importFileId(importId)).cancel(),
        );
        return true;
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return false;
        throw error;
      }
    },
    startBulkUpdate: (bulkUpdateId) =>
      start(WORKFLOW_TYPES.bulkUpdate, bulkUpdateWorkflowId(bulkUpdateId), {
        taskQueue: TASK_QUEUES.operations,
        args: [{ bulkUpdateId }],
        // As an import: one that was lost goes on under its own id, one that is over ends at once.
        workflowIdReusePolicy: 'ALLOW_DUPLICATE',
        staticSummary: 'bulk update of prospects',
      }),
    wakeBulkUpdate: (bulkUpdateId) => signal(bulkUpdateWorkflowId(bulkUpdateId), 'wakeBulkUpdate'),
    startEnrollment: ({ enrollmentId, run }) =>
      start(WORKFLOW_TYPES.enrollment, enrollmentWorkflowId(enrollmentId, run), {
        taskQueue: TASK_QUEUES.automations,
        args: [{ enrollmentId, run }],
        staticSummary: 'one prospect in an automation',
      }),
    wakeEnrollment: ({ enrollmentId, run }) =>
      signal(enrollmentWorkflowId(enrollmentId, run), 'wakeEnrollment'),
    startAutomation: ({ automationId, run }) =>
      start(WORKFLOW_TYPES.automation, automationWorkflowId(automationId, run), {
        taskQueue: TASK_QUEUES.automations,
        args: [{ automationId, run }],
        staticSummary: 'enrolls everybody who matches',
      }),
    wakeAutomation: ({ automationId, run }) =>
      signal(automationWorkflowId(automationId, run), 'wakeAutomation'),
    startBroadcast: ({ broadcastId, run }) =>
      start(WORKFLOW_TYPES.broadcast, broadcastWorkflowId(broadcastId, run), {
        taskQueue: TASK_QUEUES.broadcasts,
        args: [{ broadcastId, run }],
        staticSummary: 'one email to many',
      }),
    wakeBroadcast: ({ broadcastId, run }) => signal(broadcastWorkflowId(broadcastId, run), 'wakeBroadcast'),
    async wakeSalesforcePush() {
      await client.withDeadline(Date.now() + CALL_MS, () =>
        client.workflow.signalWithStart(WORKFLOW_TYPES.salesforcePush, {
          workflowId: SALESFORCE_PUSH_ID,
          taskQueue: TASK_QUEUES.salesforce,
          signal: 'pushNow',
          signalArgs: [],
          args: [],
          staticSummary: 'what is queued, to Salesforce',
        }),
      );
    },
    startSalesforceRun: ({ runId, mode }) =>
      start(WORKFLOW_TYPES.salesforceReconciliation, salesforceReconciliationId(runId), {
        taskQueue: TASK_QUEUES.salesforce,
        args: [{ mode, runId }],
        // As an import: one that was lost goes on under its own id, one that is over ends at once.
        workflowIdReusePolicy: 'ALLOW_DUPLICATE',
        staticSummary: `reconciliation with Salesforce: ${mode}`,
      }),
    async isRunning(workflowId) {
      try {
        const { status } = await client.withDeadline(Date.now() + CALL_MS, () =>
          client.workflow.getHandle(workflowId).describe(),
        );
        return status.name === 'RUNNING';
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return false;
        throw error;
      }
    },
  };
}

interface StartOptions {
  readonly taskQueue: string;
  readonly args: [object];
  readonly staticSummary: string;
  readonly workflowIdReusePolicy?: 'ALLOW_DUPLICATE';
}
