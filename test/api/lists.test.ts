import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { type Answer, startApi, type TestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  expect(api.errors).toEqual([]);
  await api.close();
});

const post = (path: string, body: unknown) => api.call('POST', path, body);
const some = (what: string) => `${what} ${randomUUID()}`;

async function prospect(fields: object): Promise<string> {
  const created = await post('/prospects', { email: `p-${randomUUID()}@example.net`, ...fields });
  expect(created.status).toBe(201);
  return created.body.id;
}

async function list(input: object = {}): Promise<Answer> {
  const created = await post('/lists', { name: some('List'), ...input });
  expect(created.status, JSON.stringify(created.body)).toBe(201);
  return created;
}

async function marketingEmail(): Promise<string> {
  const created = await post('/emails', {
    name: some('News'),
    kind: 'marketing',
    subject: 'News',
    fromAddress: 'news@example.com',
    text: 'Hello',
  });
  expect(created.status, JSON.stringify(created.body)).toBe(201);
  return created.body.id;
}

const inCity = (city: string) => ({ field: 'city', operator: 'equals', value: city });
const idsOf = ({ body }: Answer): string[] => body.items.map((item: { id: string }) => item.id);
const fieldsOf = ({ body }: Answer): string[] => body.errors.map((error: { field: string }) => error.field);

describe('dynamic lists', () => {
  it('have whoever matches as members, from the moment on that they do', async () => {
    const city = some('City');
    const before = await prospect({ city: city.toUpperCase() });
    const created = await list({ criteria: inCity(city) });
    expect(created.body).toMatchObject({ criteria: inCity(city), members: 1, private: false });
    const after = await prospect({ city });
    const { id } = created.body;
    expect(idsOf(await api.call('GET', `/lists/${id}/members`))).toEqual([before, after]);
    expect(idsOf(await api.call('GET', `/prospects?listId=${id}`))).toEqual([after, before]);
    expect((await api.call('GET', `/lists/${id}`)).body.members).toBe(2);
    await api.call('DELETE', `/prospects/${before}`);
    expect(idsOf(await api.call('GET', `/lists/${id}/members`))).toEqual([after]);
  });

  it('are read page by page', async () => {
    const city = some('City');
    const ids: string[] = [];
    for (let n = 0; n < 5; n += 1) ids.push(await prospect({ city }));
    const { id } = (await list({ criteria: inCity(city) })).body;
    const found: string[] = [];
    for (let cursor = ''; ; ) {
      const page = await api.call('GET', `/lists/${id}/members?limit=2${cursor}`);
      found.push(...idsOf(page));
      if (page.body.nextCursor === null) break;
      cursor = `&cursor=${page.body.nextCursor}`;
    }
    expect(found).toEqual(ids);
  });

  it('take nobody in or out by hand', async () => {
    const { id } = (await list({ criteria: { all: [] } })).body;
    const someone = await prospect({});
    expect((await post(`/lists/${id}/members`, { prospectIds: [someone] })).status).toBe(409);
    expect((await api.call('DELETE', `/lists/${id}/members/${someone}`)).status).toBe(409);
    expect(idsOf(await api.call('GET', `/lists/${id}/members?limit=200`))).toContain(someone);
  });

  it('can get other criteria, a name, and be private', async () => {
    const [one, other] = [some('City'), some('City')];
    const someone = await prospect({ city: other });
    const { id } = (await list({ criteria: inCity(one) })).body;
    const name = some('Renamed');
    const changed = await api.call('PATCH', `/lists/${id}`, { criteria: inCity(other), name, private: true });
    expect(changed).toMatchObject({
      status: 200,
      body: { name, private: true, criteria: inCity(other), members: 1 },
    });
    expect(idsOf(await api.call('GET', `/lists/${id}/members`))).toEqual([someone]);
    const alone = await api.call('PATCH', `/lists/${id}`, { private: false });
    expect(alone.body).toMatchObject({ name, private: false, criteria: inCity(other) });
  });

  it('are not counted among all lists, where static ones are', async () => {
    const dynamic = (await list({ criteria: { all: [] } })).body.id;
    const still = (await list()).body.id;
    const items: { id: string; members: number | null }[] = (await api.call('GET', '/lists')).body.items;
    expect(items.find((item) => item.id === dynamic)?.members).toBeNull();
    expect(items.find((item) => item.id === still)?.members).toBe(0);
  });

  it('may name other lists, and never in a circle', async () => {
    const city = some('City');
    const someone = await prospect({ city });
    const first = (await list({ criteria: inCity(city) })).body.id;
    const second = (await list({ criteria: { list: first, member: true } })).body.id;
    expect(idsOf(await api.call('GET', `/lists/${second}/members`))).toEqual([someone]);
    const circle = await api.call('PATCH', `/lists/${first}`, {
      criteria: { none: [{ list: second, member: true }] },
    });
    expect(circle.status).toBe(422);
    expect(fieldsOf(circle)).toEqual(['/criteria']);
    const itself = await api.call('PATCH', `/lists/${first}`, { criteria: { list: first, member: true } });
    expect(itself.status).toBe(422);
    expect((await api.call('GET', `/lists/${first}`)).body.criteria).toEqual(inCity(city));
  });

  const conditions = (count: number) => ({ any: Array.from({ length: count }, (_, n) => inCity(`${n}`)) });

  /** Lists that together lead to as many conditions as may be, or nearly; the last of them has one. */
  async function manyLists(): Promise<string[]> {
    const ids: string[] = [];
    for (const count of [280, 280, 280, 280, 280, 280, 280, 1]) {
      ids.push((await list({ criteria: conditions(count) })).body.id);
    }
    return ids;
  }

  const membersOf = (ids: readonly string[]) => ({ any: ids.map((id) => ({ list: id, member: true })) });
  const go = { id: 'go', type: 'leave' };
  const definitionOf = (who: object, steps: readonly object[]) => ({
    who,
    steps,
    when: { mode: 'continuous', timeZone: 'Europe/Berlin' },
  });

  async function newAutomation(definition: object): Promise<string> {
    return (await post('/automations', { name: some('Automation'), definition })).body.id;
  }

  const automationOver = (ids: readonly string[]) => newAutomation(definitionOf(membersOf(ids), [go]));

  const grow = (id: string) => api.call('PATCH', `/lists/${id}`, { criteria: conditions(280) });

  async function growthIsRefusedFor(id: string, what: string): Promise<void> {
    const refused = await grow(id);
    expect([refused.status, fieldsOf(refused)]).toEqual([422, ['/criteria']]);
    expect(refused.body.errors[0].message).toContain(`${what}: `);
    expect((await api.call('GET', `/lists/${id}`)).body.criteria).toEqual(conditions(1));
  }

  it('never grow beyond what runs by them can be worked out with, nor does anything run by more', async () => {
    const ids = await manyLists();
    const last = ids.at(-1)!;
    const automation = () => automationOver(ids);
    const running = await automation();
    expect((await post(`/automations/${running}/activate`, {})).status).toBe(200);
    const emailId = await marketingEmail();
    const broadcast = () =>
      api.call(
        'POST',
        '/broadcasts',
        { name: some('Broadcast'), emailId, listIds: ids },
        { 'idempotency-key': randomUUID() },
      );
    const [scheduled, waiting] = [(await broadcast()).body.id, (await broadcast()).body.id];
    const startAt = new Date(Date.now() + 86_400_000).toISOString();
    expect((await post(`/broadcasts/${scheduled}/start`, { startAt })).status).toBe(200);

    await growthIsRefusedFor(last, `Automation ${running}`);
    expect((await post(`/automations/${running}/stop`, {})).status).toBe(200);
    await growthIsRefusedFor(last, `Broadcast ${scheduled}`);
    expect((await post(`/broadcasts/${scheduled}/cancel`, {})).status).toBe(200);
    expect((await grow(last)).status).toBe(200);

    const draft = await automation();
    const activated = await post(`/automations/${draft}/activate`, {});
    expect([activated.status, fieldsOf(activated)]).toEqual([422, ['/who']]);
    const previewed = await post(`/automations/${draft}/preview`, {});
    expect([previewed.status, fieldsOf(previewed)]).toEqual([422, ['/who']]);
    expect((await post(`/broadcasts/${waiting}/start`, {})).status).toBe(422);
    const another = await broadcast();
    expect([another.status, fieldsOf(another)]).toEqual([422, ['/listIds']]);
  });

  it('never grow beyond what an if/else can be decided with, in whatever version somebody is', async () => {
    const ids = await manyLists();
    const last = ids.at(-1)!;
    const someone = await prospect({});
    const branch = { id: 'if', type: 'if', criteria: membersOf(ids), yes: [go], no: [] };
    const running = await newAutomation(definitionOf({ all: [] }, [branch]));
    expect((await post(`/automations/${running}/activate`, {})).status).toBe(200);
    await growthIsRefusedFor(last, `Automation ${running}`);

    const inside = randomUUID();
    await api.db.query(
      plain(`insert into enrollment (id, automation_id, version, prospect_id, state, position, entered_at)
             values ($1, $2, 1, $3, 'running', 'if', now())`),
      [inside, running, someone],
    );
    const definition = definitionOf({ all: [] }, [go]);
    expect((await post(`/automations/${running}/versions`, { definition })).status).toBe(200);
    await growthIsRefusedFor(last, `Automation ${running}, version 1`);
    // Who was taken out may be put back.
    expect((await post(`/enrollments/${inside}/remove`, {})).status).toBe(200);
    await growthIsRefusedFor(last, `Automation ${running}, version 1`);
    await api.db.query(plain(`update enrollment set state = 'done' where id = $1`), [inside]);
    expect((await grow(last)).status).toBe(200);
  });

  it('do not grow while what would run by them begins to', async () => {
    const ids = await manyLists();
    const [last] = ids.slice(-1);
    const grow = (count: number) => api.call('PATCH', `/lists/${last}`, { criteria: conditions(count) });
    for (let round = 0; round < 12; round += 1) {
      const id = await automationOver(ids);
      const activate = () => post(`/automations/${id}/activate`, {});
      const both = round % 2 === 0 ? [activate(), grow(280)] : [grow(280), activate()];
      const statuses = (await Promise.all(both)).map(({ status }) => status);
      expect([...statuses].sort()).toEqual([200, 422]);
      await post(`/automations/${id}/stop`, {});
      expect((await grow(1)).status).toBe(200);
    }
  });

  it('are never made a circle by two changes at the same time', async () => {
    const first = (await list({ criteria: { all: [] } })).body.id;
    const second = (await list({ criteria: { all: [] } })).body.id;
    const change = (id: string, named: string) =>
      api.call('PATCH', `/lists/${id}`, { criteria: { list: named, member: true } });
    const answers = await Promise.all([change(first, second), change(second, first)]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 422]);
  });

  it('are refused with the place of every fault, and nothing is made', async () => {
    const name = some('List');
    const criteria = {
      all: [
        inCity('x'),
        {
          any: [
            { field: 'custom.nothing', operator: 'isEmpty' },
            { list: 'x', member: true },
          ],
        },
      ],
    };
    const refused = await post('/lists', { name, criteria });
    expect(refused.status).toBe(400);
    expect(fieldsOf(refused)).toEqual(['/criteria/all/1/any/0/field', '/criteria/all/1/any/1/list']);
    const unknown = await post('/lists', {
      name,
      criteria: { none: [{ list: randomUUID(), member: true }] },
    });
    expect(unknown.status).toBe(422);
    expect(fieldsOf(unknown)).toEqual(['/criteria/none/0/list']);
    // Negated it would hold for everybody.
    const history = (named: object) => ({ history: 'sent', happened: false, ...named });
    const entered = { history: 'entered_automation', happened: false, automationId: randomUUID() };
    const slips = { any: [history({ emailId: randomUUID(), listId: randomUUID() }), { all: [entered] }] };
    const slipped = await post('/lists', { name, criteria: slips });
    expect(slipped.status).toBe(422);
    expect(fieldsOf(slipped)).toEqual([
      '/criteria/any/0/listId',
      '/criteria/any/0/emailId',
      '/criteria/any/1/all/0/automationId',
    ]);
    const there = (await list()).body.id;
    expect((await post('/prospects/count', { criteria: history({ listId: there }) })).status).toBe(200);
    const names = (await api.call('GET', '/lists')).body.items.map((item: { name: string }) => item.name);
    expect(names).not.toContain(name);
  });
});

it('lists come by name, page by page', async () => {
  const word = some('Page');
  const names = ['c', 'A', 'b', 'É'].map((letter) => `${word} ${letter}`);
  for (const name of names) expect((await post('/lists', { name })).status).toBe(201);
  const seen: string[] = [];
  let cursor = '';
  do {
    const { body } = await api.call('GET', `/lists?limit=2${cursor}`);
    expect(body.items.length).toBeLessThanOrEqual(2);
    seen.push(...body.items.map(({ name }: { name: string }) => name));
    cursor = body.nextCursor === null ? '' : `&cursor=${body.nextCursor}`;
  } while (cursor !== '');
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen.filter((name) => name.startsWith(word)).slice(0, 3)).toEqual(
    ['A', 'b', 'c'].map((letter) => `${word} ${letter}`),
  );
  expect(seen).toContain(names[3]);
  expect((await api.call('GET', '/lists?cursor=x')).status).toBe(400);
});

describe('static lists', () => {
  it('keep a prospect once, however often it is put in', async () => {
    const { id } = (await list()).body;
    const [one, other] = [await prospect({}), await prospect({})];
    expect((await post(`/lists/${id}/members`, { prospectIds: [one, one] })).body).toEqual({ added: 1 });
    expect((await post(`/lists/${id}/members`, { prospectIds: [other, one] })).body).toEqual({ added: 1 });
    expect(idsOf(await api.call('GET', `/lists/${id}/members`))).toEqual([one, other]);
    expect((await api.call('DELETE', `/lists/${id}/members/${one}`)).status).toBe(204);
    expect((await api.call('GET', `/lists/${id}`)).body).toMatchObject({ criteria: null, members: 1 });
  });

  it('stay static', async () => {
    const { id } = (await list()).body;
    const changed = await api.call('PATCH', `/lists/${id}`, { criteria: { all: [] } });
    expect(changed.status).toBe(409);
    expect(fieldsOf(changed)).toEqual(['/criteria']);
  });

  it('have a name that no other list has', async () => {
    const taken = (await list()).body;
    const { id } = (await list()).body;
    const renamed = await api.call('PATCH', `/lists/${id}`, { name: taken.name.toUpperCase() });
    expect(renamed.status).toBe(409);
    const same = await api.call('PATCH', `/lists/${taken.id}`, { name: taken.name.toUpperCase() });
    expect(same.body.name).toBe(taken.name.toUpperCase());
    expect((await api.call('PATCH', `/lists/${id}`, {})).status).toBe(400);
    expect((await api.call('PATCH', `/lists/${randomUUID()}`, { private: true })).status).toBe(404);
  });
});

describe('criteria of prospects', () => {
  it('are counted, with examples', async () => {
    const city = some('City');
    for (let n = 0; n < 7; n += 1) await prospect({ city });
    const counted = await post('/prospects/count', { criteria: inCity(city) });
    expect(counted.body.count).toBe(7);
    expect(counted.body.examples).toHaveLength(5);
    expect(counted.body.examples[0].city).toBe(city);
  });

  it('find prospects page by page', async () => {
    const city = some('City');
    const ids = [await prospect({ city }), await prospect({ city }), await prospect({ city })];
    const first = await post('/prospects/search', { criteria: inCity(city), limit: 2 });
    expect(idsOf(first)).toEqual(ids.slice(0, 2));
    const rest = await post('/prospects/search', {
      criteria: inCity(city),
      limit: 2,
      cursor: first.body.nextCursor,
    });
    expect(idsOf(rest)).toEqual(ids.slice(2));
    expect(rest.body.nextCursor).toBeNull();
  });

  it('see custom fields, suppressions and flags as the API leaves them', async () => {
    await post('/custom-fields', { key: 'tier', label: 'Tier', type: 'choice', choices: ['A', 'B'] });
    const city = some('City');
    const [plain, tiered] = [await prospect({ city }), await prospect({ city, custom: { tier: 'A' } })];
    await api.call('PATCH', `/prospects/${plain}/flags`, { emailOptOut: true, reason: 'Asked for it' });
    const find = async (criteria: object) =>
      idsOf(await post('/prospects/search', { criteria: { all: [inCity(city), criteria] } }));
    expect(await find({ field: 'custom.tier', operator: 'equals', value: 'a' })).toEqual([tiered]);
    expect(await find({ suppressed: true, reasons: ['opt_out'] })).toEqual([plain]);
    expect(await find({ field: 'emailOptOut', operator: 'equals', value: false })).toEqual([tiered]);
    // Opted out by hand is not unsubscribed by the person.
    expect(await find({ history: 'unsubscribed', happened: true })).toEqual([]);
  });

  it('need no more than the scope to read', async () => {
    const headers = { authorization: `Bearer ${api.keys.read}` };
    const counted = await api.call('POST', '/prospects/count', { criteria: { all: [] } }, headers);
    expect(counted.status).toBe(200);
  });
});
