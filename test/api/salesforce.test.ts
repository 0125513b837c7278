import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { plain } from '../../db/connection.ts';
import {
  pauseSalesforce,
  salesforceAnswered,
  stopSalesforce,
} from '../../db/queries/salesforceConnection.ts';
import { addFailures } from '../../db/queries/salesforceFailures.ts';
import { queuePushes } from '../../db/queries/salesforceQueue.ts';
import { addRun, endRun, type RunMode, startRun } from '../../db/queries/salesforceRuns.ts';
import {
  type SalesforceSimulator,
  startSalesforceSimulator,
} from '../../tools/salesforce-simulator/simulator.ts';
import { clientOf } from '../support/salesforce.ts';
import { startApi, type TestApi } from './support.ts';

let api: TestApi;
let now = new Date('2026-11-23T10:00:00Z');
beforeAll(async () => {
  api = await startApi({ now: () => now });
});
afterAll(async () => {
  expect(api.errors).toEqual([]);
  await api.close();
});
beforeEach(async () => {
  now = new Date('2026-11-23T10:00:00Z');
  await api.db.query(
    plain(`truncate salesforce_setting, salesforce_connection, salesforce_push, salesforce_failure,
      salesforce_run, outbox`),
  );
});

async function doneRun(mode: RunMode, startedAt = now): Promise<string> {
  const id = uuidv7();
  await addRun(api.db, startedAt, id, mode, 'schedule');
  await startRun(api.db, startedAt, id);
  await endRun(api.db, startedAt, id, 'done', null);
  return id;
}

const outbox = () => api.db.query(plain('select message from outbox order by id'));

describe('health', () => {
  test('of an account that never connected', async () => {
    expect((await api.call('GET', '/salesforce')).body).toEqual({
      state: 'never_connected',
      orgId: null,
      stopped: null,
      paused: null,
      lagSeconds: null,
      lastRuns: { changes: null, full: null },
      queue: { waiting: 0, oldestSeconds: null },
      openFailures: 0,
      api: null,
    });
  });

  test('tells lag, queue, failures, use of the API, and why it is stopped or paused', async () => {
    const { db } = api;
    await doneRun('changes', new Date(now.getTime() - 90_000));
    await db.transaction((tx) => queuePushes(tx, new Date(now.getTime() - 7_000), ['00Q1', '00Q2']));
    await db.transaction((tx) =>
      addFailures(tx, now, [
        { key: '00Q1', side: 'salesforce', kind: 'refused', code: 'STRING_TOO_LONG', message: 'x' },
      ]),
    );
    await salesforceAnswered(db, now, { used: 500, allowed: 1_000 });
    await pauseSalesforce(db, now, 'unavailable');
    await db.query(plain(`update salesforce_connection set org_id = '00D1'`));
    await api.call('PATCH', '/salesforce/settings', {});
    await db.query(plain('update salesforce_setting set allowed_at = now()'));
    const paused = (await api.call('GET', '/salesforce')).body;
    expect(paused).toMatchObject({
      state: 'paused',
      paused: { until: '2026-11-23T10:00:05.000Z', kind: 'unavailable' },
      lagSeconds: 90,
      queue: { waiting: 2, oldestSeconds: 7 },
      openFailures: 1,
      api: { used: 500, allowed: 1_000, at: now.toISOString() },
    });
    await stopSalesforce(db, now, 'Lead.HasOptedOutOfEmail: hidden');
    expect((await api.call('GET', '/salesforce')).body).toMatchObject({
      state: 'stopped',
      stopped: { reason: 'Lead.HasOptedOutOfEmail: hidden', since: now.toISOString() },
    });
  });
});

describe('settings', () => {
  test('begin with Salesforce telling who people are, and opt-outs both ways', async () => {
    const { body } = await api.call('GET', '/salesforce/settings');
    expect(body).toMatchObject({
      optOutDirection: 'both',
      mayTakeBack: false,
      prospectsFrom: [],
      createsLeads: false,
      allowedAt: null,
    });
    expect(body.mappings).toContainEqual({
      object: 'Contact',
      salesforceField: 'MailingCity',
      field: 'city',
      direction: 'from_salesforce',
      empty: 'keep',
    });
  });

  test('are changed one by one, the mapping table as a whole', async () => {
    const mappings = [
      { object: 'Lead', salesforceField: 'Title', field: 'title', direction: 'both', empty: 'clear' },
    ];
    const { status, body } = await api.call('PATCH', '/salesforce/settings', {
      mappings,
      createsLeads: true,
    });
    expect([status, body.mappings, body.createsLeads, body.mayTakeBack]).toEqual([
      200,
      mappings,
      true,
      false,
    ]);
    const audited = await api.db.query(
      plain(`select way, subject from audit_entry where action = 'setting.changed'`),
    );
    expect(audited).toContainEqual({ way: 'api', subject: 'salesforce' });
  });

  test.each([
    [{ salesforceField: 'HasOptedOutOfEmail' }, '/mappings/0/salesforceField'],
    [{ field: 'custom.nothing' }, '/mappings/0/field'],
    [{ salesforceField: "Title'" }, '/mappings/0/salesforceField'],
    [{ direction: 'sideways' }, '/mappings/0/direction'],
  ])('a wrong line is refused by field, and nothing is changed: %j', async (wrong, field) => {
    const line = {
      object: 'Lead',
      salesforceField: 'Title',
      field: 'title',
      direction: 'both',
      empty: 'keep',
    };
    const { status, body } = await api.call('PATCH', '/salesforce/settings', {
      createsLeads: true,
      mappings: [{ ...line, ...wrong }],
    });
    expect([400, 422]).toContain(status);
    expect(body.errors[0]).toMatchObject({ in: 'body', field });
    expect((await api.call('GET', '/salesforce/settings')).body.createsLeads).toBe(false);
  });
});

describe('a line that maps a compound field', () => {
  const line = (object: string, salesforceField: string) => ({
    object,
    salesforceField,
    field: 'city',
    direction: 'from_salesforce',
    empty: 'keep',
  });
  let simulator: SalesforceSimulator;
  let connected: TestApi;
  beforeAll(async () => {
    simulator = await startSalesforceSimulator();
    connected = await startApi({ salesforce: clientOf(simulator) }, api);
  });
  afterAll(async () => {
    await connected.close();
    await simulator.close();
  });
  const change = (...mappings: object[]) =>
    connected.call('PATCH', '/salesforce/settings', { createsLeads: true, mappings });

  test('is refused by field, with its parts, and nothing is changed', async () => {
    const { status, body } = await change(line('Lead', 'City'), line('Contact', 'MailingAddress'));
    expect(status).toBe(422);
    expect(body.errors).toEqual([
      {
        in: 'body',
        field: '/mappings/1/salesforceField',
        message:
          'MailingAddress is a compound field (address), whose value is several in one. Map its parts instead: ' +
          'MailingStreet, MailingCity, MailingState, MailingPostalCode, MailingCountry.',
      },
    ]);
    expect((await connected.call('GET', '/salesforce/settings')).body.createsLeads).toBe(false);
    expect((await change(line('Lead', 'City'), line('Contact', 'MailingCity'))).status).toBe(200);
  });

  test('is left to the sync where Salesforce does not answer', async () => {
    simulator.traffic.add({ kind: 'unavailable', times: 2 });
    expect((await change(line('Contact', 'MailingAddress'))).status).toBe(200);
  });
});

describe('the first time', () => {
  test('a dry run comes first; then it is allowed, which begins a full reconciliation', async () => {
    expect((await api.call('POST', '/salesforce/runs', { mode: 'full' })).status).toBe(409);
    const dryRun = await api.call('POST', '/salesforce/runs', { mode: 'dry_run' });
    expect(dryRun.status).toBe(202);
    expect((await api.call('POST', '/salesforce/runs', { mode: 'dry_run' })).status).toBe(409);
    const { id } = dryRun.body;
    expect((await api.call('POST', '/salesforce/allow', { dryRunId: id })).status).toBe(422);
    await endRun(api.db, now, id, 'done', null);
    const allowed = await api.call('POST', '/salesforce/allow', { dryRunId: id });
    expect([allowed.status, allowed.body.mode]).toEqual([202, 'full']);
    expect((await api.call('POST', '/salesforce/allow', { dryRunId: id })).status).toBe(409);
    expect(await outbox()).toEqual([
      { message: { type: 'startSalesforceRun', runId: id, mode: 'dry_run' } },
      { message: { type: 'startSalesforceRun', runId: allowed.body.id, mode: 'full' } },
    ]);
    expect((await api.call('GET', '/salesforce/settings')).body.allowedAt).toBe(now.toISOString());
  });

  test('somebody else than an administrator allows nothing', async () => {
    const id = await doneRun('dry_run');
    const authorization = `Bearer ${api.keys.write}`;
    expect((await api.call('POST', '/salesforce/allow', { dryRunId: id }, { authorization })).status).toBe(
      403,
    );
  });
});

test('reconciliations are listed and read', async () => {
  const [full, changes] = [await doneRun('full'), await doneRun('changes')];
  const { body } = await api.call('GET', '/salesforce/runs?limit=1');
  expect(body.items).toMatchObject([{ id: changes, mode: 'changes', state: 'done' }]);
  const next = await api.call('GET', `/salesforce/runs?limit=1&cursor=${body.nextCursor}`);
  expect(next.body).toMatchObject({ items: [{ id: full }], nextCursor: null });
  expect((await api.call('GET', `/salesforce/runs/${full}`)).body.mode).toBe('full');
  expect((await api.call('GET', `/salesforce/runs/${uuidv7()}`)).status).toBe(404);
});

describe('failures', () => {
  let id: string;
  beforeEach(async () => {
    const prospect = uuidv7();
    await api.db.transaction(async (tx) => {
      await queuePushes(tx, new Date(now.getTime() + 3_600_000), ['00Q1']);
      await addFailures(tx, now, [
        {
          key: '00Q1',
          side: 'salesforce',
          kind: 'refused',
          code: 'STRING_TOO_LONG',
          message: 'First Name: data value too large: Augusta Ada King (max length=40)',
        },
        {
          key: `prospect:${prospect}`,
          side: 'salesforce',
          kind: 'refused',
          code: 'X',
          message: 'for <a@example.com>',
        },
      ]);
      await tx.query(plain('delete from outbox'));
    });
    const { body } = await api.call('GET', '/salesforce/failures');
    expect(body.items).toHaveLength(2);
    const failure = body.items.find((each: { recordId: string }) => each.recordId === '00Q1');
    expect(failure.nextAt).toBe('2026-11-23T11:00:00.000Z');
    // Nothing personal is kept of what Salesforce repeats.
    expect(failure.message).toBe('First Name: data value too large (max length 40)');
    const other = body.items.find((each: { prospectId: string }) => each.prospectId === prospect);
    expect(other).toMatchObject({ recordId: null, message: 'for <…@example.com>' });
    id = failure.id;
  });

  test('are tried again at once when somebody asks', async () => {
    const { status, body } = await api.call('POST', `/salesforce/failures/${id}/retry`);
    expect([status, body.nextAt]).toEqual([202, now.toISOString()]);
    expect(await outbox()).toEqual([{ message: { type: 'pushToSalesforce' } }]);
  });

  test('are left alone when somebody dismisses them, and come back when they fail again', async () => {
    const { status, body } = await api.call('POST', `/salesforce/failures/${id}/dismiss`);
    expect([status, body.dismissedAt, body.nextAt]).toEqual([200, now.toISOString(), null]);
    const open = async () => (await api.call('GET', '/salesforce/failures')).body.items.length;
    expect(await open()).toBe(1);
    expect((await api.call('GET', '/salesforce/failures?dismissed=true')).body.items).toHaveLength(2);
    await api.db.transaction((tx) =>
      addFailures(tx, now, [{ key: '00Q1', side: 'salesforce', kind: 'refused', code: 'X', message: 'x' }]),
    );
    expect(await open()).toBe(2);
  });

  test('that are not there are not found', async () => {
    for (const what of ['retry', 'dismiss']) {
      expect((await api.call('POST', `/salesforce/failures/${uuidv7()}/${what}`)).status).toBe(404);
    }
  });
});
