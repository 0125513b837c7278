import { heartbeat } from '@temporalio/activity';

/** Well below the heartbeat timeouts of the workflows' proxies, so that a busy worker is not taken for a dead one. */
const HEARTBEAT_MS = 5_000;

/** Does some work, and lets the server know all the while that this worker lives. */
export async function beating<T>(work: () => Promise<T>): Promise<T> {
  const beat = setInterval(() => heartbeat(), HEARTBEAT_MS);
  try {
    return await work();
  } finally {
    clearInterval(beat);
  }
}
