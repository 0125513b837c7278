import { spawn } from 'node:child_process';
import { createWriteStream, existsSync, renameSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { SetUpError } from '../embedded/service.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const endWithParent = new URL('./endWithParent.ts', import.meta.url).href;

/** A part of Heed that the launcher runs, and runs again when it crashes. */
export interface ChildOptions {
  /** Shown before what it says. */
  readonly name: string;
  /** TypeScript file from the root of the repository, and its arguments. */
  readonly program: readonly [string, ...string[]];
  readonly env: NodeJS.ProcessEnv;
  /** Gets everything that it says; the screen gets warnings and errors. */
  readonly logFile: string;
  readonly say: (line: string) => void;
  /** How it tells that it is ready: a line of standard output that begins so, or a page that answers 200. */
  readonly ready: { readonly line: string } | { readonly url: string };
  /** Gets each line of standard output first; true keeps the line out of the log. */
  readonly takeLine?: (line: string) => boolean;
  /** Milliseconds until SIGKILL follows SIGTERM. */
  readonly graceMs: number;
}

export interface Child {
  /** Asks it to stop and waits until it has. */
  stop(): Promise<void>;
  kill(): void;
}

const READY_WITHIN_MS = 90_000;
const MAX_BACKOFF_MS = 30_000;
/** A run that lasted this long was sound: the next crash is answered at once again. */
const SOUND_AFTER_MS = 60_000;
const MAX_LOG_BYTES = 20 * 1024 * 1024;

/**
 * Starts the child and waits until it says that it is ready.
 * @throws SetUpError when its first run ends before that.
 */
export async function startChild(options: ChildOptions): Promise<Child> {
  keepOneOldLog(options.logFile);
  const log = createWriteStream(options.logFile, { flags: 'a' });
  const [program, ...args] = options.program;
  let stopping = false;
  let ready = false;
  let backoffMs = 1000;
  let restart: NodeJS.Timeout | undefined;
  let current: { kill(signal: NodeJS.Signals): void; readonly ended: Promise<void> } | undefined;
  let settle: { resolve(): void; reject(error: Error): void };
  const becameReady = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });

  function run(): void {
    const started = Date.now();
    const lastLines: string[] = [];
    const child = spawn(process.execPath, ['--import', endWithParent, program, ...args], {
      cwd: root,
      env: options.env,
      // A Ctrl-C reaches the launcher alone, which ends its children in order.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
    current = { kill: (signal) => void child.kill(signal), ended };
    for (const stream of [child.stdout, child.stderr]) {
      createInterface(stream).on('line', (line) => {
        if (stream === child.stdout && options.takeLine?.(line)) return;
        log.write(`${line}\n`);
        if (stream === child.stdout && 'line' in options.ready && line.startsWith(options.ready.line)) {
          settle.resolve();
          return;
        }
        lastLines.push(line);
        if (lastLines.length > 20) lastLines.shift();
        const warning = stream === child.stderr ? line : warningOf(line);
        if (ready && warning !== undefined) options.say(`[${options.name}] ${warning}`);
      });
    }
    child.once('close', (code, signal) => {
      if (stopping) return;
      const how = code === null ? `signal ${signal}` : `status ${code}`;
      if (!ready) {
        const said = lastLines.map((line) => warningOf(line) ?? line).join('\n');
        settle.reject(new SetUpError(`${options.name} ended while starting (${how}):\n${said}`));
        return;
      }
      if (Date.now() - started > SOUND_AFTER_MS) backoffMs = 1000;
      options.say(
        `[${options.name}] ended unexpectedly (${how}); it is started again in ${backoffMs / 1000} s`,
      );
      restart = setTimeout(run, backoffMs);
      backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
    });
  }

  async function stop(): Promise<void> {
    stopping = true;
    clearTimeout(restart);
    const running = current;
    running?.kill('SIGTERM');
    const force = setTimeout(() => running?.kill('SIGKILL'), options.graceMs);
    await running?.ended;
    clearTimeout(force);
    log.end();
  }

  run();
  const polling = 'url' in options.ready ? poll(options.ready.url, () => settle.resolve()) : undefined;
  const late = setTimeout(() => {
    settle.reject(
      new SetUpError(
        `${options.name} was not ready within ${READY_WITHIN_MS / 1000} s; see ${options.logFile}`,
      ),
    );
  }, READY_WITHIN_MS);
  try {
    await becameReady;
    ready = true;
  } catch (error) {
    await stop();
    throw error;
  } finally {
    clearTimeout(late);
    clearInterval(polling);
  }
  return { stop, kill: () => current?.kill('SIGKILL') };
}

function poll(url: string, onAnswer: () => void): NodeJS.Timeout {
  return setInterval(() => {
    fetch(url).then(
      (answer) => answer.ok && onAnswer(),
      // Not listening yet.
      () => {},
    );
  }, 100);
}

/** Text of a log entry (pino's JSON) that is a warning or worse, or of a line that is no log entry. */
function warningOf(line: string): string | undefined {
  if (!line.startsWith('{')) return line;
  try {
    const entry = JSON.parse(line) as { level?: number; msg?: string; err?: { message?: string } };
    if (entry.level === undefined || entry.level < 40) return undefined;
    return [entry.msg, entry.err?.message].filter((part) => part !== undefined).join(': ');
  } catch {
    return line;
  }
}

function keepOneOldLog(file: string): void {
  if (existsSync(file) && statSync(file).size > MAX_LOG_BYTES) renameSync(file, `${file}.old`);
}
