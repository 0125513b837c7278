import { cancellationSignal, cancelled, heartbeat } from '@temporalio/activity';

/** Well below the heartbeat timeouts of the workflows' proxies, so that a busy worker is not taken for a dead one. */
const HEARTBEAT_MS = 5_000;

/**
 * Does some work, and lets the server know all the while that this worker lives.
 *
 * @param work is given what to call between its pages: that ends it where the activity was cancelled
 */
export async function beating<T>(work: (betweenPages: () => Promise<void>) => Promise<T>): Promise<T> {
  const beat = setInterval(() => heartbeat(), HEARTBEAT_MS);
  try {
    return await work(async () => {
      if (cancellationSignal().aborted) await cancelled();
    });
  } finally {
    clearInterval(beat);
  }
}
