import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { childEnvironment } from '../../config/config.ts';
import { freePort } from '../../tools/embedded/service.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const PORTS = [
  'HEED_API_PORT',
  'HEED_POSTGRES_PORT',
  'HEED_TEMPORAL_PORT',
  'HEED_TEMPORAL_UI_PORT',
  'HEED_SIMULATOR_SMTP_PORT',
  'HEED_SIMULATOR_HTTP_PORT',
] as const;

let folder: string;
let settings: Record<string, string>;
const launchers: Launcher[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'heed-launcher-'));
  // PostgreSQL runs as another user where the tests run as root.
  chmodSync(folder, 0o755);
  settings = { HEED_DATA_DIR: join(folder, 'data') };
  for (const name of PORTS) settings[name] = String(await freePort());
});
afterEach(async () => {
  for (const launcher of launchers.splice(0)) await launcher.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 500 });
});

interface Launcher {
  readonly process: ChildProcess;
  output(): string;
  /** Status. */
  readonly ended: Promise<number | null>;
  stop(): Promise<number | null>;
}

/** `npm start`, without the part that installs. */
function launch(changes: Record<string, string> = {}): Launcher {
  const process_ = spawn(process.execPath, ['tools/launcher/main.ts'], {
    cwd: root,
    env: childEnvironment({ ...settings, ...changes }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [process_.stdout, process_.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const ended = once(process_, 'close').then(([status]) => status as number | null);
  const launcher: Launcher = {
    process: process_,
    output: () => output,
    ended,
    stop() {
      process_.kill('SIGTERM');
      return ended;
    },
  };
  launchers.push(launcher);
  return launcher;
}

async function untilReady(launcher: Launcher): Promise<void> {
  while (!/\n {2}Logs /.test(launcher.output())) {
    const status = await Promise.race([
      launcher.ended,
      new Promise((resolve) => setTimeout(resolve, 100, 'running')),
    ]);
    if (status !== 'running') throw new Error(`The launcher ended with ${status}:\n${launcher.output()}`);
  }
}

const address = (name: (typeof PORTS)[number]) => `http://127.0.0.1:${settings[name]}`;

/** Processes of this machine that have the data folder among their arguments. */
function leftovers(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, 'utf8')];
      } catch {
        // It has ended meanwhile.
        return [];
      }
    })
    .filter((commandLine) => commandLine.includes(folder));
}

test('starts everything, says where it is, bears a crash and a kill, and goes on with the same data', async () => {
  settings.HEED_SALESFORCE_SIMULATOR_PORT = String(await freePort());
  const first = launch();
  await untilReady(first);
  for (const name of ['HEED_API_PORT', 'HEED_TEMPORAL_UI_PORT', 'HEED_SIMULATOR_HTTP_PORT'] as const) {
    expect(first.output()).toContain(address(name));
  }
  const key = /First API key +(heed_\S+)/.exec(first.output())![1]!;
  const status = async (path: string, bearer?: string) =>
    (
      await fetch(
        `${address('HEED_API_PORT')}${path}`,
        bearer ? { headers: { authorization: `Bearer ${bearer}` } } : {},
      )
    ).status;
  expect(await status('/readyz')).toBe(200);
  expect(await status('/reference')).toBe(200);
  expect((await fetch(address('HEED_TEMPORAL_UI_PORT'))).status).toBe(200);
  expect((await fetch(address('HEED_SIMULATOR_HTTP_PORT'))).status).toBe(200);
  expect(await status('/api-keys')).toBe(401);
  expect(await status('/api-keys', key)).toBe(200);
  const salesforce = `http://127.0.0.1:${settings.HEED_SALESFORCE_SIMULATOR_PORT}/simulator`;
  expect(first.output()).toContain(salesforce);
  expect(await (await fetch(salesforce)).json()).toMatchObject({ records: { length: 20 } });

  // The key is shown, and kept nowhere.
  const logs = join(settings.HEED_DATA_DIR!, 'logs');
  for (const file of readdirSync(logs)) expect(readFileSync(join(logs, file), 'utf8')).not.toContain(key);
  expect(statSync(join(settings.HEED_DATA_DIR!, 'secrets.json')).mode & 0o077).toBe(0);

  // A second one on the same folder is refused, in one line.
  const second = launch();
  expect(await second.ended).toBe(1);
  expect(second.output()).toMatch(/^Heed already runs on .*data\. Stop it first.*\n$/);

  first.process.kill('SIGKILL');
  const third = launch();
  await untilReady(third);
  expect(third.output()).not.toContain('First API key');
  expect(await status('/api-keys', key)).toBe(200);

  expect(await third.stop()).toBe(0);
  expect(leftovers()).toEqual([]);
}, 180_000);

test('a taken port and a wrong setting end it before anything is started, one clear line each', async () => {
  const other = createServer().listen(Number(settings.HEED_API_PORT), '127.0.0.1');
  await once(other, 'listening');
  const taken = launch();
  expect(await taken.ended).toBe(1);
  other.close();
  expect(taken.output()).toBe(
    `Port ${settings.HEED_API_PORT} is taken by another program. End that program, or set HEED_API_PORT to a free port.\n`,
  );

  const wrong = launch({ HEED_API_PORT: '0', HEED_LOG_LEVEL: 'loud' });
  expect(await wrong.ended).toBe(78);
  expect(wrong.output().trim().split('\n')).toEqual([
    expect.stringMatching(/^HEED_API_PORT: must be a port number from 1 to 65535, not "0"$/),
    expect.stringMatching(/^HEED_LOG_LEVEL: must be fatal/),
  ]);
});
