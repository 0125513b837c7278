import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { audienceCriteria, audienceOfList } from '../../domain/broadcast/audience.ts';
import { whileIn } from '../../domain/broadcast/editing.ts';
import {
  countGateWindow,
  gateWindowQuantile,
  noGateWindows,
  sumOfGateWindows,
} from '../../domain/broadcast/gateWindows.ts';
import {
  burstSize,
  conversationsFor,
  handingOverAtMost,
  MARK_AT_MOST,
  milliseconds,
  PAGE_RECIPIENTS,
  sliceSize,
} from '../../domain/broadcast/pacing.ts';
import { BROADCAST_COMMANDS, BROADCAST_STATES, mayBe } from '../../domain/broadcast/words.ts';

describe('audience', () => {
  it('is whoever stands in one of the lists, minus the exclusion lists', () => {
    expect(audienceCriteria({ listIds: ['a', 'b'], excludeListIds: ['x'] })).toEqual({
      all: [
        {
          any: [
            { list: 'a', member: true },
            { list: 'b', member: true },
          ],
        },
        { none: [{ list: 'x', member: true }] },
      ],
    });
    expect(audienceOfList({ listIds: ['a', 'b'], excludeListIds: ['x'] }, 'b')).toEqual({
      all: [{ any: [{ list: 'b', member: true }] }, { none: [{ list: 'x', member: true }] }],
    });
  });
});

describe('what can be changed', () => {
  it.each(BROADCAST_STATES)('is its email and who it goes to in a draft alone: %s', (state) => {
    for (const waits of [true, false]) {
      const fields = whileIn(state, waits);
      expect(fields.includes('emailId')).toBe(state === 'draft');
      expect(fields.includes('audience')).toBe(state === 'draft');
      expect(fields.includes('startAt')).toBe(waits && ['scheduled', 'sending', 'paused'].includes(state));
      expect(fields.includes('perMinute')).toBe(state !== 'sent' && state !== 'cancelled');
    }
  });
});

describe('commands', () => {
  it('fit the state or are refused; nothing leads out of cancelled', () => {
    for (const command of Object.keys(BROADCAST_COMMANDS) as (keyof typeof BROADCAST_COMMANDS)[]) {
      expect(mayBe(command, 'cancelled')).toBe(false);
      expect(BROADCAST_STATES.some((state) => mayBe(command, state))).toBe(true);
    }
    expect(mayBe('start', 'sending')).toBe(false);
    expect(mayBe('cancel', 'sent')).toBe(true);
  });
});

describe('pacing', () => {
  const rates = fc.double({ min: 0, max: 100_000, noNaN: true });
  const conversations = fc.integer({ min: 1, max: 50 });

  it('a slice is on its way well within two seconds, or as small as can be', () => {
    fc.assert(
      fc.property(rates, conversations, (rate, count) => {
        const size = sliceSize(rate, count);
        expect(size).toBeGreaterThanOrEqual(1);
        expect(size).toBeLessThanOrEqual(PAGE_RECIPIENTS);
        expect(size <= 2 * count || size / rate <= 0.5).toBe(true);
      }),
    );
  });

  it('a batch of marks always fits below their bound', () => {
    expect(MARK_AT_MOST).toBeLessThan(handingOverAtMost(1));
    expect(handingOverAtMost(10)).toBe(310);
  });

  it('a limit is kept over any time', () => {
    expect(burstSize(1)).toBe(1);
    expect(burstSize(6_000)).toBe(50);
    expect(milliseconds(50, 6_000)).toBe(500);
    expect(milliseconds(1, 1)).toBe(60_000);
  });

  it('a limit has use for as many conversations as it takes', () => {
    expect([1, 240, 241, 6_000].map(conversationsFor)).toEqual([1, 1, 2, 25]);
    expect(conversationsFor(null)).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('gate windows', () => {
  it('tell no message faster than it was, and add up', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 3_000, noNaN: true }), { minLength: 1 }), (times) => {
        const windows = noGateWindows();
        for (const time of times) countGateWindow(windows, time);
        const sorted = times.toSorted((a, b) => a - b);
        const median = sorted[Math.ceil(times.length / 2) - 1]!;
        expect(gateWindowQuantile(windows, 0.5)!).toBeGreaterThan(median);
        expect(gateWindowQuantile(sumOfGateWindows([windows, windows]), 0.99)).toBe(
          gateWindowQuantile(windows, 0.99),
        );
      }),
    );
    expect(gateWindowQuantile(noGateWindows(), 0.5)).toBeNull();
    expect(gateWindowQuantile(sumOfGateWindows([[], noGateWindows()]), 0.5)).toBeNull();
  });
});
