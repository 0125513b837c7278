import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, it } from 'vitest';
import { removeEnrollment } from '../../db/queries/enrollmentChanges.ts';
import {
  automationId as automationWorkflowId,
  enrollmentId as workflowIdOf,
} from '../../domain/processes.ts';
import { type Relay, startRelay } from '../../worker/relay.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import {
  addressBegins,
  enrollmentsOf,
  newAutomation,
  shownSteps,
  transition,
} from '../support/automating.ts';
import { keepHistory } from '../support/histories.ts';
import { readNothing } from '../support/inbound.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { type Sending, startSending } from '../support/sending.ts';
import { silent } from '../support/silent.ts';
import { until } from '../support/until.ts';

/* Records one history of every path through `automation` and `enrollment` from the real server. */

let account: TestAccount;
let temporal: RealTemporal;
let sending: Sending;
let relay: Relay;
const receiver = createServer((_, response) => response.writeHead(204).end());
beforeAll(async () => {
  account = await createTestAccount();
  temporal = await connectToTemporal();
  sending = await startSending(account, temporal);
  relay = startRelay({ db: account.db, processes: sending.processes, readInbound: readNothing, log: silent });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  receiver.close();
  await relay?.stop();
  await sending?.close();
  await temporal?.close();
  await account?.close();
});

let counter = 0;

async function enter(steps: readonly object[], when: object = {}) {
  counter += 1;
  await account.prospect(`record${counter}.person@example.net`);
  const who = addressBegins(`record${counter}.`);
  const automationId = await newAutomation(account, steps, { who, when });
  await transition(account, automationId, 'activate');
  const [enrollment] = await until('somebody has entered', async () => {
    const entered = await enrollmentsOf(account, automationId);
    return entered.length > 0 && entered;
  });
  const handle = temporal.client.workflow.getHandle(workflowIdOf(enrollment!.id, 1));
  await until('its workflow has started', () => handle.describe());
  return { automationId, enrollmentId: enrollment!.id, handle };
}

function waits(enrollmentId: string, step: string) {
  return until(`it shows ${step}`, async () => (await shownSteps(account, enrollmentId)).includes(step));
}

it('enrollment: an email, a wait, a webhook, a field', async () => {
  const { port } = receiver.address() as AddressInfo;
  const { handle, automationId } = await enter([
    { id: 'mail', type: 'sendEmail', emailId: await account.email() },
    { id: 'wait', type: 'wait', seconds: 1 },
    { id: 'call', type: 'webhook', url: `http://127.0.0.1:${port}/` },
    { id: 'set', type: 'setField', field: 'title', value: 'Dr.' },
  ]);
  await keepHistory(handle, 'enrollment', 'through');
  const enrolling = temporal.client.workflow.getHandle(automationWorkflowId(automationId, 1));
  await keepHistory(enrolling, 'automation', 'enrolled');
});

it('enrollment: removed while it waits', async () => {
  const { handle, enrollmentId } = await enter([{ id: 'wait', type: 'wait', seconds: 3600 }]);
  await waits(enrollmentId, 'wait: waiting (time)');
  await account.db.transaction((tx) => removeEnrollment(tx, ORIGIN, new Date(), enrollmentId));
  await keepHistory(handle, 'enrollment', 'removed');
});

it('enrollment: paused and resumed', async () => {
  const { handle, enrollmentId, automationId } = await enter([{ id: 'wait', type: 'wait', seconds: 2 }]);
  await waits(enrollmentId, 'wait: waiting (time)');
  await transition(account, automationId, 'pause');
  await waits(enrollmentId, 'wait: suspended (automation_paused)');
  await transition(account, automationId, 'resume');
  await keepHistory(handle, 'enrollment', 'paused');
});

it('automation: stopped before its start', async () => {
  const steps = [{ id: 'leave', type: 'leave' }];
  const startAt = { date: '2999-01-01', time: '09:00' };
  const automationId = await newAutomation(account, steps, { who: { all: [] }, when: { startAt } });
  await transition(account, automationId, 'activate');
  const handle = temporal.client.workflow.getHandle(automationWorkflowId(automationId, 1));
  await until('it waits for its start', async () => {
    const history = await handle.fetchHistory();
    return history.events?.some((event) => event.timerStartedEventAttributes);
  });
  await transition(account, automationId, 'stop');
  await keepHistory(handle, 'automation', 'stopped');
});
