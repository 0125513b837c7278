import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type AttemptInput, createDeliveryActivities } from '../../activities/delivery.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import { plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { cancelSend } from '../../db/queries/sends.ts';
import { changeSettings } from '../../db/queries/settings.ts';
import { emailSendId, TASK_QUEUES } from '../../domain/processes.ts';
import { DEFAULT_OFFSETS_SECONDS } from '../../domain/retrySchedule.ts';
import { type Relay, startRelay } from '../../worker/relay.ts';
import { cancel, emailSend, ended, retryNow, timeline } from '../../workflows/emailSend.ts';
import {
  createTestAccount,
  ORIGIN,
  type TestAccount,
  type TestProspect,
  type TestSend,
} from '../support/account.ts';
import { readNothing } from '../support/inbound.ts';
import { type Sending, startSending, workflowBundle } from '../support/sending.ts';
import { silent } from '../support/silent.ts';
import { startTimeSkipping } from '../support/timeSkipping.ts';
import { testUnsubscribing } from '../support/unsubscribing.ts';
import { until } from '../support/until.ts';

let account: TestAccount;
let environment: TestWorkflowEnvironment;
let sending: Sending;
let relay: Relay | null = null;
beforeAll(async () => {
  account = await createTestAccount();
  environment = await startTimeSkipping();
  sending = await startSending(account, environment);
});
afterAll(async () => {
  await sending?.close();
  await environment?.teardown();
  await account?.close();
});
afterEach(async () => {
  sending.mail.answer(() => null);
  await relay?.stop();
  relay = null;
});

const FULL = '452 4.2.2 The recipient mailbox is full';
let counter = 0;

async function newSend(): Promise<{ prospect: TestProspect; send: TestSend; address: string }> {
  const address = `person${++counter}@example.net`;
  const prospect = await account.prospect(address);
  return { prospect, send: await account.send(prospect), address };
}

function start(send: TestSend, taskQueue: string = TASK_QUEUES.sends) {
  return environment.client.workflow.start(emailSend, {
    workflowId: emailSendId(send.sendId, send.run),
    taskQueue,
    args: [{ sendId: send.sendId, run: send.run, recipientDomain: send.recipientDomain }],
  });
}

async function attemptsOf(send: TestSend) {
  return account.db.query<{ number: number; outcome: string; gated_at: Date; trigger: string }>(
    plain('select number, outcome, gated_at, trigger from attempt where send_id = $1 order by number'),
    [send.sendId],
  );
}

async function rowOf(send: TestSend) {
  const [row] = await account.db.query(plain('select * from send where id = $1'), [send.sendId]);
  return row!;
}

/** Waits in the server's time until the workflow has rested after its n-th attempt. */
async function restingAfter(handle: Awaited<ReturnType<typeof start>>, attempts: number) {
  for (let tries = 0; tries < 400; tries += 1) {
    const now = await handle.query(timeline);
    if (now.state === 'waiting' && now.attempts.length >= attempts) return now;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`the send did not come to wait after ${attempts} attempts`);
}

/** Sets the kill switch. A relay carries what follows, but starts nothing: these tests start their workflows themselves. */
async function pause(marketingPaused: boolean): Promise<void> {
  await account.db.query(plain('delete from outbox'));
  await account.db.transaction((tx) => changeSettings(tx, ORIGIN, new Date(), { marketingPaused }));
  if (marketingPaused) return;
  relay = startRelay({ db: account.db, processes: sending.processes, readInbound: readNothing, log: silent });
}

async function heldIn(handle: Awaited<ReturnType<typeof start>>): Promise<void> {
  await until('it is held', async () => {
    const { state } = await handle.query(timeline);
    return state === 'held';
  });
}

/** In real time: with a relay at work no time may be skipped. */
async function delivered(send: TestSend): Promise<void> {
  await until('it is delivered', async () => (await rowOf(send)).outcome === 'delivered');
}

describe('emailSend', () => {
  it('delivers at the first attempt: one attempt, one message, no flag', async () => {
    const { send, address } = await newSend();
    const handle = await start(send);
    expect(await handle.result()).toEqual({ outcome: 'delivered', reason: null });
    expect(sending.mail.accepted.filter((to) => to === address)).toHaveLength(1);
    expect(await rowOf(send)).toMatchObject({ state: 'final', outcome: 'delivered', attempt_count: 1 });
  });

  it('five days of soft bounces make exactly the attempts of the schedule, and no flag (I5)', async () => {
    const { send, prospect, address } = await newSend();
    sending.mail.answer(() => FULL);
    const handle = await start(send);
    expect(await handle.result()).toEqual({ outcome: 'exhausted', reason: 'mailbox_full' });
    const attempts = await attemptsOf(send);
    const first = attempts[0]!.gated_at.getTime();
    const offsets = attempts.map((attempt) => (attempt.gated_at.getTime() - first) / 1000);
    expect(offsets).toHaveLength(DEFAULT_OFFSETS_SECONDS.length);
    for (const [index, offset] of offsets.entries()) {
      expect(offset).toBeGreaterThanOrEqual(DEFAULT_OFFSETS_SECONDS[index]!);
      // A timer never fires early; late only by what a workflow task and an activity take.
      expect(offset).toBeLessThan(DEFAULT_OFFSETS_SECONDS[index]! + 30);
    }
    expect(attempts.every((attempt) => attempt.outcome === 'soft_bounce')).toBe(true);
    expect(sending.mail.tries.get(address)).toBe(16);
    expect(sending.mail.accepted).not.toContain(address);
    const [person] = await account.db.query(
      plain('select bounced, email_opt_out from prospect where id = $1'),
      [prospect.id],
    );
    expect(person).toEqual({ bounced: false, email_opt_out: false });
  });

  it('recovers on the third day and is delivered once', async () => {
    const { send, address } = await newSend();
    const recoversAt = DEFAULT_OFFSETS_SECONDS.findIndex((offset) => offset >= 2 * 24 * 3600) + 1;
    sending.mail.answer((_, nth) => (nth < recoversAt ? FULL : null));
    const handle = await start(send);
    expect(await handle.result()).toEqual({ outcome: 'delivered', reason: null });
    expect(await attemptsOf(send)).toHaveLength(recoversAt);
    expect(sending.mail.accepted.filter((to) => to === address)).toHaveLength(1);
    const shown = await handle.query(timeline);
    expect(shown).toMatchObject({ state: 'final', outcome: 'delivered', nextAttemptAt: null });
    expect(shown.attempts.at(-1)).toMatchObject({ number: recoversAt, outcome: 'delivered' });
    expect(shown.attempts[0]).toMatchObject({
      outcome: 'soft_bounce',
      category: 'mailbox_full',
      reply: '452 4.2.2',
    });
  });

  it('marketing email that is paused is held for as long as that lasts, uncounted, and then goes its way', async () => {
    const { send, address } = await newSend();
    await pause(true);
    const handle = await start(send);
    await heldIn(handle);
    await environment.sleep('10 days');
    expect(await handle.query(timeline)).toMatchObject({ state: 'held', attempts: [], nextAttemptAt: null });
    expect(await rowOf(send)).toMatchObject({ state: 'held', attempt_count: 0, next_attempt_at: null });
    expect(sending.mail.tries.get(address)).toBeUndefined();

    // What is asked for meanwhile waits too.
    await handle.signal(retryNow, { commandId: 1 });
    await heldIn(handle);
    expect(sending.mail.tries.get(address)).toBeUndefined();

    await pause(false);
    await delivered(send);
    expect(await handle.result()).toEqual({ outcome: 'delivered', reason: null });
    expect(await rowOf(send)).toMatchObject({ attempt_count: 1, slot: 0 });
  });

  it('a retry of marketing email waits while it is paused; transactional email does not', async () => {
    const [{ send, address }, other] = [await newSend(), await account.prospect('pays@example.net')];
    sending.mail.answer((to, nth) => (to === address && nth === 1 ? FULL : null));
    const handle = await start(send);
    await restingAfter(handle, 1);
    await pause(true);
    const letter = await account.send(other, { emailId: await account.email('transactional') });
    expect(await (await start(letter)).result()).toMatchObject({ outcome: 'delivered' });
    await environment.sleep('2 hours');
    await heldIn(handle);
    expect(sending.mail.tries.get(address)).toBe(1);

    await pause(false);
    await delivered(send);
    expect(sending.mail.tries.get(address)).toBe(2);
    const attempts = await attemptsOf(send);
    expect(attempts.map(({ outcome }) => outcome)).toEqual(['soft_bounce', 'delivered']);
  });

  it('a send whose workflow was lost while marketing email was paused goes on, too', async () => {
    const { send } = await newSend();
    await pause(true);
    const handle = await start(send);
    await heldIn(handle);
    await handle.terminate('lost');
    await pause(false);
    await delivered(send);
    expect(await rowOf(send)).toMatchObject({ run: 2, attempt_count: 1 });
  });

  it('I1 is refused where the address was suppressed before the first attempt, and nothing is sent', async () => {
    const { send, prospect, address } = await newSend();
    await account.db.query(plain('update prospect set email_opt_out = true where id = $1'), [prospect.id]);
    const handle = await start(send);
    expect(await handle.result()).toMatchObject({ outcome: 'suppressed', reason: 'prospect:opt_out' });
    expect(sending.mail.tries.get(address)).toBeUndefined();
  });

  it('a dead address ends it at once and sets Bounced (I4)', async () => {
    const { send, prospect } = await newSend();
    sending.mail.answer(() => '550 5.1.1 User unknown');
    expect(await (await start(send)).result()).toEqual({ outcome: 'bounced', reason: 'user_unknown' });
    const [person] = await account.db.query(plain('select bounced from prospect where id = $1'), [
      prospect.id,
    ]);
    expect(person).toEqual({ bounced: true });
    expect(await attemptsOf(send)).toHaveLength(1);
  });

  it('I1 an opt-out while waiting ends it by signal, without another attempt', async () => {
    const { send, prospect, address } = await newSend();
    sending.mail.answer(() => FULL);
    const handle = await start(send);
    await restingAfter(handle, 1);
    await account.db.transaction((tx) =>
      setFlags(tx, ORIGIN, new Date(), prospect.id, { emailOptOut: true }),
    );
    const { outcome, outcome_reason: reason } = await rowOf(send);
    expect(outcome).toBe('suppressed');
    await handle.signal(ended, { outcome: 'suppressed', reason: reason as string });
    expect(await handle.result()).toEqual({ outcome: 'suppressed', reason });
    expect(sending.mail.tries.get(address)).toBe(1);
  });

  it('I1 an opt-out whose signal never came is found by the gate at the next attempt', async () => {
    const { send, prospect, address } = await newSend();
    sending.mail.answer(() => FULL);
    const handle = await start(send);
    await restingAfter(handle, 1);
    await account.db.transaction((tx) =>
      setFlags(tx, ORIGIN, new Date(), prospect.id, { emailOptOut: true }),
    );
    expect(await handle.result()).toMatchObject({ outcome: 'suppressed' });
    expect(sending.mail.tries.get(address)).toBe(1);
  });

  it('retry now tries at once, uses none of the schedule, and a repeated command is one', async () => {
    const { send, address } = await newSend();
    sending.mail.answer((_, nth) => (nth <= 2 ? FULL : null));
    const handle = await start(send);
    const before = await restingAfter(handle, 1);
    await handle.signal(retryNow, { commandId: 7 });
    await handle.signal(retryNow, { commandId: 7 });
    const after = await restingAfter(handle, 2);
    expect(sending.mail.tries.get(address)).toBe(2);
    expect(after.attempts).toHaveLength(2);
    expect(after.nextAttemptAt).toBe(before.nextAttemptAt);
    expect((await attemptsOf(send)).map(({ trigger }) => trigger)).toEqual(['schedule', 'retry_now']);
    expect(await handle.result()).toMatchObject({ outcome: 'delivered' });
    expect(sending.mail.tries.get(address)).toBe(3);
  });

  it('I2 a retry whose worker is lost before it can tell of it is made once', async () => {
    const taskQueue = 'workers-that-are-lost';
    const { attemptDelivery, ...others } = createDeliveryActivities({
      db: account.db,
      mailer: sending.mailer,
      composer: createEmailComposer(testUnsubscribing),
    });
    let lost = 0;
    const worker = await Worker.create({
      connection: environment.nativeConnection,
      taskQueue,
      workflowBundle: await workflowBundle(),
      activities: {
        ...others,
        async attemptDelivery(input: AttemptInput) {
          const result = await attemptDelivery(input);
          if (input.trigger === 'retry_now' && lost++ === 0) throw new Error('the worker was lost');
          return result;
        },
      },
    });
    const { send, address } = await newSend();
    sending.mail.answer((_, nth) => (nth <= 2 ? FULL : null));
    await worker.runUntil(async () => {
      const handle = await start(send, taskQueue);
      await restingAfter(handle, 1);
      await handle.signal(retryNow, { commandId: 1 });
      await until('it was tried again', () => lost === 2);
      expect(sending.mail.tries.get(address)).toBe(2);
      expect(await handle.result()).toMatchObject({ outcome: 'delivered' });
      expect((await attemptsOf(send)).map(({ trigger }) => trigger)).toEqual([
        'schedule',
        'retry_now',
        'schedule',
      ]);
    });
  });

  it('cancel at the Temporal UI, by signal or by cancelling the workflow, ends it in the database too', async () => {
    for (const way of ['signal', 'cancellation'] as const) {
      const { send, address } = await newSend();
      sending.mail.answer(() => FULL);
      const handle = await start(send);
      await restingAfter(handle, 1);
      if (way === 'signal') await handle.signal(cancel, { reason: 'wrong email' });
      else await handle.cancel();
      expect(await handle.result()).toMatchObject({ outcome: 'cancelled' });
      expect(await rowOf(send)).toMatchObject({ state: 'final', outcome: 'cancelled' });
      expect(sending.mail.tries.get(address)).toBe(1);
      const audit = await account.db.query(
        plain(`select way, actor from audit_entry where send_id = $1 and action = 'send.cancelled'`),
        [send.sendId],
      );
      expect(audit).toEqual([{ way: 'person', actor: `temporal:${emailSendId(send.sendId, 1)}` }]);
    }
  });

  it('cancel in the API ends it by the signal that follows the commit', async () => {
    const { send } = await newSend();
    sending.mail.answer(() => FULL);
    const handle = await start(send);
    await restingAfter(handle, 1);
    expect(await account.db.transaction((tx) => cancelSend(tx, ORIGIN, new Date(), send.sendId))).toBe(
      'done',
    );
    await sending.processes.endSend({
      sendId: send.sendId,
      run: 1,
      outcome: 'cancelled',
      reason: 'cancelled',
    });
    expect(await handle.result()).toEqual({ outcome: 'cancelled', reason: 'cancelled' });
  });

  it('I5 the limit of consecutive exhausted sends sets Bounced, and a delivery resets the count', async () => {
    await account.setting({ soft_bounce_limit: 2 });
    const { prospect } = await newSend();
    const flag = async () =>
      (await account.db.query(plain('select bounced from prospect where id = $1'), [prospect.id]))[0]!
        .bounced;
    const next = async (answer: string | null) => {
      sending.mail.answer(() => answer);
      await (await start(await account.send(prospect))).result();
      return flag();
    };
    expect(await next(FULL)).toBe(false);
    expect(await next(null)).toBe(false);
    expect(await next(FULL)).toBe(false);
    expect(await next(FULL)).toBe(true);
    const [entry] = await account.db.query(plain('select note, way from suppression where address_id = $1'), [
      prospect.addressId,
    ]);
    expect(entry).toEqual({ note: 'soft_bounce_limit', way: 'bounce' });
    await account.setting({ soft_bounce_limit: 5 });
  });

  it('a hint in the reply moves the next attempt within bounds', async () => {
    const { send } = await newSend();
    sending.mail.answer((_, nth) =>
      nth === 1 ? '451 4.7.1 Greylisted, please try again in 120 seconds' : null,
    );
    const handle = await start(send);
    expect(await handle.result()).toMatchObject({ outcome: 'delivered' });
    const [first, second] = await attemptsOf(send);
    const gap = (second!.gated_at.getTime() - first!.gated_at.getTime()) / 1000;
    expect(gap).toBeGreaterThanOrEqual(120);
    expect(gap).toBeLessThan(150);
  });

  it('a fault of ours holds the way out back, raises an alert, and is not counted against the address', async () => {
    const { send, prospect, address } = await newSend();
    sending.mail.answer((_, nth) =>
      nth === 1 ? '421 4.7.0 Too many connections from your IP, rate limited' : null,
    );
    const handle = await start(send);
    expect(await handle.result()).toMatchObject({ outcome: 'delivered' });
    const [attempt] = await account.db.query(
      plain('select fault_ours from attempt where send_id = $1 and number = 1'),
      [send.sendId],
    );
    expect(attempt).toEqual({ fault_ours: true });
    const alerts = await account.db.query(plain('select kind, count from alert'));
    expect(alerts.length).toBeGreaterThan(0);
    expect(sending.mail.accepted.filter((to) => to === address)).toHaveLength(1);
    const [person] = await account.db.query(plain('select bounced from prospect where id = $1'), [
      prospect.id,
    ]);
    expect(person).toEqual({ bounced: false });
  });

  it('a second start of the same run, or of a run that is over, sends nothing (I2)', async () => {
    const { send, address } = await newSend();
    await (await start(send)).result();
    await sending.processes.startSend(send);
    const again = await environment.client.workflow.start(emailSend, {
      workflowId: `${emailSendId(send.sendId, 1)}-copy`,
      taskQueue: TASK_QUEUES.sends,
      args: [{ sendId: send.sendId, run: 1, recipientDomain: send.recipientDomain }],
    });
    expect(await again.result()).toEqual({ outcome: 'delivered', reason: null });
    expect(sending.mail.accepted.filter((to) => to === address)).toHaveLength(1);
  });

  it('nothing personal reaches Temporal: no history holds the address, though the server repeats it', async () => {
    const { send, address } = await newSend();
    const [localPart] = address.split('@');
    sending.mail.answer((recipient, nth) =>
      nth === 1 ? `452 4.2.2 <${recipient}>: mailbox of ${localPart} is full` : null,
    );
    const handle = await start(send);
    await handle.result();
    const history = JSON.stringify(await handle.fetchHistory());
    const payloads = [...history.matchAll(/"data":"([^"]*)"/g)].map(([, data]) =>
      Buffer.from(data!, 'base64').toString('utf8'),
    );
    expect(payloads.length).toBeGreaterThan(2);
    for (const text of [history, ...payloads]) expect(text).not.toContain(localPart);
    const [kept] = await account.db.query(
      plain('select reply_text from attempt where send_id = $1 and number = 1'),
      [send.sendId],
    );
    expect(kept!.reply_text).toContain(address);
  });
});
