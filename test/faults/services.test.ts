import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { childEnvironment, loadEmbeddedConfig } from '../../config/config.ts';
import { plain } from '../../db/connection.ts';
import { migrate } from '../../db/migrate.ts';
import { createApiKey } from '../../db/queries/apiKeys.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { outboxBacklog } from '../../db/queries/outbox.ts';
import { type PostgresServer, startPostgres } from '../../tools/embedded/postgres.ts';
import { freePort } from '../../tools/embedded/service.ts';
import { ensureTemporal, startTemporal, type TemporalServer } from '../../tools/embedded/temporal.ts';
import { type Child, type ChildOptions, startChild } from '../../tools/launcher/child.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestProspect } from '../support/account.ts';
import { type ApiProcess, caller } from '../support/apiProcess.ts';
import { readSimulatorLog } from '../support/simulatorLog.ts';
import { until } from '../support/until.ts';
import { environmentOf } from '../support/workerProcess.ts';

/*
 * Everything that Heed consists of and leans on is killed while sends are made and people opt out, and started again as
 * `npm start` does it. What then stands in the database is held against what the mail server says it got.
 */

/** What the simulator does with a recipient, by the first part of the address. */
const BEHAVIOURS = [
  'accept',
  'accept',
  'full-1',
  'full-2',
  'slow-2',
  'unknown',
  'policy',
  'drop-before-1',
  'drop-after-1',
  'accept',
];
const SENDS = 300;
const OPT_OUTS = 60;
const LANES = 6;
/** Between two sends of a lane, so that the load lasts longer than the faults. */
const SEND_PAUSE_MS = 500;
const OPT_OUT_PAUSE_MS = 400;
/** Between two faults. */
const RESPITE_MS = 3_500;
/** Five days in three quarters of a minute. */
const SCHEDULE_SECONDS = [0, 1, 2, 4, 8, 14, 22, 32, 44];

let folder: string;
let account: TestAccount;
let startDatabase: () => Promise<PostgresServer>;
let postgres: PostgresServer;
let startWorkflows: () => Promise<TemporalServer>;
let temporal: TemporalServer;
let worker: Child;
let api: Child;
let simulator: Child;
let call: ApiProcess['call'];
let logFile: string;
const said: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'heed-services-'));
  // PostgreSQL runs as another user where the tests run as root.
  chmodSync(folder, 0o755);
  const config = loadEmbeddedConfig();
  const [postgresPort, temporalPort, smtpPort, inboxPort, apiPort] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  startDatabase = () =>
    startPostgres({
      dir: join(folder, 'postgres'),
      password: 'test',
      port: postgresPort,
      durability: 'process',
    });
  postgres = await startDatabase();
  await postgres.ensureDatabase('heed');
  const url = postgres.urlOf('heed');
  await migrate(url);
  account = await createTestAccount({ database: { url, drop: async () => {} } });
  await account.setting({ schedule_seconds: SCHEDULE_SECONDS });

  const binary = await ensureTemporal(config, () => {});
  startWorkflows = () =>
    startTemporal({
      binary,
      namespace: 'heed',
      port: temporalPort,
      dbFile: join(folder, 'temporal.db'),
      logFile: join(folder, 'temporal.log'),
    });
  temporal = await startWorkflows();

  const env = childEnvironment({
    ...environmentOf({
      databaseUrl: url,
      temporal: { address: temporal.address, namespace: 'heed' },
      smtpPort,
      addressKey: account.addressKey,
    }),
    HEED_API_PORT: String(apiPort),
  });
  const start = (name: string, options: Pick<ChildOptions, 'program' | 'ready'>) =>
    startChild({
      ...options,
      name,
      env,
      graceMs: 30_000,
      logFile: join(folder, `${name}.log`),
      say: (line) => said.push(line),
    });
  logFile = join(folder, 'mail.log');
  simulator = await start('simulator', {
    program: [
      'tools/simulator/main.ts',
      ...['--smtp-port', String(smtpPort), '--http-port', String(inboxPort), '--log', logFile],
    ],
    ready: { line: '{"smtpUrl"' },
  });
  worker = await start('worker', { program: ['worker/main.ts'], ready: { line: 'HEED_WORKER_READY' } });
  const apiUrl = `http://127.0.0.1:${apiPort}`;
  api = await start('api', { program: ['api/main.ts'], ready: { url: `${apiUrl}/readyz` } });
  const { key } = await account.db.transaction((tx) =>
    createApiKey(tx, ORIGIN, new Date(), 'the load', 'write'),
  );
  call = caller(apiUrl, key);
}, 240_000);

afterAll(async () => {
  await Promise.all([api?.stop(), worker?.stop(), simulator?.stop()]);
  await account?.close();
  await Promise.all([temporal?.stop(), postgres?.stop()]);
  rmSync(folder, { recursive: true, force: true });
}, 120_000);

/** Ids of the sends that the API acknowledged, by the key that each was asked for with. */
type Acknowledged = Map<string, string>;

/** Asks for every send until it is acknowledged, as a caller does whom an answer did not reach. */
async function makeSends(people: readonly TestProspect[], acknowledged: Acknowledged): Promise<void> {
  const emailId = await account.email();
  const lane = async (from: number) => {
    for (let index = from; index < people.length; index += LANES) {
      const key = `load-${index}`;
      const { id } = await until(`${key} is acknowledged`, async () => {
        const request = { emailId, prospectId: people[index]!.id };
        const { status, body } = await call('POST', '/sends', request, { 'Idempotency-Key': key });
        return status < 300 && (body as { id: string });
      });
      acknowledged.set(key, id);
      await delay(SEND_PAUSE_MS);
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, index) => lane(index)));
}

/** Opts people out, those whose send is yet to be made as well as those whose send waits or is over. */
async function optOut(people: readonly TestProspect[]): Promise<void> {
  for (let index = 0; index < OPT_OUTS; index += 1) {
    const { id } = people[(index * 7 + 3) % people.length]!;
    await until('the opt-out is committed', () =>
      account.db.transaction((tx) => setFlags(tx, ORIGIN, new Date(), id, { emailOptOut: true })),
    );
    await delay(OPT_OUT_PAUSE_MS);
  }
}

async function killOneAfterTheOther(): Promise<void> {
  await delay(RESPITE_MS);
  worker.kill();
  await delay(RESPITE_MS);
  process.kill(postgres.pid, 'SIGKILL');
  await until('the API says so', async () => {
    const { status, body } = await call('GET', '/readyz');
    return status === 503 && body.parts.database === 'down';
  });
  postgres = await startDatabase();
  await delay(RESPITE_MS);
  process.kill(temporal.pid, 'SIGKILL');
  await delay(1_000);
  temporal = await startWorkflows();
  await delay(RESPITE_MS);
  simulator.kill();
  await delay(RESPITE_MS);
  api.kill();
  await delay(RESPITE_MS);
  worker.kill();
}

interface Ended {
  readonly id: string;
  readonly message_id: string;
  readonly outcome: string;
  readonly handed_over: boolean;
  readonly broke_at_the_end: boolean;
}

it('everything killed under load: each acknowledged send has one outcome, nobody two copies, nobody one after an opt-out (I1, I2, I7)', async () => {
  const people = await Promise.all(
    Array.from({ length: SENDS }, (_, index) =>
      account.prospect(`${BEHAVIOURS[index % BEHAVIOURS.length]}+${index}@d${index % 5}.example.net`),
    ),
  );
  const acknowledged: Acknowledged = new Map();
  await Promise.all([makeSends(people, acknowledged), optOut(people), killOneAfterTheOther()]);

  expect(acknowledged.size).toBe(SENDS);
  await until(
    'everything is final',
    async () => {
      const [row] = await account.db.query<{ unfinished: string }>(
        plain(`select count(*) as unfinished from send where state <> 'final'`),
      );
      return row!.unfinished === '0' && (await outboxBacklog(account.db)).entries === 0;
    },
    240_000,
  );

  // One send for each key, with one outcome and nothing left in the air.
  const sends = await account.db.query<Ended & Record<string, unknown>>(
    plain(`
      select s.id, s.message_id, s.outcome, coalesce(a.handing_over_at is not null, false) as handed_over,
        coalesce(a.outcome = 'unknown' and (a.rule = 'worker_lost' or a.phase = 'final'), false) as broke_at_the_end
      from send s left join attempt a on a.send_id = s.id and a.number = s.attempt_count`),
  );
  expect(sends.map((send) => send.id).sort()).toEqual([...acknowledged.values()].sort());
  expect(await account.db.query(plain(`select 1 from attempt where state <> 'finished'`))).toEqual([]);
  const outcomes = Object.groupBy(sends, (send) => send.outcome);
  const ids = (outcome: string) => new Set(outcomes[outcome]?.map((send) => send.message_id));
  // Each kind has to have happened, or the rest proves little.
  for (const kind of ['delivered', 'bounced', 'rejected', 'suppressed', 'unknown']) {
    expect(ids(kind).size, `${kind} sends`).toBeGreaterThan(0);
  }

  // Held against the mail server's own account of what it took.
  const taken = readSimulatorLog(logFile).flatMap((entry) => (entry.accepted ? [entry.messageId!] : []));
  expect(taken.length).toBe(new Set(taken).size);
  expect([...ids('delivered')].filter((id) => !taken.includes(id))).toEqual([]);
  const takenOtherwise = taken.filter((id) => !ids('delivered').has(id));
  expect(takenOtherwise.filter((id) => !ids('unknown').has(id))).toEqual([]);
  expect(ids('delivered').size).toBe(taken.length - takenOtherwise.length);
  for (const send of outcomes.unknown ?? []) {
    expect(send, 'unknown for a reason').toMatchObject({ handed_over: true, broke_at_the_end: true });
  }

  // No attempt began after a suppression was committed, by the database's own account of the order (I1).
  const order = await account.db.query<{ recipient: string; wrong: boolean | null }>(
    plain(`
      select s.recipient, pg_xact_commit_timestamp(x.xmin) < pg_xact_commit_timestamp(gated.xmin) as wrong
      from audit_entry gated join send s on s.id = gated.send_id join suppression x on x.address_id = s.address_id
      where gated.action = 'attempt.gated'`),
  );
  expect(order.length).toBeGreaterThan(0);
  expect(order.filter(({ wrong }) => wrong !== false)).toEqual([]);

  // Every workflow has ended too, and nothing but what was killed here ever ended by itself.
  const connection = await Connection.connect({ address: temporal.address });
  try {
    const client = new Client({ connection, namespace: 'heed' });
    await until('no workflow runs', async () => {
      const { count } = await client.workflow.count(
        `WorkflowType = 'emailSend' and ExecutionStatus = 'Running'`,
      );
      return count === 0;
    });
  } finally {
    await connection.close();
  }
  const ends = said.flatMap(
    (line) => /^\[(\w+)\] ended unexpectedly \((.*)\)/.exec(line)?.slice(1).join(' ') ?? [],
  );
  expect(ends.sort()).toEqual([
    'api signal SIGKILL',
    'simulator signal SIGKILL',
    'worker signal SIGKILL',
    'worker signal SIGKILL',
  ]);
}, 600_000);
