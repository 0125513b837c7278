import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createApp } from '../../api/app.ts';
import { type Document, type Schema, Schemas } from '../../api/reference/schema.ts';
import { plain } from '../../db/connection.ts';
import { startApi, type TestApi } from './support.ts';

/** Whatever comes in: no fault of ours, a problem for what is refused, and nothing changed by it. */
const RUNS = 40;

let api: TestApi;
/** One of each that exists, by the first part of its path; new for every operation, since some delete them. */
let known: Record<string, string> = {};
let seeds = 0;
const met = new Set<number>();
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

beforeEach(async () => {
  seeds += 1;
  const create = async (path: string, body: object) =>
    (await api.call('POST', path, body, { 'idempotency-key': `seed ${seeds}`.replace(' ', '-') })).body
      .id as string;
  const prospects = await create('/prospects', { email: `seed${seeds}@example.com`, firstName: 'Ada' });
  const emails = await create('/emails', {
    name: 'News',
    kind: 'marketing',
    subject: 'News',
    fromAddress: 'news@example.com',
    text: 'Hello',
  });
  known = {
    prospects,
    emails,
    lists: await create('/lists', { name: `Newsletter ${seeds}` }),
    sends: await create('/sends', { prospectId: prospects, emailId: emails }),
    suppressions: await create('/suppressions', { email: `no${seeds}@example.com` }),
    into: await create('/prospects', { email: `other${seeds}@example.com` }),
    imports: await seedImport(),
    'api-keys': await create('/api-keys', { name: 'seed', scope: 'read' }),
  };
});

async function seedImport(): Promise<string> {
  const answer = await api.call('POST', '/imports?kind=prospects', 'email\na@example.com\n', {
    'content-type': 'text/csv',
  });
  return answer.body.id;
}

const TABLES = [
  'address',
  'alert',
  'api_key',
  'audit_entry',
  'custom_field',
  'domain_suppression',
  'email',
  'email_version',
  'import_chunk',
  'import_job',
  'list',
  'list_member',
  'outbox',
  'prospect',
  'send',
  'setting',
  'suppression',
];
const SNAPSHOT = plain(
  TABLES.map(
    (table) => `select '${table}' as t, md5(string_agg(x::text, '|' order by x::text)) as h from ${table} x`,
  ).join(' union all '),
);
const UNKNOWN = plain(`update send set state = 'final', outcome = 'unknown' where id = $1`);
const snapshot = async () => JSON.stringify(await api.db.query(SNAPSHOT));

interface Operation {
  readonly parameters?: readonly { name: string; in: string; required?: boolean; schema: Schema }[];
  readonly requestBody?: { content: Record<string, { schema: Schema }> };
}

const published = await createApp({ log: { info() {}, error() {} }, now: () => new Date() } as never).request(
  '/openapi.json',
);
const document = (await published.json()) as Document;
const schemas = new Schemas(document);
const operations = Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
  (['get', 'post', 'patch', 'delete'] as const).flatMap((method) => {
    const operation = item[method] as Operation | undefined;
    return operation === undefined ? [] : [[`${method} ${path}`, method, path, operation] as const];
  }),
);

const nasty = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(
    '',
    ' ',
    '\u0000',
    '\ud800',
    "'; drop table prospect; --",
    '-1',
    '1e999',
    '../../etc/passwd',
    '%',
    '__proto__',
    'constructor',
    'x'.repeat(5000),
    '9999-12-31T23:59:59Z',
    '0000-01-01T00:00:00Z',
    '+275760-09-13T00:00:00.001Z',
    '2026-02-30T00:00:00Z',
    '٣',
    'é@example.com',
    '"a b"@example.com',
    'a@xn--zzzzzz.example',
    'bnVsbA',
    Buffer.from('{"at":1e20,"type":"audit","id":"1","number":0}').toString('base64url'),
    Buffer.from('99999999999999999999').toString('base64url'),
    Buffer.from('{"line":9007199254740991,"column":"x"}').toString('base64url'),
  ),
);
const anyValue = fc.oneof(
  nasty,
  fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' }),
  fc.constantFrom<unknown>(null, true, -1, 0, 2 ** 31, 2 ** 53, 1e308, -0, [], {}, [[]], { $ne: 1 }),
);
const kinds = ['prospects', 'lists', 'emails', 'sends', 'suppressions', 'api-keys'];
const idOf = (kind: string) => known[kind] ?? '019a0c5e-0000-7000-8000-000000000000';
const someId = fc.oneof(fc.constantFrom(...kinds).map(idOf), fc.uuid());
const cursor = fc
  .oneof(
    fc.uuid(),
    fc.nat(),
    fc.record({ line: fc.nat(), column: fc.string() }),
    fc.record({ at: fc.nat(), type: fc.constant('send'), id: fc.uuid(), number: fc.constant(0) }),
  )
  .map((position) => Buffer.from(JSON.stringify(position)).toString('base64url'));

/** A value that its schema takes, and mostly one that exists: `prospectId` is the id of a prospect. */
function goodFor(name: string, schema: Schema): fc.Arbitrary<unknown> {
  const resolved = schemas.resolve(schema);
  if (name === 'cursor') return cursor;
  if (name === 'If-Match') return fc.constantFrom('"1"', '"2"', '*');
  if (name === 'prospectIds' || name === 'sendIds')
    return fc.constant(null).map(() => [idOf(name.replace('Ids', 's'))]);
  if (resolved.format === 'uuid')
    return fc.oneof(
      fc.constant(null).map(() => idOf(name.replace(/Id$/, 's'))),
      someId,
    );
  if (resolved.enum !== undefined) return fc.constantFrom(...resolved.enum);
  if (resolved.type === 'boolean') return fc.boolean();
  return fc.constant(schemas.example(schema));
}

/** Most values are good, so that what is bad is met by every check and not only by the first. */
const mostlyGood = (name: string, schema: Schema) =>
  fc.oneof({ weight: 12, arbitrary: goodFor(name, schema) }, { weight: 1, arbitrary: anyValue });

function bodyFor(schema: Schema): fc.Arbitrary<string> {
  const { properties = {}, required = [] } = schemas.resolve(schema);
  const fields = Object.fromEntries(
    Object.entries(properties).map(([name, one]) => [name, mostlyGood(name, one)]),
  );
  const object = fc.oneof(
    fc.record(fields, { requiredKeys: [...required] }),
    fc.record(fields, { requiredKeys: [] }),
    fc
      .record(fields, { requiredKeys: [...required] })
      .map((value) => ({ ...(schemas.example(schema) as object), ...value })),
  );
  return fc.oneof(
    { weight: 10, arbitrary: object.map((value) => JSON.stringify(value)) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(object, nasty, anyValue)
        .map(([value, key, more]) => JSON.stringify({ ...value, [key]: more })),
    },
    { weight: 1, arbitrary: anyValue.map((value) => JSON.stringify(value) ?? '') },
    { weight: 1, arbitrary: nasty },
  );
}

const csv = fc.oneof(
  fc.constantFrom(
    'email\na@example.com\n',
    'email,First name\n"a@example.com","A\n',
    '\ufeffE-Mail;Name\r\n',
    'email,email\n',
  ),
  nasty,
);

interface Request {
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body?: string;
}

/** Of objects, too, that have a `toString` of their own. */
const asText = (value: unknown) => (typeof value === 'string' ? value : String(JSON.stringify(value)));

function requestFor(path: string, { parameters = [], requestBody }: Operation): fc.Arbitrary<Request> {
  const resource = path.split('/')[1]!;
  const [type, media] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  const oddPath = nasty
    .filter((value) => !/^\.*$/.test(value))
    .map((value) => encodeURIComponent(value.toWellFormed()));
  const pathValue = fc.oneof(
    { weight: 12, arbitrary: fc.constant(null).map(() => idOf(resource)) },
    { weight: 1, arbitrary: fc.oneof(someId, oddPath, fc.constant('%E0%A4%A')) },
  );
  const of = (place: string, likely: number) => {
    const some = parameters
      .filter((one) => one.in === place)
      .map(({ name, schema, required }) =>
        fc
          .option(mostlyGood(name, schema), { nil: undefined, freq: required ? 20 : likely })
          .map((value) => [name, value] as const),
      );
    return fc.tuple(...some).map((pairs) => pairs.filter(([, value]) => value !== undefined));
  };
  return fc
    .record({
      ids: fc.tuple(pathValue, pathValue),
      query: of('query', 1),
      more: fc.oneof(
        { weight: 12, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.tuple(nasty, nasty) },
      ),
      headers: of('header', 5),
      body:
        media === undefined
          ? fc.constant(undefined)
          : type === 'application/json'
            ? bodyFor(media.schema)
            : csv,
      odd: fc.constantFrom(
        type,
        type,
        type,
        type,
        type,
        type,
        type,
        type,
        'text/plain',
        'application/json; charset=utf-8',
        '',
      ),
    })
    .map(({ ids, query, more, headers, body, odd }) => {
      const left = [...ids];
      const search = new URLSearchParams();
      for (const [name, value] of [...query, ...(more === undefined ? [] : [more])]) {
        search.append(name.toWellFormed(), asText(value).toWellFormed());
      }
      const sendable = headers
        .map(([name, value]) => [name, asText(value)] as const)
        .filter(([, value]) => /^[\t\x20-\x7e]*$/.test(value));
      return {
        url: `${path.replace(/\{\w+\}/g, () => left.shift()!)}${search.size > 0 ? `?${search}` : ''}`,
        headers: {
          ...Object.fromEntries(sendable),
          ...(body === undefined || !odd ? {} : { 'content-type': odd }),
        },
        ...(body === undefined ? {} : { body }),
      };
    });
}

test.each(operations)(
  '%s: never a fault, always a problem, nothing changed by what is refused',
  async (_, method, path, operation) => {
    if (path.endsWith('/settle')) await api.db.query(UNKNOWN, [known.sends]);
    let before = await snapshot();
    await fc.assert(
      fc.asyncProperty(
        fc.constant(null).chain(() => requestFor(path, operation)),
        async ({ url, headers, body }) => {
          const answer = await api.call(method.toUpperCase(), url, body, {
            'content-type': 'application/json',
            ...headers,
          });
          const after = await snapshot();
          expect(api.errors).toEqual([]);
          expect(answer.status).toBeLessThan(500);
          if (answer.status >= 400) {
            expect(answer.headers.get('content-type')).toBe('application/problem+json');
            expect(answer.body).toMatchObject({
              status: answer.status,
              type: expect.stringMatching(/^\/reference#problem-/),
            });
            expect(after).toBe(before);
          }
          met.add(answer.status);
          if (method === 'get') expect(after).toBe(before);
          before = after;
        },
      ),
      { numRuns: RUNS },
    );
  },
);

test('the requests above were of every kind: taken, refused by their form, and refused by what is stored', () => {
  for (const status of [200, 201, 202, 204, 400, 404, 409, 412, 415, 422, 428])
    expect([...met]).toContain(status);
});
