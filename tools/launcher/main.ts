/**
 * `npm start`: everything that Heed needs, on this machine. Starts what is not configured elsewhere, then the worker
 * and the API, says where they are, and ends all of it in order on Ctrl-C.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ConfigError,
  childEnvironment,
  configOrExit,
  type EmbeddedConfig,
  loadConfig,
  loadEmbeddedConfig,
} from '../../config/config.ts';
import { migrate } from '../../db/migrate.ts';
import { type Lock, tryLock } from '../embedded/lock.ts';
import { startPostgres } from '../embedded/postgres.ts';
import { assertPortFree, SetUpError } from '../embedded/service.ts';
import { ensureTemporal, startTemporal } from '../embedded/temporal.ts';
import { SIMULATED_APP } from '../salesforce-simulator/simulator.ts';
import { type Child, type ChildOptions, startChild } from './child.ts';
import { loadSecrets, type Secrets } from './secrets.ts';

const DATABASE = 'heed';
/** The API prints the first key so, once, and it must not end up in a log. */
const FIRST_KEY = 'HEED_FIRST_API_KEY=';
/** What a launcher that was killed leaves behind ends by itself within this time. */
const LEFTOVERS_END_WITHIN_MS = 40_000;

const say = (line: string) => void process.stdout.write(`${line}\n`);

/** Things to end, the last one started first. */
const running: { readonly name: string; stop(): Promise<void> }[] = [];
const children: Child[] = [];
let ending: Promise<void> | undefined;

function end(status: number): Promise<void> {
  ending ??= (async () => {
    for (const part of running.reverse()) {
      await part.stop().catch((error) => say(`${part.name} did not end properly: ${error}`));
    }
    process.exit(status);
  })();
  return ending;
}

/** Ctrl-C, a stop signal, or the end of whoever started this. A second one does not wait any longer. */
function onSignal(): void {
  if (ending === undefined) {
    say('\nStopping; once more Ctrl-C to force it');
    void end(0);
    return;
  }
  for (const child of children) child.kill();
  process.exit(130);
}

async function main(): Promise<void> {
  const started = Date.now();
  const config = configOrExit(() => loadEmbeddedConfig());
  const { configured, dataDir, ports } = config;
  const logs = join(dataDir, 'logs');
  // Others may enter but not list: PostgreSQL runs as a user of its own where this runs as root.
  mkdirSync(dataDir, { recursive: true, mode: 0o711 });
  mkdirSync(logs, { recursive: true, mode: 0o700 });
  const lock = lockDataDir(dataDir);
  running.push({ name: 'the lock', stop: async () => lock.release() });

  const postgresDir = join(dataDir, 'postgres');
  const secrets = loadSecrets(dataDir, configured.databaseUrl === null && existsSync(postgresDir));
  const databaseUrl = configured.databaseUrl ?? urlOfEmbedded(ports.postgres, secrets.postgresPassword);
  const env = environmentOfParts(config, databaseUrl, secrets);
  // Whatever the API or the worker would find wrong, before anything is started.
  loadConfig(env);
  await checkPorts(config, join(dataDir, 'running'));

  const [temporalUiUrl] = await Promise.all([
    configured.temporalAddress === null ? embeddedTemporal(config, logs) : configured.temporalUiUrl,
    prepareDatabase(config, postgresDir, secrets.postgresPassword, databaseUrl),
  ]);
  const { apiUrl, firstKey } = await startParts(config, env, logs);

  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const { temporalNamespace } = config;
  const lines: [string, string | null][] = [
    ['API', apiUrl],
    ['API reference', `${apiUrl}/reference`],
    ['Temporal UI', temporalUiUrl && `${temporalUiUrl}/namespaces/${temporalNamespace}/workflows`],
    ['Simulator inbox', configured.delivery === null ? `http://127.0.0.1:${ports.simulatorHttp}/` : null],
    [
      'Salesforce',
      ports.salesforceSimulator === null ? null : `${urlOfSalesforce(ports.salesforceSimulator)}/simulator`,
    ],
    ['First API key', firstKey && `${firstKey} (scope admin; shown only now, keep it)`],
    ['Logs', logs],
  ];
  say(`\nHeed is ready (${seconds} s). Ctrl-C stops it; npm start goes on with the same data.\n`);
  for (const [what, where] of lines) if (where !== null) say(`  ${what.padEnd(16)} ${where}`);
  say('');
}

/** What simulator, worker and API are started with: what is configured, and the addresses of what is started here. */
function environmentOfParts(
  config: EmbeddedConfig,
  databaseUrl: string,
  secrets: Secrets,
): NodeJS.ProcessEnv {
  const { configured, ports } = config;
  return childEnvironment({
    HEED_DATABASE_URL: databaseUrl,
    HEED_TEMPORAL_ADDRESS: configured.temporalAddress ?? `127.0.0.1:${ports.temporal}`,
    ...(configured.temporalAddress === null && {
      HEED_TEMPORAL_UI_URL: `http://127.0.0.1:${ports.temporalUi}`,
    }),
    ...(configured.delivery === null && {
      HEED_SMTP_URL: `smtp://127.0.0.1:${ports.simulatorSmtp}?tls=none`,
      HEED_MESSAGE_ID_DOMAIN: configured.messageIdDomain ?? 'heed.localhost',
      HEED_PUBLIC_URL: configured.publicUrl ?? urlOfApi(config),
    }),
    ...(ports.salesforceSimulator !== null && {
      HEED_SALESFORCE_LOGIN_URL: urlOfSalesforce(ports.salesforceSimulator),
      HEED_SALESFORCE_CLIENT_ID: SIMULATED_APP.clientId,
      HEED_SALESFORCE_CLIENT_SECRET: SIMULATED_APP.clientSecret,
    }),
    // A key of this folder must never meet a database that lives elsewhere.
    ...(configured.databaseUrl === null && {
      HEED_ADDRESS_KEY: configured.addressKey ?? secrets.addressKey,
      HEED_TOKEN_KEYS: configured.tokenKeys ?? secrets.tokenKey,
    }),
  });
}

/** Starts simulator, worker and API in this order, and has them ended in the opposite one. */
async function startParts(
  config: EmbeddedConfig,
  env: NodeJS.ProcessEnv,
  logs: string,
): Promise<{ apiUrl: string; firstKey: string | null }> {
  const start = async (
    name: string,
    options: Pick<ChildOptions, 'program' | 'ready' | 'graceMs' | 'takeLine'>,
  ) => {
    say(`Starting the ${name}`);
    const child = await startChild({ ...options, name, env, logFile: join(logs, `${name}.log`), say });
    children.push(child);
    running.push({ name, stop: child.stop });
  };
  const { configured, ports } = config;
  if (configured.delivery === null) {
    const args = ['--smtp-port', `${ports.simulatorSmtp}`, '--http-port', `${ports.simulatorHttp}`];
    await start('simulator', {
      program: ['tools/simulator/main.ts', ...args],
      ready: { line: '{"smtpUrl"' },
      graceMs: 5_000,
    });
  }
  if (ports.salesforceSimulator !== null) {
    const data = join(config.dataDir, 'salesforce.json');
    const args = ['--port', `${ports.salesforceSimulator}`, '--data', data];
    await start('salesforce-simulator', {
      program: ['tools/salesforce-simulator/main.ts', ...args],
      ready: { line: '{"loginUrl"' },
      graceMs: 5_000,
    });
  }
  await start('worker', {
    program: ['worker/main.ts'],
    ready: { line: 'HEED_WORKER_READY' },
    graceMs: 30_000,
  });

  const apiUrl = urlOfApi(config);
  let firstKey: string | null = null;
  await start('api', {
    program: ['api/main.ts'],
    ready: { url: `${apiUrl}/readyz` },
    graceMs: 15_000,
    takeLine: (line) => {
      if (!line.startsWith(FIRST_KEY)) return false;
      firstKey = line.slice(FIRST_KEY.length);
      // Said at once, since it cannot be had again should the start fail after this.
      say(`First API key, shown only now: ${firstKey}`);
      return true;
    },
  });
  return { apiUrl, firstKey };
}

function urlOfSalesforce(port: number): string {
  return `http://127.0.0.1:${port}`;
}

function urlOfApi({ api }: EmbeddedConfig): string {
  const host = { '0.0.0.0': '127.0.0.1', '::': '::1' }[api.host] ?? api.host;
  return `http://${isIPv6(host) ? `[${host}]` : host}:${api.port}`;
}

function lockDataDir(dataDir: string): Lock {
  const lock = tryLock(join(dataDir, 'lock'));
  if (lock === null) {
    throw new SetUpError(
      `Heed already runs on ${dataDir}. Stop it first, or start a second one with HEED_DATA_DIR and the ports set to others (docs/configuration.md).`,
    );
  }
  return lock;
}

function urlOfEmbedded(port: number, password: string): string {
  return `postgres://heed:${password}@127.0.0.1:${port}/${DATABASE}`;
}

/** Every port that will be listened on. `mark` is a file that only an orderly end removes. */
async function checkPorts(config: EmbeddedConfig, mark: string): Promise<void> {
  const { configured, ports, api } = config;
  const wanted: [number, string, string][] = [[api.port, api.host, 'HEED_API_PORT']];
  if (configured.databaseUrl === null) wanted.push([ports.postgres, '127.0.0.1', 'HEED_POSTGRES_PORT']);
  if (configured.temporalAddress === null) {
    wanted.push([ports.temporal, '127.0.0.1', 'HEED_TEMPORAL_PORT']);
    wanted.push([ports.temporalUi, '127.0.0.1', 'HEED_TEMPORAL_UI_PORT']);
  }
  if (configured.delivery === null) {
    wanted.push([ports.simulatorSmtp, '127.0.0.1', 'HEED_SIMULATOR_SMTP_PORT']);
    wanted.push([ports.simulatorHttp, '127.0.0.1', 'HEED_SIMULATOR_HTTP_PORT']);
  }
  if (ports.salesforceSimulator !== null) {
    wanted.push([ports.salesforceSimulator, '127.0.0.1', 'HEED_SALESFORCE_SIMULATOR_PORT']);
  }
  const deadline = Date.now() + (existsSync(mark) ? LEFTOVERS_END_WITHIN_MS : 0);
  let told = false;
  for (;;) {
    const results = await Promise.allSettled(wanted.map((one) => assertPortFree(...one)));
    const taken = results
      .filter((result) => result.status === 'rejected')
      .map(({ reason }) => reason.message);
    if (taken.length === 0) break;
    if (Date.now() > deadline) throw new SetUpError(taken.join('\n'));
    if (!told) say('The last run was killed; waiting for what it left behind to end');
    told = true;
    await sleep(500);
  }
  writeFileSync(mark, `${process.pid}\n`);
  running.push({ name: 'the mark', stop: async () => rmSync(mark, { force: true }) });
}

async function embeddedTemporal(config: EmbeddedConfig, logs: string): Promise<string | null> {
  const binary = await ensureTemporal(config, say);
  say('Starting Temporal');
  const temporal = await startTemporal({
    binary,
    namespace: config.temporalNamespace,
    port: config.ports.temporal,
    uiPort: config.ports.temporalUi,
    dbFile: join(config.dataDir, 'temporal.db'),
    logFile: join(logs, 'temporal.log'),
  });
  running.push({ name: 'Temporal', stop: temporal.stop });
  return temporal.uiUrl;
}

async function prepareDatabase(
  config: EmbeddedConfig,
  dir: string,
  password: string,
  url: string,
): Promise<void> {
  if (config.configured.databaseUrl === null) {
    say('Starting PostgreSQL');
    const postgres = await startPostgres({
      dir,
      password,
      port: config.ports.postgres,
      durability: 'real',
      logFile: join(config.dataDir, 'logs', 'postgres.log'),
      progress: say,
    });
    running.push({ name: 'PostgreSQL', stop: postgres.stop });
    await postgres.ensureDatabase(DATABASE);
  }
  await migrate(url).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ECONNREFUSED' && error.code !== 'ENOTFOUND') throw error;
    throw new SetUpError(`HEED_DATABASE_URL: there is no PostgreSQL to be reached (${error.message}).`);
  });
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
// bootstrap.mjs, which started this, is gone.
process.on('disconnect', onSignal);
main().catch((error: unknown) => {
  if (ending !== undefined) return;
  const expected = error instanceof SetUpError || error instanceof ConfigError;
  process.stderr.write(`${expected ? error.message : error instanceof Error ? error.stack : error}\n`);
  void end(1);
});
