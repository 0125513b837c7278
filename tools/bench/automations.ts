/**
 * `npm run bench:automations -- [--json] [--enrollments N] [--rounds N] [--growth N,N,… [--kind KIND]]`: how many enrollments a second
 * one worker with its relay carries through on the dev server, beside an empty workflow, which takes turns with them in one
 * run; and how many workflow tasks and history events each costs. An automation is activated and enrolls everybody, as in
 * real life; the time ends when the last enrollment and the last send are over. With --growth, numbers of enrollments that
 * one activation enrolls, instead; --kind takes setField or sendWaitSend alone. With --json the last line is JSON.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import pino from 'pino';
import { v7 as uuidv7 } from 'uuid';
import { createWebhookCaller } from '../../adapters/callout/webhookCaller.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import { createSmartHostMailer } from '../../adapters/mailer/smartHostMailer.ts';
import { createUnsubscribing } from '../../adapters/mailer/unsubscribing.ts';
import { createWorkflowProcesses } from '../../adapters/temporal/processes.ts';
import { ensureSearchAttributes } from '../../adapters/temporal/searchAttributes.ts';
import { createUnsubscribeTokens } from '../../adapters/tokens/unsubscribeTokens.ts';
import { plain } from '../../db/connection.ts';
import { ensureAddresses } from '../../db/queries/addresses.ts';
import { changeState, createAutomation } from '../../db/queries/automations.ts';
import { isAddressProblem, type ParsedAddress, parseAddress } from '../../domain/address.ts';
import type { Step } from '../../domain/automation/definition.ts';
import { emailSendId, enrollmentId, TASK_QUEUES } from '../../domain/processes.ts';
import { createActivities } from '../../worker/activities.ts';
import { startRelay } from '../../worker/relay.ts';
import { createWorkers } from '../../worker/workers.ts';
import { startBenchEnvironment } from './environment.ts';
import { startSimulatorProcess } from './simulatorProcess.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    enrollments: { type: 'string', default: '300' },
    rounds: { type: 'string', default: '3' },
    growth: { type: 'string' },
    kind: { type: 'string' },
  },
});
const enrollments = Number(values.enrollments);
const rounds = Number(values.rounds);
/** Empty workflows under way at a time. */
const IN_FLIGHT = 60;
/** Enrollments whose histories are counted. */
const SAMPLE = 50;
const say = (text: string) => process.stderr.write(`${text}\n`);

Runtime.install({ logger: new DefaultLogger('ERROR') });
const { db, hasher, ...environment } = await startBenchEnvironment({ temporal: true });
const simulator = await startSimulatorProcess();
const { temporalAddress: address, namespace } = environment;
const connection = await Connection.connect({ address });
const client = new Client({ connection, namespace });
await ensureSearchAttributes(connection, namespace);
const native = await NativeConnection.connect({ address });
const mailer = createSmartHostMailer({
  host: '127.0.0.1',
  port: simulator.smtpPort,
  tls: 'none',
  clientName: 'bench.test',
  maxConnections: 10,
  maxMessagesPerConnection: 1_000,
  idleMilliseconds: 30_000,
});
const unsubscribing = createUnsubscribing({
  tokens: createUnsubscribeTokens([randomBytes(32)]),
  publicUrl: 'https://bench.test',
  mailbox: null,
  listDomain: 'bench.test',
});
const processes = createWorkflowProcesses(client);
const workers = await createWorkers({
  connection: native,
  namespace,
  workflowBundle: await bundleWorkflowCode({
    workflowsPath: new URL('./workflows.ts', import.meta.url).pathname,
    logger: new DefaultLogger('ERROR'),
  }),
  activities: createActivities({
    db,
    hasher,
    mailer,
    composer: createEmailComposer(unsubscribing),
    processes,
    callWebhook: createWebhookCaller(() => false),
    broadcastConversations: 1,
    messageIdDomain: 'bench.test',
    imap: null,
    salesforce: null,
  }),
});
const running = Promise.all(workers.map((worker) => worker.run()));
const relay = startRelay({
  db,
  processes,
  readInbound: async () => ({ findings: [], unsubscribes: [] }),
  log: pino({ level: 'silent' }),
});

const emailId = uuidv7();
await db.query(
  plain(`with e as (insert into email (id, name, kind, version, created_at, updated_at) values ($1, 'Bench', 'marketing', 1, $2, $2))
         insert into email_version (email_id, version, subject, from_address, html, text, created_at)
         values ($1, 1, 'News for {{ prospect.first_name }}', 'news@example.com', $3, 'Hello', $2)`),
  [emailId, new Date(), `<p>Hello {{ prospect.first_name }}</p>${'<p>Some news.</p>'.repeat(50)}`],
);

const AUTOMATIONS = {
  setField: [{ id: 'set', type: 'setField', field: 'country', value: 'Austria' }],
  sendWaitSend: [
    { id: 'first', type: 'sendEmail', emailId },
    { id: 'wait', type: 'wait', seconds: 1 },
    { id: 'second', type: 'sendEmail', emailId },
  ],
} as const satisfies Record<string, readonly Step[]>;
type Kind = 'empty' | keyof typeof AUTOMATIONS;
const KINDS: readonly Kind[] = ['empty', 'setField', 'sendWaitSend'];

/** Events and workflow tasks of one enrollment: of its own workflow, and with those of its sends. */
interface Cost {
  readonly tasks: number;
  readonly events: number;
  readonly tasksWithSends: number;
  readonly eventsWithSends: number;
}

let turns = 0;

/** One automation: everybody enters, everybody is through. */
async function automationTurn(
  kind: keyof typeof AUTOMATIONS,
  count: number,
): Promise<{ seconds: number; cost: Cost }> {
  turns += 1;
  const start = `accept+turn${turns}x`;
  await makeProspects(start, count);
  const now = new Date();
  const who = { field: 'email', operator: 'startsWith', value: start } as const;
  const definition = { who, steps: AUTOMATIONS[kind], when: { mode: 'once', timeZone: 'UTC' } } as const;
  const id = (await createAutomation(db, now, `Turn ${turns}`, definition, 'secret'))!;
  const origin = { way: 'system', actor: 'bench', reason: null } as const;
  const startedAt = performance.now();
  await db.transaction((tx) => changeState(tx, origin, now, id, 'activate'));
  const left = plain(`
    select $2 - count(*) filter (where e.state = 'done')
      + (select count(*) from send s join enrollment n on n.id = s.enrollment_id where n.automation_id = $1 and s.state <> 'final')
      as left from enrollment e where e.automation_id = $1`);
  // Seldom enough to cost nothing.
  while (Number((await db.query<{ left: string }>(left, [id, count]))[0]!.left) > 0) await delay(200);
  return { seconds: (performance.now() - startedAt) / 1000, cost: await costOf(id) };
}

async function makeProspects(start: string, count: number): Promise<void> {
  const now = new Date();
  for (let from = 0; from < count; from += 1_000) {
    const addresses = Array.from({ length: Math.min(1_000, count - from) }, (_, n) =>
      parseAddress(`${start}${from + n}@example.net`),
    ).filter((one): one is ParsedAddress => !isAddressProblem(one));
    const ids = await ensureAddresses(db, hasher, now, addresses);
    const rows = addresses.map((one) => ({
      id: uuidv7(),
      address_id: ids.get(one.comparisonForm),
      email: one.given,
    }));
    await db.query(
      plain(`insert into prospect (id, address_id, email, first_name, created_at, updated_at)
             select r.id, r.address_id, r.email, 'Ada', $2, $2
             from jsonb_to_recordset($1::jsonb) as r(id uuid, address_id uuid, email text)`),
      [JSON.stringify(rows), now],
    );
  }
  await db.query(plain('analyze'));
}

/** What those of a sample cost on average. */
async function costOf(automationId: string): Promise<Cost> {
  const sample = await db.query<{ id: string; sends: string[] | null }>(
    plain(`select e.id, (select array_agg(s.id) from send s where s.enrollment_id = e.id) as sends
           from enrollment e where e.automation_id = $1 order by md5(e.id::text) limit $2`),
    [automationId, SAMPLE],
  );
  const total = { tasks: 0, events: 0, tasksWithSends: 0, eventsWithSends: 0 };
  for (const { id, sends } of sample) {
    const own = await countHistory(enrollmentId(id, 1));
    total.tasks += own.tasks;
    total.events += own.events;
    for (const one of [
      own,
      ...(await Promise.all((sends ?? []).map((send) => countHistory(emailSendId(send, 1))))),
    ]) {
      total.tasksWithSends += one.tasks;
      total.eventsWithSends += one.events;
    }
  }
  const each = (sum: number) => Number((sum / sample.length).toFixed(2));
  return {
    tasks: each(total.tasks),
    events: each(total.events),
    tasksWithSends: each(total.tasksWithSends),
    eventsWithSends: each(total.eventsWithSends),
  };
}

async function countHistory(workflowId: string): Promise<{ tasks: number; events: number }> {
  const handle = client.workflow.getHandle(workflowId);
  await handle.result();
  const events = (await handle.fetchHistory()).events ?? [];
  return {
    tasks: events.filter((event) => event.workflowTaskCompletedEventAttributes).length,
    events: events.length,
  };
}

async function emptyTurn(count: number): Promise<{ seconds: number; cost: Cost | null }> {
  let left = count;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      for (; left > 0; ) {
        left -= 1;
        await client.workflow.execute('empty', { workflowId: uuidv7(), taskQueue: TASK_QUEUES.automations });
      }
    }),
  );
  return { seconds: (performance.now() - startedAt) / 1000, cost: null };
}

const turn = (kind: Kind, count: number) =>
  kind === 'empty' ? emptyTurn(count) : automationTurn(kind, count);
const rate = (count: number, seconds: number) => Number((count / seconds).toFixed(1));

async function compare() {
  for (const kind of KINDS) await turn(kind, Math.min(enrollments, 100)); // warm: caches, plans, connections
  const seconds: Record<Kind, number> = { empty: 0, setField: 0, sendWaitSend: 0 };
  const costs: Partial<Record<Kind, Cost | null>> = {};
  for (let round = 0; round < rounds; round += 1) {
    // Each goes first in its turn: the server slows down as its database grows.
    const first = round % KINDS.length;
    for (const kind of [...KINDS.slice(first), ...KINDS.slice(0, first)]) {
      const took = await turn(kind, enrollments);
      seconds[kind] += took.seconds;
      costs[kind] = took.cost;
      say(`round ${round + 1}: ${kind} ${rate(enrollments, took.seconds)} a second`);
    }
  }
  return {
    enrollments: enrollments * rounds,
    emptyPerSecond: rate(enrollments * rounds, seconds.empty),
    setFieldPerSecond: rate(enrollments * rounds, seconds.setField),
    sendWaitSendPerSecond: rate(enrollments * rounds, seconds.sendWaitSend),
    setFieldToEmpty: Number((seconds.empty / seconds.setField).toFixed(3)),
    sendWaitSendToEmpty: Number((seconds.empty / seconds.sendWaitSend).toFixed(3)),
    setField: costs.setField,
    sendWaitSend: costs.sendWaitSend,
  };
}

async function grow(counts: readonly number[]) {
  const rows: object[] = [];
  for (const kind of KINDS) await turn(kind, 100);
  for (const count of counts) {
    for (const kind of KINDS.filter((one) => one === 'empty' || one === (values.kind ?? one))) {
      const { seconds, cost } = await turn(kind, count);
      const row = { kind, enrollments: count, perSecond: rate(count, seconds), ...cost };
      say(JSON.stringify(row));
      rows.push(row);
    }
  }
  return { growth: rows };
}

const result =
  values.growth === undefined ? await compare() : await grow(values.growth.split(',').map(Number));
await relay.stop();
for (const worker of workers) worker.shutdown();
await running;
await Promise.all([mailer.close(), native.close(), connection.close()]);
await simulator.stop();
await environment.close();
console.log(values.json ? JSON.stringify(result) : JSON.stringify(result, null, 2));
