/**
 * Loaded into every child process of the launcher (`node --import`): asks the process to stop when the launcher is gone,
 * also when that was killed. The launcher holds the other end of standard input.
 */
import { isMainThread } from 'node:worker_threads';

/** Longer than any orderly end takes; then the process ends as it is, which it must bear at any moment (I7). */
const GRACE_MS = 30_000;

// Worker threads load this too, and have a standard input of their own that ends at once.
if (isMainThread) {
  process.stdin.on('end', stop).on('error', stop).resume();
  // Waiting for the launcher's end is no reason to go on. A pipe is a socket to Node, which can say so.
  if ('unref' in process.stdin) process.stdin.unref();
  // Nobody reads what is said after the launcher's end.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
}

function stop(): void {
  process.kill(process.pid, 'SIGTERM');
  setTimeout(() => process.exit(1), GRACE_MS).unref();
}
