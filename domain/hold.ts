/** Why a send is held that waits for nothing but the account's kill switch. */
export const MARKETING_PAUSED = 'marketing_paused';

const FIRST_HOLD_MS = 5_000;
const LONGEST_HOLD_MS = 15 * 60_000;

/**
 * How long a way out is held back after it failed so many times in a row: 5 s, doubled each time, 15 min at the most.
 * A relay that restarts is found again within seconds; one that is down for a night is asked four times an hour.
 *
 * @param level 1 after the first failure
 * @returns milliseconds
 */
export function holdMilliseconds(level: number): number {
  return Math.min(FIRST_HOLD_MS * 2 ** Math.min(level - 1, 20), LONGEST_HOLD_MS);
}

/**
 * Spreads those who wait for the same hold, so that they do not all come back in the same moment: the longer the hold,
 * the wider, and always the same for the same key.
 *
 * @param key anything that differs between those who wait, e.g. the id of a send
 * @returns milliseconds to wait beyond the hold
 */
export function spreadMilliseconds(key: string, holdMs: number): number {
  let hash = 2166136261; // FNV-1a
  for (let i = 0; i < key.length; i += 1) hash = Math.imul(hash ^ key.charCodeAt(i), 16777619);
  return Math.floor(((hash >>> 0) / 2 ** 32) * Math.max(1_000, holdMs / 4));
}
