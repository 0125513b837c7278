/**
 * `npm run bench:sends -- [--json] [--workflows N] [--rounds N]`: how many sends a second one worker carries through on
 * the dev server, beside an empty workflow and one with a single activity. The three take turns in one run, since only
 * their ratio travels from one machine to another. With --json the last line is JSON.
 */
import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { v7 as uuidv7 } from 'uuid';
import { createDeliveryActivities } from '../../activities/delivery.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import { createSmartHostMailer } from '../../adapters/mailer/smartHostMailer.ts';
import { createUnsubscribing } from '../../adapters/mailer/unsubscribing.ts';
import { ensureSearchAttributes } from '../../adapters/temporal/searchAttributes.ts';
import { createUnsubscribeTokens } from '../../adapters/tokens/unsubscribeTokens.ts';
import { plain } from '../../db/connection.ts';
import { ensureAddresses } from '../../db/queries/addresses.ts';
import { createSend } from '../../db/queries/sends.ts';
import { isAddressProblem, type ParsedAddress, parseAddress } from '../../domain/address.ts';
import { emailSendId } from '../../domain/processes.ts';
import { type BenchEnvironment, startBenchEnvironment } from './environment.ts';
import { startSimulatorProcess } from './simulatorProcess.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    workflows: { type: 'string', default: '400' },
    rounds: { type: 'string', default: '3' },
  },
});
const workflows = Number(values.workflows);
const rounds = Number(values.rounds);
const IN_FLIGHT = 60;
const TASK_QUEUE = 'bench';
const say = (text: string) => process.stderr.write(`${text}\n`);

Runtime.install({ logger: new DefaultLogger('ERROR') });
const environment = await startBenchEnvironment({ temporal: true });
const simulator = await startSimulatorProcess();
const mailer = createSmartHostMailer({
  host: '127.0.0.1',
  port: simulator.smtpPort,
  tls: 'none',
  clientName: 'bench.test',
  maxConnections: 10,
  maxMessagesPerConnection: 1_000,
  idleMilliseconds: 30_000,
});
const { temporalAddress: address, namespace } = environment;
const connection = await Connection.connect({ address });
const client = new Client({ connection, namespace });
await ensureSearchAttributes(connection, namespace);
const native = await NativeConnection.connect({ address });
const unsubscribing = createUnsubscribing({
  tokens: createUnsubscribeTokens([randomBytes(32)]),
  publicUrl: 'https://bench.test',
  mailbox: null,
  listDomain: 'bench.test',
});
const worker = await Worker.create({
  connection: native,
  namespace,
  taskQueue: TASK_QUEUE,
  workflowBundle: await bundleWorkflowCode({
    workflowsPath: new URL('./workflows.ts', import.meta.url).pathname,
    logger: new DefaultLogger('ERROR'),
  }),
  activities: {
    ...createDeliveryActivities({ db: environment.db, mailer, composer: createEmailComposer(unsubscribing) }),
    nothing: async () => ({ status: 'final', outcome: 'delivered', reason: null }),
  },
  maxConcurrentActivityTaskExecutions: 100,
  maxCachedWorkflows: 2_000,
});
const running = worker.run();

const kinds = {
  empty: async () => Array.from({ length: workflows }, () => ({ type: 'empty', id: uuidv7(), input: {} })),
  oneActivity: async () =>
    Array.from({ length: workflows }, () => {
      const sendId = uuidv7();
      return { type: 'oneActivity', id: sendId, input: { sendId, run: 1, recipientDomain: 'example.net' } };
    }),
  emailSend: async () =>
    (await makeSends(environment, workflows)).map((sendId) => ({
      type: 'emailSend',
      id: emailSendId(sendId, 1),
      input: { sendId, run: 1, recipientDomain: 'example.net' },
    })),
};
type Kind = keyof typeof kinds;
const seconds: Record<Kind, number> = { empty: 0, oneActivity: 0, emailSend: 0 };

/** One turn of one kind: all started and all ended, so many at a time. */
async function turn(kind: Kind): Promise<number> {
  const jobs = await kinds[kind]();
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      for (let job = jobs.pop(); job !== undefined; job = jobs.pop()) {
        await client.workflow.execute(job.type, {
          workflowId: job.id,
          taskQueue: TASK_QUEUE,
          args: [job.input],
          staticSummary: 'email to an address at example.net',
        });
      }
    }),
  );
  return (performance.now() - startedAt) / 1000;
}

for (const kind of Object.keys(kinds) as Kind[]) await turn(kind); // warm: caches, plans, connections
for (let round = 1; round <= rounds; round += 1) {
  // Each goes first in its turn: the server slows down as its database grows.
  const order = Object.keys(kinds) as Kind[];
  for (const kind of [...order.slice(round % 3), ...order.slice(0, round % 3)]) {
    const took = await turn(kind);
    seconds[kind] += took;
    say(`round ${round}: ${kind} ${(workflows / took).toFixed(1)} a second`);
  }
}
const [delivered] = await environment.db.query<{ n: string }>(
  plain(`select count(*) as n from send where outcome = 'delivered'`),
);
const expected = workflows * (rounds + 1);
worker.shutdown();
await running;
await Promise.all([mailer.close(), native.close(), connection.close()]);
await simulator.stop();
await environment.close();
if (Number(delivered!.n) !== expected) throw new Error(`${delivered!.n} of ${expected} sends were delivered`);

const perSecond = (kind: Kind) => Number(((workflows * rounds) / seconds[kind]).toFixed(1));
const result = {
  emptyPerSecond: perSecond('empty'),
  oneActivityPerSecond: perSecond('oneActivity'),
  emailSendPerSecond: perSecond('emailSend'),
  emailSendToOneActivity: Number((seconds.oneActivity / seconds.emailSend).toFixed(3)),
  workflows: workflows * rounds,
};
console.log(
  values.json
    ? JSON.stringify(result)
    : `empty ${result.emptyPerSecond}, one activity ${result.oneActivityPerSecond}, emailSend ${result.emailSendPerSecond} a second; ` +
        `emailSend reaches ${Math.round(result.emailSendToOneActivity * 100)}% of one activity`,
);

/** Queued sends to as many prospects, without their outbox entries: this measures the workflow, not the relay. */
async function makeSends({ db, hasher }: BenchEnvironment, count: number): Promise<string[]> {
  const now = new Date();
  const emailId = uuidv7();
  await db.query(
    plain(`with e as (insert into email (id, name, kind, version, created_at, updated_at) values ($1, 'Bench', 'marketing', 1, $2, $2))
           insert into email_version (email_id, version, subject, from_address, html, text, created_at)
           values ($1, 1, 'News for {{ prospect.first_name }}', 'news@example.com', $3, $4, $2)`),
    [
      emailId,
      now,
      `<p>Hello {{ prospect.first_name }}</p>${'<p>Some news.</p>'.repeat(50)}`,
      'Hello {{ prospect.first_name }}',
    ],
  );
  const addresses = Array.from({ length: count }, () =>
    parseAddress(`accept+${uuidv7()}@example.net`),
  ).filter((address): address is ParsedAddress => !isAddressProblem(address));
  const ids = await ensureAddresses(db, hasher, now, addresses);
  const sends: string[] = [];
  for (const address of addresses) {
    const prospectId = uuidv7();
    await db.query(
      plain(
        `insert into prospect (id, address_id, email, first_name, created_at, updated_at) values ($1, $2, $3, 'Ada', $4, $4)`,
      ),
      [prospectId, ids.get(address.comparisonForm), address.given, now],
    );
    const created = await db.transaction((tx) =>
      createSend(tx, hasher, now, { emailId, prospectId }, 'bench.test'),
    );
    if (created.kind !== 'created') throw new Error(created.kind);
    sends.push(created.sendId);
  }
  await db.query(plain('delete from outbox'));
  await db.query(plain('analyze'));
  return sends;
}
