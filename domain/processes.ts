/**
 * Names under which Temporal knows Heed's processes: workflow ids, task queues and search attributes, each built here
 * and nowhere else.
 */

/** Task queues. What works through files or lists runs apart from the sends, so that neither waits for the other. */
export const TASK_QUEUES = {
  sends: 'heed-sends',
  automations: 'heed-automations',
  broadcasts: 'heed-broadcasts',
  /** What of them takes minutes: commands and other broadcasts' short steps do not wait for it. */
  broadcastPages: 'heed-broadcast-pages',
  salesforce: 'heed-salesforce',
  operations: 'heed-operations',
} as const;

/** Workflow types, as the worker registers them. */
export const WORKFLOW_TYPES = {
  emailSend: 'emailSend',
  importFile: 'importFile',
  bulkUpdate: 'bulkUpdate',
  sweep: 'sweep',
  imapPoll: 'imapPoll',
  rateCheck: 'rateCheck',
  automation: 'automation',
  enrollment: 'enrollment',
  broadcast: 'broadcast',
  salesforceReconciliation: 'salesforceReconciliation',
  salesforcePush: 'salesforcePush',
} as const;

/**
 * Workflow id of a send. The first run has the plain id; a run started later (sent again by hand, or after its workflow
 * was lost) has its number behind it, since an id that was used is never used again.
 */
export function emailSendId(sendId: string, run: number): string {
  return run === 1 ? `emailSend:${sendId}` : `emailSend:${sendId}:${run}`;
}

/** Workflow id of one prospect's way through an automation; runs are numbered as those of a send. */
export function enrollmentId(id: string, run: number): string {
  return run === 1 ? `enrollment:${id}` : `enrollment:${id}:${run}`;
}

/** Workflow id of an automation's enrolling; runs are numbered as those of a send. */
export function automationId(id: string, run: number): string {
  return run === 1 ? `automation:${id}` : `automation:${id}:${run}`;
}

/** Workflow id of a broadcast; runs are numbered as those of a send. */
export function broadcastId(id: string, run: number): string {
  return run === 1 ? `broadcast:${id}` : `broadcast:${id}:${run}`;
}

export function importFileId(importId: string): string {
  return `importFile:${importId}`;
}

export function bulkUpdateId(id: string): string {
  return `bulkUpdate:${id}`;
}

/** Workflow id of a reconciliation with Salesforce that was asked for by hand. */
export function salesforceReconciliationId(runId: string): string {
  return `salesforceReconciliation:${runId}`;
}

/** Id of the one workflow that carries what is queued to Salesforce. */
export const SALESFORCE_PUSH_ID = 'salesforcePush';

/** Ids of the Schedules that reconcile with Salesforce: what was changed, and everything. */
export const SALESFORCE_SCHEDULE_IDS = {
  changes: 'heed-salesforce-changes',
  full: 'heed-salesforce-full',
} as const;

/** Id of the Schedule that looks for unfinished sends without a workflow. */
export const SWEEP_SCHEDULE_ID = 'heed-sweep';

/** Id of the Schedule that fetches bounces from a mailbox. */
export const IMAP_POLL_SCHEDULE_ID = 'heed-imap-poll';

/** Id of the Schedule that looks at the rates of complaints and bounces. */
export const RATE_CHECK_SCHEDULE_ID = 'heed-rate-check';

/**
 * Search attributes of a send in trouble, by which an operator finds it in the Temporal UI. Its types as the operator
 * service names them; Temporal on SQLite has room for 10 keywords and 3 of each other type.
 */
export const SEARCH_ATTRIBUTES = {
  HeedState: 'KEYWORD',
  HeedCategory: 'KEYWORD',
  HeedReply: 'KEYWORD',
  HeedRecipientDomain: 'KEYWORD',
  HeedAttempts: 'INT',
  HeedNextAttempt: 'DATETIME',
} as const;
