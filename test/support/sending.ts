import type { Client } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { makeTelemetryFilterString, type NativeConnection, Runtime, type Worker } from '@temporalio/worker';
import { createWebhookCaller } from '../../adapters/callout/webhookCaller.ts';
import type { ImapMailbox } from '../../adapters/inbound/imap.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import type { Mailer } from '../../adapters/mailer/mailer.ts';
import { createSmartHostMailer } from '../../adapters/mailer/smartHostMailer.ts';
import type { SalesforceClient } from '../../adapters/salesforce/client.ts';
import { createWorkflowProcesses, type WorkflowProcesses } from '../../adapters/temporal/processes.ts';
import { ensureSearchAttributes } from '../../adapters/temporal/searchAttributes.ts';
import { loadEmbeddedConfig } from '../../config/config.ts';
import { createActivities } from '../../worker/activities.ts';
import { createSdkLogger } from '../../worker/sdkLogger.ts';
import { createWorkers } from '../../worker/workers.ts';
import { loadWorkflowBundle } from '../../worker/workflowBundle.ts';
import type { TestAccount } from './account.ts';
import { type MailServer, startMailServer } from './mailServer.ts';
import { testUnsubscribing } from './unsubscribing.ts';

/** Workers of this process with a mail server behind them. */
export interface Sending {
  readonly client: Client;
  readonly processes: WorkflowProcesses;
  readonly mail: MailServer;
  readonly mailer: Mailer;
  close(): Promise<void>;
}

// Workers tell of every start and stop; only what is wrong is worth reading.
Runtime.install({
  logger: createSdkLogger(({ level, message, meta }) => console.error(level, message, meta)),
  telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'ERROR', other: 'ERROR' }) } },
});

/** The workflows as the worker runs them. */
export function workflowBundle(): Promise<{ readonly code: string }> {
  return loadWorkflowBundle(loadEmbeddedConfig().cacheDir);
}

/** A mailer to a server of this process. */
export function testMailer(port: number, { maxConnections = 10 } = {}): Mailer {
  return createSmartHostMailer({
    host: '127.0.0.1',
    port,
    tls: 'none',
    clientName: 'heed.test',
    maxConnections,
    maxMessagesPerConnection: 100,
    idleMilliseconds: 10_000,
  });
}

/** Starts workers for all task queues against a Temporal server, real or time-skipping. */
export async function startSending(
  account: TestAccount,
  temporal: { connection: NativeConnection; client: Client; namespace: string } | TestWorkflowEnvironment,
  imap: ImapMailbox | null = null,
  salesforce: SalesforceClient | null = null,
): Promise<Sending> {
  const { client } = temporal;
  const connection = 'nativeConnection' in temporal ? temporal.nativeConnection : temporal.connection;
  const namespace = temporal.namespace ?? 'default';
  const mail = await startMailServer();
  const mailer = testMailer(mail.port);
  const processes = createWorkflowProcesses(client);
  await ensureSearchAttributes(client.connection, namespace);
  const workers: Worker[] = await createWorkers({
    connection,
    namespace,
    workflowBundle: await workflowBundle(),
    activities: createActivities({
      db: account.db,
      hasher: account.hasher,
      mailer,
      composer: createEmailComposer(testUnsubscribing),
      processes,
      // The receivers of these tests are on this machine.
      callWebhook: createWebhookCaller(() => true),
      broadcastConversations: 5,
      messageIdDomain: 'heed.test',
      imap,
      salesforce,
    }),
  });
  const running = workers.map((worker) => worker.run());
  return {
    client,
    processes,
    mail,
    mailer,
    async close() {
      for (const worker of workers) worker.shutdown();
      await Promise.all(running);
      await mailer.close();
      await mail.close();
    },
  };
}
