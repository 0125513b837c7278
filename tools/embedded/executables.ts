import { spawn } from 'node:child_process';
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { EmbeddedConfig } from '../../config/config.ts';
import { childEnvironment } from '../../config/config.ts';
import { waitForLock } from './lock.ts';
import { type Progress, SetUpError } from './service.ts';

/** A program that Heed needs and how it comes by it. */
export interface Program {
  /** Of the file, on PATH and in the cache. */
  readonly name: string;
  readonly version: string;
  /** What is configured for it, and the variable's name. */
  readonly setting: string;
  readonly configured: string | null;
  /** Downloads of Temporal's SDK; see sdkDownload.ts. */
  readonly sdkServer: 'dev-server' | 'time-skipping';
  /** Last way: makes the program in the empty folder `into`, under the name `name`. */
  build(into: string, progress: Progress): Promise<void>;
}

/**
 * Path of the program: by setting, on PATH, in the cache, downloaded by Temporal's SDK, or built; the last two go to the
 * cache. Several runs at once download or build it once.
 */
export async function ensureProgram(
  program: Program,
  config: Pick<EmbeddedConfig, 'cacheDir' | 'path'>,
  progress: Progress,
): Promise<string> {
  if (program.configured !== null) {
    if (isExecutable(program.configured)) return program.configured;
    throw new SetUpError(`${program.setting}: ${program.configured} is not a program that can be started.`);
  }
  const onPath = findOnPath(program.name, config.path);
  if (onPath !== undefined) return onPath;

  const home = join(config.cacheDir, `${program.name}-${program.version}`);
  const cached = join(home, program.name);
  if (isExecutable(cached)) return cached;

  mkdirSync(config.cacheDir, { recursive: true });
  const lock = await waitForLock(`${home}.lock`, () =>
    progress(`Waiting for another run that fetches ${program.name}`),
  );
  try {
    if (isExecutable(cached)) return cached;
    const unfinished = mkdtempSync(`${home}.`);
    try {
      if (!(await downloadWithSdk(program, unfinished, progress))) await program.build(unfinished, progress);
      rmSync(home, { recursive: true, force: true });
      renameSync(unfinished, home);
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
    return cached;
  } finally {
    lock.release();
  }
}

export function findOnPath(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

const sdkDownload = fileURLToPath(new URL('./sdkDownload.ts', import.meta.url));
/** A blocked network often drops packets instead of refusing: without a byte for this long there is no use in waiting. */
const STALLED_AFTER_MS = 12_000;

/** True when the program lies in `into` afterwards. */
async function downloadWithSdk(program: Program, into: string, progress: Progress): Promise<boolean> {
  progress(`Downloading ${program.name} ${program.version}`);
  const child = spawn(process.execPath, [sdkDownload, program.sdkServer, program.version, into], {
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  let size = 0;
  let lastGrowth = Date.now();
  const watch = setInterval(() => {
    const now = sizeOf(into);
    if (now !== size) {
      size = now;
      lastGrowth = Date.now();
    } else if (Date.now() - lastGrowth > STALLED_AFTER_MS) child.kill('SIGKILL');
  }, 500);
  const status = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  clearInterval(watch);
  const file = readdirSync(into).find((name) => isExecutable(join(into, name)));
  if (status === 0 && file !== undefined) {
    renameSync(join(into, file), join(into, program.name));
    return true;
  }
  for (const name of readdirSync(into)) rmSync(join(into, name), { recursive: true });
  return false;
}

function sizeOf(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    // A file that was renamed since counts the next time.
    if (entry.isFile()) bytes += statSync(join(folder, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

/**
 * Runs a build command, telling every 15 s that it still runs and what it said last.
 * @throws SetUpError with the command's last lines when it fails, or that it is missing.
 */
export async function runBuild(
  what: string,
  command: readonly [string, ...string[]],
  options: {
    readonly cwd: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly missing: string;
  },
  progress: Progress,
): Promise<void> {
  const [name, ...args] = command;
  const child = spawn(name, args, {
    cwd: options.cwd,
    env: childEnvironment(options.env ?? {}),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const started = Date.now();
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => {
      said.push(line);
      if (said.length > 15) said.shift();
    });
  }
  const ticker = setInterval(() => {
    progress(
      `${what}: ${Math.round((Date.now() - started) / 1000)} s so far${said.length > 0 ? ` (${said.at(-1)})` : ''}`,
    );
  }, 15_000);
  try {
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once('close', resolve);
      child.once('error', (error: NodeJS.ErrnoException) => {
        reject(error.code === 'ENOENT' ? new SetUpError(options.missing) : error);
      });
    });
    if (status !== 0) throw new SetUpError(`${what} failed (${command.join(' ')}):\n${said.join('\n')}`);
  } finally {
    clearInterval(ticker);
  }
}
