import { setTimeout as delay } from 'node:timers/promises';
import { MockActivityEnvironment, type TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createBulkUpdateActivities } from '../../activities/bulkUpdate.ts';
import { createSweepActivities } from '../../activities/sweep.ts';
import { createWorkflowProcesses, type WorkflowProcesses } from '../../adapters/temporal/processes.ts';
import { plain } from '../../db/connection.ts';
import { commandBulkUpdate, readBulkUpdate } from '../../db/queries/bulkUpdates.ts';
import type { BulkUpdateProgress } from '../../domain/bulkUpdate/progress.ts';
import type { BulkUpdateCommand } from '../../domain/bulkUpdate/words.ts';
import { bulkUpdateId, TASK_QUEUES } from '../../domain/processes.ts';
import { type Relay, startRelay } from '../../worker/relay.ts';
import { bulkUpdateProgress } from '../../workflows/bulkUpdate.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { newBulkUpdate, newUndo, shownRows } from '../support/bulkUpdating.ts';
import { readNothing } from '../support/inbound.ts';
import { workflowBundle } from '../support/sending.ts';
import { silent } from '../support/silent.ts';
import { startTimeSkipping } from '../support/timeSkipping.ts';
import { until } from '../support/until.ts';

let account: TestAccount;
let environment: TestWorkflowEnvironment;
let worker: Worker;
let running: Promise<void>;
let processes: WorkflowProcesses;
let relay: Relay;
/** What happens before each slice; throws to make it fail. */
let beforeSlice: (id: string) => Promise<void> = async () => {};

beforeAll(async () => {
  account = await createTestAccount();
  environment = await startTimeSkipping();
  // A page a slice, so that there is a word to the workflow, and a place to stop, after each.
  const activities = createBulkUpdateActivities({ ...account, pageRows: 2, sliceMs: 0 });
  worker = await Worker.create({
    connection: environment.nativeConnection,
    ...(environment.namespace && { namespace: environment.namespace }),
    taskQueue: TASK_QUEUES.operations,
    workflowBundle: await workflowBundle(),
    activities: {
      ...activities,
      takeBulkUpdateSlice: async (input: Parameters<typeof activities.takeBulkUpdateSlice>[0]) => {
        await beforeSlice(input.bulkUpdateId);
        return activities.takeBulkUpdateSlice(input);
      },
    },
  });
  running = worker.run();
  processes = createWorkflowProcesses(environment.client);
  relay = startRelay({ db: account.db, processes, readInbound: readNothing, log: silent });
});
afterAll(async () => {
  await relay?.stop();
  worker?.shutdown();
  await running;
  await environment?.teardown();
  await account?.close();
});

let groups = 0;

async function people(count: number) {
  const domain = `group${++groups}.example`;
  const ids: string[] = [];
  for (let n = 0; n < count; n += 1) ids.push((await account.prospect(`person${n}@${domain}`)).id);
  return { ids, criteria: { field: 'emailDomain', operator: 'equals', value: domain } };
}

const handleOf = (id: string) => environment.client.workflow.getHandle(bulkUpdateId(id));
const resultOf = async (id: string): Promise<BulkUpdateProgress> => {
  await until('its workflow was started by the relay', () => handleOf(id).describe());
  return handleOf(id).result();
};
const command = (id: string, what: BulkUpdateCommand) =>
  account.db.transaction((tx) => commandBulkUpdate(tx, ORIGIN, new Date(), id, what));

/** Stops the work before this slice of it, until it is let go. */
function stopBefore(id: string, slice: number) {
  let slices = 0;
  let letGo = () => {};
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const reached = new Promise<void>((resolve) => {
    beforeSlice = async (of) => {
      if (of !== id) return;
      slices += 1;
      if (slices !== slice) return;
      resolve();
      await held;
    };
  });
  return { reached, letGo };
}

describe('bulkUpdate', () => {
  it('I7: goes on after faults, however long they last', async () => {
    const { criteria } = await people(4);
    let faults = 15;
    beforeSlice = async () => {
      faults -= 1;
      if (faults > 0) throw new Error('the database is away');
    };
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    expect(await resultOf(id)).toMatchObject({ state: 'done', changed: 4 });
    beforeSlice = async () => {};
    expect(faults).toBeLessThanOrEqual(0);
  });

  it('goes on from slice to slice, and from run to run, to its end; nothing personal reaches Temporal', async () => {
    const { criteria, ids } = await people(55);
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Secret City' });
    expect(await resultOf(id)).toEqual({ state: 'done', total: 55, changed: 55, alreadySo: 0, refused: 0 });
    expect(await shownRows(account, id)).toHaveLength(ids.length);
    const history = JSON.stringify(await handleOf(id).fetchHistory()).replaceAll(
      /"data":"([^"]*)"/g,
      (_, payload: string) => Buffer.from(payload, 'base64').toString('utf8'),
    );
    expect(history).toContain(id);
    expect(history).not.toMatch(/Secret|group\d|person/);
    // 28 slices are more than a run has: this is the second run, and knows how far the first came.
    expect(history).toContain('"changed":40');
  });

  it('shows how far it is while it runs, and in its details', async () => {
    const { criteria } = await people(5);
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    const stop = stopBefore(id, 3);
    await stop.reached;
    expect(await handleOf(id).query(bulkUpdateProgress)).toEqual({
      state: 'running',
      total: 5,
      changed: 4,
      alreadySo: 0,
      refused: 0,
    });
    expect(await readBulkUpdate(account.db, id)).toMatchObject({ changed: 4 });
    const metadata = await handleOf(id).query<{ currentDetails: string }>('__temporal_workflow_metadata');
    expect(metadata.currentDetails).toBe('running: 4 of 5 rows; 4 changed, 0 already so, 0 refused');
    stop.letGo();
    expect(await resultOf(id)).toMatchObject({ state: 'done', changed: 5 });
  });

  it('paused by the API it waits for as long as it must, and goes on when it is resumed', async () => {
    const { criteria } = await people(6);
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    const stop = stopBefore(id, 2);
    await stop.reached;
    await command(id, 'pause');
    stop.letGo();
    await until(
      'it shows that',
      async () => (await handleOf(id).query(bulkUpdateProgress))?.state === 'paused',
    );
    await environment.sleep('90 days');
    expect(await readBulkUpdate(account.db, id)).toMatchObject({ state: 'paused', changed: 2 });
    await command(id, 'resume');
    // Waited for here: while only the relay has something to do, awaiting the result would skip years of time.
    await until('it is done', async () => (await readBulkUpdate(account.db, id))?.state === 'done');
    expect(await resultOf(id)).toMatchObject({ state: 'done', changed: 6 });
  });

  it('cancelled by the API it ends, and what was changed stays', async () => {
    const { criteria } = await people(6);
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    const stop = stopBefore(id, 2);
    await stop.reached;
    await command(id, 'cancel');
    stop.letGo();
    expect(await resultOf(id)).toMatchObject({ state: 'cancelled', changed: 2 });
    expect(await shownRows(account, id)).toHaveLength(2);
    const undo = await newUndo(account, id);
    expect(await resultOf(undo)).toMatchObject({ state: 'done', total: 2, changed: 2 });
  });

  it('signals pause, resume and cancel commit what they say, with who and why', async () => {
    const { criteria } = await people(6);
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    const stop = stopBefore(id, 2);
    await stop.reached;
    await handleOf(id).signal('pause');
    await until('it is paused', async () => (await readBulkUpdate(account.db, id))?.state === 'paused');
    stop.letGo();
    await until('it waits', async () => (await handleOf(id).query(bulkUpdateProgress))?.state === 'paused');
    const again = stopBefore(id, 2);
    await handleOf(id).signal('resume');
    await again.reached;
    await handleOf(id).signal('cancel');
    await until('it is cancelled', async () => (await readBulkUpdate(account.db, id))?.state === 'cancelled');
    again.letGo();
    expect(await resultOf(id)).toMatchObject({ state: 'cancelled' });
    const audit = await account.db.query(
      plain(`select action, way, actor from audit_entry where subject = $1 and way = 'person' order by id`),
      [id],
    );
    const by = { way: 'person', actor: `temporal:bulkUpdate:${id}` };
    expect(audit).toEqual(
      ['paused', 'resumed', 'cancelled'].map((done) => ({ action: `bulk_update.${done}`, ...by })),
    );
  });

  it('cancelled as a workflow it is cancelled in the database, too', async () => {
    const { criteria } = await people(6);
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    const stop = stopBefore(id, 2);
    await stop.reached;
    await handleOf(id).cancel();
    expect(await handleOf(id).result()).toMatchObject({ state: 'cancelled', changed: 2 });
    stop.letGo();
    await delay(200);
    expect(await readBulkUpdate(account.db, id)).toMatchObject({ state: 'cancelled', changed: 2 });
  });

  it('I7: one whose workflow was lost is found by the sweep and by the next command, and goes on where it was', async () => {
    const { criteria } = await people(6);
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' }, new Date(0));
    const stop = stopBefore(id, 2);
    await stop.reached;
    await handleOf(id).terminate('lost');
    stop.letGo();
    beforeSlice = async () => {};
    const { restartLostBulkUpdates } = createSweepActivities({ ...account, processes });
    const swept = new MockActivityEnvironment().run(restartLostBulkUpdates, { now: Date.now() });
    expect(await swept).toEqual({ restarted: 1 });
    await until('it is done', async () => (await readBulkUpdate(account.db, id))?.state === 'done');
    expect(await readBulkUpdate(account.db, id)).toMatchObject({ changed: 6 });
    expect(await shownRows(account, id)).toHaveLength(6);

    const lost = await newBulkUpdate(account, { criteria, field: 'city', value: 'Mainz' });
    const second = stopBefore(lost, 2);
    await second.reached;
    await command(lost, 'pause');
    await handleOf(lost).terminate('lost');
    second.letGo();
    beforeSlice = async () => {};
    await command(lost, 'resume');
    await until('it is done', async () => (await readBulkUpdate(account.db, lost))?.state === 'done');
    expect(await readBulkUpdate(account.db, lost)).toMatchObject({ changed: 6, total: 6 });
  });

  it('the same start twice runs it once', async () => {
    const { criteria } = await people(3);
    const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: true });
    expect(await resultOf(id)).toMatchObject({ changed: 3 });
    await processes.startBulkUpdate(id);
    expect(await resultOf(id)).toMatchObject({ state: 'done', changed: 3 });
    const flags = await account.db.query(
      plain(`select 1 from audit_entry where action = 'flag.changed' and reason like $1`),
      [`bulkUpdate:${id}%`],
    );
    expect(flags).toHaveLength(3);
  });
});
