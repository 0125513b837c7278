import { readFile } from 'node:fs/promises';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Runtime } from '@temporalio/worker';
import pino, { type Logger } from 'pino';
import { keepMessage } from '../activities/inbound.ts';
import { createWebhookCaller } from '../adapters/callout/webhookCaller.ts';
import { type AcceptedAddresses, createAcceptedAddresses } from '../adapters/inbound/addresses.ts';
import { LISTENER_LIMITS, startInboundListener } from '../adapters/inbound/listener.ts';
import { createInboundReader } from '../adapters/inbound/read.ts';
import { isPublicAddress } from '../adapters/mailer/direct/publicAddress.ts';
import { createSalesforceClient } from '../adapters/salesforce/client.ts';
import { ensureNamespace } from '../adapters/temporal/namespace.ts';
import { createWorkflowProcesses } from '../adapters/temporal/processes.ts';
import { ensureSchedules } from '../adapters/temporal/schedules.ts';
import { ensureSearchAttributes } from '../adapters/temporal/searchAttributes.ts';
import { createReturnPath } from '../adapters/tokens/returnPath.ts';
import { createUnsubscribeTokens } from '../adapters/tokens/unsubscribeTokens.ts';
import { type Config, configOrExit, loadConfig } from '../config/config.ts';
import { type Database, openDatabase } from '../db/connection.ts';
import { AddressHasher } from '../db/queries/addresses.ts';
import { prepareSettings } from '../db/queries/settings.ts';
import { createActivities } from './activities.ts';
import { createComposer, createMailer } from './mailer.ts';
import { untilItAnswers } from './patience.ts';
import { startRelay } from './relay.ts';
import { createSdkLogger } from './sdkLogger.ts';
import { createWorkers } from './workers.ts';
import { loadWorkflowBundle } from './workflowBundle.ts';

/** Worker and relay in one process: carries out what the API has written down. */
async function main(config: Config): Promise<void> {
  const log = pino({ name: 'worker', level: config.logLevel });
  Runtime.install({
    logger: createSdkLogger(({ level, message, meta }) =>
      log[level === 'ERROR' ? 'error' : 'warn']({ meta }, message),
    ),
    // Stopping is decided below, where the relay and the mailer stop too.
    shutdownSignals: [],
  });
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());

  const bundle = loadWorkflowBundle(config.cacheDir);
  const db = openDatabase(config.database.url, {
    max: config.database.poolSize,
    applicationName: 'heed worker',
  });
  const hasher = new AddressHasher(config.addressKey);
  await untilItAnswers('PostgreSQL', log, stop.signal, () => prepareSettings(db, hasher, new Date()));

  const { address, namespace } = config.temporal;
  const connection = await untilItAnswers('Temporal', log, stop.signal, async () => {
    const made = await Connection.connect({ address });
    await ensureNamespace(made, namespace);
    return made;
  });
  const client = new Client({ connection, namespace });
  // A namespace that was registered just now takes the server some seconds to know.
  await untilItAnswers('the Temporal namespace', log, stop.signal, async () => {
    await ensureSearchAttributes(connection, namespace);
    await ensureSchedules(client, {
      imapPollSeconds: config.inbound.imap?.pollSeconds ?? null,
      salesforce: config.salesforce,
    });
  });
  const processes = createWorkflowProcesses(client);
  const mailer = createMailer(config);
  const native = await NativeConnection.connect({ address });
  const workers = await createWorkers({
    connection: native,
    namespace,
    workflowBundle: await bundle,
    activities: createActivities({
      db,
      hasher,
      mailer,
      composer: createComposer(config),
      processes,
      callWebhook: createWebhookCaller(isPublicAddress),
      broadcastConversations: config.smtp.maxConnections,
      messageIdDomain: config.messageIdDomain,
      imap: config.inbound.imap,
      salesforce: config.salesforce && createSalesforceClient(config.salesforce),
    }),
  });
  const addresses = acceptedAddresses(config);
  const relay = startRelay({ db, processes, readInbound: createInboundReader(addresses), log });
  const listener = await listenForInbound(config, db, addresses, log);
  const running = Promise.all(workers.map((worker) => worker.run()));
  log.info('the worker is ready');
  // The launcher and the container's health check look for this line.
  process.stdout.write('HEED_WORKER_READY\n');

  const stopped = new Promise<void>((resolve) => {
    if (stop.signal.aborted) resolve();
    stop.signal.addEventListener('abort', () => resolve());
  });
  // A worker that ends by itself has failed for good: this process ends with its error and is started anew.
  await Promise.race([stopped, running]);
  await listener?.close();
  // Both at once: a relay that waits for an answer takes nothing of the time that attempts have to end in.
  const told = relay.stop();
  for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  await Promise.all([told, running]);
  await mailer.close();
  await Promise.all([native.close(), connection.close(), db.close()]);
}

function acceptedAddresses({ returnDomain, tokenKeys, unsubscribeMailbox, inbound }: Config) {
  const tokens = createUnsubscribeTokens(tokenKeys);
  const returnPath = returnDomain && createReturnPath({ domain: returnDomain, keys: tokenKeys });
  return createAcceptedAddresses({
    sendOfReturnAddress: returnPath ? (address) => returnPath.sendOf(address) : null,
    sendOfUnsubscribeToken: (token) => tokens.read('mail', token),
    unsubscribeMailbox,
    abuseMailbox: inbound.abuseMailbox,
  });
}

/** The SMTP server for what comes back, where one is configured. */
async function listenForInbound(config: Config, db: Database, addresses: AcceptedAddresses, log: Logger) {
  const { listener } = config.inbound;
  if (listener === null) return null;
  const [cert, key] = listener.tls
    ? await Promise.all([readFile(listener.tls.certificate, 'utf8'), readFile(listener.tls.key, 'utf8')])
    : [];
  const running = await startInboundListener({
    host: listener.host,
    port: listener.port,
    serverName: config.smtp.ehloName,
    tls: cert && key ? { cert, key } : null,
    limits: LISTENER_LIMITS,
    addresses,
    store: async (message, recipients) => {
      await keepMessage(db, new Date(), 'listener', message, recipients);
    },
    log,
  });
  log.info({ port: running.port }, 'listening for what comes back');
  return running;
}

const config = configOrExit(() => loadConfig());
main(config).then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  },
);
