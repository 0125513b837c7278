import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { requestRetry, settleSend } from '../../db/queries/sends.ts';
import { emailSendId } from '../../domain/processes.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestProspect } from '../support/account.ts';
import type { HeedProcess } from '../support/childProcess.ts';
import { type PostgresProxy, startPostgresProxy } from '../support/postgresProxy.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { type StoppingMailServer, startStoppingMailServer } from '../support/stoppingMailServer.ts';
import { until } from '../support/until.ts';
import { type ProcessSettings, startWorkerProcess } from '../support/workerProcess.ts';

/*
 * Workers as real processes, killed and frozen at exactly known points of a conversation. What a frozen worker holds is
 * given to another one after its heartbeat timeout of 20 s, and that may be given to the frozen one's open polls first,
 * which the server takes back after a minute: so these tests take their time.
 */

/** The contract's number (I1): after this time MAIL FROM needs a new decision of the gate. */
const GATE_HOLDS_MS = 2_000;

let account: TestAccount;
let temporal: RealTemporal;
let mail: StoppingMailServer;
let proxy: PostgresProxy;
beforeAll(async () => {
  account = await createTestAccount();
  temporal = await connectToTemporal();
  mail = await startStoppingMailServer();
  proxy = await startPostgresProxy(account.url);
});
afterAll(async () => {
  await temporal?.close();
  await proxy?.close();
  await mail?.close();
  await account?.close();
});

const workers: HeedProcess[] = [];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});

async function startWorker(name: string, changes: Partial<ProcessSettings> = {}): Promise<HeedProcess> {
  const worker = await startWorkerProcess({
    databaseUrl: account.url,
    temporal,
    smtpPort: mail.port,
    addressKey: account.addressKey,
    ehloName: name,
    ...changes,
  });
  workers.push(worker);
  return worker;
}

interface Recipient {
  readonly sendId: string;
  readonly prospect: TestProspect;
  readonly address: string;
}

let counter = 0;

/** Somebody whose send has not been made yet, so that a stop can be set before. */
async function newPerson(): Promise<{
  address: string;
  prospect: TestProspect;
  send(emailId?: string): Promise<Recipient>;
}> {
  const address = `person${++counter}@example.net`;
  const prospect = await account.prospect(address);
  return {
    address,
    prospect,
    async send(emailId) {
      const { sendId } = await account.send(prospect, emailId === undefined ? {} : { emailId });
      return { sendId, prospect, address };
    },
  };
}

/** An email that no socket buffer swallows whole: some eight megabytes once it is encoded. */
async function largeEmail(): Promise<string> {
  const emailId = await account.email();
  await account.db.query(
    plain(`update email_version set text = body, html = body from (select repeat(repeat('€', 70) || E'\\n', 13000)) x (body)
           where email_id = $1`),
    [emailId],
  );
  return emailId;
}

interface State {
  readonly state: string;
  readonly outcome: string | null;
  readonly attempts: { number: number; epoch: number; outcome: string; rule: string | null }[];
}

async function stateOf({ sendId }: Recipient): Promise<State> {
  const [row] = await account.db.query<State & Record<string, unknown>>(
    plain(`
      select s.state, s.outcome, (select jsonb_agg(jsonb_build_object('number', a.number, 'epoch', a.epoch, 'outcome',
          a.outcome, 'rule', a.rule) order by a.number) from attempt a where a.send_id = s.id) as attempts
      from send s where s.id = $1`),
    [sendId],
  );
  return row!;
}

function untilFinal(recipient: Recipient): Promise<State> {
  return until(
    `${recipient.address} is final and its workflow closed`,
    async () => {
      const state = await stateOf(recipient);
      const workflow = await temporal.client.workflow.getHandle(emailSendId(recipient.sendId, 1)).describe();
      return state.state === 'final' && workflow.status.name === 'COMPLETED' && state;
    },
    180_000,
  );
}

const copiesFor = ({ address }: Recipient) => mail.kept.filter((message) => message.recipient === address);

it('killed before, during and after DATA: sent once, or unknown and never resent by itself (I2, I7)', async () => {
  const first = await startWorker('killed.test');
  const [before, during, after] = [await newPerson(), await newPerson(), await newPerson()];
  const stops = [
    mail.stop(before.address, 'rcpt'),
    mail.stop(during.address, 'message'),
    mail.stop(after.address, 'final'),
  ];
  const large = await largeEmail();
  const [notYet, half, taken] = [await before.send(), await during.send(large), await after.send()];
  await Promise.all(stops.map((stop) => stop.reached));
  expect(mail.kept.map((message) => message.recipient)).toEqual([taken.address]);

  first.kill('SIGKILL');
  expect(await first.ended).toEqual({ code: null, signal: 'SIGKILL' });
  for (const stop of stops) stop.release();
  await startWorker('next.test');

  expect(await untilFinal(notYet)).toMatchObject({
    outcome: 'delivered',
    // Taken over by who came next: still the same attempt.
    attempts: [{ number: 1, epoch: 2, outcome: 'delivered' }],
  });
  expect(copiesFor(notYet)).toMatchObject([{ from: 'next.test' }]);
  for (const recipient of [half, taken]) {
    expect(await untilFinal(recipient)).toMatchObject({
      outcome: 'unknown',
      attempts: [{ number: 1, epoch: 1, outcome: 'unknown', rule: 'worker_lost' }],
    });
    expect(await account.db.transaction((tx) => requestRetry(tx, ORIGIN, new Date(), recipient.sendId))).toBe(
      'already_final',
    );
    expect(mail.triesOf(recipient.address)).toBe(1);
  }
  expect(copiesFor(half)).toHaveLength(0);
  expect(copiesFor(taken)).toHaveLength(1);

  // Only a person sends it again: by the gate, under the same Message-ID.
  await account.db.transaction((tx) => settleSend(tx, ORIGIN, new Date(), taken.sendId, 'resend'));
  await until('it is delivered', async () => (await stateOf(taken)).outcome === 'delivered');
  const ids = copiesFor(taken).map(({ content }) => /^message-id: (.*)$/im.exec(content)?.[1]);
  expect(ids).toHaveLength(2);
  expect(ids[0]).toBe(ids[1]);
  expect(ids[0]).toContain(taken.sendId);
}, 300_000);

it('I1 frozen between the gate and MAIL FROM while somebody opts out: asked again, and nothing is sent', async () => {
  const worker = await startWorker('slow.test', { databaseUrl: proxy.url });
  const person = await newPerson();
  const held = proxy.holdCommitOf('begin_attempt', person.prospect.id);
  const recipient = await person.send();
  await held.reached;
  worker.kill('SIGSTOP');
  await account.db.transaction((tx) =>
    setFlags(tx, ORIGIN, new Date(), recipient.prospect.id, { emailOptOut: true }),
  );
  // The opt-out found an attempt that had begun, and could not end it.
  expect(await stateOf(recipient)).toMatchObject({ state: 'attempting', outcome: null });
  await delay(GATE_HOLDS_MS + 500);
  held.release();
  worker.kill('SIGCONT');
  expect(await untilFinal(recipient)).toMatchObject({
    outcome: 'suppressed',
    attempts: [{ number: 1, epoch: 2, outcome: 'refused' }],
  });
  expect(mail.commands.filter((command) => /^slow\.test (MAIL|RCPT|DATA)/.test(command))).toEqual([]);
}, 300_000);

it('frozen past its heartbeat beside a second worker, and woken again: one copy each (I2)', async () => {
  const frozen = await startWorker('frozen.test');
  const [before, after] = [await newPerson(), await newPerson()];
  const stops = [mail.stop(before.address, 'rcpt'), mail.stop(after.address, 'final')];
  const [notYet, taken] = [await before.send(), await after.send()];
  await Promise.all(stops.map((stop) => stop.reached));
  await startWorker('second.test');
  frozen.kill('SIGSTOP');
  for (const stop of stops) stop.release();

  // What had not been handed over is delivered by the second worker; of the other it cannot know.
  expect(await untilFinal(notYet)).toMatchObject({ outcome: 'delivered' });
  expect(copiesFor(notYet)).toMatchObject([{ from: 'second.test' }]);
  expect(await untilFinal(taken)).toMatchObject({ outcome: 'unknown' });
  expect(copiesFor(taken)).toMatchObject([{ from: 'frozen.test' }]);

  const commandsBefore = mail.commands.length;
  frozen.kill('SIGCONT');
  await until(
    'the woken worker has said what it knows',
    async () => (await stateOf(taken)).outcome === 'delivered',
  );
  await until('it has left the other conversation', () =>
    mail.commands.slice(commandsBefore).some((command) => /^frozen\.test (RSET|QUIT)$/.test(command)),
  );
  await frozen.stop();
  expect(await stateOf(taken)).toMatchObject({
    outcome: 'delivered',
    attempts: [{ number: 1, epoch: 1, outcome: 'delivered' }],
  });
  expect(await stateOf(notYet)).toMatchObject({
    outcome: 'delivered',
    attempts: [{ number: 1, outcome: 'delivered' }],
  });
  expect(
    mail.commands.slice(commandsBefore).filter((command) => /^frozen\.test (MAIL|RCPT|DATA)/.test(command)),
  ).toEqual([]);
  for (const recipient of [notYet, taken]) expect(copiesFor(recipient)).toHaveLength(1);
}, 300_000);

it('told to stop, it ends the attempt in the air properly and leaves what is new to others (I7)', async () => {
  const worker = await startWorker('leaving.test');
  const person = await newPerson();
  const stop = mail.stop(person.address, 'final');
  const recipient = await person.send();
  await stop.reached;
  worker.kill('SIGTERM');
  // Time enough for a worker that would not wait.
  await delay(1_000);
  stop.release();
  expect(await worker.ended).toEqual({ code: 0, signal: null });
  expect(await stateOf(recipient)).toMatchObject({
    outcome: 'delivered',
    attempts: [{ number: 1, epoch: 1, outcome: 'delivered' }],
  });
  const later = await (await newPerson()).send();
  await startWorker('following.test');
  expect(await untilFinal(later)).toMatchObject({ outcome: 'delivered' });
  expect(copiesFor(recipient)).toHaveLength(1);
}, 300_000);
