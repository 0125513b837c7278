import { setTimeout as delay } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { emailSendId, TASK_QUEUES } from '../../domain/processes.ts';
import { startRelay } from '../../worker/relay.ts';
import { cancel, emailSend, retryNow, timeline } from '../../workflows/emailSend.ts';
import { sweep } from '../../workflows/sweep.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestSend } from '../support/account.ts';
import { keepHistory } from '../support/histories.ts';
import { readNothing } from '../support/inbound.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { type Sending, startSending } from '../support/sending.ts';
import { silent } from '../support/silent.ts';

/*
 * Records one history of every path through the workflows from the real server. Run it when a workflow has a new
 * released shape, under a new name for the folder's files; histories that are there already stay, since workflows with
 * them may still be running somewhere.
 */

const FULL = '452 4.2.2 The recipient mailbox is full';

let account: TestAccount;
let temporal: RealTemporal;
let sending: Sending;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount();
  await account.setting({ schedule_seconds: [0, 1, 2, 4] });
  temporal = await connectToTemporal();
  sending = await startSending(account, temporal);
});
afterAll(async () => {
  await sending?.close();
  await temporal?.close();
  await account?.close();
});

async function begin(
  answer: (nth: number) => string | null,
): Promise<{ send: TestSend; handle: Handle; prospectId: string }> {
  const prospect = await account.prospect(`record${++counter}@example.net`);
  const send = await account.send(prospect);
  sending.mail.answer((_, nth) => answer(nth));
  const handle = await temporal.client.workflow.start(emailSend, {
    workflowId: emailSendId(send.sendId, 1),
    taskQueue: TASK_QUEUES.sends,
    args: [{ sendId: send.sendId, run: 1, recipientDomain: send.recipientDomain }],
  });
  return { send, handle, prospectId: prospect.id };
}
type Handle = WorkflowHandle<typeof emailSend>;

async function waits(handle: Handle, attempts: number): Promise<void> {
  for (;;) {
    const now = await handle.query(timeline);
    if (now.state === 'waiting' && now.attempts.length >= attempts) return;
    await delay(20);
  }
}

it.each([
  ['delivered', () => null],
  ['retried-then-delivered', (nth: number) => (nth < 3 ? FULL : null)],
  ['exhausted', () => FULL],
  ['bounced', () => '550 5.1.1 User unknown'],
  ['rejected', () => '550 5.7.1 Message rejected due to content policy'],
  [
    'held-back',
    (nth: number) => (nth === 1 ? '421 4.7.0 Too many connections from your IP, rate limited' : null),
  ],
] as const)('emailSend: %s', async (path, answer) => {
  const { handle } = await begin(answer);
  await keepHistory(handle, 'emailSend', path);
});

it('emailSend: retry now', async () => {
  await account.setting({ schedule_seconds: [0, 60] });
  const { handle } = await begin((nth) => (nth === 1 ? FULL : null));
  await waits(handle, 1);
  await handle.signal(retryNow, { commandId: 1 });
  await keepHistory(handle, 'emailSend', 'retry-now');
});

it('emailSend: cancelled by signal, and by cancelling the workflow', async () => {
  for (const way of ['signal', 'workflow'] as const) {
    const { handle } = await begin(() => FULL);
    await waits(handle, 1);
    if (way === 'signal') await handle.signal(cancel, { reason: 'recorded' });
    else await handle.cancel();
    await keepHistory(handle, 'emailSend', `cancelled-by-${way}`);
  }
});

it('emailSend: suppressed before the first attempt, and while waiting', async () => {
  const prospect = await account.prospect('refused@example.net');
  const send = await account.send(prospect);
  await account.db.query(plain('update prospect set email_opt_out = true where id = $1'), [prospect.id]);
  const refused = await temporal.client.workflow.start(emailSend, {
    workflowId: emailSendId(send.sendId, 1),
    taskQueue: TASK_QUEUES.sends,
    args: [{ sendId: send.sendId, run: 1, recipientDomain: send.recipientDomain }],
  });
  await keepHistory(refused, 'emailSend', 'suppressed-at-gate');

  const { handle, prospectId } = await begin(() => FULL);
  await waits(handle, 1);
  const relay = startRelay({
    db: account.db,
    processes: sending.processes,
    readInbound: readNothing,
    log: silent,
  });
  await account.db.transaction((tx) => setFlags(tx, ORIGIN, new Date(), prospectId, { emailOptOut: true }));
  await keepHistory(handle, 'emailSend', 'suppressed-while-waiting');
  await relay.stop();
});

it('emailSend: held while marketing email is paused', async () => {
  await account.setting({ marketing_paused: true });
  const { handle, send } = await begin(() => null);
  for (;;) {
    const { state } = await handle.query(timeline);
    if (state === 'held') break;
    await delay(20);
  }
  await account.setting({ marketing_paused: false });
  await sending.processes.wakeSend(send);
  await keepHistory(handle, 'emailSend', 'paused');
});

it('emailSend: unknown, superseded', async () => {
  const { handle, send } = await begin(() => null);
  await handle.result();
  await account.db.query(
    plain(`update attempt set state = 'handing_over', outcome = null, finished_at = null where send_id = $1`),
    [send.sendId],
  );
  await account.db.query(plain(`update send set state = 'attempting', outcome = null where id = $1`), [
    send.sendId,
  ]);
  const lost = await temporal.client.workflow.start(emailSend, {
    workflowId: emailSendId(send.sendId, 2),
    taskQueue: TASK_QUEUES.sends,
    args: [{ sendId: send.sendId, run: 1, recipientDomain: send.recipientDomain }],
  });
  await keepHistory(lost, 'emailSend', 'unknown');
  const superseded = await temporal.client.workflow.start(emailSend, {
    workflowId: emailSendId(send.sendId, 3),
    taskQueue: TASK_QUEUES.sends,
    args: [{ sendId: send.sendId, run: 3, recipientDomain: send.recipientDomain }],
  });
  expect(await superseded.result()).toMatchObject({ outcome: 'superseded' });
  await keepHistory(superseded, 'emailSend', 'superseded');
});

it('sweep', async () => {
  const handle = await temporal.client.workflow.start(sweep, {
    workflowId: 'sweep',
    taskQueue: TASK_QUEUES.operations,
    args: [],
  });
  await keepHistory(handle, 'sweep', 'nothing-lost');
});
