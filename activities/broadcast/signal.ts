/** Wakes whoever waits for something to change; each looks for itself whether it is what was waited for. */
export class Signal {
  #waiting: (() => void)[] = [];

  /** Resolves with the next {@link ring}. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  ring(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}
