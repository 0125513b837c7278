import { EventEmitter, once } from 'node:events';

import pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { listen } from '../../db/listener.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let other: pg.Client;
beforeAll(async () => {
  database = await createTestDatabase();
  other = new pg.Client({ connectionString: database.url });
  await other.connect();
});
afterAll(async () => {
  await other.end();
  await database.drop();
});

test('hears its channel alone, and again after its connection was broken', async () => {
  const heard = new EventEmitter();
  const troubles: Error[] = [];
  const connected = once(heard, 'notice');
  const listener = listen({
    connectionString: database.url,
    channel: 'A channel',
    retryMilliseconds: 50,
    onNotice: () => heard.emit('notice'),
    onTrouble: (error) => troubles.push(error),
  });
  try {
    await connected;

    let notices = 0;
    heard.on('notice', () => {
      notices += 1;
    });
    const notified = once(heard, 'notice');
    await other.query(`notify "another channel"`);
    await other.query(`notify "A channel"`);
    await notified;
    expect(notices).toBe(1);

    const again = once(heard, 'notice');
    await other.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'heed listener' and datname = current_database()`,
    );
    await again;
    expect(troubles.length).toBeGreaterThan(0);

    const afterwards = once(heard, 'notice');
    await other.query(`notify "A channel"`);
    await afterwards;
  } finally {
    await listener.stop();
  }
  const listeners = async () => {
    const { rows } = await other.query(
      `select from pg_stat_activity where application_name = 'heed listener' and datname = current_database()`,
    );
    return rows.length;
  };
  // PostgreSQL takes a moment to notice that a client has left; one that came back would never go.
  await vi.waitFor(async () => expect(await listeners()).toBe(0), 10_000);
});
