import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type FinalOutcome, softBounceLimitReached } from '../../domain/consecutive.ts';
import { SEND_OUTCOMES } from '../../domain/words.ts';

const ended = (
  outcome: FinalOutcome['outcome'],
  firstAttemptAt: number,
  fault: FinalOutcome['fault'] = 'recipient',
) => ({
  outcome,
  fault,
  firstAttemptAt,
});

const final = fc.record({
  outcome: fc.constantFrom(...SEND_OUTCOMES),
  fault: fc.constantFrom('recipient' as const, 'ours' as const),
  firstAttemptAt: fc.integer({ min: 0, max: 50 }),
});
/** No two sends begun in the same moment. */
const finals = fc.uniqueArray(final, { selector: ({ firstAttemptAt }) => firstAttemptAt, maxLength: 30 });

describe('softBounceLimitReached (I5)', () => {
  it('is reached by the fifth exhausted send in a row, not the fourth', () => {
    const four = [1, 2, 3, 4].map((at) => ended('exhausted', at));
    expect(softBounceLimitReached(four, 5)).toBe(false);
    expect(softBounceLimitReached([...four, ended('exhausted', 5)], 5)).toBe(true);
  });

  it('is counted anew from a delivery, in the order of first attempts and not of ends', () => {
    const around = [1, 2, 4, 5].map((at) => ended('exhausted', at));
    expect(softBounceLimitReached([...around, ended('delivered', 3)], 3)).toBe(false);
    expect(softBounceLimitReached([...around, ended('delivered', 0)], 4)).toBe(true);
    expect(softBounceLimitReached([...around, ended('delivered', 6)], 1)).toBe(false);
  });

  it('counts the row around a first attempt, up to the deliveries on both sides', () => {
    const list = [
      ...[1, 2, 4, 5, 7].map((at) => ended('exhausted', at)),
      ended('delivered', 3),
      ended('delivered', 6),
    ];
    for (const [at, length] of [
      [1, 2],
      [2, 2],
      [4, 2],
      [5, 2],
      [7, 1],
    ] as const) {
      expect(softBounceLimitReached(list, length, at)).toBe(true);
      expect(softBounceLimitReached(list, length + 1, at)).toBe(false);
    }
  });

  it('takes a delivery begun in the same moment for the later one', () => {
    expect(softBounceLimitReached([ended('exhausted', 1), ended('delivered', 1)], 1)).toBe(false);
    expect(softBounceLimitReached([ended('exhausted', 1), ended('delivered', 1)], 1, 1)).toBe(true);
  });

  it('never is with a limit of 0', () => {
    fc.assert(fc.property(finals, (list) => !softBounceLimitReached(list, 0)));
  });

  it('agrees with walking the sends in their order', () => {
    fc.assert(
      fc.property(finals, fc.integer({ min: 1, max: 6 }), (list, limit) => {
        let run = 0;
        for (const { outcome, fault } of list.toSorted((a, b) => a.firstAttemptAt - b.firstAttemptAt)) {
          if (outcome === 'delivered') run = 0;
          if (outcome === 'exhausted' && fault === 'recipient') run++;
        }
        expect(softBounceLimitReached(list, limit)).toBe(run >= limit);
      }),
    );
  });

  it('of the row around a first attempt is that of the last row before the next delivery', () => {
    fc.assert(
      fc.property(finals, fc.integer({ min: 1, max: 6 }), fc.nat(50), (list, limit, at) => {
        const next = Math.min(
          ...list
            .filter(({ outcome, firstAttemptAt }) => outcome === 'delivered' && firstAttemptAt >= at)
            .map(({ firstAttemptAt }) => firstAttemptAt),
        );
        const before = list.filter(({ firstAttemptAt }) => firstAttemptAt < next);
        expect(softBounceLimitReached(list, limit, at)).toBe(softBounceLimitReached(before, limit));
      }),
    );
  });

  it('does not depend on the order in which the sends are given, nor on faults of ours and other outcomes', () => {
    fc.assert(
      fc.property(finals, fc.integer({ min: 1, max: 6 }), (list, limit) => {
        const reached = softBounceLimitReached(list, limit);
        expect(softBounceLimitReached(list.toReversed(), limit)).toBe(reached);
        const counting = list.filter(
          ({ outcome, fault }) =>
            outcome === 'delivered' || (outcome === 'exhausted' && fault === 'recipient'),
        );
        expect(softBounceLimitReached(counting, limit)).toBe(reached);
      }),
    );
  });

  it('is not undone by one more exhausted send, and always undone by a later delivery', () => {
    fc.assert(
      fc.property(finals, fc.integer({ min: 1, max: 6 }), (list, limit) => {
        if (softBounceLimitReached(list, limit)) {
          expect(softBounceLimitReached([...list, ended('exhausted', 99)], limit)).toBe(true);
        }
        expect(softBounceLimitReached([...list, ended('delivered', 99)], limit)).toBe(false);
      }),
    );
  });
});
