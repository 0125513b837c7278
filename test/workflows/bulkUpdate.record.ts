import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, it } from 'vitest';
import { createBulkUpdateActivities } from '../../activities/bulkUpdate.ts';
import { plain } from '../../db/connection.ts';
import { bulkUpdateId, TASK_QUEUES } from '../../domain/processes.ts';
import { bulkUpdate, bulkUpdateProgress } from '../../workflows/bulkUpdate.ts';
import { createTestAccount, type TestAccount } from '../support/account.ts';
import { newBulkUpdate } from '../support/bulkUpdating.ts';
import { keepHistory } from '../support/histories.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { workflowBundle } from '../support/sending.ts';
import { until } from '../support/until.ts';

/* Records one history of every path through `bulkUpdate` from the real server. */

let account: TestAccount;
let temporal: RealTemporal;
let worker: Worker;
let running: Promise<void>;
beforeAll(async () => {
  account = await createTestAccount();
  for (let n = 0; n < 30; n += 1) await account.prospect(`person${n}@example.net`);
  temporal = await connectToTemporal();
  worker = await Worker.create({
    connection: temporal.connection,
    namespace: temporal.namespace,
    taskQueue: TASK_QUEUES.operations,
    workflowBundle: await workflowBundle(),
    // A page a slice, so that thirty people make a history of many.
    activities: createBulkUpdateActivities({ ...account, pageRows: 1, sliceMs: 0 }),
  });
  running = worker.run();
});
afterAll(async () => {
  worker?.shutdown();
  await running;
  await temporal?.close();
  await account?.close();
});

let cities = 0;

/** @param paused from the start, so that nothing is done before it is resumed */
async function start(people: number, paused = false) {
  cities += 1;
  const criteria = {
    field: 'email',
    operator: 'in',
    value: Array.from({ length: people }, (_, n) => `person${n}@example.net`),
  };
  const id = await newBulkUpdate(account, { criteria, field: 'city', value: `City ${cities}` });
  const options = {
    workflowId: bulkUpdateId(id),
    taskQueue: TASK_QUEUES.operations,
    args: [{ bulkUpdateId: id }] as [{ bulkUpdateId: string }],
  };
  const { workflow } = temporal.client;
  await (paused
    ? workflow.signalWithStart(bulkUpdate, { ...options, signal: 'pause', signalArgs: [] })
    : workflow.start(bulkUpdate, options));
  const handle = workflow.getHandle<typeof bulkUpdate>(options.workflowId);
  if (paused) {
    await until('it is paused', async () => (await handle.query(bulkUpdateProgress))?.state === 'paused');
  }
  return { id, handle };
}

it('bulkUpdate: done', async () => {
  await keepHistory((await start(2)).handle, 'bulkUpdate', 'done');
});

it('bulkUpdate: paused and resumed by signals', async () => {
  const { handle } = await start(5, true);
  await handle.signal('resume');
  await keepHistory(handle, 'bulkUpdate', 'paused');
});

it('bulkUpdate: woken to see that it was cancelled', async () => {
  const { id, handle } = await start(5, true);
  await account.db.query(plain(`update bulk_update set state = 'cancelled' where id = $1`), [id]);
  await handle.signal('wakeBulkUpdate');
  await keepHistory(handle, 'bulkUpdate', 'cancelled-by-api');
});

it('bulkUpdate: cancelled by signal', async () => {
  const { handle } = await start(5, true);
  await handle.signal('cancel');
  await keepHistory(handle, 'bulkUpdate', 'cancelled-by-signal');
});

it('bulkUpdate: cancelled as a workflow', async () => {
  const { handle } = await start(5, true);
  await handle.cancel();
  await keepHistory(handle, 'bulkUpdate', 'cancelled-by-workflow');
});

it('bulkUpdate: gone on with in a new run', async () => {
  const { handle } = await start(30);
  const { runId } = await handle.describe();
  await keepHistory(temporal.client.workflow.getHandle(handle.workflowId, runId), 'bulkUpdate', 'gone-on');
});
