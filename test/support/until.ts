import { setTimeout as delay } from 'node:timers/promises';

/**
 * Waits patiently for something that is true once it is true: tests assert what happens, not how quickly.
 *
 * @param found what was waited for; `null`, `undefined` and `false` mean not yet, and so does an error
 * @param limit milliseconds
 * @throws when the limit has passed, saying what did not happen
 */
export async function until<T>(
  what: string,
  found: () => T | Promise<T>,
  limit = 120_000,
): Promise<NonNullable<Exclude<T, false>>> {
  const deadline = performance.now() + limit;
  for (;;) {
    let last: unknown;
    try {
      const value = await found();
      if (value !== null && value !== undefined && value !== false) {
        return value as NonNullable<Exclude<T, false>>;
      }
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`did not happen within ${limit / 1000} s: ${what}`, { cause: last });
    }
    await delay(50);
  }
}
