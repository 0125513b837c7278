import { afterAll, beforeAll, expect, test } from 'vitest';
import { startApi, type TestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

let count = 0;
const someone = () => `person${++count}@example.com`;

async function create(fields: object = {}) {
  const answer = await api.call('POST', '/prospects', { email: someone(), ...fields });
  expect(answer.status).toBe(201);
  return answer.body;
}

test('a prospect is created, read with its ETag, changed with If-Match, and deleted', async () => {
  const email = someone();
  const created = await api.call('POST', '/prospects', {
    email,
    firstName: 'Ada',
    timeZone: 'Europe/London',
  });
  expect(created.status).toBe(201);
  expect(created.headers.get('location')).toBe(`/prospects/${created.body.id}`);
  expect(created.headers.get('etag')).toBe('"1"');
  expect(created.body).toMatchObject({
    email,
    firstName: 'Ada',
    lastName: null,
    emailOptOut: false,
    version: 1,
  });

  const path = `/prospects/${created.body.id}`;
  const changed = await api.call(
    'PATCH',
    path,
    { lastName: 'Byron', firstName: null },
    { 'if-match': '"1"' },
  );
  expect(changed.status).toBe(200);
  expect(changed.headers.get('etag')).toBe('"2"');
  expect(changed.body).toMatchObject({ firstName: null, lastName: 'Byron', timeZone: 'Europe/London' });

  expect((await api.call('DELETE', path, undefined, { 'if-match': '"1"' })).status).toBe(412);
  expect((await api.call('DELETE', path)).status).toBe(204);
  expect((await api.call('GET', path)).status).toBe(404);
});

test('a change without If-Match is asked for it, and one from an old version is refused with the new ETag', async () => {
  const { id } = await create();
  const missing = await api.call('PATCH', `/prospects/${id}`, { city: 'Berlin' });
  expect(missing.status).toBe(428);
  expect(missing.body.errors).toMatchObject([{ in: 'header', field: 'If-Match' }]);
  await api.call('PATCH', `/prospects/${id}`, { city: 'Berlin' }, { 'if-match': '"1"' });
  const old = await api.call('PATCH', `/prospects/${id}`, { city: 'Paris' }, { 'if-match': '"1"' });
  expect(old.status).toBe(412);
  expect(old.headers.get('etag')).toBe('"2"');
  expect((await api.call('GET', `/prospects/${id}`)).body.city).toBe('Berlin');
  expect((await api.call('PATCH', `/prospects/${id}`, { city: 'Paris' }, { 'if-match': '*' })).status).toBe(
    200,
  );
  expect((await api.call('PATCH', `/prospects/${id}`, {}, { 'if-match': 'W/"3"' })).status).toBe(400);
});

test('bad fields are named by their pointer and nothing is created', async () => {
  const before = await api.call('GET', '/prospects?limit=200');
  const answer = await api.call('POST', '/prospects', {
    email: someone(),
    timeZone: 'Mars/Olympus',
    custom: { nowhere: 1 },
  });
  expect(answer.status).toBe(400);
  expect(answer.body.errors.map((error: { field: string }) => error.field)).toEqual([
    '/timeZone',
    '/custom/nowhere',
  ]);
  const twoAts = await api.call('POST', '/prospects', { email: 'a b@example.com' });
  expect(twoAts.body.errors).toMatchObject([{ in: 'body', field: '/email' }]);
  const unknown = await api.call('POST', '/prospects', { email: someone(), 'fav/colour': 'red' });
  expect(unknown.body.errors).toEqual([
    { in: 'body', field: '/fav~1colour', message: 'There is no such field.' },
  ]);
  const after = await api.call('GET', '/prospects?limit=200');
  expect(after.body).toEqual(before.body);
});

test('a second prospect with the same address in another letter case is a conflict that names the first', async () => {
  const { id, email } = await create();
  const answer = await api.call('POST', '/prospects', { email: email.toUpperCase() });
  expect(answer.status).toBe(409);
  expect(answer.body.errors[0]).toMatchObject({ field: '/email', message: expect.stringContaining(id) });
});

test('I3 I6: flags change independently, with the reason and the key in the audit trail', async () => {
  const { id } = await create();
  const opted = await api.call(
    'PATCH',
    `/prospects/${id}/flags`,
    { emailOptOut: true, reason: 'By phone' },
    { 'x-request-id': 'call-1' },
  );
  expect(opted.body).toMatchObject({ emailOptOut: true, bounced: false });
  await api.call('PATCH', `/prospects/${id}/flags`, { bounced: true, reason: 'Reported' });
  const cleared = await api.call('PATCH', `/prospects/${id}/flags`, {
    emailOptOut: false,
    reason: 'Came back',
  });
  expect(cleared.body).toMatchObject({ emailOptOut: false, bounced: true });
  const { body } = await api.call('GET', `/audit?prospectId=${id}&action=flag.changed`);
  expect(
    body.items.map((entry: { subject: string; after: boolean }) => [entry.subject, entry.after]),
  ).toEqual([
    ['emailOptOut', false],
    ['bounced', true],
    ['emailOptOut', true],
  ]);
  expect(body.items[2]).toMatchObject({
    way: 'api',
    actor: 'admin',
    reason: 'By phone',
    requestId: 'call-1',
  });
  const neither = await api.call('PATCH', `/prospects/${id}/flags`, { reason: 'Nothing' });
  expect(neither.status).toBe(400);
});

test('I4: an opt-out survives deleting and creating the prospect again', async () => {
  const { id, email } = await create();
  await api.call('PATCH', `/prospects/${id}/flags`, { emailOptOut: true, reason: 'By phone' });
  await api.call('DELETE', `/prospects/${id}`);
  const again = await api.call('POST', '/prospects', { email, emailOptOut: false });
  expect(again.body).toMatchObject({ emailOptOut: true });
});

test('a search pages through everybody once, and finds by prefix, address, flags and list', async () => {
  const marker = `Searchable${Date.now()}`;
  const made = [];
  for (let index = 0; index < 5; index += 1) made.push(await create({ company: marker }));
  const found: string[] = [];
  let cursor = '';
  do {
    const page = await api.call('GET', `/prospects?q=${marker.toLowerCase()}&limit=2${cursor}`);
    expect(page.status).toBe(200);
    found.push(...page.body.items.map((one: { id: string }) => one.id));
    cursor = page.body.nextCursor === null ? '' : `&cursor=${page.body.nextCursor}`;
  } while (cursor !== '');
  expect(found).toEqual(made.map((one) => one.id).reverse());

  const exact = await api.call('GET', `/prospects?email=${made[0].email.toUpperCase()}`);
  expect(exact.body.items).toMatchObject([{ id: made[0].id }]);
  expect((await api.call('GET', '/prospects?email=nobody@example.org')).body.items).toEqual([]);

  const list = await api.call('POST', '/lists', { name: marker });
  await api.call('POST', `/lists/${list.body.id}/members`, {
    prospectIds: [made[1].id, made[2].id, made[1].id],
  });
  const members = await api.call('GET', `/prospects?listId=${list.body.id}`);
  expect(members.body.items.map((one: { id: string }) => one.id)).toEqual([made[2].id, made[1].id]);
  expect((await api.call('GET', `/lists/${list.body.id}`)).body.members).toBe(2);
});

test('a cursor that is none, or of another list, is refused by name', async () => {
  for (const cursor of ['x', 'bm9uZQ', Buffer.from('"not-an-id"').toString('base64url'), '%00']) {
    const answer = await api.call('GET', `/prospects?cursor=${cursor}`);
    expect(answer.status).toBe(400);
    expect(answer.body.errors).toMatchObject([{ in: 'query', field: 'cursor' }]);
  }
});

test('a list takes all of the prospects or none, and names those that do not exist', async () => {
  const { id } = await create();
  const list = await api.call('POST', '/lists', { name: 'All or none' });
  const answer = await api.call('POST', `/lists/${list.body.id}/members`, {
    prospectIds: [id, '019a0c5e-0000-7000-8000-000000000000'],
  });
  expect(answer.status).toBe(422);
  expect(answer.body.errors).toMatchObject([{ field: '/prospectIds/1' }]);
  expect((await api.call('GET', `/lists/${list.body.id}`)).body.members).toBe(0);
  expect((await api.call('POST', '/lists', { name: 'ALL OR NONE' })).status).toBe(409);
});

test('custom fields are typed, and their values are checked', async () => {
  const field = { key: 'plan', label: 'Plan', type: 'choice', choices: ['free', 'gold'] };
  expect((await api.call('POST', '/custom-fields', field)).status).toBe(201);
  expect((await api.call('POST', '/custom-fields', field)).status).toBe(409);
  expect((await api.call('POST', '/custom-fields', { ...field, key: 'Plan-2' })).body.errors[0].field).toBe(
    '/key',
  );
  expect((await create({ custom: { plan: 'gold' } })).custom).toEqual({ plan: 'gold' });
  const wrong = await api.call('POST', '/prospects', { email: someone(), custom: { plan: 'silver' } });
  expect(wrong.body.errors).toMatchObject([{ field: '/custom/plan' }]);
});

test('a merge keeps the stricter flags; merging into nobody or oneself changes nothing', async () => {
  const loser = await create({ emailOptOut: true, city: 'Berlin' });
  const winner = await create();
  expect((await api.call('POST', `/prospects/${loser.id}/merge`, { into: loser.id })).status).toBe(422);
  const nobody = await api.call('POST', `/prospects/${loser.id}/merge`, {
    into: '019a0c5e-0000-7000-8000-000000000000',
  });
  expect(nobody.body.errors).toMatchObject([{ field: '/into' }]);
  const merged = await api.call('POST', `/prospects/${loser.id}/merge`, { into: winner.id });
  expect(merged.body).toMatchObject({ id: winner.id, emailOptOut: true, city: 'Berlin' });
  expect((await api.call('GET', `/prospects/${loser.id}`)).status).toBe(404);
});

test('I6: erasing needs the scope admin and leaves the entries and the suppression', async () => {
  const { id, email } = await create({ emailOptOut: true });
  const forbidden = await api.call('DELETE', `/prospects/${id}?erase=true`, undefined, {
    authorization: `Bearer ${api.keys.write}`,
  });
  expect(forbidden.status).toBe(403);
  expect((await api.call('GET', `/prospects/${id}`)).status).toBe(200);
  expect(
    (await api.call('DELETE', `/prospects/${id}?erase=true`, undefined, { 'if-match': '"99"' })).status,
  ).toBe(412);
  expect((await api.call('DELETE', `/prospects/${id}?erase=true`)).status).toBe(204);
  const timeline = await api.call('GET', `/prospects/${id}/timeline`);
  expect(timeline.status).toBe(200);
  expect(JSON.stringify(timeline.body)).not.toContain(email);
  const explained = await api.call('GET', `/suppressions/explain?email=${email}`);
  expect(explained.body).toMatchObject({ mayBeMailed: false, causes: [{ code: 'address:opt_out' }] });
});
