import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { changeBroadcast, readBroadcast } from '../../db/queries/broadcasts.ts';
import { broadcastId as workflowIdOf } from '../../domain/processes.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { type BroadcastSend, listOf, newBroadcast, sendsOf } from '../support/broadcasting.ts';
import type { HeedProcess } from '../support/childProcess.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { type StoppingMailServer, startStoppingMailServer } from '../support/stoppingMailServer.ts';
import { until } from '../support/until.ts';
import { startWorkerProcess } from '../support/workerProcess.ts';

/* Workers that are killed or frozen in the middle of a page, told apart by the name that they say EHLO with. */

const COUNT = 400;
let account: TestAccount;
let temporal: RealTemporal;
let mail: StoppingMailServer;
let counter = 0;
const running: HeedProcess[] = [];
beforeAll(async () => {
  account = await createTestAccount();
  await account.setting({ schedule_seconds: [0, 1, 2] });
  temporal = await connectToTemporal();
  mail = await startStoppingMailServer();
}, 120_000);
afterEach(async () => {
  await Promise.all(running.splice(0).map((worker) => worker.stop()));
}, 60_000);
afterAll(async () => {
  await mail?.close();
  await temporal?.close();
  await account?.close();
});

async function startWorker(ehloName: string): Promise<HeedProcess> {
  const worker = await startWorkerProcess(
    {
      databaseUrl: account.url,
      temporal,
      smtpPort: mail.port,
      addressKey: account.addressKey,
      ehloName,
    },
    { HEED_SMTP_MAX_CONNECTIONS: '3' },
  );
  running.push(worker);
  return worker;
}

async function begin(): Promise<{ id: string; emails: string[] }> {
  counter += 1;
  const emails = Array.from({ length: COUNT }, (_, index) => `f${index}@fault${counter}.example.net`);
  const { listId } = await listOf(account, emails);
  const id = await newBroadcast(account, { listIds: [listId], excludeListIds: [] });
  await account.db.transaction((tx) => changeBroadcast(tx, ORIGIN, new Date(), id, 'start'));
  return { id, emails };
}

async function untilOver(id: string): Promise<BroadcastSend[]> {
  await until(
    'everything is final',
    async () => {
      const { state } = (await readBroadcast(account.db, id))!;
      return state === 'sent' && (await sendsOf(account, id)).every((send) => send.state === 'final');
    },
    120_000,
  );
  return sendsOf(account, id);
}

const copiesOf = (address: string) => mail.kept.filter(({ recipient }) => recipient === address);

function expectOnceEach(sends: readonly BroadcastSend[], emails: readonly string[]): void {
  expect(sends.map(({ recipient }) => recipient).sort()).toEqual([...emails].sort());
  for (const { recipient, outcome } of sends) {
    const copies = copiesOf(recipient).length;
    // Of what is unknown there may be one or none.
    if (outcome === 'unknown') expect(copies).toBeLessThanOrEqual(1);
    else expect([outcome, copies]).toEqual(['delivered', 1]);
  }
}

it('killed in mid-page: no address twice, nobody forgotten, unknown only what was marked (I2, I7)', async () => {
  const worker = await startWorker('killed.test');
  const { id, emails } = await begin();
  // Its reply to the final dot never comes: the server has the message, the worker dies without knowing.
  const stop = mail.stop(emails[37]!, 'final');
  await stop.reached;
  worker.kill('SIGKILL');
  await worker.ended;
  stop.release();
  const marked = await account.db.query<{ recipient: string }>(
    plain(`select s.recipient from send s join attempt a on a.send_id = s.id
      where s.broadcast_id = $1 and a.state = 'handing_over'`),
    [id],
  );
  const was = new Set(marked.map(({ recipient }) => recipient));
  expect(was.has(emails[37]!)).toBe(true);

  await startWorker('next.test');
  const sends = await untilOver(id);
  expectOnceEach(sends, emails);
  const unknown = sends.filter(({ outcome }) => outcome === 'unknown').map(({ recipient }) => recipient);
  expect(unknown.sort()).toEqual([...was].sort());
  expect(copiesOf(emails[37]!)).toMatchObject([{ from: 'killed.test' }]);
}, 300_000);

it('frozen in mid-page beside a second worker, and woken again: one copy each, and its word counts (I2)', async () => {
  const frozen = await startWorker('frozen.test');
  const { id, emails } = await begin();
  const stop = mail.stop(emails[21]!, 'final');
  await stop.reached;
  frozen.kill('SIGSTOP');
  stop.release();
  await startWorker('second.test');
  const before = await untilOver(id);
  expectOnceEach(before, emails);
  expect(before.find(({ recipient }) => recipient === emails[21])).toMatchObject({ outcome: 'unknown' });

  frozen.kill('SIGCONT');
  await until('the woken worker has said what it knows', async () => {
    const sends = await sendsOf(account, id);
    return sends.find(({ recipient }) => recipient === emails[21])!.outcome === 'delivered';
  });
  await frozen.stop();
  expectOnceEach(await sendsOf(account, id), emails);
}, 300_000);

it('two workers share one broadcast over disjoint pages', async () => {
  await startWorker('first.test');
  await startWorker('other.test');
  // Who gets which lane is Temporal's to say, and one worker may get all four: then it is done once more.
  for (let shared = false, tries = 0; !shared; tries += 1) {
    expect(tries).toBeLessThan(20);
    counter += 1;
    const emails = Array.from({ length: 2_000 }, (_, index) => `s${index}@shared${counter}.example.net`);
    const { listId } = await listOf(account, emails);
    const id = await newBroadcast(account, { listIds: [listId], excludeListIds: [] });
    await account.db.transaction((tx) => changeBroadcast(tx, ORIGIN, new Date(), id, 'start'));
    expectOnceEach(await untilOver(id), emails);
    shared = new Set(emails.map((address) => copiesOf(address)[0]!.from)).size === 2;
    expect(await temporal.client.workflow.getHandle(workflowIdOf(id, 1)).result()).toEqual({ state: 'sent' });
  }
}, 600_000);
