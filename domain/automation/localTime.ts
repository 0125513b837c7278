/*
 * Time as the clock on a prospect's wall shows it. Asks the runtime's copy of the IANA database, so it is not for
 * workflows, whose replay may have another copy.
 */

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

export const WEEKDAYS = [
  'monday',
  'tuesday',
  'wednesday',
  'thursday',
  'friday',
  'saturday',
  'sunday',
] as const;
export type Weekday = (typeof WEEKDAYS)[number];

/** `YYYY-MM-DD` and `HH:MM`. */
export interface LocalTime {
  readonly date: string;
  readonly time: string;
}

/** Hours of a day, `HH:MM` each; where `to` is not after `from`, they go on past midnight. */
export interface Hours {
  readonly from: string;
  readonly to: string;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(timeZone: string): Intl.DateTimeFormat {
  let format = formats.get(timeZone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formats.set(timeZone, format);
  }
  return format;
}

/** What the wall shows at an instant, as if it were UTC. */
function wall(timeZone: string, at: number): number {
  const parts: Record<string, number> = {};
  for (const { type, value } of formatOf(timeZone).formatToParts(at)) parts[type] = Number(value);
  return Date.UTC(parts.year!, parts.month! - 1, parts.day!, parts.hour!, parts.minute!, parts.second!);
}

function offsetAt(timeZone: string, at: number): number {
  return wall(timeZone, at) - Math.floor(at / 1000) * 1000;
}

/** Whether the runtime's IANA database has the zone. */
export function isTimeZone(name: string): boolean {
  // Intl takes offsets such as +01:00 too, which know no summer time.
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    formatOf(name);
    return true;
  } catch {
    return false;
  }
}

/**
 * The instant at which the wall shows a time. A time that is skipped (clocks go forward) is as much later as clocks are
 * put forward; of a time that comes twice (clocks go back) it is the first: as RFC 5545 section 3.3.5 has it.
 *
 * @returns milliseconds of the epoch
 */
export function instantOf(timeZone: string, { date, time }: LocalTime): number {
  return instantOfWall(timeZone, Date.parse(`${date}T${time}:00Z`));
}

function instantOfWall(timeZone: string, shown: number): number {
  const before = offsetAt(timeZone, shown - DAY_MS);
  const after = offsetAt(timeZone, shown + DAY_MS);
  const first = shown - Math.max(before, after);
  const second = shown - Math.min(before, after);
  if (offsetAt(timeZone, first) === shown - first) return first;
  if (offsetAt(timeZone, second) === shown - second) return second;
  return shown - before;
}

/** Minutes since midnight of `HH:MM`. */
function minutesOf(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
}

function weekdayOf(shown: number): Weekday {
  return WEEKDAYS[(new Date(shown).getUTCDay() + 6) % 7]!;
}

const midnight = (shown: number): number => Math.floor(shown / DAY_MS) * DAY_MS;

/**
 * The next instant, not before `now`, at which the wall shows this time on one of these weekdays.
 *
 * @param weekdays at least one
 */
export function nextWeekday(
  timeZone: string,
  now: number,
  weekdays: readonly Weekday[],
  time: string,
): number {
  const today = midnight(wall(timeZone, now));
  // Eight days: today's time may have passed.
  for (let day = 0; day <= 8; day += 1) {
    const shown = today + day * DAY_MS;
    if (!weekdays.includes(weekdayOf(shown))) continue;
    const at = instantOfWall(timeZone, shown + minutesOf(time) * MINUTE_MS);
    if (at >= now) return at;
  }
  throw new RangeError('at least one weekday is needed');
}

/** Days and hours in which something is done; hours that pass midnight belong to the day on which they begin. */
export interface Window {
  readonly timeZone: string;
  readonly days: readonly Weekday[];
  readonly hours: Hours | null;
}

/**
 * When a window is open next: `now` where it is open.
 *
 * @returns milliseconds of the epoch
 */
export function nextOpening(window: Window, now: number): number {
  const today = midnight(wall(window.timeZone, now));
  // From yesterday, whose hours may pass midnight.
  for (let day = -1; day <= 8; day += 1) {
    const shown = today + day * DAY_MS;
    if (!window.days.includes(weekdayOf(shown))) continue;
    const { from, to } = spanOf(window.timeZone, shown, window.hours ?? { from: '00:00', to: '00:00' });
    if (to > now) return Math.max(from, now);
  }
  throw new RangeError('at least one day is needed');
}

/** When these hours are over: `now` where it is outside of them. */
export function endOfHours(timeZone: string, hours: Hours, now: number): number {
  const today = midnight(wall(timeZone, now));
  for (const day of [-1, 0]) {
    const { from, to } = spanOf(timeZone, today + day * DAY_MS, hours);
    if (from <= now && now < to) return to;
  }
  return now;
}

function spanOf(timeZone: string, day: number, { from, to }: Hours): { from: number; to: number } {
  const past = minutesOf(to) <= minutesOf(from) ? DAY_MS : 0;
  return {
    from: instantOfWall(timeZone, day + minutesOf(from) * MINUTE_MS),
    to: instantOfWall(timeZone, day + past + minutesOf(to) * MINUTE_MS),
  };
}
