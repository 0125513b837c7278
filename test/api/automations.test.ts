import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { plain } from '../../db/connection.ts';
import { AddressHasher } from '../../db/queries/addresses.ts';
import { Programs } from '../../db/queries/automations.ts';
import { advance } from '../../db/queries/enrollments.ts';
import { holdSend } from '../../db/queries/sends.ts';
import { until } from '../support/until.ts';
import { type Answer, startApi, type TestApi } from './support.ts';

let api: TestApi;
let emailId: string;
beforeAll(async () => {
  api = await startApi();
  emailId = (
    await api.call('POST', '/emails', {
      name: 'News',
      kind: 'marketing',
      subject: 'News',
      fromAddress: 'news@example.com',
      text: 'Hello',
    })
  ).body.id;
});
afterAll(() => api.close());

const NOBODY = '019a0c5e-0000-7000-8000-000000000000';
const everybody = { all: [] };
const when = { mode: 'once', timeZone: 'Europe/Berlin' };
let counter = 0;

function define(steps: unknown, more: object = {}): Promise<Answer> {
  counter += 1;
  return api.call('POST', '/automations', {
    name: `Automation ${counter}`,
    definition: { who: everybody, steps, when, ...more },
  });
}

const faults = (answer: Answer) => answer.body.errors.map(({ field }: { field: string }) => field);
const leave = [{ id: 'leave', type: 'leave' }];
const put = (path: string) => api.call('POST', path);

/** An enrollment, as the workflow would have made it. */
async function enroll(automation: string, prospect: string, position: string): Promise<string> {
  const [row] = await api.db.query<{ id: string }>(
    plain(`insert into enrollment (id, automation_id, version, prospect_id, state, position, entered_at)
           values (gen_random_uuid(), $1, 1, $2, 'running', $3, now()) returning id`),
    [automation, prospect, position],
  );
  return row!.id;
}

async function newProspect(fields: object = {}): Promise<string> {
  counter += 1;
  return (await api.call('POST', '/prospects', { email: `person${counter}@example.com`, ...fields })).body.id;
}

/** So many wait for a lock of this database. */
async function waiting(count: number): Promise<void> {
  await until(`${count} wait`, async () => {
    const rows = await api.db.query(
      plain(`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`),
    );
    return rows.length === count;
  });
}

describe('a definition', () => {
  test.each([
    ['no steps', [], '/definition/steps'],
    ['steps that are no list', 'all', '/definition/steps'],
    ['a step that is no object', [1], '/definition/steps/0'],
    ['a step without an id', [{ type: 'leave' }], '/definition/steps/0/id'],
    ['an id twice', [...leave, ...leave], '/definition/steps/1/id'],
    ['a type that there is not', [{ id: 'a', type: 'dance' }], '/definition/steps/0/type'],
    ['a field that there is not', [{ id: 'a', type: 'leave', x: 1 }], '/definition/steps/0/x'],
    ['an email that is no id', [{ id: 'a', type: 'sendEmail', emailId: 'x' }], '/definition/steps/0/emailId'],
    ['a wait of two kinds', [{ id: 'a', type: 'wait', seconds: 1, weekdays: [] }], '/definition/steps/0'],
    ['a wait of nothing', [{ id: 'a', type: 'wait', seconds: 0 }], '/definition/steps/0/seconds'],
    [
      'a day that there is not',
      [{ id: 'a', type: 'wait', until: { date: '2026-02-30', time: '09:00' } }],
      '/definition/steps/0/until/date',
    ],
    [
      'an hour that there is not',
      [{ id: 'a', type: 'wait', weekdays: ['monday'], time: '24:00' }],
      '/definition/steps/0/time',
    ],
    [
      'a custom field that there is not',
      [{ id: 'a', type: 'setField', field: 'custom.x', value: 1 }],
      '/definition/steps/0/field',
    ],
    [
      'a flag that is no flag',
      [{ id: 'a', type: 'setField', field: 'emailOptOut', value: 'Yes' }],
      '/definition/steps/0/value',
    ],
    [
      'a zone that there is not',
      [{ id: 'a', type: 'setField', field: 'timeZone', value: 'Mars/Base' }],
      '/definition/steps/0/value',
    ],
    [
      'a fault in a branch',
      [{ id: 'a', type: 'if', criteria: everybody, yes: [{ id: 'b', type: 'dance' }] }],
      '/definition/steps/0/yes/0/type',
    ],
    [
      'a fault in criteria',
      [{ id: 'a', type: 'if', criteria: { all: [{ field: 'nobody', operator: 'isEmpty' }] } }],
      '/definition/steps/0/criteria/all/0/field',
    ],
    [
      'a webhook by mail',
      [{ id: 'a', type: 'webhook', url: 'mailto:a@example.com' }],
      '/definition/steps/0/url',
    ],
    [
      'a webhook with a password',
      [{ id: 'a', type: 'webhook', url: 'https://a:b@example.com' }],
      '/definition/steps/0/url',
    ],
  ])('with %s is refused, and the place is named', async (_, steps, field) => {
    const answer = await define(steps);
    expect(answer.status).toBe(400);
    expect(faults(answer)).toContain(field);
  });

  test('all its faults are named at once, those of who and when too', async () => {
    const answer = await define([{ id: 'a', type: 'dance' }], {
      who: { any: [] },
      when: { mode: 'sometimes' },
      whither: 1,
    });
    expect(faults(answer).toSorted()).toEqual([
      '/definition/steps/0/type',
      '/definition/when/mode',
      '/definition/whither',
      '/definition/who/any',
    ]);
  });

  test('is taken with every kind of step', async () => {
    const listId = (await api.call('POST', '/lists', { name: 'Steps' })).body.id;
    const steps = [
      { id: 'send', type: 'sendEmail', emailId, listId },
      { id: 'd', type: 'wait', seconds: 60 },
      { id: 'u', type: 'wait', until: { date: '2027-01-01', time: '09:00' } },
      { id: 'w', type: 'wait', weekdays: ['monday'], time: '09:00' },
      { id: 'f', type: 'setField', field: 'country', value: null },
      { id: 'in', type: 'addToList', listId },
      { id: 'out', type: 'removeFromList', listId },
      { id: 'call', type: 'webhook', url: 'https://example.com/hook' },
      { id: 'if', type: 'if', criteria: everybody, yes: leave, no: [] },
    ];
    const answer = await define(steps);
    expect(answer.status).toBe(201);
    expect(answer.body).toMatchObject({ state: 'draft', version: 0, definition: { steps }, workflow: null });
    expect((await put(`/automations/${answer.body.id}/validate`)).body).toEqual({
      valid: true,
      problems: [],
    });
  });

  test('that names what is not there can be kept, but not activated', async () => {
    const { body } = await define([
      { id: 'a', type: 'sendEmail', emailId: NOBODY },
      { id: 'b', type: 'addToList', listId: NOBODY },
    ]);
    const checked = await put(`/automations/${body.id}/validate`);
    expect(checked.body.problems.map(({ path }: { path: string }) => path)).toEqual([
      '/steps/0/emailId',
      '/steps/1/listId',
    ]);
    const answer = await put(`/automations/${body.id}/activate`);
    expect(answer.status).toBe(422);
    expect(faults(answer)).toEqual(['/steps/0/emailId', '/steps/1/listId']);
    expect((await api.call('GET', `/automations/${body.id}`)).body.state).toBe('draft');
  });

  test('that puts somebody into a dynamic list is not activated, nor are criteria with a list that is not there', async () => {
    const dynamic = await api.call('POST', '/lists', { name: 'By criteria', criteria: everybody });
    const listId = dynamic.body.id;
    const asks = { all: [{ list: NOBODY, member: true }] };
    const steps = [
      { id: 'if', type: 'if', criteria: asks, yes: [{ id: 'in', type: 'addToList', listId }], no: leave },
    ];
    const { body } = await define(steps, { who: asks });
    const paths = ['/steps/0/criteria/all/0/list', '/steps/0/yes/0/listId', '/who/all/0/list'];
    const checked = await put(`/automations/${body.id}/validate`);
    expect(checked.body.problems.map(({ path }: { path: string }) => path).toSorted()).toEqual(paths);
    const answer = await put(`/automations/${body.id}/activate`);
    expect(answer.status).toBe(422);
    expect(faults(answer).toSorted()).toEqual(paths);
  });

  test('a new version of a running one is refused whole, with the place of each fault', async () => {
    const { body } = await define(leave);
    const path = `/automations/${body.id}`;
    await put(`${path}/activate`);
    const definition = { who: everybody, steps: [{ id: 'a', type: 'sendEmail', emailId: NOBODY }], when };
    const answer = await api.call('POST', `${path}/versions`, { definition, moveEnrolled: true });
    expect(answer.status).toBe(422);
    expect(faults(answer)).toEqual(['/definition/steps/0/emailId']);
    expect((await api.call('GET', path)).body).toMatchObject({ version: 1, definition: { steps: leave } });
  });
});

describe('an automation', () => {
  test('is changed while it is a draft, and by versions after that', async () => {
    const { body } = await define(leave);
    const path = `/automations/${body.id}`;
    expect((await api.call('PATCH', path, { name: 'Renamed' })).body.name).toBe('Renamed');
    expect(
      (await api.call('POST', '/automations', { name: 'renamed', definition: body.definition })).status,
    ).toBe(409);
    expect((await put(`${path}/pause`)).status).toBe(409);
    expect((await put(`${path}/activate`)).body).toMatchObject({ state: 'active', version: 1 });
    expect((await put(`${path}/activate`)).status).toBe(409);
    expect((await api.call('PATCH', path, { name: 'Again' })).status).toBe(409);
    const definition = { ...body.definition, steps: [{ id: 'other', type: 'leave' }] };
    const bad = await api.call('POST', `${path}/versions`, { definition: { ...definition, steps: [{}] } });
    expect(faults(bad)).toEqual(['/definition/steps/0/id']);
    expect((await api.call('POST', `${path}/versions`, { definition })).body).toMatchObject({ version: 2 });
    expect((await put(`${path}/pause`)).body.state).toBe('paused');
    expect((await put(`${path}/resume`)).body.state).toBe('active');
    expect((await put(`${path}/stop`)).body.state).toBe('stopped');
    for (const transition of ['activate', 'pause', 'resume', 'stop'])
      expect((await put(`${path}/${transition}`)).status).toBe(409);
    const listed = await api.call('GET', '/automations?state=stopped');
    expect(listed.body.items.map(({ id }: { id: string }) => id)).toEqual([body.id]);
    const audit = await api.call('GET', '/audit?action=automation.stopped');
    expect(audit.body.items).toHaveLength(1);
  });

  test('two changes at the same time are both made, and what is activated is what was checked', async () => {
    const { body } = await define(leave);
    const path = `/automations/${body.id}`;
    // Keeps all of them waiting, so that they begin with the same.
    const [held, told] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const holding = api.db.transaction(async (tx) => {
      await tx.query(plain('select 1 from automation where id = $1 for update'), [body.id]);
      held.resolve();
      await told.promise;
    });
    await held.promise;
    const unready = [{ id: 'mail', type: 'sendEmail', emailId: NOBODY }];
    const definition = { who: everybody, steps: unready, when };
    const name = api.call('PATCH', path, { name: `Both ${counter}` });
    await waiting(1);
    const steps = api.call('PATCH', path, { definition });
    await waiting(2);
    const activated = api.call('POST', `${path}/activate`);
    await waiting(3);
    told.resolve();
    await holding;
    expect((await name).status).toBe(200);
    // PostgreSQL does not promise to serve those that wait for a row in the order in which they came.
    const stepsFirst = (await steps).status === 200;
    expect((await activated).status).toBe(stepsFirst ? 422 : 200);
    expect((await api.call('GET', path)).body).toMatchObject({
      name: `Both ${counter}`,
      state: stepsFirst ? 'draft' : 'active',
      definition: { steps: stepsFirst ? unready : leave },
    });
  });

  test('previews who would enter, and who would be ignored, with reasons and examples', async () => {
    const company = 'Previewed';
    const plainOne = await newProspect({ company });
    const out = await newProspect({ company, emailOptOut: true });
    const dead = await newProspect({ company, bounced: true });
    const inside = await newProspect({ company });
    await newProspect({ company: 'Other' });
    const who = { field: 'company', operator: 'equals', value: company };
    const { body } = await define(leave, { who });
    await put(`/automations/${body.id}/activate`);
    await enroll(body.id, inside, 'leave');
    const preview = await put(`/automations/${body.id}/preview`);
    expect(preview.body.affected.count).toBe(3);
    expect(preview.body.affected.examples.toSorted()).toEqual([plainOne, out, dead].toSorted());
    expect(preview.body.ignored).toEqual([
      { reason: 'already_entered', count: 1, examples: [inside] },
      { reason: 'opted_out', count: 1, examples: [out] },
      { reason: 'bounced', count: 1, examples: [dead] },
    ]);
  });

  test('shows who is inside and how far, and lets a prospect be taken out and put back', async () => {
    const prospect = await newProspect();
    const { body } = await define([{ id: 'wait', type: 'wait', seconds: 60 }]);
    await put(`/automations/${body.id}/activate`);
    const id = await enroll(body.id, prospect, 'wait');
    await api.db.query(
      plain(`insert into enrollment_step (enrollment_id, step_id, state, reason, waiting_until, begun_at, at)
             values ($1, 'wait', 'waiting', 'time', '2026-12-24T10:00:00Z', now(), now())`),
      [id],
    );
    const inside = await api.call('GET', `/automations/${body.id}/enrollments?state=running`);
    expect(inside.body.items).toMatchObject([
      {
        id,
        state: 'running',
        position: 'wait',
        steps: [{ id: 'wait', state: 'waiting', reason: 'time', waitingUntil: '2026-12-24T10:00:00.000Z' }],
      },
    ]);
    await put(`/automations/${body.id}/pause`);
    expect((await api.call('GET', `/enrollments/${id}`)).body).toMatchObject({
      state: 'suspended',
      steps: [{ state: 'suspended' }],
    });
    // Counted and found by the state that is shown.
    expect((await api.call('GET', `/automations/${body.id}`)).body.enrollments).toEqual({ suspended: 1 });
    const found = async (state: string) =>
      (await api.call('GET', `/automations/${body.id}/enrollments?state=${state}`)).body.items;
    expect(await found('running')).toEqual([]);
    expect(await found('suspended')).toMatchObject([{ id, state: 'suspended' }]);
    await put(`/automations/${body.id}/resume`);
    expect((await put(`/enrollments/${id}/put-back`)).status).toBe(409);
    expect((await put(`/enrollments/${id}/remove`)).body).toMatchObject({
      state: 'removed',
      steps: [{ state: 'suspended' }],
    });
    expect((await put(`/enrollments/${id}/remove`)).status).toBe(409);
    expect((await put(`/enrollments/${id}/put-back`)).body).toMatchObject({
      state: 'running',
      position: 'wait',
    });
    const ofProspect = await api.call('GET', `/prospects/${prospect}/enrollments`);
    expect(ofProspect.body.items).toMatchObject([{ id, automationId: body.id }]);
    await put(`/enrollments/${id}/remove`);
    await put(`/automations/${body.id}/stop`);
    expect((await put(`/enrollments/${id}/put-back`)).status).toBe(409);
  });

  test('says what an email waits for that was made and is held back before its first attempt', async () => {
    const prospect = await newProspect();
    const { body } = await define([{ id: 'mail', type: 'sendEmail', emailId }]);
    await put(`/automations/${body.id}/activate`);
    const id = await enroll(body.id, prospect, 'mail');
    const hasher = new AddressHasher(new Uint8Array(32).fill(7));
    const parts = { db: api.db, hasher, programs: new Programs(), messageIdDomain: 'heed.test' };
    expect(await advance(parts, new Date(), id, 1)).toMatchObject({ next: { reason: 'first_attempt' } });
    const step = async () => (await api.call('GET', `/enrollments/${id}`)).body.steps[0];
    expect(await step()).toMatchObject({ state: 'waiting', reason: 'first_attempt' });
    const { sendId } = await step();
    await holdSend(api.db, {
      sendId,
      run: 1,
      trigger: 'schedule',
      until: null,
      reason: 'marketing_paused',
      rule: 'marketing_paused',
      now: new Date(),
    });
    expect(await step()).toMatchObject({ state: 'waiting', reason: 'marketing_paused', sendId });
  });

  test('has its webhook key renewed by an administrator, who sees it once', async () => {
    const { body } = await define(leave);
    const path = `/automations/${body.id}/webhook-secret`;
    const [first, second] = [await put(path), await put(path)];
    expect(first.body.secret).toMatch(/^[\w-]{43}$/);
    expect(second.body.secret).not.toBe(first.body.secret);
    const writer = await api.call('POST', path, undefined, { authorization: `Bearer ${api.keys.write}` });
    expect(writer.status).toBe(403);
    expect(JSON.stringify((await api.call('GET', `/automations/${body.id}`)).body)).not.toContain(
      second.body.secret,
    );
  });

  test.each([
    ['GET', '/automations/{}'],
    ['POST', '/automations/{}/activate'],
    ['POST', '/automations/{}/preview'],
    ['POST', '/automations/{}/webhook-secret'],
    ['GET', '/automations/{}/enrollments'],
    ['GET', '/prospects/{}/enrollments'],
    ['GET', '/enrollments/{}'],
    ['POST', '/enrollments/{}/remove'],
    ['POST', '/enrollments/{}/put-back'],
  ])('that does not exist is not found by %s %s', async (method, path) => {
    expect((await api.call(method, path.replace('{}', NOBODY))).status).toBe(404);
  });
});

test('the frequency cap, quiet hours and the kill switch are settings', async () => {
  const change = {
    marketingPaused: true,
    frequencyCap: { emails: 2, days: 7 },
    quietHours: { from: '21:00', to: '08:00', timeZone: 'Europe/Berlin' },
  };
  expect((await api.call('PATCH', '/settings', change)).body).toMatchObject(change);
  expect((await api.call('GET', '/settings')).body).toMatchObject(change);
  const bad = await api.call('PATCH', '/settings', {
    frequencyCap: { emails: 0, days: 7 },
    quietHours: { from: '25:00', to: '08:00', timeZone: 'Mars/Base' },
  });
  expect(faults(bad)).toEqual(['/frequencyCap/emails', '/quietHours/from', '/quietHours/timeZone']);
  const off = { marketingPaused: false, frequencyCap: null, quietHours: null };
  expect((await api.call('PATCH', '/settings', off)).body).toMatchObject(off);
});
