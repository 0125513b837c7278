const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
/** What came in too early waits for the end of an attempt, which is written down in a moment or after minutes. */
const TOO_EARLY_MS = 1_000;

/**
 * Outbox entries that rest before they are tried again, by their ids: each that failed, ever longer; nobody else waits for
 * it. In milliseconds of a clock that never goes back.
 */
export class Resting {
  readonly #entries = new Map<number, { readonly until: number; readonly pause: number }>();

  failed(id: number, now: number): void {
    const before = this.#entries.get(id)?.pause;
    const pause = before === undefined ? FIRST_PAUSE_MS : Math.min(2 * before, LONGEST_PAUSE_MS);
    this.#entries.set(id, { until: now + pause, pause });
  }

  /** It tells of something that is not over; nothing failed. */
  early(id: number, now: number): void {
    this.#entries.set(id, { until: now + TOO_EARLY_MS, pause: FIRST_PAUSE_MS });
  }

  delivered(ids: readonly number[]): void {
    for (const id of ids) this.#entries.delete(id);
  }

  /** Everything may be tried at once: what was out of reach is there again. */
  clear(): void {
    this.#entries.clear();
  }

  /** How long until the first of them may be tried. */
  untilNext(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { until } of this.#entries.values()) if (until > now) next = Math.min(next, until - now);
    return next;
  }

  /** Those that still rest. */
  ids(now: number): number[] {
    const ids: number[] = [];
    for (const [id, { until }] of this.#entries) {
      if (until > now) ids.push(id);
      // Another relay has delivered it, else it would have been taken long ago.
      else if (until + LONGEST_PAUSE_MS < now) this.#entries.delete(id);
    }
    return ids;
  }
}
