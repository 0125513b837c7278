import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSweepActivities } from '../../activities/sweep.ts';
import { createWorkflowProcesses } from '../../adapters/temporal/processes.ts';
import { ensureSchedules } from '../../adapters/temporal/schedules.ts';
import { plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { listRuns, readRun, requestRun } from '../../db/queries/salesforceRuns.ts';
import { allowSalesforceSync } from '../../db/queries/salesforceSettings.ts';
import { SALESFORCE_SCHEDULE_IDS, salesforceReconciliationId } from '../../domain/processes.ts';
import { freePort } from '../../tools/embedded/service.ts';
import {
  type SalesforceSimulator,
  SIMULATED_APP,
  startSalesforceSimulator,
} from '../../tools/salesforce-simulator/simulator.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestProspect } from '../support/account.ts';
import { addressBegins, enrollmentsOf, newAutomation, transition } from '../support/automating.ts';
import type { HeedProcess } from '../support/childProcess.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { until } from '../support/until.ts';
import { startWorkerProcess } from '../support/workerProcess.ts';

/* Worker and relay as real processes, on a real Temporal server, against the simulator. */

let account: TestAccount;
let temporal: RealTemporal;
let simulator: SalesforceSimulator;
let worker: HeedProcess;
let prospect: TestProspect;
let recordId: string;
beforeAll(async () => {
  account = await createTestAccount();
  temporal = await connectToTemporal();
  simulator = await startSalesforceSimulator();
  prospect = await account.prospect('ada@example.com');
  recordId = simulator.org.create('Lead', {
    LastName: 'Lovelace',
    Company: 'Example',
    Email: 'ada@example.com',
  });
  await account.db.transaction(async (tx) => {
    await allowSalesforceSync(tx, ORIGIN, new Date());
    await requestRun(tx, new Date(), 'full', 'test');
  });
  worker = await startWorker();
});
afterAll(async () => {
  await worker?.stop();
  await simulator?.close();
  await temporal?.close();
  await account?.close();
});

async function startWorker(): Promise<HeedProcess> {
  const { url: databaseUrl, addressKey } = account;
  return startWorkerProcess(
    { databaseUrl, temporal, smtpPort: await freePort(), addressKey },
    {
      HEED_SALESFORCE_LOGIN_URL: simulator.url,
      HEED_SALESFORCE_CLIENT_ID: SIMULATED_APP.clientId,
      HEED_SALESFORCE_CLIENT_SECRET: SIMULATED_APP.clientSecret,
      HEED_SALESFORCE_CHANGES_SECONDS: '2',
    },
  );
}

const lead = () => simulator.org.find('Lead', recordId)!;
const flag = (emailOptOut: boolean) =>
  account.db.transaction((tx) => setFlags(tx, ORIGIN, new Date(), prospect.id, { emailOptOut }));

async function optedOut(): Promise<boolean> {
  const [row] = await account.db.query<{ email_opt_out: boolean }>(
    plain('select email_opt_out from prospect where id = $1'),
    [prospect.id],
  );
  return row!.email_opt_out;
}

describe('the sync as it runs', () => {
  it('begins with the full reconciliation that was asked for by hand', async () => {
    await until('the record is linked', async () => {
      const [run] = await listRuns(account.db, 'full', null, 1);
      return run?.state === 'done' && run.counts.records === 1;
    });
  });

  it('pushes an opt-out as soon as it is committed, long before a Schedule would', async () => {
    await flag(true);
    // A fraction of a second on a quiet machine, 5 s are promised; the limit is half of a Schedule's minute.
    await until('it is in Salesforce', () => lead().HasOptedOutOfEmail === true, 30_000);
  });

  it('reads changes by a Schedule, beside the one for everything', async () => {
    simulator.org.update('Lead', recordId, { HasOptedOutOfEmail: false });
    await until('it was read', async () => !(await optedOut()));
    const schedule = temporal.client.schedule.getHandle(SALESFORCE_SCHEDULE_IDS.changes);
    expect((await schedule.describe()).spec.intervals).toMatchObject([{ every: 2_000 }]);
    const full = await temporal.client.schedule.getHandle(SALESFORCE_SCHEDULE_IDS.full).describe();
    expect(full.spec.calendars).toMatchObject([
      { hour: [{ start: 2, end: 2, step: 1 }], minute: [{ start: 30, end: 30, step: 1 }] },
    ]);
  });

  it('enrolls who comes to match an automation by what was read', async () => {
    const { db } = account;
    const { id } = await account.prospect('grace@example.com');
    const optedOut = { field: 'emailOptOut', operator: 'equals', value: true };
    const automationId = await newAutomation(account, [{ id: 'leave', type: 'leave' }], {
      who: { all: [addressBegins('grace@'), optedOut] },
      when: { mode: 'continuous' },
    });
    await transition(account, automationId, 'activate');
    await until('it has looked at everybody', async () => {
      const [row] = await db.query(plain('select enrolled_at from automation where id = $1'), [automationId]);
      return row!.enrolled_at !== null;
    });
    expect(await enrollmentsOf(account, automationId)).toEqual([]);
    simulator.org.create('Lead', {
      LastName: 'Hopper',
      Company: 'Example',
      Email: 'grace@example.com',
      HasOptedOutOfEmail: true,
    });
    const entered = await until('somebody is enrolled', async () => {
      const rows = await enrollmentsOf(account, automationId);
      return rows.length > 0 && rows;
    });
    expect(entered).toMatchObject([{ prospect_id: id }]);
  });

  it('I7: what was committed is pushed though the worker is killed on the way', async () => {
    simulator.traffic.latencyMs = 500;
    const asked = () => simulator.traffic.counts.get('queryAll') ?? 0;
    const before = asked();
    await flag(true);
    await until('a request is on its way', () => asked() > before);
    worker.kill('SIGKILL');
    await worker.ended;
    await flag(false);
    await flag(true);
    simulator.traffic.latencyMs = 0;
    worker = await startWorker();
    await until('it is in Salesforce', () => lead().HasOptedOutOfEmail === true);
    await until('the queue is empty', async () => {
      return (await account.db.query(plain('select from salesforce_push'))).length === 0;
    });
    expect(await optedOut()).toBe(true);
  });

  it('I7: a run by hand whose workflow was lost is found by the sweep, and does not keep others away for good', async () => {
    const { db } = account;
    const request = () => db.transaction((tx) => requestRun(tx, new Date(0), 'full', 'test'));
    const runId = (await request())!;
    const handle = temporal.client.workflow.getHandle(salesforceReconciliationId(runId));
    await until('it is done', async () => (await readRun(db, runId))?.state === 'done');
    await handle.result();
    // As it is left by a workflow that was terminated.
    await db.query(
      plain(`update salesforce_run set state = 'running', finished_at = null where id = '${runId}'`),
    );
    expect(await request()).toBeNull();
    const processes = createWorkflowProcesses(temporal.client);
    const { restartLostSalesforceRuns } = createSweepActivities({ db, processes });
    await new MockActivityEnvironment().run(restartLostSalesforceRuns, { now: Date.now() });
    await until('it is done again', async () => (await readRun(db, runId))?.state === 'done');
    expect(await request()).not.toBeNull();
  });

  it('I7: a run of the Schedule whose workflow was terminated is ended as failed by the sweep, one that goes on is not', async () => {
    const { db } = account;
    const { restartLostSalesforceRuns } = createSweepActivities({
      db,
      processes: createWorkflowProcesses(temporal.client),
    });
    /** A sweep of so much later that every run is old enough. */
    const sweep = () =>
      new MockActivityEnvironment().run(restartLostSalesforceRuns, { now: Date.now() + 3_600_000 });
    const asked = () => simulator.traffic.counts.get('queryAll') ?? 0;
    simulator.traffic.latencyMs = 15_000;
    const before = asked();
    await until('a reading hangs', () => asked() > before);
    const { id, runId } = await until('it is written down', async () => {
      const [run] = await listRuns(db, 'changes', null, 1);
      const [row] = await db.query<{ workflow_id: string }>(
        plain(`select workflow_id from salesforce_run where id = '${run!.id}'`),
      );
      return run!.state === 'running' && { id: row!.workflow_id, runId: run!.id };
    });
    expect(id).toMatch(/^salesforceReconciliation-changes-/);
    await sweep();
    expect((await readRun(db, runId))?.state).toBe('running');

    await temporal.client.workflow.getHandle(id).terminate('by an operator');
    await sweep();
    expect(await readRun(db, runId)).toMatchObject({
      state: 'failed',
      failure: expect.stringContaining('terminated'),
      finishedAt: expect.any(Date),
    });
    simulator.traffic.latencyMs = 0;
  });

  it('has no Schedules any more where no Salesforce is configured', async () => {
    await worker.stop();
    await ensureSchedules(temporal.client, { imapPollSeconds: null, salesforce: null });
    for (const id of Object.values(SALESFORCE_SCHEDULE_IDS)) {
      await expect(temporal.client.schedule.getHandle(id).describe()).rejects.toThrow();
    }
  });
});
