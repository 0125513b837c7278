import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bigintArray, integerArray, textArray, uuidArray } from '../../db/arrays.ts';
import { type Database, openDatabase, plain } from '../../db/connection.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let db: Database;
beforeAll(async () => {
  database = await createTestDatabase();
  db = openDatabase(database.url, { max: 2 });
});
afterAll(async () => {
  await db.close();
  await database.drop();
});

/** What PostgreSQL reads, as its own text of each element. */
async function read(type: string, array: Buffer): Promise<(string | null)[]> {
  const [row] = await db.query<{ elements: (string | null)[] }>(
    plain(
      `select array(select e::text from unnest($1::${type}[]) with ordinality as t(e, n) order by n) as elements`,
    ),
    [array],
  );
  return row!.elements;
}

const TEXT = fc.oneof(
  fc.constantFrom('', 'NULL', 'null', '{}', '"', '\\', '\\"', ',', ' ', 'a b', "'", '\u{10ffff}'.repeat(50)),
  fc.string({ unit: 'grapheme', maxLength: 20 }).map((one) => one.replaceAll('\0', '')),
);
const UUID = fc.uuid();
const INTEGER = fc.integer();
const BIGINT = fc.maxSafeInteger();

it.each([
  ['text', TEXT, textArray],
  ['uuid', UUID, uuidArray],
  ['int', INTEGER, integerArray],
  ['bigint', BIGINT, bigintArray],
] as const)('of %s are read as they were, with nulls and empty', async (type, element, write) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.option(element as fc.Arbitrary<never>), { maxLength: 6 }),
      async (values) => {
        expect(await read(type, write(values))).toEqual(
          values.map((one) => (one === null ? null : `${one}`)),
        );
      },
    ),
  );
});

it('of UUIDs in capitals are the same', async () => {
  const id = '0199A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B';
  expect(await read('uuid', uuidArray([id]))).toEqual([id.toLowerCase()]);
});

it.each([
  '',
  '0199a1b2',
  '0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5',
  '0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5g',
  '0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5\u0661',
  '0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b0',
])('of UUIDs have no room for %j', (text) => {
  expect(() => uuidArray([text])).toThrow(TypeError);
});
