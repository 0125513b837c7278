import { afterAll, beforeAll, expect, it } from 'vitest';
import { setFlags } from '../../db/queries/flags.ts';
import { listRuns } from '../../db/queries/salesforceRuns.ts';
import { allowSalesforceSync } from '../../db/queries/salesforceSettings.ts';
import { SALESFORCE_PUSH_ID, TASK_QUEUES } from '../../domain/processes.ts';
import {
  type SalesforceSimulator,
  startSalesforceSimulator,
} from '../../tools/salesforce-simulator/simulator.ts';
import { salesforcePush } from '../../workflows/salesforcePush.ts';
import { salesforceReconciliation } from '../../workflows/salesforceReconciliation.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { keepHistory } from '../support/histories.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { clientOf } from '../support/salesforce.ts';
import { type Sending, startSending } from '../support/sending.ts';
import { until } from '../support/until.ts';

/* Records one history of every path through the workflows of the sync from the real server. */

let account: TestAccount;
let temporal: RealTemporal;
let simulator: SalesforceSimulator;
let sending: Sending;
let prospectId: string;
let recordId: string;
beforeAll(async () => {
  account = await createTestAccount();
  temporal = await connectToTemporal();
  simulator = await startSalesforceSimulator();
  prospectId = (await account.prospect('ada@example.com')).id;
  recordId = simulator.org.create('Lead', {
    LastName: 'Lovelace',
    Company: 'Example',
    Email: 'ada@example.com',
  });
  sending = await startSending(account, temporal, null, clientOf(simulator));
});
afterAll(async () => {
  await sending?.close();
  await simulator?.close();
  await temporal?.close();
  await account?.close();
});

let runs = 0;
function reconcile(mode: 'changes' | 'full' | 'dry_run') {
  runs += 1;
  return temporal.client.workflow.start(salesforceReconciliation, {
    workflowId: `salesforceReconciliation-${runs}`,
    taskQueue: TASK_QUEUES.salesforce,
    args: [{ mode }],
  });
}

const push = () =>
  temporal.client.workflow.signalWithStart(salesforcePush, {
    workflowId: SALESFORCE_PUSH_ID,
    taskQueue: TASK_QUEUES.salesforce,
    signal: 'pushNow',
    signalArgs: [],
    args: [],
  });

const flag = (emailOptOut: boolean) =>
  account.db.transaction((tx) => setFlags(tx, ORIGIN, new Date(), prospectId, { emailOptOut }));

it('salesforceReconciliation: not allowed yet', async () => {
  await keepHistory(await reconcile('full'), 'salesforceReconciliation', 'not-allowed');
});

it('salesforceReconciliation: done', async () => {
  await account.db.transaction((tx) => allowSalesforceSync(tx, ORIGIN, new Date()));
  await keepHistory(await reconcile('full'), 'salesforceReconciliation', 'done');
});

it('salesforceReconciliation: paused while Salesforce was away', async () => {
  simulator.traffic.add({ kind: 'unavailable', times: 1 });
  await keepHistory(await reconcile('changes'), 'salesforceReconciliation', 'paused');
});

it('salesforceReconciliation: a field is hidden', async () => {
  simulator.org.setAccess('Lead', 'HasOptedOutOfEmail', 'hidden');
  await keepHistory(await reconcile('changes'), 'salesforceReconciliation', 'stopped');
  simulator.org.setAccess('Lead', 'HasOptedOutOfEmail', 'edit');
});

it('salesforcePush: pushed', async () => {
  await flag(true);
  await keepHistory(await push(), 'salesforcePush', 'pushed');
});

it('salesforcePush: a locked row is tried again, and something else was queued meanwhile', async () => {
  simulator.org.lock(recordId, 2);
  await flag(false);
  const handle = await push();
  await flag(true);
  await push();
  await keepHistory(handle, 'salesforcePush', 'tried-again');
});

it('salesforceReconciliation: cancelled', async () => {
  await account.db.transaction((tx) => allowSalesforceSync(tx, ORIGIN, new Date()));
  // Several pages' worth of time.
  simulator.traffic.latencyMs = 4_000;
  const handle = await reconcile('full');
  await until('it runs', async () => (await listRuns(account.db, 'full', null, 1))[0]?.state === 'running');
  await handle.cancel();
  const cancelled = Object.create(handle, { result: { value: () => handle.result().catch(() => {}) } });
  await keepHistory(cancelled, 'salesforceReconciliation', 'cancelled');
  simulator.traffic.latencyMs = 0;
  const [run] = await listRuns(account.db, 'full', null, 1);
  expect(run).toMatchObject({ state: 'failed', failure: 'It was cancelled.' });
});
