/**
 * Runs one service and ends it when standard input closes, so that no service outlives whoever started it, be it killed
 * with SIGKILL. Started by service.ts in a session of its own: a Ctrl-C at the terminal reaches the starter alone, which
 * decides in which order things end.
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';

/** First argument of this program, as JSON. */
export interface Supervision {
  readonly command: string;
  readonly args: readonly string[];
  readonly stopSignal: NodeJS.Signals;
  /** Milliseconds from the stop signal until SIGKILL. */
  readonly graceMs: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Files and folders that are deleted once the service has ended. */
  readonly deleteAfterwards?: readonly string[];
}

const job = JSON.parse(process.argv[2] ?? '') as Supervision;
const service = spawn(job.command, job.args, {
  cwd: '/',
  // Standard error of this process is the log file; standard output belongs to the conversation with the starter.
  stdio: ['ignore', 2, 2],
  ...(job.uid === undefined ? {} : { uid: job.uid }),
  ...(job.gid === undefined ? {} : { gid: job.gid }),
});

let stopping = false;

function stop(): void {
  stopping = true;
  service.kill(job.stopSignal);
  setTimeout(() => service.kill('SIGKILL'), job.graceMs).unref();
}

process.stdin.on('end', stop).on('error', stop).resume();
process.on('SIGTERM', stop);
process.on('SIGINT', () => {});
process.stdout.on('error', () => {});
service.on('spawn', () => process.stdout.write(`${service.pid}\n`));
service.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(127);
});
service.on('exit', (code, signal) => {
  // Into the log, for whoever wonders why: some end without a word.
  if (!stopping) process.stderr.write(`${job.command} ended with ${signal ?? `status ${code}`}\n`);
  for (const path of job.deleteAfterwards ?? [])
    rmSync(path, { recursive: true, force: true, maxRetries: 5 });
  process.exit(code ?? (signal === job.stopSignal ? 0 : 1));
});
