import { describe, expect, it } from 'vitest';
import { heldBack, type MarketingLimits } from '../../../domain/automation/holding.ts';

const DAY = 24 * 3600_000;
/** A Tuesday in November, 13:00 in Berlin. */
const NOW = Date.parse('2026-11-24T12:00:00Z');
const FREE: MarketingLimits = { marketingPaused: false, frequencyCap: null, quietHours: null };
const ago = (...days: number[]) => days.map((each) => ({ at: NOW - each * DAY, pending: false }));

it('nothing holds back where nothing is set', () => {
  expect(heldBack(FREE, ago(0, 0, 0), 'Europe/Berlin', NOW)).toBeNull();
});

describe('the frequency cap', () => {
  const capped: MarketingLimits = { ...FREE, frequencyCap: { emails: 2, days: 7 } };
  const until = (at: number) => ({ reason: 'frequency_cap', until: at });

  it.each([
    ['room for one', ago(1), null],
    ['none at all', [], null],
    ['full: until the older one leaves the window', ago(1, 3), until(NOW + 4 * DAY)],
    ['in any order', ago(3, 1), until(NOW + 4 * DAY)],
    ['more than the cap: until the last but one of them leaves it', ago(1, 2, 3, 4), until(NOW + 5 * DAY)],
    ['those that have left it do not count', ago(1, 7, 8), null],
    [
      'one that is about to leave it counts',
      [...ago(1), { at: NOW - 7 * DAY + 1, pending: false }],
      until(NOW + 1),
    ],
  ])('%s', (_, sentAt, expected) => {
    expect(heldBack(capped, sentAt, null, NOW)).toEqual(expected);
  });

  it('asks again soon where an email counts that may not go out after all', () => {
    const pending = { at: NOW, pending: true };
    const soon = until(NOW + 15 * 60_000);
    expect(heldBack(capped, [...ago(1), pending], null, NOW)).toEqual(soon);
    expect(heldBack(capped, [...ago(1, 2), pending], null, NOW)).toEqual(soon);
    const leaving = [{ at: NOW - 7 * DAY + 60_000, pending: false }, pending];
    expect(heldBack(capped, leaving, null, NOW)).toEqual(until(NOW + 60_000));
  });

  it('has room when it says so', () => {
    const sentAt = ago(1, 2, 3);
    const held = heldBack(capped, sentAt, null, NOW)!;
    expect(heldBack(capped, sentAt, null, held.until! - 1)).not.toBeNull();
    expect(heldBack(capped, sentAt, null, held.until!)).toBeNull();
  });
});

describe('quiet hours', () => {
  const quiet: MarketingLimits = {
    ...FREE,
    quietHours: { from: '21:00', to: '08:00', timeZone: 'Europe/Berlin' },
  };

  it.each([
    ['by day on the clock of the prospect', 'Europe/Berlin', null],
    ['by day on the clock of the setting, where the prospect has none', null, null],
    ['at night there: until eight in the morning', 'Asia/Tokyo', '2026-11-24T23:00'],
    ['early in the morning there', 'America/Los_Angeles', '2026-11-24T16:00'],
  ])('%s', (_, timeZone, expected) => {
    const held = heldBack(quiet, [], timeZone, NOW);
    expect(held && new Date(held.until!).toISOString().slice(0, 16)).toBe(expected);
    expect(held?.reason ?? 'quiet_hours').toBe('quiet_hours');
  });
});

it('the kill switch is asked first and has no end, then the cap, then the hours', () => {
  const all: MarketingLimits = {
    marketingPaused: true,
    frequencyCap: { emails: 1, days: 1 },
    quietHours: { from: '00:00', to: '23:59', timeZone: 'UTC' },
  };
  expect(heldBack(all, ago(0), null, NOW)).toEqual({ reason: 'marketing_paused', until: null });
  const on = { ...all, marketingPaused: false };
  expect(heldBack(on, ago(0.5), null, NOW)?.reason).toBe('frequency_cap');
  expect(heldBack(on, [], null, NOW)?.reason).toBe('quiet_hours');
});
