import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type Database, openDatabase, plain } from '../../db/connection.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let db: Database;
beforeAll(async () => {
  database = await createTestDatabase();
  db = openDatabase(database.url, { max: 2 });
  await db.query(plain('create table written (n int primary key)'));
});
beforeEach(() => db.query(plain('delete from written')));
afterAll(async () => {
  await db.close();
  await database.drop();
});

const WRITE = plain('insert into written values ($1)');
const written = async () =>
  (await db.query<{ n: number }>(plain('select n from written order by n'))).map(({ n }) => n);

it('commits what was issued without waiting together with the rest', async () => {
  const result = await db.transaction(async (tx) => {
    await tx.query(WRITE, [1]);
    tx.issue(WRITE, [2]);
    return 'done';
  });
  expect(result).toBe('done');
  expect(await written()).toEqual([1, 2]);
});

it('gives the rows of what was issued once the transaction is over', async () => {
  const { rows } = await db.transaction(async (tx) => {
    tx.issue(WRITE, [1]);
    return { rows: tx.issue<{ n: number }>(plain('insert into written values (2) returning n')) };
  });
  expect(await rows).toEqual([{ n: 2 }]);
  expect(await written()).toEqual([1, 2]);
});

it('fails with its reason where everything was issued, and nothing is heard of it elsewhere', async () => {
  const failing = db.transaction(async (tx) => {
    tx.issue(WRITE, [1]);
    tx.issue(WRITE, [1]);
    return { rows: tx.issue(WRITE, [2]) };
  });
  await expect(failing).rejects.toMatchObject({ code: '23505', constraint: 'written_pkey' });
  expect(await written()).toEqual([]);
});

it('fails as a whole, with its reason, where what was issued without waiting fails', async () => {
  const failing = db.transaction(async (tx) => {
    await tx.query(WRITE, [1]);
    tx.issue(WRITE, [1]);
    return 'never told';
  });
  await expect(failing).rejects.toMatchObject({ code: '23505', constraint: 'written_pkey' });
  expect(await written()).toEqual([]);
});

it('is tried again where what was issued without waiting met a serialization failure', async () => {
  let tries = 0;
  await db.transaction(async (tx) => {
    tries += 1;
    if (tries === 1) tx.issue(plain(`do $$ begin raise exception 'again' using errcode = '40001'; end $$`));
    else tx.issue(WRITE, [tries]);
  });
  expect(await written()).toEqual([2]);
});

it('is tried many times, with pauses, where many meet at once', async () => {
  let tries = 0;
  await db.transaction(async (tx) => {
    tries += 1;
    if (tries < 12)
      await tx.query(plain(`do $$ begin raise exception 'again' using errcode = '40001'; end $$`));
    await tx.query(WRITE, [tries]);
  });
  expect(await written()).toEqual([12]);
});

it('gives up in the end, and tells why', async () => {
  let tries = 0;
  const failing = db.transaction(async (tx) => {
    tries += 1;
    await tx.query(plain(`do $$ begin raise exception 'never' using errcode = '40001'; end $$`));
  });
  await expect(failing).rejects.toMatchObject({ code: '40001' });
  expect(tries).toBeGreaterThan(5);
});
