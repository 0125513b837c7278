import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  DEFAULT_OFFSETS_SECONDS,
  type NextAttempt,
  nextAttempt,
  parseSchedule,
  retryAfterSeconds,
  slotAt,
} from '../../domain/retrySchedule.ts';

const MINUTE = 60;
const HOUR = 3600;
const START = Date.UTC(2026, 10, 2, 9);

/** A schedule in seconds that parseSchedule accepts. */
const schedule = fc.array(fc.integer({ min: 1, max: 20_000 }), { maxLength: 20 }).map((gaps) => {
  const offsets = [0];
  for (const gap of gaps.toSorted((a, b) => a - b)) offsets.push(offsets.at(-1)! + gap);
  return offsets;
});

describe('parseSchedule', () => {
  it.each([
    [[0], [0]],
    [
      [0, 300, 900],
      [0, 300, 900],
    ],
    [
      ['0', '500ms', '30s', '5m', '2h', '5d'],
      [0, 0.5, 30, 300, 7200, 432_000],
    ],
    ['0, 5m, 15m', [0, 300, 900]],
    ['0s,0.1s,0.2s,0.3s', [0, 0.1, 0.2, 0.3]],
    ['0', [0]],
    [[...DEFAULT_OFFSETS_SECONDS], [...DEFAULT_OFFSETS_SECONDS]],
  ])('accepts %j', (value, offsets) => {
    const result = parseSchedule(value);
    expect(result).toEqual({ ok: true, offsets: expect.any(Array) });
    if (result.ok) {
      expect(result.offsets).toHaveLength(offsets.length);
      for (const [index, offset] of offsets.entries()) expect(result.offsets[index]).toBeCloseTo(offset, 9);
    }
  });

  it.each([
    [undefined, /must be a list/],
    [{ 0: 0 }, /must be a list/],
    [[], /1 to 64 offsets, not 0/],
    [Array.from({ length: 65 }, (_, index) => index), /1 to 64 offsets, not 65/],
    ['', /^Offset 1 \(\) must be a number/],
    [[5, 10], /^Offset 1 \(5\) must be 0/],
    ['0,5x', /^Offset 2 \(5x\) must be a number of seconds/],
    ['0,-5', /^Offset 2 \(-5\) must be a number/],
    [[0, -1], /^Offset 2 \(-1\) must be a number/],
    [[0, Number.NaN], /^Offset 2 \(null\)/],
    [[0, null], /^Offset 2 \(null\)/],
    [[0, 300, 300], /^Offset 3 \(300\) must be later/],
    [['0', '10m', '5m'], /^Offset 3 \(5m\) must be later/],
    [['0', '10m', '15m'], /^Offset 3 \(15m\) makes the gap/],
    [['0', '31d'], /^Offset 2 \(31d\) must be at most 30 days/],
    ['0,1e9', /^Offset 2 \(1e9\)/],
  ])('refuses %j', (value, problem) => {
    expect(parseSchedule(value)).toEqual({ ok: false, problem: expect.stringMatching(problem) });
  });

  it('accepts every schedule that the other properties are tried on', () => {
    fc.assert(fc.property(schedule, (offsets) => parseSchedule(offsets).ok));
  });
});

/** Plays a send whose every attempt fails, and returns its attempts with the first. */
function play(
  offsetsSeconds: readonly number[],
  takesMs: (n: number) => number,
  hintSeconds: (n: number) => number | null = () => null,
): NextAttempt[] {
  const attempts: NextAttempt[] = [{ at: START, slot: 0 }];
  for (;;) {
    const { at, slot } = attempts.at(-1)!;
    const n = attempts.length;
    const next = nextAttempt({
      offsetsSeconds,
      startedAt: START,
      slot,
      now: at + takesMs(n),
      hintSeconds: hintSeconds(n),
    });
    if (!next) return attempts;
    attempts.push(next);
    if (attempts.length > 100) throw new Error('does not end');
  }
}

const inSeconds = (attempts: NextAttempt[]) => attempts.map(({ at }) => (at - START) / 1000);

describe('nextAttempt', () => {
  const at = (
    slot: number,
    elapsedSeconds: number,
    hintSeconds: number | null = null,
    offsetsSeconds = DEFAULT_OFFSETS_SECONDS,
  ) => {
    const next = nextAttempt({
      offsetsSeconds,
      startedAt: START,
      slot,
      now: START + elapsedSeconds * 1000,
      hintSeconds,
    });
    return next && [next.slot, (next.at - START) / 1000];
  };

  it('reproduces the default schedule exactly when every attempt takes 3 s', () => {
    const attempts = play(DEFAULT_OFFSETS_SECONDS, () => 3000);
    expect(inSeconds(attempts)).toEqual(DEFAULT_OFFSETS_SECONDS);
    expect(attempts.map(({ slot }) => slot)).toEqual(DEFAULT_OFFSETS_SECONDS.map((_, index) => index));
  });

  it('makes the sixteenth attempt the last', () => {
    expect(at(14, 96 * HOUR + 3)).toEqual([15, 120 * HOUR]);
    expect(at(15, 120 * HOUR + 3)).toBeNull();
    expect(at(15, 120 * HOUR + 3, 300)).toBeNull();
    expect(at(0, 3, null, [0])).toBeNull();
    expect(at(0, 3, 300, [0])).toBeNull();
  });

  it('collapses what was missed into the attempt that was late', () => {
    expect(at(4, 9 * HOUR)).toEqual([8, 16 * HOUR]);
    expect(at(0, 5 * MINUTE)).toEqual([2, 15 * MINUTE]);
  });

  it('makes exactly one last attempt when every slot has passed', () => {
    expect(at(4, 200 * HOUR)).toEqual([15, 200 * HOUR]);
    expect(at(4, 200 * HOUR, 600)).toEqual([15, 200 * HOUR + MINUTE]);
    expect(at(15, 200 * HOUR)).toBeNull();
  });

  it('leaves the schedule alone where a retry by hand used no slot', () => {
    expect(at(6, 5 * HOUR)).toEqual([7, 8 * HOUR]);
  });

  it.each([
    // slot, elapsed, hint -> slot, at
    ['an earlier wish, using the next slot', 7, 8 * HOUR + 3, 300, 8, 8 * HOUR + 303],
    ['not sooner than a minute', 7, 8 * HOUR, 1, 8, 8 * HOUR + MINUTE],
    ['a later wish before the slot after next', 0, 3, 600, 1, 603],
    ['a later wish that passes over slots', 0, 3, HOUR, 4, HOUR + 3],
    ['a wish beyond the end: the last offset', 10, 36 * HOUR, 5 * 24 * HOUR, 15, 120 * HOUR],
    ['a wish right before the end', 14, 120 * HOUR - 10, 300, 15, 120 * HOUR],
    ['no earlier wish twice in a row', 8, 8 * HOUR + 303, 300, 9, 24 * HOUR],
    ['no earlier wish for the last slot', 14, 96 * HOUR + 3, 300, 15, 120 * HOUR],
    ['a later wish after an early attempt', 1, 63, 600, 1 + 1, 15 * MINUTE],
    ['an earlier wish after a late attempt: a missed slot', 4, 3 * HOUR, 300, 5, 3 * HOUR + 300],
  ])('follows %s', (_, slot, elapsed, hint, expectedSlot, expectedAt) => {
    expect(at(slot, elapsed, hint)).toEqual([expectedSlot, expectedAt]);
  });

  it('takes the first gap as the soonest in a schedule quicker than a minute', () => {
    expect(at(0, 0.2, 1, [0, 2, 10])).toEqual([1, 2.2]);
    expect(at(1, 2.5, 3, [0, 2, 10, 30])).toEqual([2, 5.5]);
  });

  it('keeps its patience with a server that forever asks to come back in a minute', () => {
    const attempts = inSeconds(
      play(
        DEFAULT_OFFSETS_SECONDS,
        () => 3000,
        () => 60,
      ),
    );
    expect(attempts.at(-1)).toBe(120 * HOUR);
    for (const day of [1, 2, 3, 4, 5]) {
      const onThatDay = attempts.filter(
        (time) => time > (day - 1) * 24 * HOUR && time <= (day === 5 ? 120 : day * 24) * HOUR,
      );
      expect(onThatDay.length, `day ${day}`).toBeGreaterThan(0);
    }
  });

  const hint = fc.option(fc.integer({ min: 1, max: 500_000 }));

  it('moves forward, ends, and never makes more attempts than slots, whatever happens', () => {
    fc.assert(
      fc.property(
        schedule,
        fc.infiniteStream(fc.integer({ min: 0, max: 50_000_000 })),
        fc.infiniteStream(hint),
        (offsets, delays, hints) => {
          const takes: number[] = [];
          const attempts = play(
            offsets,
            (n) => {
              const took = delays.next().value!;
              takes[n] = took;
              return took;
            },
            () => hints.next().value ?? null,
          );
          expect(attempts.length).toBeLessThanOrEqual(offsets.length);
          // It ends only by using the last slot: nobody is given up early.
          expect(attempts.at(-1)!.slot).toBe(offsets.length - 1);
          const end = START + offsets.at(-1)! * 1000;
          for (const [index, attempt] of attempts.entries()) {
            if (index === 0) continue;
            const before = attempts[index - 1]!;
            const now = before.at + takes[index]!;
            expect(attempt.slot).toBeGreaterThan(before.slot);
            expect(attempt.at).toBeGreaterThanOrEqual(now);
            if (now < end) expect(attempt.at).toBeLessThanOrEqual(end);
            else expect(attempt.slot).toBe(offsets.length - 1);
          }
        },
      ),
    );
  });

  it('makes the last attempt at the last offset or later, and no two early attempts in a row', () => {
    fc.assert(
      fc.property(schedule, fc.infiniteStream(hint), (offsets, hints) => {
        const attempts = play(
          offsets,
          () => 0,
          () => hints.next().value ?? null,
        );
        const early = attempts.map(({ at, slot }) => at < START + offsets[slot]! * 1000);
        expect(early.at(-1)).toBe(false);
        for (let index = 1; index < early.length; index++)
          expect(early[index] && early[index - 1]).toBe(false);
      }),
    );
  });
});

describe('slotAt', () => {
  it.each([
    ['on time', 4, 1 * HOUR, 4],
    ['late, standing for those missed', 4, 9 * HOUR, 7],
    ['early, as a hint asked', 8, 8 * HOUR + 300, 8],
    ['after the end', 4, 200 * HOUR, 15],
  ])('an attempt %s', (_, atLeast, elapsed, expected) => {
    const now = START + elapsed * 1000;
    expect(slotAt({ offsetsSeconds: DEFAULT_OFFSETS_SECONDS, startedAt: START, now, atLeast })).toBe(
      expected,
    );
  });
});

describe('retryAfterSeconds', () => {
  it.each([
    ['try again in 300 seconds', 300],
    ['450 4.2.0 <x@example.com>: Greylisted, please try again in 5 minutes.', 300],
    ['Recipient address rejected: Greylisted for 00:05:00', 300],
    ['Greylisted for 5 minutes', 300],
    ['Greylisting in action, please come back in 00:04:12', 252],
    ['greylisting in effect (180 seconds)', 180],
    ['graylisted - retry after 5 minutes', 300],
    ['please try again in 5 min', 300],
    ['Please try again in 4 min 30 sec.', 270],
    ['try again in 1 hour and 10 minutes', 4200],
    ['You must wait 60 secs', 60],
    ['Please wait at least 2 minutes and try again', 120],
    ['wait 60 seconds before retrying', 60],
    ['delayed for 10m', 600],
    ['Retry-After: 120', 120],
    ['retry after 120', 120],
    ['retry after 2h', 7200],
    ['Try again later, in about an hour', 3600],
    ['try again after 5-10 minutes', 600],
    ['Too many connections. In 90 seconds, please retry', 90],
    ['come back in 300 second(s)', 300],
    ['TRY AGAIN IN 1 DAY', 86_400],
    ['resend after 15 minutes', 900],
  ])('reads %j', (text, seconds) => {
    expect(retryAfterSeconds(text)).toBe(seconds);
  });

  it.each([
    'try again later',
    'Mailbox full, 300 messages waiting',
    'rate limit of 100 messages in 60 seconds exceeded, try again later',
    'limit: 100 messages in 60 seconds, please try again later',
    'message expired after 5 days',
    'we will keep trying for 3 days',
    'greylisted since 10:22:33',
    'connection timed out after 300 seconds',
    'try again in 0 seconds',
    'try again in 6 days',
    'try again in 999999 hours',
    'try again in 300',
    'retry after 192.0.2.1 is delisted',
    'try again in 5 monkeys',
    '',
  ])('finds none in %j', (text) => {
    expect(retryAfterSeconds(text)).toBeNull();
  });

  it('answers any text within its bounds', () => {
    const words = fc.constantFrom(
      'try',
      'again',
      'in',
      'wait',
      '5',
      '300',
      'seconds',
      'hours',
      'd',
      '00:05',
      ':',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(words, fc.string()), { maxLength: 12 }), (parts) => {
        const seconds = retryAfterSeconds(parts.join(' '));
        if (seconds === null) return;
        expect(seconds).toBeGreaterThanOrEqual(1);
        expect(seconds).toBeLessThanOrEqual(432_000);
      }),
    );
  });
});
