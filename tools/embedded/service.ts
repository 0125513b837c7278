import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, statSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Supervision } from './supervise.ts';

/** Told to the person who waits: one short line, without a line end. */
export type Progress = (message: string) => void;

/** Something that the person at the keyboard can put right; the message is one line that says how. */
export class SetUpError extends Error {
  override readonly name = 'SetUpError';
}

/** A service that runs as a process of its own. */
export interface Service {
  /** Of the service itself, for tests that kill it. */
  readonly pid: number;
  readonly logFile: string;
  /** What it has logged since this start, at most the last 4,000 characters. */
  logTail(): string;
  /** Settles when the process has ended, for whatever reason. */
  readonly ended: Promise<void>;
  hasEnded(): boolean;
  /** Sends the stop signal and waits for the end. Harmless when it has ended already. */
  stop(): Promise<void>;
}

const supervisor = fileURLToPath(new URL('./supervise.ts', import.meta.url));

/** Starts a service under a supervisor that ends it when this process ends. Its output is appended to `logFile`. */
export async function startService(job: Supervision & { readonly logFile: string }): Promise<Service> {
  const { logFile, ...supervision } = job;
  const log = openSync(logFile, 'a');
  const logStart = statSync(logFile).size;
  const child = spawn(process.execPath, [supervisor, JSON.stringify(supervision)], {
    detached: true,
    stdio: ['pipe', 'pipe', log],
  });
  closeSync(log);
  // Both are pipes, as said above.
  const stdin = child.stdin as Socket;
  const stdout = child.stdout as Socket;

  let over = false;
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      over = true;
      resolve();
    });
  });
  const logTail = () =>
    existsSync(logFile) ? readFileSync(logFile).subarray(logStart).toString('utf8').trim().slice(-4000) : '';
  const pid = await new Promise<number>((resolve, reject) => {
    createInterface(stdout).once('line', (line) => resolve(Number(line)));
    child.once('exit', () => reject(new SetUpError(`${job.command} could not be started: ${logTail()}`)));
  });
  // Whoever forgets to stop a service ends all the same, and the service with it.
  child.unref();
  stdin.unref();
  stdout.unref();

  return {
    pid,
    logFile,
    logTail,
    ended,
    hasEnded: () => over,
    async stop() {
      child.ref();
      stdin.end();
      await ended;
    },
  };
}

/**
 * Calls `probe` until it returns without throwing.
 * @throws SetUpError with the service's last log lines when it ends first or `timeoutMs` pass.
 */
export async function waitUntilHealthy(
  name: string,
  service: Service,
  timeoutMs: number,
  probe: () => Promise<void>,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      await probe();
      return;
    } catch (error) {
      if (service.hasEnded()) throw new SetUpError(`${name} ended while starting: ${service.logTail()}`);
      if (Date.now() > deadline) {
        throw new SetUpError(
          `${name} did not answer within ${timeoutMs / 1000} s (${error}); see ${service.logFile}`,
        );
      }
    }
    await sleep(50);
  }
}

/**
 * Below those that systems give to whoever connects (from 32768 on Linux, 49152 elsewhere): of these one may be taken
 * before a server that was told of it listens.
 */
const PORTS = { from: 10_000, to: 32_767 };

/** A port of 127.0.0.1 that is free now, for servers that cannot be told to choose one and say which. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.from, PORTS.to + 1);
    const trouble = await troubleWithPort(port, '127.0.0.1');
    if (trouble === null) return port;
    // One that is taken, or kept by the system, says nothing of the next.
    if (trouble !== 'EADDRINUSE' && trouble !== 'EACCES') throw new Error(`no port can be used (${trouble})`);
  }
}

/** @throws SetUpError that names the setting when the port is taken or may not be listened on. */
export async function assertPortFree(port: number, host: string, setting: string): Promise<void> {
  const trouble = await troubleWithPort(port, host);
  if (trouble === null) return;
  const why = trouble === 'EADDRINUSE' ? 'is taken by another program' : `cannot be used (${trouble})`;
  throw new SetUpError(`Port ${port} ${why}. End that program, or set ${setting} to a free port.`);
}

/** Why nothing can listen there, as the system's code; `null` where something can. */
function troubleWithPort(port: number, host: string): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, host, () => server.close(() => resolve(null)));
  });
}
