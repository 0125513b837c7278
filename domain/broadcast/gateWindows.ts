/**
 * How long it was from gate to MAIL FROM, counted in classes: small enough to be kept with every page and added up over
 * all of them. A class holds what took less than its bound, in milliseconds; the last holds all above.
 */
const BOUNDS_MS = [1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 400, 500, 750, 1_000, 1_250, 1_500, 1_750, 2_000];

/** How many messages were in each class. */
export type GateWindows = number[];

export function noGateWindows(): GateWindows {
  return Array.from({ length: BOUNDS_MS.length + 1 }, () => 0);
}

/** Counts one message. */
export function countGateWindow(windows: GateWindows, milliseconds: number): void {
  const found = BOUNDS_MS.findIndex((bound) => milliseconds < bound);
  windows[found === -1 ? BOUNDS_MS.length : found]! += 1;
}

/** All counts of several together. */
export function sumOfGateWindows(all: readonly (readonly number[])[]): GateWindows {
  const sum = noGateWindows();
  for (const windows of all) for (const [index, count] of windows.entries()) sum[index]! += count;
  return sum;
}

/**
 * The bound below which this share of the messages was: no message is reported faster than it was.
 *
 * @param share 0.5 for the median
 * @returns milliseconds; `null` where nothing was counted; infinity where it is above the last bound
 */
export function gateWindowQuantile(windows: readonly number[], share: number): number | null {
  const total = windows.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let seen = 0;
  const index = windows.findIndex((count) => {
    seen += count;
    return seen >= share * total;
  });
  return BOUNDS_MS[index] ?? Number.POSITIVE_INFINITY;
}
