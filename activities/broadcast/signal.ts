import { setTimeout as sleep } from 'node:timers/promises';

/** Wakes whoever waits for something to change; each looks for itself whether it is what was waited for. */
export class Signal {
  #waiting: (() => void)[] = [];

  /** Resolves with the next {@link ring}. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** As {@link wait}, though no longer than so many milliseconds. */
  async orAfter(milliseconds: number): Promise<void> {
    const given = new AbortController();
    const over = sleep(milliseconds, undefined, { signal: given.signal }).catch(() => {});
    await Promise.race([this.wait(), over]);
    given.abort();
  }

  ring(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}
