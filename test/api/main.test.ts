import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { Connection } from '@temporalio/client';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { createTemporalView } from '../../api/temporal.ts';
import { childEnvironment } from '../../config/config.ts';
import { freePort } from '../../tools/embedded/service.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { TEST_NAMESPACE } from '../support/globalSetup.ts';

let database: TestDatabase;
const children: ChildProcess[] = [];
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(async () => {
  for (const child of children.splice(0)) if (child.exitCode === null) child.kill('SIGKILL');
  await database.drop();
});

/** The process as it is started for real, with what it wrote so far. */
function startProcess(port: number, changes: Record<string, string> = {}) {
  const child = spawn(process.execPath, ['api/main.ts'], {
    env: childEnvironment({
      HEED_DATABASE_URL: database.url,
      HEED_TEMPORAL_ADDRESS: inject('temporalAddress'),
      HEED_TEMPORAL_NAMESPACE: TEST_NAMESPACE,
      HEED_TEMPORAL_UI_URL: 'http://127.0.0.1:8233/',
      HEED_API_PORT: String(port),
      HEED_SMTP_URL: 'smtp://127.0.0.1:2525?tls=none',
      HEED_MESSAGE_ID_DOMAIN: 'mail.example.com',
      HEED_ADDRESS_KEY: Buffer.alloc(32, 7).toString('base64'),
      HEED_TOKEN_KEYS: Buffer.alloc(32, 9).toString('base64'),
      HEED_PUBLIC_URL: 'https://mail.example.com',
      ...changes,
    }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const written = { out: '', err: '' };
  child.stdout.on('data', (data) => (written.out += data));
  child.stderr.on('data', (data) => (written.err += data));
  return { child, written };
}

const ready = (port: number) =>
  expect
    .poll(
      () =>
        fetch(`http://127.0.0.1:${port}/readyz`)
          .then((answer) => answer.json())
          .catch(() => null),
      {
        timeout: 30_000,
        interval: 200,
      },
    )
    .toMatchObject({ status: 'ready', parts: { database: 'up', temporal: 'up' } });

test('the process shows the first key once, is ready, and ends at SIGTERM; the next start shows none', async () => {
  const port = await freePort();
  const first = startProcess(port);
  await ready(port);
  const key = /^HEED_FIRST_API_KEY=(heed_[A-Za-z0-9_-]{43})$/m.exec(first.written.out)?.[1];
  const answer = await fetch(`http://127.0.0.1:${port}/api-keys`, {
    headers: { authorization: `Bearer ${key}` },
  });
  expect(await answer.json()).toMatchObject({ items: [{ name: 'first key', scope: 'admin' }] });
  first.child.kill('SIGTERM');
  expect(await once(first.child, 'exit')).toEqual([0, null]);

  const second = startProcess(port);
  await ready(port);
  expect(second.written.out).not.toContain('HEED_FIRST_API_KEY');
  expect(first.written.err).toBe('');
});

test('a taken port, another address key, a database without a schema: one line that says what to do', async () => {
  const holder = createServer().listen(0, '127.0.0.1');
  await once(holder, 'listening');
  const { port } = holder.address() as { port: number };
  const taken = startProcess(port);
  expect(await once(taken.child, 'exit')).toEqual([1, null]);
  expect(taken.written.err).toBe(
    `Port ${port} of 127.0.0.1 is taken. Set HEED_API_PORT to another, or stop what uses it.\n`,
  );
  holder.close();

  const otherKey = startProcess(port, { HEED_ADDRESS_KEY: Buffer.alloc(32, 8).toString('base64') });
  expect(await once(otherKey.child, 'exit')).toEqual([1, null]);
  expect(otherKey.written.err).toMatch(/^HEED_ADDRESS_KEY is not the key [^\n]*\n$/);

  const empty = new URL(database.url);
  empty.pathname = '/postgres';
  const bare = startProcess(port, { HEED_DATABASE_URL: empty.href });
  expect(await once(bare.child, 'exit')).toEqual([1, null]);
  expect(bare.written.err).toMatch(/^The database has no schema yet\. [^\n]*\n$/);
});

test('whether Temporal is there is asked of the real server, and links lead into its UI', async () => {
  const there = Connection.lazy({ address: inject('temporalAddress') });
  const view = createTemporalView(there, TEST_NAMESPACE, 'https://temporal.example.com');
  expect(await view.ready()).toBe(true);
  expect(view.uiLinkOf('emailSend:1')).toBe(
    'https://temporal.example.com/namespaces/heed/workflows/emailSend%3A1',
  );
  await there.close();
  const gone = Connection.lazy({ address: `127.0.0.1:${await freePort()}` });
  expect(await createTemporalView(gone, TEST_NAMESPACE, null).ready()).toBe(false);
  expect(createTemporalView(gone, TEST_NAMESPACE, null).uiLinkOf('x')).toBeNull();
  await gone.close();
});
