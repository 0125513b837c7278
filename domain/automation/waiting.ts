import type { WaitFor, When } from './definition.ts';
import { instantOf, nextOpening, nextWeekday, WEEKDAYS } from './localTime.ts';

/**
 * When a wait is over.
 *
 * @param timeZone the prospect's
 * @param begunAt when it began, in milliseconds of the epoch, as the answer
 */
export function endOfWait(wait: WaitFor, timeZone: string, begunAt: number): number {
  if ('seconds' in wait) return begunAt + wait.seconds * 1000;
  if ('until' in wait) return Math.max(begunAt, instantOf(timeZone, wait.until));
  return nextWeekday(timeZone, begunAt, wait.weekdays, wait.time);
}

/** When an automation may begin to enroll, in milliseconds of the epoch: `now` where that has come. */
export function startOf(when: When, now: number): number {
  return when.startAt === undefined ? now : Math.max(now, instantOf(when.timeZone, when.startAt));
}

/** When an automation may act next, in milliseconds of the epoch: `now` within its run days and hours. */
export function nextRunTime(when: When, now: number): number {
  if (when.runDays === undefined && when.runHours === undefined) return now;
  return nextOpening(
    { timeZone: when.timeZone, days: when.runDays ?? WEEKDAYS, hours: when.runHours ?? null },
    now,
  );
}

/** Most transactions are over in a moment, and changes are to enroll people within five seconds. */
const SHORTEST_SETTLE_MS = 200;
const LONGEST_SETTLE_MS = 5_000;

/**
 * How soon to look again for the end of transactions that were under way when an automation was activated, in milliseconds:
 * after a twentieth of the time that it has been so far, since one that lasted for minutes will not be over in the next
 * instant.
 *
 * @param waited since its run began, in milliseconds
 */
export function settlePause(waited: number): number {
  return Math.min(Math.max(Math.round(waited / 20), SHORTEST_SETTLE_MS), LONGEST_SETTLE_MS);
}
