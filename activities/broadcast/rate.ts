/** So long a way out that nothing has left by yet counts as a fast one. */
const UNKNOWN_FOR_MS = 5_000;
/** Weight of the last outcomes. */
const WEIGHT = 0.5;
const MEASURED_AFTER_MS = 100;

/** How fast messages leave, as of late. */
export class Rate {
  readonly #bornAt = performance.now();
  #perSecond = 0;
  #since = performance.now();
  #count = 0;

  /** Messages a second; 0 while it is not known. */
  get perSecond(): number {
    return this.#perSecond;
  }

  count(): void {
    this.#count += 1;
  }

  measure(): void {
    const passed = performance.now() - this.#since;
    if (passed < MEASURED_AFTER_MS) return;
    const measured = (this.#count * 1_000) / passed;
    this.#perSecond = this.#perSecond === 0 ? measured : this.#perSecond * (1 - WEIGHT) + measured * WEIGHT;
    this.#since = performance.now();
    this.#count = 0;
  }

  /** How many leave within so many seconds: any number, while that is not known. */
  within(seconds: number): number {
    if (this.#perSecond > 0) return Math.ceil(this.#perSecond * seconds);
    return performance.now() - this.#bornAt < UNKNOWN_FOR_MS ? Number.POSITIVE_INFINITY : 0;
  }
}
