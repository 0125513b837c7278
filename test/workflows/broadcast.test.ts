import { setTimeout as delay } from 'node:timers/promises';
import { Client } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { changeBroadcast, readBroadcast } from '../../db/queries/broadcasts.ts';
import { setFlags } from '../../db/queries/flags.ts';
import type { BroadcastCommand } from '../../domain/broadcast/words.ts';
import { emailSendId, TASK_QUEUES, broadcastId as workflowIdOf } from '../../domain/processes.ts';
import { type Relay, startRelay } from '../../worker/relay.ts';
import {
  broadcastProgress,
  cancelBroadcast,
  pauseBroadcast,
  resumeBroadcast,
} from '../../workflows/broadcast.ts';
import { sweep } from '../../workflows/sweep.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { listOf, newBroadcast, sendsOf } from '../support/broadcasting.ts';
import { readNothing } from '../support/inbound.ts';
import { type Sending, startSending } from '../support/sending.ts';
import { silent } from '../support/silent.ts';
import { startTimeSkipping } from '../support/timeSkipping.ts';
import { until } from '../support/until.ts';

let account: TestAccount;
let environment: TestWorkflowEnvironment;
let sending: Sending;
let relay: Relay;
/** Lets no time skip while it waits. */
let client: Client;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount({ poolSize: 20 });
  environment = await startTimeSkipping();
  client = new Client({ connection: environment.connection });
  sending = await startSending(account, environment);
  relay = startRelay({ db: account.db, processes: sending.processes, readInbound: readNothing, log: silent });
});
beforeEach(() => sending.mail.answer(() => null));
afterAll(async () => {
  await relay?.stop();
  await sending?.close();
  await environment?.teardown();
  await account?.close();
});

const FULL = '452 4.2.2 The recipient mailbox is full';
const now = async () => new Date(await environment.currentTimeMs());

async function draft(count: number, options: { perMinute?: number } = {}) {
  counter += 1;
  const emails = Array.from({ length: count }, (_, index) => `w${index}@workflow${counter}.example.net`);
  const { listId, prospectIds } = await listOf(account, emails);
  const id = await newBroadcast(account, { listIds: [listId], excludeListIds: [] }, options);
  return { id, emails, prospectIds, handle: client.workflow.getHandle(workflowIdOf(id, 1)) };
}

async function command(id: string, what: BroadcastCommand, startAt: Date | null = null) {
  const at = await now();
  const changed = await account.db.transaction((tx) => changeBroadcast(tx, ORIGIN, at, id, what, startAt));
  expect(changed).toEqual({ kind: 'done' });
}

const stateOf = async (id: string) => (await readBroadcast(account.db, id))!.state;
const untilState = (id: string, state: string) =>
  until(`the broadcast is ${state}`, async () => (await stateOf(id)) === state);
const acceptedOf = (emails: readonly string[]) =>
  sending.mail.accepted.filter((address) => emails.includes(address)).sort();

describe('broadcast', () => {
  it('sends to everybody once; nothing personal reaches Temporal', async () => {
    const { id, emails, handle } = await draft(1_200);
    await command(id, 'start');
    await untilState(id, 'sent');
    expect(await handle.result()).toEqual({ state: 'sent' });
    expect(acceptedOf(emails)).toEqual([...emails].sort());
    const history = await handle.fetchHistory();
    expect(history.events!.length).toBeLessThan(60);
    const text = JSON.stringify(history).replaceAll(/"data":"([^"]*)"/g, (_, payload: string) =>
      Buffer.from(payload, 'base64').toString('utf8'),
    );
    expect(text).toContain(id);
    expect(text).not.toMatch(/example\.net|Ada/);
  });

  it('waits for its time', async () => {
    const { id, emails, handle } = await draft(3);
    const startAt = new Date((await now()).getTime() + 3_600_000);
    await command(id, 'start', startAt);
    await until('it waits', async () => (await handle.query(broadcastProgress)).until === startAt.getTime());
    expect(acceptedOf(emails)).toEqual([]);
    await environment.sleep(3_600_000);
    await untilState(id, 'sent');
    expect(acceptedOf(emails)).toHaveLength(3);
    const [row] = await account.db.query<{ first: Date }>(
      plain('select min(first_attempt_at) as first from send where broadcast_id = $1'),
      [id],
    );
    expect(row!.first.getTime()).toBeGreaterThanOrEqual(startAt.getTime());
  });

  it('who soft-bounces goes on in a workflow from attempt 2, until delivered', async () => {
    const { id, emails } = await draft(20);
    sending.mail.answer((recipient, nth) => (recipient.startsWith('w7@') && nth < 3 ? FULL : null));
    await command(id, 'start');
    await untilState(id, 'sent');
    const waiting = (await sendsOf(account, id)).find((send) => send.state === 'waiting')!;
    expect(waiting.recipient).toBe(emails[7]);
    const handle = environment.client.workflow.getHandle(emailSendId(waiting.id, 1));
    await until('its workflow has started', () => handle.describe());
    expect(await handle.result()).toEqual({ outcome: 'delivered', reason: null });
    expect((await sendsOf(account, id)).find((send) => send.id === waiting.id)!.attempts).toMatchObject([
      { number: 1, outcome: 'soft_bounce' },
      { number: 2, outcome: 'soft_bounce' },
      { number: 3, outcome: 'delivered' },
    ]);
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  });

  it('I1: a pause holds it, an opt-out meanwhile counts, resuming sends to the others; by the API', async () => {
    const { id, emails, prospectIds, handle } = await draft(200, { perMinute: 600 });
    await command(id, 'start');
    await until('some are sent', () => acceptedOf(emails).length > 5);
    await command(id, 'pause');
    await until('it is paused', async () => (await handle.query(broadcastProgress)).doing === 'paused');
    const sent = acceptedOf(emails).length;
    expect(sent).toBeLessThan(200);
    const begun = new Set((await sendsOf(account, id)).map((send) => send.recipient));
    const out = emails.findIndex((email) => !begun.has(email));
    await account.db.transaction((tx) =>
      setFlags(tx, ORIGIN, new Date(), prospectIds[out]!, { emailOptOut: true }),
    );
    await account.db.query(plain('update broadcast set per_minute = null where id = $1'), [id]);
    await command(id, 'resume');
    await untilState(id, 'sent');
    expect(await handle.result()).toEqual({ state: 'sent' });
    expect(acceptedOf(emails)).toEqual(emails.filter((_, index) => index !== out).sort());
  });

  it('is cancelled by the API with what waits for another attempt', async () => {
    const { id, emails, handle } = await draft(10);
    sending.mail.answer((recipient) => (recipient.startsWith('w3@') ? FULL : null));
    await command(id, 'start');
    await untilState(id, 'sent');
    await handle.result();
    await command(id, 'cancel');
    await until('nothing waits', async () =>
      (await sendsOf(account, id)).every((send) => send.state === 'final'),
    );
    expect((await sendsOf(account, id)).find((send) => send.recipient === emails[3])).toMatchObject({
      outcome: 'cancelled',
      outcome_reason: 'broadcast_cancelled',
    });
  });

  it('I2: cancelled by the API in mid-run, every send of it comes to its end', async () => {
    const { id, emails, handle } = await draft(200);
    // Slow, so that it is found out while some are marked and others gated.
    sending.mail.answer(async () => {
      await delay(100);
      return null;
    });
    await command(id, 'start');
    await until('some are sent', () => acceptedOf(emails).length > 10);
    await command(id, 'cancel');
    expect(await handle.result()).toEqual({ state: 'cancelled' });
    await until('every send is final', async () =>
      (await sendsOf(account, id)).every((send) => send.state === 'final'),
    );
    const sends = await sendsOf(account, id);
    const delivered = sends.filter(({ outcome }) => outcome === 'delivered');
    expect(sends.filter(({ outcome }) => outcome === 'cancelled')).toHaveLength(
      sends.length - delivered.length,
    );
    expect(acceptedOf(emails)).toEqual(delivered.map(({ recipient }) => recipient).sort());
    expect(sends.length).toBeLessThan(emails.length);
  });

  it('is paused, resumed and cancelled by somebody at the Temporal UI', async () => {
    const { id, emails, handle } = await draft(300, { perMinute: 600 });
    await command(id, 'start');
    await until('some are sent', () => acceptedOf(emails).length > 5);
    await handle.signal(pauseBroadcast);
    await untilState(id, 'paused');
    await handle.signal(resumeBroadcast);
    await untilState(id, 'sending');
    await handle.signal(cancelBroadcast);
    await untilState(id, 'cancelled');
    expect(await handle.result()).toEqual({ state: 'cancelled' });
    expect(acceptedOf(emails).length).toBeLessThan(300);
  });

  it('a cancellation of its workflow cancels it', async () => {
    const { id, emails, handle } = await draft(5);
    await command(id, 'start', new Date((await now()).getTime() + 3_600_000));
    await until('it waits', async () => (await handle.query(broadcastProgress)).until !== null);
    await handle.cancel();
    expect(await handle.result()).toEqual({ state: 'cancelled' });
    expect(await stateOf(id)).toBe('cancelled');
    expect(acceptedOf(emails)).toEqual([]);
  });

  it('I7: goes on in another run when its workflow was terminated', async () => {
    const { id, emails, handle } = await draft(5);
    await command(id, 'start', new Date((await now()).getTime() + 3_600_000));
    await until('it waits', async () => (await handle.query(broadcastProgress)).until !== null);
    await handle.terminate();
    await account.db.query(plain('update broadcast set start_at = now() where id = $1'), [id]);
    // Whatever tells the workflow anything finds it gone.
    await command(id, 'pause');
    await command(id, 'resume');
    await untilState(id, 'sent');
    expect((await readBroadcast(account.db, id))!.run).toBeGreaterThan(1);
    expect(acceptedOf(emails)).toEqual([...emails].sort());
  });

  it('I7: the sweep finds one whose workflow was lost, and leaves those that run alone', async () => {
    const lost = await draft(5);
    const runs = await draft(5);
    const startAt = new Date((await now()).getTime() + 3_600_000);
    for (const { id, handle } of [lost, runs]) {
      await command(id, 'start', startAt);
      await until('it waits', async () => (await handle.query(broadcastProgress)).until !== null);
    }
    await lost.handle.terminate();
    await account.db.query(plain('update broadcast set start_at = now() where id = $1'), [lost.id]);
    const swept = await client.workflow.execute(sweep, {
      workflowId: 'sweep',
      taskQueue: TASK_QUEUES.operations,
    });
    expect(swept).toEqual({ restarted: 1 });
    await untilState(lost.id, 'sent');
    expect(acceptedOf(lost.emails)).toEqual([...lost.emails].sort());
    expect((await readBroadcast(account.db, runs.id))!.run).toBe(1);
    await command(runs.id, 'cancel');
  });
});
