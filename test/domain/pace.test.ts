import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  afterAccepted,
  type PaceLimits,
  slower,
  startingPace,
  takeReturn,
  takeTurn,
} from '../../domain/pace.ts';

const limits: PaceLimits = { connections: 10, messagesPerMinute: 600 };
const SECOND = 1_000;
const MINUTE = 60_000;

describe('the pace towards a destination', () => {
  it('begins at its limits', () => {
    expect(startingPace(limits, 0)).toMatchObject(limits);
  });

  it('halves with a complaint, and once only for complaints in one breath', () => {
    let pace = slower(startingPace(limits, 0), 0, limits);
    expect(pace).toMatchObject({ connections: 5, messagesPerMinute: 300 });
    pace = slower(pace, 4 * SECOND, limits);
    expect(pace).toMatchObject({ connections: 5, messagesPerMinute: 300 });
    pace = slower(pace, 6 * SECOND, limits);
    expect(pace).toMatchObject({ connections: 2, messagesPerMinute: 150 });
  });

  it('never comes to a standstill', () => {
    let pace = startingPace(limits, 0);
    for (let minute = 0; minute < 100; minute++) pace = slower(pace, minute * MINUTE, limits);
    expect(pace).toMatchObject({ connections: 1, messagesPerMinute: 1 });
  });

  it('recovers a step a minute while messages are accepted, from the bottom to the limits in twenty', () => {
    let pace = startingPace(limits, 0);
    for (let count = 0; count < 20; count++) pace = slower(pace, count * 10 * SECOND, limits);
    let now = 200 * SECOND;
    const accepted = (minutes: number) => {
      for (let minute = 0; minute < minutes; minute++) {
        now += MINUTE;
        pace = afterAccepted(pace, now, limits);
      }
      return pace;
    };
    expect(afterAccepted(pace, now, limits)).toBe(pace);
    accepted(5);
    expect(pace).toMatchObject({ connections: 6, messagesPerMinute: 151 });
    accepted(15);
    expect(pace).toMatchObject(limits);
  });

  it('stays between one and its limits, whatever happens', () => {
    const events = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 2 * MINUTE })));
    fc.assert(
      fc.property(events, (happened) => {
        let now = 0;
        let pace = startingPace(limits, now);
        for (const [accepted, later] of happened) {
          now += later;
          pace = accepted ? afterAccepted(pace, now, limits) : slower(pace, now, limits);
          expect(pace.connections).toBeGreaterThanOrEqual(1);
          expect(pace.connections).toBeLessThanOrEqual(limits.connections);
          expect(pace.messagesPerMinute).toBeGreaterThanOrEqual(1);
          expect(pace.messagesPerMinute).toBeLessThanOrEqual(limits.messagesPerMinute);
        }
      }),
    );
  });
});

describe('turns', () => {
  /** How many messages begin within a time, where each takes its turn as soon as it may. */
  function begun(messagesPerMinute: number, milliseconds: number): number {
    let now = 0;
    let pace = startingPace({ connections: 1, messagesPerMinute }, now);
    for (let count = 0; ; count++) {
      const { wait, taken } = takeTurn(pace, now);
      now += wait;
      if (now >= milliseconds) return count;
      pace = taken;
    }
  }

  it.each([1, 7, 60, 6_000])('let %d messages a minute begin', (messagesPerMinute) => {
    const burst = Math.ceil(messagesPerMinute / 12);
    expect(begun(messagesPerMinute, 10 * MINUTE)).toBeGreaterThanOrEqual(10 * messagesPerMinute);
    expect(begun(messagesPerMinute, 10 * MINUTE)).toBeLessThanOrEqual(10 * messagesPerMinute + burst + 1);
  });

  it('that nobody took can be taken at once, for a few seconds back', () => {
    let pace = startingPace({ connections: 1, messagesPerMinute: 60 }, 0);
    let atOnce = 0;
    for (; takeTurn(pace, MINUTE).wait === 0; atOnce++) pace = takeTurn(pace, MINUTE).taken;
    expect(atOnce).toBe(6);
  });

  it('that are far off send people away, each to come back when it is theirs, within 15 minutes', () => {
    let pace = startingPace({ connections: 1, messagesPerMinute: 60 }, 0);
    const waits: number[] = [];
    for (let count = 0; count < 1_000; count++) {
      const { wait, taken } = takeReturn(pace, 0, 0);
      waits.push(wait);
      pace = taken;
    }
    expect(waits.slice(0, 4)).toEqual([5, 6, 7, 8].map((seconds) => seconds * SECOND));
    expect(Math.max(...waits)).toBe(15 * MINUTE);
    expect(takeReturn(startingPace(limits, 0), 0, 20 * SECOND).wait).toBe(20 * SECOND);
  });

  it('are not taken by asking', () => {
    const pace = startingPace({ connections: 1, messagesPerMinute: 60 }, 0);
    for (let count = 0; count < 10; count++) takeTurn(pace, 0);
    expect(takeTurn(pace, 0).wait).toBe(0);
  });
});
