import { type Check, fail, ok, warn } from '../check.ts';

/** The time that we compare with is told in whole seconds. */
const RIGHT_WITHIN_SECONDS = 2;
const WARN_ABOVE_SECONDS = 30;
/** What signatures and tokens of others bear as a rule. */
const FAIL_ABOVE_SECONDS = 300;

/** @param ahead milliseconds by which our clock is ahead of the other one; or why it is not known */
export function judgeClock(ahead: number | string): Check {
  const subject = 'Clock';
  const fix = 'Let the machine keep its time by NTP (timedatectl set-ntp true).';
  if (typeof ahead === 'string') {
    return warn(subject, `it could not be compared: ${ahead}`, 'Give another server with --clock URL.');
  }
  const seconds = Math.round(Math.abs(ahead) / 1_000);
  const found = seconds <= RIGHT_WITHIN_SECONDS ? 'right' : `${seconds} s ${ahead > 0 ? 'ahead' : 'behind'}`;
  if (seconds > FAIL_ABOVE_SECONDS) return fail(subject, found, fix);
  return seconds > WARN_ABOVE_SECONDS ? warn(subject, found, fix) : ok(subject, found);
}
