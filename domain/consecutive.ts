import type { Fault } from './bounce/verdict.ts';
import type { SendOutcome } from './words.ts';

/** How one send to an address ended. */
export interface FinalOutcome {
  readonly outcome: SendOutcome;
  /** Whose fault the end was. */
  readonly fault: Fault;
  /** Milliseconds of the epoch. */
  readonly firstAttemptAt: number;
}

/**
 * Whether so many sends to an address ended exhausted in a row that it is to be taken for dead (I5). A row lies between
 * two deliveries; sends that ended by a fault of ours, or neither delivered nor exhausted, are passed over. Of a delivery
 * and an exhausted send begun in the same moment, the delivery counts as the later one.
 *
 * @param finals sends of one address in any order
 * @param limit how many; 0 = never
 * @param at a first attempt, whose row is counted; the last row, where it is left out
 */
export function softBounceLimitReached(
  finals: readonly FinalOutcome[],
  limit: number,
  at = Number.POSITIVE_INFINITY,
): boolean {
  if (limit <= 0) return false;
  let deliveryBefore = Number.NEGATIVE_INFINITY;
  let deliveryAfter = Number.POSITIVE_INFINITY;
  for (const { outcome, firstAttemptAt } of finals) {
    if (outcome !== 'delivered') continue;
    if (firstAttemptAt < at) deliveryBefore = Math.max(deliveryBefore, firstAttemptAt);
    else deliveryAfter = Math.min(deliveryAfter, firstAttemptAt);
  }
  const exhausted = finals.filter(
    ({ outcome, fault, firstAttemptAt }) =>
      outcome === 'exhausted' &&
      fault === 'recipient' &&
      firstAttemptAt > deliveryBefore &&
      firstAttemptAt <= deliveryAfter,
  );
  return exhausted.length >= limit;
}
