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
 * Whether so many sends to an address ended exhausted in a row that it is to be taken for dead (I5). Counted backwards
 * from the latest first attempt to the latest delivery; sends that ended by a fault of ours, or neither delivered nor
 * exhausted, are passed over. Of a delivery and an exhausted send begun in the same moment, the delivery counts as the
 * later one.
 *
 * @param finals sends of one address in any order
 * @param limit how many; 0 = never
 */
export function softBounceLimitReached(finals: readonly FinalOutcome[], limit: number): boolean {
  if (limit <= 0) return false;
  let lastDelivery = Number.NEGATIVE_INFINITY;
  for (const { outcome, firstAttemptAt } of finals) {
    if (outcome === 'delivered') lastDelivery = Math.max(lastDelivery, firstAttemptAt);
  }
  const exhaustedSince = finals.filter(
    ({ outcome, fault, firstAttemptAt }) =>
      outcome === 'exhausted' && fault === 'recipient' && firstAttemptAt > lastDelivery,
  );
  return exhaustedSince.length >= limit;
}
