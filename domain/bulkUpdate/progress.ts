import type { BulkUpdateState } from './words.ts';

/** How far a bulk update is, in rows. */
export interface BulkUpdateProgress {
  readonly state: BulkUpdateState;
  /** `null` until who matches is decided. */
  readonly total: number | null;
  readonly changed: number;
  readonly alreadySo: number;
  readonly refused: number;
}

/** Rows that are done with, whatever became of them. */
export function rowsDone({ changed, alreadySo, refused }: BulkUpdateProgress): number {
  return changed + alreadySo + refused;
}

/** One line that says how far it is. */
export function describeProgress(progress: BulkUpdateProgress): string {
  const { state, total, changed, alreadySo, refused } = progress;
  if (total === null) return `${state}: finding out who matches`;
  return `${state}: ${rowsDone(progress)} of ${total} rows; ${changed} changed, ${alreadySo} already so, ${refused} refused`;
}
