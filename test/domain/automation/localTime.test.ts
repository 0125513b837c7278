import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  endOfHours,
  instantOf,
  isTimeZone,
  nextOpening,
  nextWeekday,
  WEEKDAYS,
  type Weekday,
} from '../../../domain/automation/localTime.ts';

const utc = (iso: string): number => Date.parse(`${iso}Z`);
const shown = (at: number): string => new Date(at).toISOString().slice(0, 16);
const HOUR = 3600_000;
const DAY = 24 * HOUR;

/** What the wall shows, by another way than the code's own. */
function wallOf(timeZone: string, at: number): { date: string; time: string; weekday: Weekday } {
  const text = new Date(at).toLocaleString('sv-SE', { timeZone });
  const weekday = new Date(at).toLocaleDateString('en-GB', { timeZone, weekday: 'long' });
  return { date: text.slice(0, 10), time: text.slice(11, 16), weekday: weekday.toLowerCase() as Weekday };
}

const zone = fc.constantFrom(
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'America/Sao_Paulo',
  'Asia/Kolkata',
  'Asia/Tokyo',
  'Australia/Lord_Howe',
  'Pacific/Chatham',
  'Pacific/Kiritimati',
);
/** Whole minutes of ten years. */
const instant = fc
  .integer({ min: utc('2024-01-01T00:00') / 60_000, max: utc('2034-01-01T00:00') / 60_000 })
  .map((minutes) => minutes * 60_000);
const time = fc
  .integer({ min: 0, max: 24 * 60 - 1 })
  .map(
    (minutes) =>
      `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`,
  );
const weekdays = fc.uniqueArray(fc.constantFrom(...WEEKDAYS), { minLength: 1 });

describe('the instant at which a wall shows a time', () => {
  it.each([
    ['an ordinary one', 'Europe/Berlin', '2026-07-01', '09:00', '2026-07-01T07:00'],
    [
      'one that is left out comes as much later as clocks go forward',
      'Europe/Berlin',
      '2026-03-29',
      '02:30',
      '2026-03-29T01:30',
    ],
    ['the end of what is left out', 'Europe/Berlin', '2026-03-29', '03:00', '2026-03-29T01:00'],
    ['one that comes twice is the first', 'Europe/Berlin', '2026-10-25', '02:30', '2026-10-25T00:30'],
    ['right behind what comes twice', 'Europe/Berlin', '2026-10-25', '03:00', '2026-10-25T02:00'],
    ['in America', 'America/New_York', '2026-03-08', '02:15', '2026-03-08T07:15'],
    ['where half an hour is left out', 'Australia/Lord_Howe', '2026-10-04', '02:15', '2026-10-03T15:45'],
    ['where a whole day was left out', 'Pacific/Apia', '2011-12-30', '12:00', '2011-12-30T22:00'],
  ])('%s', (_, timeZone, date, at, expected) => {
    expect(shown(instantOf(timeZone, { date, time: at }))).toBe(expected);
  });

  it('shows that time there, unless that is left out: then one later on that day', () => {
    fc.assert(
      fc.property(zone, instant, time, (timeZone, near, at) => {
        const { date } = wallOf(timeZone, near);
        const there = wallOf(timeZone, instantOf(timeZone, { date, time: at }));
        expect(there.date).toBe(date);
        expect(there.time >= at).toBe(true);
        if (there.time !== at) {
          // It is nowhere on that day: an hour before and after are what clocks move by at the most.
          const found = instantOf(timeZone, { date, time: at });
          for (const apart of [-HOUR, -HOUR / 2, HOUR / 2, HOUR])
            expect(wallOf(timeZone, found + apart).time).not.toBe(at);
        }
      }),
    );
  });

  it('of what a wall shows now is now, or the first time that it showed that', () => {
    fc.assert(
      fc.property(zone, instant, (timeZone, at) => {
        const found = instantOf(timeZone, wallOf(timeZone, at));
        expect(at - found).toBeGreaterThanOrEqual(0);
        expect(at - found).toBeLessThanOrEqual(HOUR);
      }),
    );
  });
});

describe('the next weekday and time', () => {
  it.each([
    ['today, later', '2026-11-23T08:00', ['monday'], '09:30', '2026-11-23T08:30'],
    ['now is soon enough', '2026-11-23T08:30', ['monday'], '09:30', '2026-11-23T08:30'],
    ['today is over', '2026-11-23T08:31', ['monday'], '09:30', '2026-11-30T08:30'],
    ['the nearest of several', '2026-11-24T12:00', ['monday', 'friday'], '09:30', '2026-11-27T08:30'],
    ['across the change of clocks', '2026-03-27T12:00', ['monday'], '09:30', '2026-03-30T07:30'],
    ['a time that is left out', '2026-03-28T12:00', ['sunday'], '02:30', '2026-03-29T01:30'],
    ['between the two times that it comes', '2026-10-25T00:45', ['sunday'], '02:30', '2026-11-01T01:30'],
  ] as const)('%s', (_, now, days, at, expected) => {
    expect(shown(nextWeekday('Europe/Berlin', utc(now), days, at))).toBe(expected);
  });

  it('is on one of the days, not before now, and within eight days', () => {
    fc.assert(
      fc.property(zone, instant, weekdays, time, (timeZone, now, days, at) => {
        const found = nextWeekday(timeZone, now, days, at);
        expect(days).toContain(wallOf(timeZone, found).weekday);
        expect(found).toBeGreaterThanOrEqual(now);
        expect(found - now).toBeLessThanOrEqual(8 * DAY);
      }),
    );
  });
});

describe('hours of days', () => {
  const berlin = (days: readonly Weekday[], from: string, to: string) =>
    ({ timeZone: 'Europe/Berlin', days, hours: { from, to } }) as const;

  it.each([
    ['open now', WEEKDAYS, '09:00', '17:00', '2026-11-23T08:00', '2026-11-23T08:00'],
    ['not yet open', WEEKDAYS, '09:00', '17:00', '2026-11-23T07:59', '2026-11-23T08:00'],
    ['closed for today', WEEKDAYS, '09:00', '17:00', '2026-11-23T16:00', '2026-11-24T08:00'],
    ['closed for the week', ['monday'], '09:00', '17:00', '2026-11-23T16:00', '2026-11-30T08:00'],
    [
      'past midnight they belong to the day before',
      ['monday'],
      '22:00',
      '02:00',
      '2026-11-24T00:30',
      '2026-11-24T00:30',
    ],
    ['and end there', ['monday'], '22:00', '02:00', '2026-11-24T01:00', '2026-11-30T21:00'],
    [
      'the hour that is left out opens later',
      ['sunday'],
      '02:30',
      '04:00',
      '2026-03-29T00:00',
      '2026-03-29T01:30',
    ],
  ] as const)('%s', (_, days, from, to, now, expected) => {
    expect(shown(nextOpening(berlin(days, from, to), utc(now)))).toBe(expected);
  });

  it.each([
    ['outside', '22:00', '07:00', '2026-11-23T12:00', '2026-11-23T12:00'],
    ['before midnight', '22:00', '07:00', '2026-11-23T22:00', '2026-11-24T06:00'],
    ['after midnight', '22:00', '07:00', '2026-11-24T03:00', '2026-11-24T06:00'],
    ['at the end', '22:00', '07:00', '2026-11-24T06:00', '2026-11-24T06:00'],
    ['a night that is an hour shorter', '22:00', '07:00', '2026-03-28T21:30', '2026-03-29T05:00'],
    ['a night that is an hour longer', '22:00', '07:00', '2026-10-24T21:30', '2026-10-25T06:00'],
    ['the whole day', '00:00', '00:00', '2026-11-23T12:00', '2026-11-23T23:00'],
  ])('when quiet hours are over: %s', (_, from, to, now, expected) => {
    expect(shown(endOfHours('Europe/Berlin', { from, to }, utc(now)))).toBe(expected);
  });
});

it('time zones are those of the IANA database, and no offsets', () => {
  for (const name of ['Europe/Berlin', 'UTC', 'Etc/GMT-6', 'Asia/Calcutta'])
    expect(isTimeZone(name)).toBe(true);
  for (const name of ['+01:00', 'Mars/Base', '', 'Europe']) expect(isTimeZone(name)).toBe(false);
});
