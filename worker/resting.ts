const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
/** What came in too early waits for the end of an attempt, which is written down in a moment or after minutes. */
const TOO_EARLY_MS = 1_000;
/** Long after it could have been taken again: another relay has delivered it. */
const FORGOTTEN_MS = 10 * 60_000;

interface Rest {
  readonly until: number;
  /** `null` where it has not failed. */
  readonly pause: number | null;
}

/**
 * Outbox entries that rest before they are tried again, by their ids: each that failed, ever longer; nobody else waits for
 * it. In milliseconds of a clock that never goes back.
 */
export class Resting {
  readonly #rests = new Map<number, Rest>();

  /** @param took how long it took to fail: what is out of reach for so long is not asked again at once */
  failed(id: number, now: number, took: number): void {
    const before = this.#rests.get(id)?.pause ?? null;
    const pause = before === null ? FIRST_PAUSE_MS : Math.min(2 * before, LONGEST_PAUSE_MS);
    this.#rests.set(id, { until: now + Math.max(pause, took), pause });
  }

  /** It tells of something that is not over; nothing failed. */
  early(id: number, now: number): void {
    this.#rests.set(id, { until: now + TOO_EARLY_MS, pause: null });
  }

  hasFailed(id: number): boolean {
    return this.#rests.get(id)?.pause != null;
  }

  /** Where one of these had failed, what was out of reach is there again, and everything may be tried at once. */
  delivered(ids: readonly number[]): void {
    if (ids.some((id) => this.hasFailed(id))) this.#rests.clear();
    for (const id of ids) this.#rests.delete(id);
  }

  /** How long until the first of them may be tried; none where one may be by now. */
  untilNext(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { until } of this.#rests.values()) next = Math.min(next, Math.max(0, until - now));
    return next;
  }

  /** Those that still rest. */
  ids(now: number): number[] {
    const ids: number[] = [];
    for (const [id, { until }] of this.#rests) {
      if (until > now) ids.push(id);
      else if (until + FORGOTTEN_MS < now) this.#rests.delete(id);
    }
    return ids;
  }
}
