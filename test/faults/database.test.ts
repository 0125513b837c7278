import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Database, openDatabase, plain } from '../../db/connection.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let db: Database;
let other: Database;
beforeAll(async () => {
  database = await createTestDatabase();
  db = openDatabase(database.url, { max: 4, applicationName: 'victim' });
  other = openDatabase(database.url, { max: 1, applicationName: 'other' });
});
afterAll(async () => {
  await db?.close();
  await other?.close();
  await database?.drop();
});

/** As a server does that is restarted: every connection of the pool is broken at once. */
async function breakConnections(): Promise<void> {
  await until('the connections are broken', async () => {
    const broken = await other.query(
      plain(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'victim'`),
    );
    return broken.length > 0;
  });
}

it('a connection that breaks in a transaction fails that transaction, not the process, and the pool goes on (I7)', async () => {
  const uncaught: unknown[] = [];
  const hear = (error: unknown) => uncaught.push(error);
  process.on('uncaughtException', hear);
  try {
    const between = db.transaction(async (tx) => {
      await tx.query(plain('create table never ()'));
      await breakConnections();
      // Broken while no statement runs: nobody waits who could be told.
      await new Promise((resolve) => setTimeout(resolve, 200));
      await tx.query(plain('select 1'));
    });
    await expect(between).rejects.toThrow();
    const during = db.transaction((tx) => tx.query(plain('select pg_sleep(60)')));
    await Promise.all([expect(during).rejects.toThrow(), breakConnections()]);
    const several = db.transaction((tx) =>
      Promise.all([tx.query(plain('select pg_sleep(60)')), tx.query(plain('select 1'))]),
    );
    await Promise.all([expect(several).rejects.toThrow(), breakConnections()]);
    const alone = db.query(plain('select pg_sleep(60)'));
    await Promise.all([expect(alone).rejects.toThrow(), breakConnections()]);
    expect(await db.query(plain(`select to_regclass('never') as never`))).toEqual([{ never: null }]);
  } finally {
    process.off('uncaughtException', hear);
  }
  expect(uncaught).toEqual([]);
  expect(db.pool.totalCount - db.pool.idleCount).toBe(0);
});
