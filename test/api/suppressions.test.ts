import { afterAll, beforeAll, expect, test } from 'vitest';
import { plain } from '../../db/connection.ts';
import { startApi, type TestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

test('an address is suppressed once, with its flag, found, explained, and taken off with a reason', async () => {
  const person = (await api.call('POST', '/prospects', { email: 'ada@example.com' })).body;
  const body = { email: 'ADA@example.com', reason: 'opt_out', note: 'Wrote to support' };
  const added = await api.call('POST', '/suppressions', body);
  expect(added.status).toBe(201);
  expect(added.body).toMatchObject({
    email: 'ada@example.com',
    reason: 'opt_out',
    way: 'api',
    note: 'Wrote to support',
  });
  const again = await api.call('POST', '/suppressions', { ...body, note: 'Again' });
  expect([again.status, again.body]).toEqual([200, added.body]);
  expect((await api.call('GET', `/prospects/${person.id}`)).body.emailOptOut).toBe(true);

  await api.call('POST', '/suppressions', { email: 'ada@example.com', note: 'Competitor' });
  const explained = await api.call('GET', '/suppressions/explain?email=ada@example.com');
  expect(explained.body).toMatchObject({
    mayBeMailed: false,
    prospectId: person.id,
    causes: [{ code: 'prospect:opt_out' }, { code: 'address:opt_out' }, { code: 'address:manual' }],
  });

  const withoutWhy = await api.call('DELETE', `/suppressions/${added.body.id}`);
  expect(withoutWhy.body.errors).toEqual([{ in: 'query', field: 'note', message: 'Is required.' }]);
  expect((await api.call('DELETE', `/suppressions/${added.body.id}?note=Came%20back`)).status).toBe(204);
  expect((await api.call('DELETE', `/suppressions/${added.body.id}?note=Again`)).status).toBe(404);
  const left = await api.call('GET', '/suppressions?email=ada@example.com');
  expect(left.body.items.map((one: { reason: string }) => one.reason)).toEqual(['manual']);
  expect((await api.call('GET', `/prospects/${person.id}`)).body.emailOptOut).toBe(false);
  const audit = await api.call('GET', `/audit?addressId=${person.addressId}&action=suppression.removed`);
  expect(audit.body.items).toMatchObject([{ reason: 'Came back', subject: 'opt_out' }]);
});

test('a domain is suppressed with everything below it, and released', async () => {
  const added = await api.call('POST', '/suppressions', { domain: 'Example.NET' });
  expect(added.status).toBe(201);
  expect(added.body).toMatchObject({ domain: 'example.net', reason: 'manual' });
  expect((await api.call('POST', '/suppressions', { domain: 'example.net' })).status).toBe(200);
  const explained = await api.call('GET', '/suppressions/explain?email=never@mail.example.net');
  expect(explained.body).toMatchObject({
    mayBeMailed: false,
    addressId: null,
    causes: [{ code: 'domain:example.net' }],
  });
  expect((await api.call('GET', '/suppressions/domains?q=example')).body.items).toHaveLength(1);
  expect((await api.call('DELETE', `/suppressions/${added.body.id}?note=Mistake`)).status).toBe(204);
  expect((await api.call('GET', '/suppressions/explain?email=a@example.net')).body.mayBeMailed).toBe(true);
});

test('bad entries are refused by field and suppress nothing', async () => {
  const tries: [object, string][] = [
    [{}, '/email'],
    [{ email: 'a@example.com', domain: 'example.com' }, '/email'],
    [{ email: 'nobody' }, '/email'],
    [{ domain: 'co.uk' }, '/domain'],
    [{ domain: 'example.org', reason: 'bounced' }, '/reason'],
    [{ domain: 'example.org', listId: '019a0c5e-0000-7000-8000-000000000000' }, '/listId'],
    [{ email: 'a@example.com', listId: '019a0c5e-0000-7000-8000-000000000000' }, '/listId'],
    [{ email: 'a@example.com', reason: 'dislike' }, '/reason'],
  ];
  for (const [body, field] of tries) {
    const answer = await api.call('POST', '/suppressions', body);
    expect([400, 422]).toContain(answer.status);
    expect(answer.body.errors).toMatchObject([{ in: 'body', field }]);
  }
  expect((await api.call('GET', '/suppressions?q=a@')).body.items).toEqual([]);
});

test('I1: an unsubscribe from one list suppresses within that list alone', async () => {
  const list = (await api.call('POST', '/lists', { name: 'Newsletter' })).body;
  await api.call('POST', '/suppressions', { email: 'one@example.com', reason: 'opt_out', listId: list.id });
  const explain = async (query: string) =>
    (await api.call('GET', `/suppressions/explain?email=one@example.com${query}`)).body.mayBeMailed;
  expect(await explain('')).toBe(true);
  expect(await explain(`&listId=${list.id}`)).toBe(false);
  const found = await api.call('GET', `/suppressions?listId=${list.id}`);
  expect(found.body.items).toMatchObject([{ email: 'one@example.com', listId: list.id }]);
});

test('the export has everything, and nothing in it runs as a formula', async () => {
  await api.call('POST', '/suppressions', {
    email: '=1+1@example.com',
    note: '=HYPERLINK("http://evil.example","x"), "quoted"',
  });
  await api.call('POST', '/suppressions', { domain: 'example.org', note: '@SUM(A1)' });
  for (let index = 0; index < 12; index += 1) {
    await api.call('POST', '/suppressions', { email: `export${index}@example.com` });
  }
  const answer = await api.call('GET', '/suppressions/export');
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toMatch(/^text\/csv/);
  const lines = answer.body.trimEnd().split('\r\n');
  expect(lines[0]).toBe('email,domain,reason,list,note,createdAt');
  const [{ entries }] = (await api.db.query<{ entries: number }>(
    plain(
      'select ((select count(*) from suppression) + (select count(*) from domain_suppression))::int as entries',
    ),
  )) as [{ entries: number }];
  expect(lines).toHaveLength(1 + entries);
  expect(answer.body).toContain(
    `'=1+1@example.com,,manual,,"'=HYPERLINK(""http://evil.example"",""x""), ""quoted"""`,
  );
  expect(answer.body).toContain(`,example.org,manual,,'@SUM(A1),`);
  expect(lines.some((line: string) => /(^|,)"?[=+@-]/.test(line))).toBe(false);
});
