import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

/**
 * Does at start what needs a service that may come up later than this process, until it works or `signal` aborts.
 *
 * @throws the signal's reason; and at once what no waiting mends: an error whose message names a setting
 */
export async function untilItAnswers<T>(
  service: string,
  log: Logger,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    try {
      return await work();
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      if (/\bHEED_[A-Z_]+\b/.test(text)) throw error;
      log.warn({ error: text }, `waiting for ${service}`);
      await delay(pause, undefined, { signal });
    }
  }
}
