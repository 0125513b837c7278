import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase, plain } from '../../db/connection.ts';
import { createFirstApiKey, type Scope } from '../../db/queries/apiKeys.ts';
import { createTestDatabase } from '../support/database.ts';
import { startApi, type TestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

const withKey = (scope: Scope) => ({ authorization: `Bearer ${api.keys[scope]}` });

describe('authentication', () => {
  test('without a valid key everything but health and the reference is refused, known or not', async () => {
    for (const authorization of [
      '',
      'Bearer',
      'Bearer heed_',
      `Bearer heed_${'A'.repeat(43)}`,
      `Basic ${api.keys.admin}`,
      `Bearer ${api.keys.admin} more`,
      api.keys.admin,
    ]) {
      for (const path of [
        '/prospects',
        '/api-keys',
        '/nowhere',
        '/healthz/',
        '/openapi.json/x',
        '//healthz',
      ]) {
        const answer = await api.call('GET', path, undefined, { authorization });
        expect([path, answer.status]).toEqual([path, 401]);
        expect(answer.headers.get('content-type')).toBe('application/problem+json');
        expect(answer.headers.get('www-authenticate')).toContain('Bearer');
      }
    }
    for (const path of ['/healthz', '/readyz', '/openapi.json', '/reference']) {
      expect((await api.call('GET', path, undefined, { authorization: '' })).status).toBe(200);
    }
  });

  test('the scheme is read whatever its letter case', async () => {
    const answer = await api.call('GET', '/lists', undefined, { authorization: `bearer ${api.keys.read}` });
    expect(answer.status).toBe(200);
  });

  test('scopes: read < write < admin', async () => {
    const reach = async (scope: Scope) => [
      (await api.call('GET', '/lists', undefined, withKey(scope))).status,
      (await api.call('POST', '/lists', { name: `By ${scope}` }, withKey(scope))).status,
      (await api.call('GET', '/api-keys', undefined, withKey(scope))).status,
    ];
    expect(await reach('read')).toEqual([200, 403, 403]);
    expect(await reach('write')).toEqual([200, 201, 403]);
    expect(await reach('admin')).toEqual([200, 201, 200]);
  });

  test('the scope is asked before the body is looked at', async () => {
    const answer = await api.call('POST', '/lists', { nonsense: true }, withKey('read'));
    expect(answer.status).toBe(403);
    expect(answer.headers.get('www-authenticate')).toContain('insufficient_scope');
  });

  test('a key is made, shown once, kept as its hash alone, and refused once it is revoked', async () => {
    const made = await api.call('POST', '/api-keys', { name: 'crm', scope: 'write' });
    expect(made.status).toBe(201);
    expect(made.headers.get('cache-control')).toBe('no-store');
    expect(made.body.key).toMatch(/^heed_[A-Za-z0-9_-]{43}$/);
    const authorization = `Bearer ${made.body.key}`;
    expect((await api.call('GET', '/lists', undefined, { authorization })).status).toBe(200);

    const listed = await api.call('GET', '/api-keys');
    expect(listed.body.items[0]).toMatchObject({
      id: made.body.id,
      name: 'crm',
      scope: 'write',
      revokedAt: null,
    });
    const everything = JSON.stringify([
      listed.body,
      await api.db.query(plain('select name, encode(hash, $1) from api_key'), ['escape']),
      await api.db.query(plain('select * from audit_entry')),
    ]);
    expect(everything).not.toContain(made.body.key);

    expect((await api.call('DELETE', `/api-keys/${made.body.id}`)).status).toBe(204);
    expect((await api.call('GET', '/lists', undefined, { authorization })).status).toBe(401);
  });

  test('the last admin key cannot be revoked, so that nobody is locked out', async () => {
    const { body } = await api.call('GET', '/api-keys');
    const admins = body.items.filter(
      (key: { scope: string; revokedAt: null }) => key.scope === 'admin' && !key.revokedAt,
    );
    expect(admins).toHaveLength(1);
    const refused = await api.call('DELETE', `/api-keys/${admins[0].id}`);
    expect(refused.status).toBe(409);
    expect((await api.call('GET', '/api-keys')).status).toBe(200);
  });

  test('of several processes that start at once one makes the first key, and later starts make none', async () => {
    const database = await createTestDatabase();
    const processes = [1, 2, 3, 4].map(() => openDatabase(database.url, { max: 1 }));
    const shown: string[] = [];
    await Promise.all(processes.map((db) => createFirstApiKey(db, new Date(), (key) => shown.push(key))));
    await createFirstApiKey(processes[0]!, new Date(), (key) => shown.push(key));
    expect(shown).toHaveLength(1);
    const rows = await processes[0]!.query(plain('select scopes from api_key'));
    expect(rows).toEqual([{ scopes: ['admin'] }]);
    for (const db of processes) await db.close();
    await database.drop();
  });
});

describe('problems', () => {
  test('an unknown path is 404, a wrong method 405 with Allow', async () => {
    expect((await api.call('GET', '/nowhere')).status).toBe(404);
    const answer = await api.call('PUT', '/prospects', {});
    expect(answer.status).toBe(405);
    expect(answer.headers.get('allow')?.split(', ').sort()).toEqual(['GET', 'HEAD', 'POST']);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(answer.body).toMatchObject({ status: 405, type: '/reference#problem-method-not-allowed' });
  });

  test('a body that is no JSON, of another type, or too large', async () => {
    const malformed = await api.call('POST', '/lists', '{"name": ');
    expect([malformed.status, malformed.body.type]).toEqual([400, '/reference#problem-malformed-json']);
    const form = await api.call('POST', '/lists', 'name=x', {
      'content-type': 'application/x-www-form-urlencoded',
    });
    expect(form.status).toBe(415);
    const untyped = await api.app.request('/lists', {
      method: 'POST',
      headers: withKey('admin'),
      body: new TextEncoder().encode('{"name":"x"}'),
    });
    expect(untyped.status).toBe(415);
    const large = await api.call('POST', '/lists', { name: 'x'.repeat(3 * 1024 * 1024) });
    expect(large.status).toBe(413);
    const nothing = await api.call('POST', '/lists');
    expect(nothing.body.errors).toEqual([{ in: 'body', field: '/name', message: 'Is required.' }]);
    expect((await api.call('POST', '/lists', '[]')).status).toBe(400);
    expect((await api.call('POST', '/lists', 'null')).status).toBe(400);
  });

  test('unknown fields and parameters are refused by name', async () => {
    const body = await api.call('POST', '/lists', { name: 'A', nmae: 'B' });
    expect(body.body.errors).toEqual([{ in: 'body', field: '/nmae', message: 'There is no such field.' }]);
    const query = await api.call('GET', '/sends?stat=waiting&state=waiting');
    expect(query.body.errors).toEqual([
      { in: 'query', field: 'stat', message: 'There is no such parameter.' },
    ]);
  });

  test('ids, limits and enumerations are checked, and the message says what is allowed', async () => {
    const id = await api.call('GET', '/sends/42');
    expect(id.body.errors).toEqual([{ in: 'path', field: 'id', message: 'Must be an id (a UUID).' }]);
    for (const limit of ['0', '201', '1.5', 'x', '']) {
      const answer = await api.call('GET', `/sends?limit=${limit}`);
      expect(answer.body.errors).toMatchObject([{ in: 'query', field: 'limit' }]);
    }
    const state = await api.call('GET', '/sends?state=asleep');
    expect(state.body.errors[0].message).toBe(
      'Must be "queued", "attempting", "waiting", "held" or "final".',
    );
    const twice = await api.call('GET', '/sends?state=final&state=waiting');
    expect(twice.status).toBe(400);
  });

  test('characters that the database cannot keep are refused, not a fault', async () => {
    for (const name of ['a\u0000b', 'a\ud800b', 'a\nb']) {
      const answer = await api.call('POST', '/lists', { name });
      expect(answer.body.errors).toMatchObject([{ in: 'body', field: '/name' }]);
    }
    expect((await api.call('GET', '/prospects?q=%00')).status).toBe(400);
    expect(api.errors).toEqual([]);
  });

  test('a fault of ours tells the caller nothing but the request id, under which it is logged', async () => {
    const broken = await startApi();
    await broken.db.query(plain('alter table list rename to list_away'));
    const answer = await broken.call('GET', '/lists', undefined, { 'x-request-id': 'find-me' });
    expect(answer.status).toBe(500);
    expect(answer.body.requestId).toBe('find-me');
    expect(JSON.stringify(answer.body)).not.toMatch(/relation|select|list_member|\.ts/);
    expect(broken.errors).toMatchObject([{ requestId: 'find-me', err: expect.any(Error) }]);
    await broken.close();
  });
});

describe('request ids and headers', () => {
  test('a sane X-Request-Id is taken over, another one is replaced, and every answer has one', async () => {
    const given = await api.call('GET', '/lists', undefined, { 'x-request-id': 'job-17' });
    expect(given.headers.get('x-request-id')).toBe('job-17');
    for (const bad of ['a b', 'x'.repeat(101), '<script>']) {
      const made = await api.call('GET', '/nowhere', undefined, { 'x-request-id': bad });
      expect(made.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
      expect(made.body.requestId).toBe(made.headers.get('x-request-id'));
    }
  });

  test('answers carry the security headers, problems too, and let no other site read them', async () => {
    for (const path of ['/lists', '/nowhere', '/reference']) {
      const { headers } = await api.call('GET', path, undefined, { origin: 'https://evil.example' });
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('content-security-policy')).toContain("default-src 'none'");
      expect(headers.get('content-security-policy')).not.toMatch(/script-src|unsafe-eval/);
      expect(headers.get('access-control-allow-origin')).toBeNull();
    }
  });
});

describe('without the database', () => {
  test('a connection that is cut while a request runs on it is 503, and the next request works', async () => {
    const cut = await startApi();
    const release = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const blocker = cut.db.transaction(async (tx) => {
      await tx.query(plain('lock table list in access exclusive mode'));
      locked.resolve();
      await release.promise;
    });
    await locked.promise;
    const waiting = cut.call('GET', '/lists');
    const terminate = plain(`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and query like '%from list%'`);
    while ((await cut.db.query(terminate)).length === 0)
      await new Promise((resolve) => setTimeout(resolve, 20));
    const answer = await waiting;
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('5');
    release.resolve();
    await blocker;
    expect((await cut.call('GET', '/lists')).status).toBe(200);
    await cut.close();
  });

  test('a database that refuses connections', async () => {
    const db = openDatabase('postgres://nobody@127.0.0.1:1/none', { max: 1 });
    const lost = await startApi({ db });
    const answer = await lost.call('GET', '/lists');
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('5');
    expect(answer.body).toMatchObject({ type: '/reference#problem-unavailable' });
    expect((await lost.call('GET', '/healthz')).status).toBe(200);
    const ready = await lost.call('GET', '/readyz');
    expect(ready.status).toBe(503);
    expect(ready.body).toMatchObject({ status: 'down', parts: { database: 'down', temporal: 'up' } });
    await db.close();
    await lost.close();
  });
});

test('without Temporal the API goes on accepting: ready, but degraded', async () => {
  const alone = await startApi({
    temporal: {
      uiLinkOf: () => null,
      ready: async () => {
        throw new Error('unreachable');
      },
    },
  });
  const ready = await alone.call('GET', '/readyz');
  expect(ready.status).toBe(200);
  expect(ready.body).toMatchObject({ status: 'degraded', parts: { database: 'up', temporal: 'down' } });
  expect((await alone.call('POST', '/lists', { name: 'Accepted' })).status).toBe(201);
  await alone.close();
});

test('an outbox whose oldest entry waits for more than a minute is told', async () => {
  await api.db.query(
    plain(
      `insert into outbox (aggregate, message, created_at) values ('test', '{}', now() - interval '2 minutes')`,
    ),
  );
  const ready = await api.call('GET', '/readyz');
  expect(ready.body).toMatchObject({
    status: 'degraded',
    parts: { outbox: { status: 'stuck', entries: 1 } },
  });
  await api.db.query(plain('delete from outbox'));
  expect((await api.call('GET', '/readyz')).body.status).toBe('ready');
});

test('settings: the schedule is validated and the problem names it; what is left out stays', async () => {
  const before = (await api.call('GET', '/settings')).body;
  expect(before.schedule).toHaveLength(16);
  const wrong = await api.call('PATCH', '/settings', { schedule: ['0s', '1h', '30m'], softBounceLimit: 3 });
  expect(wrong.status).toBe(400);
  expect(wrong.body.errors).toMatchObject([
    { field: '/schedule', message: expect.stringContaining('Offset 3') },
  ]);
  expect((await api.call('GET', '/settings')).body).toEqual(before);
  const changed = await api.call('PATCH', '/settings', { schedule: ['0s', '10m', '1h'] });
  expect(changed.body).toEqual({ ...before, schedule: [0, 600, 3600] });
  expect((await api.call('PATCH', '/settings', { softBounceLimit: 3 }, withKey('write'))).status).toBe(403);
});

test('alerts: open ones, or all', async () => {
  const insert = plain(`insert into alert (id, key, kind, detail, count, raised_at, last_seen_at, cleared_at)
    values (gen_random_uuid(), $1, 'relay_unavailable', 'down', 1, now(), now(), $2)`);
  await api.db.query(insert, ['one', null]);
  await api.db.query(insert, ['two', new Date()]);
  expect((await api.call('GET', '/alerts')).body.items.map((alert: { key: string }) => alert.key)).toEqual([
    'one',
  ]);
  expect((await api.call('GET', '/alerts?state=all')).body.items).toHaveLength(2);
});
