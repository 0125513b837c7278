const DAY_MS = 24 * 3600 * 1000;

/** A window of days goes from this moment, which is not in it, to `now`, which is. */
export function daysBefore(now: Date, days: number): Date {
  return new Date(now.getTime() - days * DAY_MS);
}

/** A window of the days to come goes from `now`, which is not in it, to this moment, which is. */
export function daysAfter(now: Date, days: number): Date {
  return new Date(now.getTime() + days * DAY_MS);
}
