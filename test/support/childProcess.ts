import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../../config/config.ts';
import { until } from './until.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const READY_WITHIN_MS = 120_000;
const GRACE_MS = 30_000;

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A part of Heed as a real process, for tests that kill and freeze it. */
export interface HeedProcess {
  readonly pid: number;
  /** What it has written so far. */
  output(): string;
  /** SIGSTOP freezes it, SIGCONT wakes it again. */
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<Exit>;
  /** Asks it to stop, frozen or not, and kills it when it does not. */
  stop(): Promise<Exit>;
}

/**
 * Starts a program of the repository and waits until it is ready. It ends with the test process, also when that is
 * killed while the program is frozen.
 *
 * @param ready whether what it has written says that it is ready
 * @throws when it ends before that
 */
export async function startProcess(
  program: string,
  environment: Readonly<Record<string, string>>,
  ready: (output: string) => boolean | Promise<boolean>,
): Promise<HeedProcess> {
  const child = spawn(process.execPath, [program], {
    cwd: root,
    env: childEnvironment(environment),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const pid = child.pid!;
  const guard = guardOf(pid);
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => lines.push(line));
  }
  let exit: Exit | null = null;
  const ended = new Promise<Exit>((resolve) => {
    child.once('close', (code, signal) => {
      guard.kill('SIGKILL');
      exit = { code, signal };
      resolve(exit);
    });
  });
  const output = () => lines.join('\n');
  const kill = (signal: NodeJS.Signals) => void child.kill(signal);

  async function stop(): Promise<Exit> {
    if (exit !== null) return exit;
    kill('SIGTERM');
    kill('SIGCONT');
    const force = setTimeout(() => kill('SIGKILL'), GRACE_MS);
    const result = await ended;
    clearTimeout(force);
    return result;
  }

  try {
    await until(`${program} is ready`, async () => exit !== null || (await ready(output())), READY_WITHIN_MS);
    if (exit !== null) throw new Error('it ended');
  } catch (error) {
    kill('SIGKILL');
    throw new Error(`${program} did not start:\n${output()}`, { cause: error });
  }
  return { pid, output, kill, ended, stop };
}

/** Kills the process when this one is gone: a frozen one would not notice that by itself. */
function guardOf(pid: number) {
  const guard = spawn('/bin/sh', ['-c', 'read -r _; kill -KILL "$1"', 'sh', String(pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  guard.unref();
  return guard;
}
