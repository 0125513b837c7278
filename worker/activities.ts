import { createAlertingActivities } from '../activities/alerting.ts';
import { createAutomationActivities } from '../activities/automation.ts';
import { createAutomationSweepActivities } from '../activities/automationSweep.ts';
import { createBroadcastActivities } from '../activities/broadcast/activities.ts';
import { createBulkUpdateActivities } from '../activities/bulkUpdate.ts';
import { createDeliveryActivities } from '../activities/delivery.ts';
import { createEnrollmentActivities } from '../activities/enrollment.ts';
import { createImportActivities } from '../activities/import.ts';
import { createInboundActivities } from '../activities/inbound.ts';
import { createSalesforceActivities } from '../activities/salesforce.ts';
import { createSweepActivities } from '../activities/sweep.ts';
import type { WebhookCaller } from '../adapters/callout/webhookCaller.ts';
import type { ImapMailbox } from '../adapters/inbound/imap.ts';
import type { EmailComposer } from '../adapters/mailer/composer.ts';
import type { Mailer } from '../adapters/mailer/mailer.ts';
import type { SalesforceClient } from '../adapters/salesforce/client.ts';
import type { WorkflowProcesses } from '../adapters/temporal/processes.ts';
import type { Database } from '../db/connection.ts';
import type { AddressHasher } from '../db/queries/addresses.ts';

/** All activities, by the worker that runs them. */
export function createActivities(parts: {
  db: Database;
  hasher: AddressHasher;
  mailer: Mailer;
  composer: EmailComposer;
  processes: WorkflowProcesses;
  callWebhook: WebhookCaller;
  /** Most conversations at a time for one lane of a broadcast. */
  broadcastConversations: number;
  /** Right side of the Message-IDs of sends that are made here. */
  messageIdDomain: string;
  /** The mailbox that bounces are fetched from, where there is one. */
  imap: ImapMailbox | null;
  /** The org that is synced with, where there is one. */
  salesforce: SalesforceClient | null;
}) {
  return {
    sends: createDeliveryActivities(parts),
    automations: { ...createAutomationActivities(parts), ...createEnrollmentActivities(parts) },
    broadcasts: createBroadcastActivities(parts),
    salesforce: createSalesforceActivities(parts),
    operations: {
      ...createAlertingActivities(parts),
      ...createAutomationSweepActivities(parts),
      ...createBulkUpdateActivities(parts),
      ...createImportActivities(parts),
      ...createInboundActivities(parts),
      ...createSweepActivities(parts),
    },
  };
}

export type Activities = ReturnType<typeof createActivities>;
