import { setTimeout as delay } from 'node:timers/promises';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
const PATIENCE_MS = 10 * 60_000;

/**
 * Does a thing until it succeeds, for ten minutes at the most: for what is known only to this process and must be
 * written down, while the database may be restarting.
 *
 * @throws the last error
 */
export async function persistently<T>(work: () => Promise<T>): Promise<T> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    try {
      return await work();
    } catch (error) {
      if (performance.now() + pause > giveUpAt) throw error;
      await delay(pause);
    }
  }
}
