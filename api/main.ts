import { setTimeout as delay } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import pino from 'pino';
import { createSalesforceClient } from '../adapters/salesforce/client.ts';
import { createUnsubscribeTokens } from '../adapters/tokens/unsubscribeTokens.ts';
import { configuredWebhooks } from '../adapters/webhooks/configured.ts';
import { type Config, configOrExit, loadConfig } from '../config/config.ts';
import { type Database, openDatabase } from '../db/connection.ts';
import { AddressHasher } from '../db/queries/addresses.ts';
import { createFirstApiKey } from '../db/queries/apiKeys.ts';
import { prepareSettings } from '../db/queries/settings.ts';
import { createApp } from './app.ts';
import type { Log } from './context.ts';
import { isDatabaseUnavailable } from './middleware/databaseTrouble.ts';
import { PortTaken, type RunningServer, serveApi } from './server.ts';
import { createTemporalView } from './temporal.ts';

const DATABASE_RETRY_MS = 2000;

/** The API in a process of its own. The database is migrated by whoever starts it. */
async function main(config: Config): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const log = pino({ name: 'api', level: config.logLevel, serializers: { err: describeError } });
  const db = openDatabase(config.database.url, {
    max: config.database.poolSize,
    applicationName: 'heed api',
  });
  const hasher = new AddressHasher(config.addressKey);
  // Connects when it is first asked, and again after it was gone: the API works without Temporal.
  const connection = Connection.lazy({ address: config.temporal.address });

  const server = await start(config, db, hasher, connection, log, stop.signal);
  if (server !== null) {
    log.info({ host: config.api.host, port: server.port }, 'the API is ready');
    await aborted(stop.signal);
    await server.stop();
  }
  await Promise.all([db.close(), connection.close()]);
}

/** @returns `null` where it was asked to stop before it was ready */
async function start(
  config: Config,
  db: Database,
  hasher: AddressHasher,
  connection: Connection,
  log: Log,
  signal: AbortSignal,
): Promise<RunningServer | null> {
  while (!signal.aborted) {
    try {
      await prepareSettings(db, hasher, new Date());
      // The launcher looks for this line; the key is shown this once.
      await createFirstApiKey(db, new Date(), (key) => process.stdout.write(`HEED_FIRST_API_KEY=${key}\n`));
      break;
    } catch (error) {
      if (!isDatabaseUnavailable(error)) throw error;
      log.error({ err: error }, 'waiting for the database');
      await delay(DATABASE_RETRY_MS, undefined, { signal }).catch(() => {});
    }
  }
  if (signal.aborted) return null;
  const app = createApp({
    db,
    hasher,
    tokens: createUnsubscribeTokens(config.tokenKeys),
    webhooks: configuredWebhooks(config.inbound.webhooks),
    config: {
      messageIdDomain: config.messageIdDomain,
      maxImportBytes: config.api.maxImportBytes,
      publicUrl: config.publicUrl,
    },
    temporal: createTemporalView(connection, config.temporal.namespace, config.temporal.uiUrl),
    salesforce: config.salesforce && createSalesforceClient(config.salesforce),
    log,
    now: () => new Date(),
  });
  return serveApi(app, config.api.host, config.api.port);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Without the details that PostgreSQL adds: they hold values of rows. */
function describeError(error: Error & { code?: unknown }): object {
  return { name: error.name, message: error.message, code: error.code, stack: error.stack };
}

/** One line for what a person can put right; the stack for what is our fault. */
function explain(error: unknown): string {
  if (error instanceof PortTaken)
    return `${error.message} Set HEED_API_PORT to another, or stop what uses it.`;
  if ((error as { code?: unknown }).code === '42P01') {
    return 'The database has no schema yet. Run the migrations first (npm start and the compose file do).';
  }
  if (error instanceof Error && error.message.startsWith('HEED_')) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

const config = configOrExit(() => loadConfig());
main(config).then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${explain(error)}\n`);
    process.exit(1);
  },
);
