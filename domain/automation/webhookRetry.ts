/** Tries at a webhook in all. */
const TRIES = 15;
const FIRST_PAUSE_MS = 10_000;
const LONGEST_PAUSE_MS = 4 * 3600_000;
const GROWTH = 2.3;

/**
 * When a webhook whose receiver was in trouble is called again: soon at first, then ever later, fifteen times within a
 * day. Given up after that.
 *
 * @param tried how often it was called so far
 * @param now in milliseconds of the epoch, as the answer
 * @returns `null` where it is given up
 */
export function nextWebhookTry(tried: number, now: number): number | null {
  if (tried >= TRIES) return null;
  return now + Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * GROWTH ** (tried - 1));
}
