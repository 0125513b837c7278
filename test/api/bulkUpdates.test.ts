import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { plain } from '../../db/connection.ts';
import { claimBulkUpdate, decideRows, takeNextPage } from '../../db/queries/bulkUpdatePage.ts';
import { commandBulkUpdate } from '../../db/queries/bulkUpdates.ts';
import { type Answer, startApi, type TestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
  await api.call('POST', '/custom-fields', { key: 'score', label: 'Score', type: 'number' });
});
afterAll(() => api.close());

const NOBODY = '019a0c5e-0000-7000-8000-000000000000';
const everybody = { all: [] };
let counter = 0;

const faults = (answer: Answer) => answer.body.errors.map(({ field }: { field: string }) => field);
const create = (body: object, key = `key-${++counter}`) =>
  api.call('POST', '/bulk-updates', body, { 'Idempotency-Key': key });
const undo = (id: string, body: object = {}, key = `key-${++counter}`) =>
  api.call('POST', `/bulk-updates/${id}/undo`, body, { 'Idempotency-Key': key });

/** People of a country of their own, and criteria that mean them. */
async function country(people: number) {
  const name = `Country ${++counter}`;
  const ids: string[] = [];
  for (let n = 0; n < people; n += 1) {
    const email = `person${n}@country${counter}.example`;
    ids.push((await api.call('POST', '/prospects', { email, country: name })).body.id);
  }
  return { ids, criteria: { field: 'country', operator: 'equals', value: name } };
}

/** What the workflow does; by `pages` it stops short. */
async function carryOut(id: string, pageRows = 500, pages = Number.POSITIVE_INFINITY): Promise<void> {
  await decideRows(api.db, new Date(), id, pageRows);
  const epoch = await claimBulkUpdate(api.db, id);
  for (let page = 0; page < pages; page += 1) {
    if (epoch === null || !(await takeNextPage(api.db, new Date(), id, epoch))) return;
  }
}

const count = async (table: string) =>
  (await api.db.query<{ n: number }>(plain(`select count(*)::int as n from ${table}`)))[0]!.n;

describe('a bulk update that is not valid is refused with every fault, and nothing is kept', () => {
  test.each<[string, object, string[]]>([
    ['a field that there is not', { field: 'nothing', value: 'x' }, ['/field']],
    ['a custom field that there is not', { field: 'custom.nothing', value: 'x' }, ['/field']],
    ['what is no field to be changed', { field: 'createdAt', value: 'x' }, ['/field']],
    ['an address', { field: 'email', value: 'a@example.com' }, ['/field']],
    ['a number for a text', { field: 'city', value: 1 }, ['/value']],
    ['a text for a number', { field: 'custom.score', value: '1' }, ['/value']],
    ['a zone that there is not', { field: 'timeZone', value: 'Mars/Base' }, ['/value']],
    ['a line end', { field: 'city', value: 'a\nb' }, ['/value']],
    ['no value', { field: 'city' }, ['/value']],
    ['a word for a flag', { field: 'emailOptOut', value: 'Yes', reason: 'law' }, ['/value']],
    ['a flag that is emptied', { field: 'bounced', value: null, reason: 'law' }, ['/value']],
    ['a flag without a reason', { field: 'emailOptOut', value: true }, ['/reason']],
    [
      'faults everywhere',
      { criteria: { all: [{ any: [] }, { field: 'x', operator: 'isEmpty' }] }, field: 'bounced', value: 1 },
      ['/criteria/all/0/any', '/criteria/all/1/field', '/value', '/reason'],
    ],
    ['an unknown word', { field: 'city', value: 'x', whither: 1 }, ['/whither']],
  ])('%s', async (_, body, fields) => {
    const answer = await create({ criteria: everybody, ...body });
    expect(answer.status).toBe(400);
    expect(faults(answer)).toEqual(fields);
    expect(await count('bulk_update')).toBe(0);
  });

  test('a list that there is not, and no key for repeating', async () => {
    const criteria = { all: [{ list: NOBODY, member: true }] };
    const unknown = await create({ criteria, field: 'city', value: 'Bonn' });
    expect(unknown.status).toBe(422);
    expect(faults(unknown)).toEqual(['/criteria/all/0/list']);
    const previewed = await api.call('POST', '/bulk-updates/preview', {
      criteria,
      field: 'city',
      value: 'x',
    });
    expect(previewed.status).toBe(422);
    const keyless = await api.call('POST', '/bulk-updates', {
      criteria: everybody,
      field: 'city',
      value: 'x',
    });
    expect(keyless.status).toBe(400);
    expect(faults(keyless)).toEqual(['Idempotency-Key']);
    expect(await count('bulk_update')).toBe(0);
  });
});

test('is made once however often it is asked for under one key, with its workflow asked for in the same commit', async () => {
  const { criteria } = await country(1);
  const body = { criteria, field: 'emailOptOut', value: true, reason: 'New law' };
  const made = await create(body, 'the-law');
  expect(made.status).toBe(202);
  expect(made.body).toMatchObject({
    state: 'queued',
    ...body,
    undoes: null,
    actor: 'admin',
    total: null,
    done: 0,
    workflow: { id: `bulkUpdate:${made.body.id}` },
  });
  expect(made.headers.get('location')).toBe(`/bulk-updates/${made.body.id}`);
  const again = await create(body, 'the-law');
  expect([again.status, again.body.id]).toEqual([200, made.body.id]);
  const other = await create({ ...body, value: false }, 'the-law');
  expect([other.status, faults(other)]).toEqual([422, ['Idempotency-Key']]);
  const messages = await api.db.query(plain('select message from outbox where aggregate = $1'), [
    `bulkUpdate:${made.body.id}`,
  ]);
  expect(messages).toEqual([{ message: { type: 'startBulkUpdate', bulkUpdateId: made.body.id } }]);
});

test('preview, progress, rows by page and by outcome, CSV, and who is meant alone is changed', async () => {
  const { ids, criteria } = await country(5);
  await api.call('PATCH', `/prospects/${ids[0]}/flags`, { emailOptOut: true, reason: 'asked' });
  const ask = { criteria, field: 'emailOptOut', value: true };
  const preview = await api.call('POST', '/bulk-updates/preview', ask);
  expect(preview.body).toMatchObject({ changed: { count: 4 }, alreadySo: { count: 1 }, refused: [] });
  expect(preview.body.alreadySo.examples).toEqual([{ prospectId: ids[0], before: true, after: true }]);

  const { id } = (await create({ ...ask, reason: 'New law' })).body;
  await carryOut(id, 2, 1);
  const halfway = await api.call('GET', `/bulk-updates/${id}`);
  expect(halfway.body).toMatchObject({ state: 'running', total: 5, done: 2, changed: 1, alreadySo: 1 });
  await carryOut(id, 2);
  const done = (await api.call('GET', `/bulk-updates/${id}`)).body;
  expect(done).toMatchObject({
    state: 'done',
    total: 5,
    done: 5,
    changed: 4,
    alreadySo: 1,
    refused: 0,
    refusals: {},
  });

  const seen: string[] = [];
  for (let cursor = ''; ; ) {
    const page = (await api.call('GET', `/bulk-updates/${id}/rows?limit=2${cursor}`)).body;
    seen.push(...page.items.map((row: { prospectId: string }) => row.prospectId));
    if (page.nextCursor === null) break;
    cursor = `&cursor=${page.nextCursor}`;
  }
  expect(seen).toEqual([...ids].sort());
  const already = (await api.call('GET', `/bulk-updates/${id}/rows?outcome=already_so`)).body.items;
  expect(already).toMatchObject([{ prospectId: ids[0], outcome: 'already_so', before: null, after: null }]);

  const csv = await api.call('GET', `/bulk-updates/${id}/rows/export?outcome=changed`);
  expect(csv.headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present');
  const lines = csv.body.trimEnd().split('\r\n');
  expect(lines[0]).toBe('prospectId,email,outcome,refusal,before,after,at');
  expect(lines.slice(1)).toHaveLength(4);
  expect(lines[1]).toMatch(new RegExp(`^${ids[1]},person1@\\S+,changed,,false,true,\\d{4}-`));
  const listed = (await api.call('GET', '/bulk-updates?state=done&limit=1')).body;
  expect(listed.items).toMatchObject([{ id }]);
});

test('pause, resume and cancel answer by the state, and say what it is', async () => {
  const { criteria } = await country(1);
  const { id } = (await create({ criteria, field: 'city', value: 'Bonn' })).body;
  const command = async (what: string) => {
    const answer = await api.call('POST', `/bulk-updates/${id}/${what}`);
    return [answer.status, answer.body.state ?? answer.body.detail];
  };
  expect(await command('resume')).toEqual([409, 'The bulk update is queued.']);
  expect(await command('pause')).toEqual([200, 'paused']);
  expect(await command('pause')).toEqual([409, 'The bulk update is paused.']);
  expect(await command('resume')).toEqual([200, 'running']);
  expect(await command('cancel')).toEqual([200, 'cancelled']);
  expect(await command('cancel')).toEqual([409, 'The bulk update is cancelled.']);
  expect((await api.call('GET', `/bulk-updates/${id}`)).body.finishedAt).not.toBeNull();
  for (const path of ['pause', 'resume', 'cancel', 'undo/preview']) {
    expect((await api.call('POST', `/bulk-updates/${NOBODY}/${path}`)).status).toBe(404);
  }
  for (const path of ['', '/rows', '/rows/export']) {
    expect((await api.call('GET', `/bulk-updates/${NOBODY}${path}`)).status).toBe(404);
  }
  expect((await undo(NOBODY)).status).toBe(404);
});

test('undo: with a preview, a reason for a flag, once, and with its own outcome', async () => {
  const { ids, criteria } = await country(3);
  const { id } = (await create({ criteria, field: 'emailOptOut', value: true, reason: 'New law' })).body;
  expect((await api.call('POST', `/bulk-updates/${id}/undo/preview`)).status).toBe(409);
  expect((await undo(id, { reason: 'too soon' })).status).toBe(409);
  await carryOut(id);
  await api.call('PATCH', `/prospects/${ids[1]}/flags`, { emailOptOut: true, reason: 'asked on the phone' });
  const preview = await api.call('POST', `/bulk-updates/${id}/undo/preview`);
  expect(preview.body).toMatchObject({
    changed: { count: 2 },
    alreadySo: { count: 0 },
    refused: [
      { refusal: 'changed_since', count: 1, examples: [{ prospectId: ids[1], before: true, after: false }] },
    ],
  });
  expect(faults(await undo(id))).toEqual(['/reason']);
  const body = { reason: 'Permission is there' };
  const made = await undo(id, body, 'back-again');
  expect([made.status, made.body.undoes, made.body.criteria]).toEqual([202, id, null]);
  expect((await undo(id, body, 'back-again')).status).toBe(200);
  const second = await undo(id, body);
  expect([second.status, second.body.detail]).toEqual([409, expect.stringContaining(made.body.id)]);
  await carryOut(made.body.id);
  expect((await api.call('GET', `/bulk-updates/${made.body.id}`)).body).toMatchObject({
    state: 'done',
    total: 3,
    changed: 2,
    refused: 1,
    refusals: { changed_since: 1 },
  });
  const flags = await Promise.all(
    ids.map(async (prospect) => (await api.call('GET', `/prospects/${prospect}`)).body.emailOptOut),
  );
  expect(flags).toEqual([false, true, false]);
});

test('an undo that was cancelled can be made again', async () => {
  const { criteria } = await country(1);
  const { id } = (await create({ criteria, field: 'city', value: 'Bonn' })).body;
  await carryOut(id);
  const first = (await undo(id)).body.id;
  const origin = { way: 'api', actor: 'test', reason: null } as const;
  await api.db.transaction((tx) => commandBulkUpdate(tx, origin, new Date(), first, 'cancel'));
  expect((await undo(id)).status).toBe(202);
});
