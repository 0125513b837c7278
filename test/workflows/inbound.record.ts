import { afterAll, beforeAll, it } from 'vitest';
import { TASK_QUEUES } from '../../domain/processes.ts';
import { imapPoll } from '../../workflows/imapPoll.ts';
import { rateCheck } from '../../workflows/rateCheck.ts';
import { createTestAccount, type TestAccount } from '../support/account.ts';
import { type GreenMail, startGreenMail } from '../support/greenmail.ts';
import { keepHistory } from '../support/histories.ts';
import { BOUNCES, bounceMailbox, deliverToGreenMail } from '../support/inbound.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { type Sending, startSending } from '../support/sending.ts';

let account: TestAccount;
let greenMail: GreenMail;
let temporal: RealTemporal;
let sending: Sending;
beforeAll(async () => {
  account = await createTestAccount();
  greenMail = await startGreenMail([BOUNCES.account]);
  temporal = await connectToTemporal();
  sending = await startSending(account, temporal, bounceMailbox(greenMail));
});
afterAll(async () => {
  await sending?.close();
  await temporal?.close();
  await greenMail?.stop();
  await account?.close();
});

it('imapPoll: messages taken', async () => {
  for (let n = 0; n < 3; n += 1) await deliverToGreenMail(greenMail, `Subject: ${n}\r\n\r\nHello`);
  const handle = await temporal.client.workflow.start(imapPoll, {
    workflowId: 'imapPoll',
    taskQueue: TASK_QUEUES.operations,
    args: [],
  });
  await keepHistory(handle, 'imapPoll', 'taken');
});

it('rateCheck: nothing to raise', async () => {
  const handle = await temporal.client.workflow.start(rateCheck, {
    workflowId: 'rateCheck',
    taskQueue: TASK_QUEUES.operations,
    args: [],
  });
  await keepHistory(handle, 'rateCheck', 'quiet');
});
