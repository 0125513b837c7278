import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { childEnvironment, loadEmbeddedConfig } from '../../config/config.ts';
import { plain } from '../../db/connection.ts';
import { migrate } from '../../db/migrate.ts';
import { changeBroadcast, readBroadcast } from '../../db/queries/broadcasts.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { outboxBacklog } from '../../db/queries/outbox.ts';
import { handingOverAtMost } from '../../domain/broadcast/pacing.ts';
import { type PostgresServer, startPostgres } from '../../tools/embedded/postgres.ts';
import { freePort } from '../../tools/embedded/service.ts';
import { ensureTemporal, startTemporal, type TemporalServer } from '../../tools/embedded/temporal.ts';
import { type Child, type ChildOptions, startChild } from '../../tools/launcher/child.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { listOf, newBroadcast } from '../support/broadcasting.ts';
import { readSimulatorLog } from '../support/simulatorLog.ts';
import { until } from '../support/until.ts';
import { environmentOf } from '../support/workerProcess.ts';

/*
 * One broadcast to 20,000 while two workers, PostgreSQL, Temporal and the mail server are killed at random moments and
 * started again, and people opt out throughout. What the mail server says it took is held against the database.
 */

const RECIPIENTS = 20_000;
/** What the simulator does with a recipient, by their number; the others are accepted. */
const BEHAVIOURS: Readonly<Record<number, string>> = {
  7: 'full-1',
  31: 'unknown',
  59: 'policy',
  83: 'drop-before-1',
  101: 'drop-after',
  127: 'full-2',
};
const EVERY = 200;
const OPT_OUT_PAUSE_MS = 25;
const SCHEDULE_SECONDS = [0, 1, 2, 4, 8, 14, 22, 32, 44];
const MAX_CONNECTIONS = 5;
const LANES = 4;
/** I1: from gate to MAIL FROM; and a conversation on a busy machine. */
const WINDOW_MS = 2_000;
const CONVERSATION_MS = 5_000;

let folder: string;
let account: TestAccount;
let startDatabase: () => Promise<PostgresServer>;
let postgres: PostgresServer;
let startWorkflows: () => Promise<TemporalServer>;
let temporal: TemporalServer;
let workers: Child[];
let simulator: Child;
let logFile: string;
const said: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'heed-broadcast-'));
  // PostgreSQL runs as another user where the tests run as root.
  chmodSync(folder, 0o755);
  const config = loadEmbeddedConfig();
  const [postgresPort, temporalPort, smtpPort, inboxPort] = [
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
  const start = (
    name: string,
    more: Record<string, string>,
    options: Pick<ChildOptions, 'program' | 'ready'>,
  ) =>
    startChild({
      ...options,
      name,
      env: childEnvironment({
        ...environmentOf({
          databaseUrl: url,
          temporal: { address: temporal.address, namespace: 'heed' },
          smtpPort,
          addressKey: account.addressKey,
        }),
        HEED_SMTP_MAX_CONNECTIONS: String(MAX_CONNECTIONS),
        ...more,
      }),
      graceMs: 30_000,
      logFile: join(folder, `${name}.log`),
      say: (line) => said.push(line),
    });
  logFile = join(folder, 'mail.log');
  simulator = await start(
    'simulator',
    {},
    {
      program: [
        'tools/simulator/main.ts',
        ...['--smtp-port', String(smtpPort), '--http-port', String(inboxPort), '--log', logFile],
      ],
      ready: { line: '{"smtpUrl"' },
    },
  );
  workers = [];
  for (const name of ['worker-a', 'worker-b']) {
    workers.push(
      await start(
        name,
        { HEED_EHLO_NAME: `${name}.test` },
        { program: ['worker/main.ts'], ready: { line: 'HEED_WORKER_READY' } },
      ),
    );
  }
}, 240_000);

afterAll(async () => {
  await Promise.all([...(workers ?? []).map((worker) => worker.stop()), simulator?.stop()]);
  await account?.close();
  await Promise.all([temporal?.stop(), postgres?.stop()]);
  rmSync(folder, { recursive: true, force: true });
}, 120_000);

const random = (from: number, to: number) => from + Math.floor(Math.random() * (to - from));

async function untilAttempted(broadcastId: string, count: number): Promise<void> {
  await until(
    `${count} are attempted`,
    async () => {
      const [row] = await account.db.query<{ count: number; state: string }>(
        plain(
          'select count(*)::int as count, (select state from broadcast where id = $1) as state from send where broadcast_id = $1',
        ),
        [broadcastId],
      );
      return row!.count >= count || row!.state === 'sent';
    },
    240_000,
  );
}

/** Each at a moment of its own while the broadcast is under way. */
async function killOneAfterTheOther(broadcastId: string): Promise<void> {
  const faults = [
    async () => workers[0]!.kill(),
    async () => {
      process.kill(postgres.pid, 'SIGKILL');
      await delay(random(200, 1_000));
      postgres = await startDatabase();
    },
    async () => {
      process.kill(temporal.pid, 'SIGKILL');
      await delay(random(200, 1_000));
      temporal = await startWorkflows();
    },
    async () => simulator.kill(),
    async () => workers[1]!.kill(),
  ];
  for (const [index, fault] of faults.entries()) {
    await untilAttempted(broadcastId, (RECIPIENTS / (faults.length + 1)) * (index + 0.5));
    await delay(random(0, 500));
    await fault();
  }
}

interface Ended extends Record<string, unknown> {
  readonly id: string;
  readonly message_id: string;
  readonly outcome: string;
  readonly recipient: string;
}

it('20,000 recipients while everything is killed: nobody twice, nobody forgotten, nobody after an opt-out (I1, I2, I7)', async () => {
  const emails = Array.from(
    { length: RECIPIENTS },
    (_, index) => `${BEHAVIOURS[index % EVERY] ?? 'accept'}+${index}@d${index % 50}.example.net`,
  );
  const { listId, prospectIds } = await listOf(account, emails);
  const broadcastId = await newBroadcast(account, { listIds: [listId], excludeListIds: [] });
  await account.db.transaction((tx) => changeBroadcast(tx, ORIGIN, new Date(), broadcastId, 'start'));

  let sending = true;
  const optOuts = (async () => {
    let count = 0;
    while (sending) {
      const id = prospectIds[random(0, RECIPIENTS)]!;
      await until('the opt-out is committed', () =>
        account.db.transaction((tx) => setFlags(tx, ORIGIN, new Date(), id, { emailOptOut: true })),
      );
      count += 1;
      await delay(OPT_OUT_PAUSE_MS);
    }
    return count;
  })();
  await killOneAfterTheOther(broadcastId);
  await until(
    'everybody had a first attempt',
    async () => (await readBroadcast(account.db, broadcastId))?.state === 'sent',
    300_000,
  );
  sending = false;
  expect(await optOuts).toBeGreaterThan(100);
  await until(
    'everything is final',
    async () => {
      const [row] = await account.db.query<{ unfinished: number }>(
        plain(`select count(*)::int as unfinished from send where state <> 'final'`),
      );
      return row!.unfinished === 0 && (await outboxBacklog(account.db)).entries === 0;
    },
    300_000,
  );

  // Nobody forgotten: one send each, with one outcome and nothing left in the air.
  const sends = await account.db.query<Ended>(
    plain('select id, message_id, outcome, recipient from send where broadcast_id = $1'),
    [broadcastId],
  );
  expect(sends.map((send) => send.recipient).sort()).toEqual([...emails].sort());
  expect(await account.db.query(plain(`select 1 from attempt where state <> 'finished' limit 1`))).toEqual(
    [],
  );
  const outcomes = Object.groupBy(sends, (send) => send.outcome);
  const ids = (outcome: string) => new Set(outcomes[outcome]?.map((send) => send.message_id));
  // Each kind has to have happened, or the rest proves little.
  for (const kind of ['delivered', 'bounced', 'rejected', 'suppressed', 'unknown']) {
    expect(ids(kind).size, `${kind} sends`).toBeGreaterThan(0);
  }

  // Nobody twice, by the mail server's own record; and the database says of each what the server says.
  const log = readSimulatorLog(logFile);
  const taken = log.flatMap((entry) => (entry.accepted ? [entry.messageId!] : []));
  expect(taken.length).toBe(new Set(taken).size);
  const copies = log.flatMap((entry) => (entry.accepted ? [entry.recipient] : []));
  expect(copies.length).toBe(new Set(copies).size);
  const kept = new Set(taken);
  const [delivered, unsettled] = [ids('delivered'), ids('unknown')];
  expect([...delivered].filter((id) => !kept.has(id))).toEqual([]);
  expect(taken.filter((id) => !delivered.has(id) && !unsettled.has(id))).toEqual([]);

  // Unknown is only what was being handed over, and no more than were marked at a time.
  const unknown = await account.db.query<{ marked: boolean; lost: boolean }>(
    plain(`
      select a.handing_over_at is not null as marked, a.rule = 'worker_lost' as lost
      from send s join attempt a on a.send_id = s.id and a.number = s.attempt_count where s.broadcast_id = $1 and s.outcome = 'unknown'`),
    [broadcastId],
  );
  expect(unknown.every(({ marked }) => marked)).toBe(true);
  // Three deaths of workers or of what they need to write an outcome down.
  const bound = 3 * LANES * handingOverAtMost(MAX_CONNECTIONS);
  expect(unknown.filter(({ lost }) => lost).length).toBeLessThanOrEqual(bound);

  // No attempt began after a suppression was committed, by the database's own account of the order (I1).
  const order = await account.db.query<{ recipient: string; committed: Date; wrong: boolean | null }>(
    plain(`
      select s.recipient, pg_xact_commit_timestamp(x.xmin) as committed,
        pg_xact_commit_timestamp(x.xmin) < pg_xact_commit_timestamp(gated.xmin) as wrong
      from suppression x join send s on s.address_id = x.address_id and x.reason = 'opt_out'
      left join lateral (select e.xmin from audit_entry e where e.send_id = s.id and e.action = 'attempt.gated' order by e.id desc limit 1) gated on true`),
  );
  expect(order.filter(({ wrong }) => wrong === true)).toEqual([]);
  expect(order.filter(({ wrong }) => wrong === null).length).toBeGreaterThan(0);
  // And no copy came after it, beyond the window, by the mail server's own clock.
  const arrived = new Map(
    log.flatMap((one) => (one.accepted ? [[one.recipient, new Date(one.at).getTime()]] : [])),
  );
  const late = order.filter(
    ({ recipient, committed }) =>
      (arrived.get(recipient) ?? 0) > committed.getTime() + WINDOW_MS + CONVERSATION_MS,
  );
  expect(late).toEqual([]);
}, 900_000);
