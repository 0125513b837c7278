import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { ensureProgram } from '../../tools/embedded/executables.ts';
import { tryLock } from '../../tools/embedded/lock.ts';
import { startPostgres } from '../../tools/embedded/postgres.ts';
import { assertPortFree, freePort, SetUpError } from '../../tools/embedded/service.ts';
import { createTestDatabase } from '../support/database.ts';
import { TEST_NAMESPACE } from '../support/globalSetup.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'heed-embedded-'));
  // PostgreSQL runs as another user where the tests run as root.
  chmodSync(folder, 0o755);
});
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  // A server that is killed in the middle is what some tests are about.
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function untilEnded(pid: number): Promise<void> {
  while (isAlive(pid)) await sleep(50);
}

/** A Node process that runs this module text and prints one line of JSON. */
async function runModule(text: string): Promise<{ child: ChildProcess; line: string }> {
  const file = join(folder, `script-${Math.random().toString(36).slice(2)}.ts`);
  writeFileSync(file, text);
  const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = (await once(createInterface(child.stdout!), 'line')) as [string];
  return { child, line };
}

const modulePath = (name: string) =>
  JSON.stringify(new URL(`../../tools/embedded/${name}`, import.meta.url).href);

describe('embedded PostgreSQL', () => {
  test('version 18, with commit timestamps; every test database is migrated and its own', async () => {
    const [one, two] = await Promise.all([createTestDatabase(), createTestDatabase()]);
    try {
      expect(
        Number((await query(one.url, 'show server_version_num'))[0]!.server_version_num),
      ).toBeGreaterThanOrEqual(180000);
      expect((await query(one.url, 'show track_commit_timestamp'))[0]).toEqual({
        track_commit_timestamp: 'on',
      });
      const tables = await query(one.url, "select tablename from pg_tables where schemaname = 'public'");
      expect(tables.length).toBeGreaterThan(0);
      await query(one.url, 'create table only_here ()');
      expect(await query(two.url, "select to_regclass('only_here') as found")).toEqual([{ found: null }]);
    } finally {
      await Promise.all([one.drop(), two.drop()]);
    }
    await expect(query(one.url, 'select 1')).rejects.toThrow(/does not exist/);
  });

  test('killed with SIGKILL, it is started again on the same folder and port with everything that was committed', async () => {
    const options = {
      dir: join(folder, 'killed'),
      password: 'p',
      durability: 'process',
      port: await freePort(),
    } as const;
    const first = await startPostgres(options);
    await query(first.urlOf('postgres'), 'create table kept as select generate_series(1, 1000) as n');
    process.kill(first.pid, 'SIGKILL');
    const second = await startPostgres(options);
    try {
      expect(second.port).toBe(first.port);
      expect(await query(second.urlOf('postgres'), 'select count(*)::int from kept')).toEqual([
        { count: 1000 },
      ]);
      await expect(startPostgres({ ...options, port: await freePort() })).rejects.toThrow(
        new RegExp(`PostgreSQL already runs on .*killed \\(process ${second.pid}\\)`),
      );
    } finally {
      await second.stop();
    }
    expect(isAlive(second.pid)).toBe(false);
  });

  test('ends, and leaves no temporary files, when the process that started it is killed with SIGKILL', async () => {
    const dir = join(folder, 'orphan');
    const { child, line } = await runModule(`
      import { startPostgres } from ${modulePath('postgres.ts')};
      const server = await startPostgres({ dir: ${JSON.stringify(dir)}, password: 'p', durability: 'none', temporary: true });
      console.log(server.pid);
      setInterval(() => {}, 1000);
    `);
    expect(isAlive(Number(line))).toBe(true);
    child.kill('SIGKILL');
    await untilEnded(Number(line));
    while (existsSync(dir) || existsSync(`${dir}.log`)) await sleep(50);
  });
});

describe('embedded Temporal', () => {
  test('the namespace keeps closed workflows for 30 days', async () => {
    const connection = await Connection.connect({ address: inject('temporalAddress') });
    try {
      const { config } = await connection.workflowService.describeNamespace({ namespace: TEST_NAMESPACE });
      expect(Number(config?.workflowExecutionRetentionTtl?.seconds)).toBe(30 * 24 * 60 * 60);
    } finally {
      await connection.close();
    }
  });

  test('the time-skipping server skips time', async () => {
    const environment = await TestWorkflowEnvironment.createTimeSkipping({
      server: { executable: { type: 'existing-path', path: inject('testServerPath') } },
    });
    try {
      const before = await environment.currentTimeMs();
      await environment.sleep('5 days');
      expect((await environment.currentTimeMs()) - before).toBeGreaterThanOrEqual(5 * 24 * 60 * 60 * 1000);
    } finally {
      await environment.teardown();
    }
  });
});

describe('programs that are found, downloaded or built', () => {
  const program = {
    name: 'some-program',
    version: '1.0.0',
    setting: 'HEED_SOME_BINARY',
    configured: null,
    sdkServer: 'dev-server',
    build: () => Promise.reject(new Error('must not be built')),
  } as const;
  const silent = () => {};

  function executable(...path: string[]): string {
    const file = join(folder, ...path);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, '#!/bin/sh\n', { mode: 0o755 });
    return file;
  }

  test('the setting comes before PATH, and PATH before the cache', async () => {
    const set = executable('set', 'a-program');
    const onPath = executable('bin', 'some-program');
    const cached = executable('cache', 'some-program-1.0.0', 'some-program');
    const cacheDir = join(folder, 'cache');
    const path = `/nowhere:${join(folder, 'bin')}`;
    expect(await ensureProgram({ ...program, configured: set }, { cacheDir, path }, silent)).toBe(set);
    expect(await ensureProgram(program, { cacheDir, path }, silent)).toBe(onPath);
    expect(await ensureProgram(program, { cacheDir, path: '/nowhere' }, silent)).toBe(cached);
  });

  test('a setting that is no program is an error that names it, never a reason to take another', async () => {
    await expect(
      ensureProgram({ ...program, configured: '/nowhere/temporal' }, { cacheDir: folder, path: '' }, silent),
    ).rejects.toThrow(/^HEED_SOME_BINARY: \/nowhere\/temporal is not a program/);
  });
});

test('a lock ends with its process, also with one that is killed', async () => {
  const file = join(folder, 'some.lock');
  const { child, line } = await runModule(`
    import { tryLock } from ${modulePath('lock.ts')};
    console.log(tryLock(${JSON.stringify(file)}) !== null);
    setInterval(() => {}, 1000);
  `);
  expect(line).toBe('true');
  expect(tryLock(file)).toBeNull();
  child.kill('SIGKILL');
  await once(child, 'exit');
  const lock = tryLock(file);
  expect(lock).not.toBeNull();
  lock!.release();
});

test('a taken port is told with the setting that moves it', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const refused = assertPortFree(port, '127.0.0.1', 'HEED_API_PORT');
  await expect(refused).rejects.toThrow(SetUpError);
  await expect(refused).rejects.toThrow(
    `Port ${port} is taken by another program. End that program, or set HEED_API_PORT`,
  );
  server.close();
  await once(server, 'close');
  await assertPortFree(port, '127.0.0.1', 'HEED_API_PORT');
});
