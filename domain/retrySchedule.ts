const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * When the attempts of a send are made, in seconds from the first: several in the first hour, two on the third day,
 * the last at five days (SPEC.md, "Sending and retrying"; RFC 5321 section 4.5.4.1 asks for at least 4 to 5 days).
 */
export const DEFAULT_OFFSETS_SECONDS: readonly number[] = [
  0,
  5 * MINUTE,
  15 * MINUTE,
  30 * MINUTE,
  1 * HOUR,
  2 * HOUR,
  4 * HOUR,
  8 * HOUR,
  16 * HOUR,
  24 * HOUR,
  36 * HOUR,
  48 * HOUR,
  60 * HOUR,
  72 * HOUR,
  96 * HOUR,
  120 * HOUR,
];

const MAX_OFFSETS = 64;
const MAX_OFFSET_SECONDS = 30 * DAY;
const UNIT_SECONDS = { ms: 0.001, s: 1, m: MINUTE, h: HOUR, d: DAY } as const;

export type ScheduleResult =
  | { readonly ok: true; readonly offsets: number[] }
  | { readonly ok: false; readonly problem: string };

/**
 * Reads a configured schedule: a list of offsets from the first attempt, each a number of seconds or a duration such
 * as `30s`, `5m`, `2h`, `5d` or `500ms`; or one text with such durations separated by commas. The first offset is 0,
 * there are 1 to 64, they grow, no gap is shorter than the one before it, and the last is at most 30 days.
 */
export function parseSchedule(value: unknown): ScheduleResult {
  const elements = typeof value === 'string' ? value.split(',') : value;
  if (!Array.isArray(elements)) {
    return wrong('The schedule must be a list of offsets, or one text with offsets separated by commas.');
  }
  if (elements.length < 1 || elements.length > MAX_OFFSETS) {
    return wrong(`The schedule must have 1 to ${MAX_OFFSETS} offsets, not ${elements.length}.`);
  }
  const offsets: number[] = [];
  for (const [index, element] of elements.entries()) {
    const named = `Offset ${index + 1} (${describe(element)})`;
    const offset = parseOffset(element);
    if (offset === null) {
      return wrong(`${named} must be a number of seconds or a duration such as 30s, 5m, 2h or 5d.`);
    }
    if (offset > MAX_OFFSET_SECONDS) return wrong(`${named} must be at most 30 days.`);
    const previous = offsets.at(-1);
    if (previous === undefined) {
      if (offset !== 0) return wrong(`${named} must be 0: the first attempt starts the schedule.`);
    } else {
      if (offset <= previous) return wrong(`${named} must be later than the one before it.`);
      // A millisecond of tolerance, the resolution of the times: decimal fractions do not subtract exactly.
      if (offset - previous < previous - (offsets.at(-2) ?? previous) - 0.001) {
        return wrong(`${named} makes the gap before it shorter than the gap before that.`);
      }
    }
    offsets.push(offset);
  }
  return { ok: true, offsets };
}

function wrong(problem: string): ScheduleResult {
  return { ok: false, problem };
}

function describe(element: unknown): string {
  const text = typeof element === 'string' ? element.trim() : String(JSON.stringify(element));
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

/** Seconds, or `null` where the element is no offset. */
function parseOffset(element: unknown): number | null {
  if (typeof element === 'number') return Number.isFinite(element) && element >= 0 ? element : null;
  if (typeof element !== 'string') return null;
  const match = /^(\d{1,10}(?:\.\d{1,6})?)(ms|s|m|h|d)?$/.exec(element.trim());
  if (!match) return null;
  return Number(match[1]) * UNIT_SECONDS[(match[2] ?? 's') as keyof typeof UNIT_SECONDS];
}

/** What {@link nextAttempt} decides from. Times are in milliseconds of the epoch. */
export interface AttemptState {
  /** A schedule that {@link parseSchedule} accepted. */
  readonly offsetsSeconds: readonly number[];
  /** When the schedule started: the time of the first attempt. */
  readonly startedAt: number;
  /** Index of the last slot used; the first attempt uses slot 0. A retry by hand uses none. */
  readonly slot: number;
  readonly now: number;
  /** How long the server asked us to wait from now, in seconds: see {@link retryAfterSeconds}. */
  readonly hintSeconds: number | null;
}

export interface NextAttempt {
  /** Milliseconds of the epoch; never before `now`. */
  readonly at: number;
  /** The slot that this attempt uses; greater than the one used before. */
  readonly slot: number;
}

/** No hint makes us come back sooner, in seconds, unless the whole schedule is quicker than that (a demo's). */
const SOONEST_HINT_SECONDS = MINUTE;

/**
 * When the next attempt is made and which slot of the schedule it uses, or `null` when the last slot was used and the
 * send is exhausted. Each attempt uses a later slot, so there are never more attempts than slots.
 *
 * - Offsets count from the first attempt, not from the one before: attempts that take long do not stretch the
 *   schedule.
 * - Slots whose time has passed (Heed was down, an attempt took long) are skipped: the attempt that was late stood for
 *   them all. Where every slot has passed and the last was not used, one last attempt is made now: the send was
 *   promised a try at the end of its days, and being down is no reason to give up on somebody.
 * - A hint moves the next attempt, at the earliest to a minute from now (the first gap where that is shorter), at the
 *   latest to the last offset. Moved later, it stands for the slots that it passes over. Moved earlier, it uses the
 *   next slot before its time; that happens never twice in a row and never to the last slot, or a server that answers
 *   "try again in a minute" forever would use up five days of patience in a quarter of an hour.
 */
export function nextAttempt(state: AttemptState): NextAttempt | null {
  const { offsetsSeconds, slot, now } = state;
  const last = offsetsSeconds.length - 1;
  if (slot >= last) return null;
  if (state.hintSeconds !== null) {
    const hinted = hintedAttempt(state, state.hintSeconds);
    if (hinted) return hinted;
  }
  for (let next = slot + 1; next <= last; next++) {
    const at = timeOfSlot(state, next);
    if (at > now) return { at, slot: next };
  }
  return { at: now, slot: last };
}

/**
 * The slot that an attempt made at `now` uses: the last one whose time has come, and no earlier one than `atLeast`
 * (the slot it was meant for). So an attempt that comes late stands for every slot that it missed.
 */
export function slotAt(
  moment: Pick<AttemptState, 'offsetsSeconds' | 'startedAt' | 'now'> & { readonly atLeast: number },
): number {
  let slot = moment.atLeast;
  while (slot + 1 < moment.offsetsSeconds.length && timeOfSlot(moment, slot + 1) <= moment.now) slot++;
  return slot;
}

/** The attempt where the hint puts it, or `null` where the hint may not be followed. */
function hintedAttempt(state: AttemptState, hintSeconds: number): NextAttempt | null {
  const { offsetsSeconds, slot, now } = state;
  const last = offsetsSeconds.length - 1;
  const soonest = now + milliseconds(Math.min(SOONEST_HINT_SECONDS, offsetsSeconds[1]!));
  const end = timeOfSlot(state, last);
  const wished = Math.max(now + milliseconds(hintSeconds), soonest);
  const at = end > now ? Math.min(wished, end) : soonest;
  const used = slotAt({ ...state, now: at, atLeast: slot + 1 });
  const early = at < timeOfSlot(state, used);
  const thisOneWasEarly = now < timeOfSlot(state, slot);
  return early && (thisOneWasEarly || used === last) ? null : { at, slot: used };
}

function timeOfSlot(state: Pick<AttemptState, 'offsetsSeconds' | 'startedAt'>, slot: number): number {
  return state.startedAt + milliseconds(state.offsetsSeconds[slot]!);
}

function milliseconds(seconds: number): number {
  return Math.round(seconds * 1000);
}

const UNIT = '(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?:\\(s\\))?(?![a-z])\\.?';
const AMOUNT = `(?:\\d{1,6}(?:\\s*(?:-|–|to)\\s*\\d{1,6})?\\s*|\\b(?:an?|one)\\s+)${UNIT}`;
const CLOCK = '(?:\\d{1,3}:)?\\d{1,2}:\\d{2}(?![:\\d])';
const DURATION = `(?:${CLOCK}|${AMOUNT}(?:(?:\\s*,\\s*|\\s+and\\s+|\\s*)${AMOUNT})?)`.replaceAll(
  UNIT,
  UNIT.replace('(', '(?:'),
);
const ABOUT =
  '(?:about\\s+|around\\s+|approximately\\s+|at\\s+least\\s+|another\\s+|a\\s+minimum\\s+of\\s+)?';
const AGAIN = '(?:try|re-?try(?:ing)?|re-?send(?:ing)?|re-?attempt(?:ing)?|re-?connect|come\\s+back|again)';
/** A number comes to mean a wait only by what stands around it: "100 messages in 60 seconds" is none. */
const HINTS = [
  `\\b${AGAIN}\\b[^.\\d]{0,40}?\\b(?:in|after)\\s+${ABOUT}(?<wait>${DURATION})`,
  `\\b(?:grey|gray)-?list\\w*[^.\\d]{0,40}?(?:\\b(?:for|in|after|wait)\\s+|[:=(,]\\s*)${ABOUT}(?<wait>${DURATION})`,
  `\\b(?:wait|delay(?:ed)?|defer(?:red)?)\\s+(?:for\\s+)?${ABOUT}(?<wait>${DURATION})`,
  `\\b(?:in|after)\\s+${ABOUT}(?<wait>${DURATION})\\W{0,3}(?:please\\s+)?${AGAIN}\\b(?!\\s+(?:again\\s+)?later)`,
  `(?<wait>${DURATION})\\s+(?:before|prior\\s+to|and(?:\\s+then)?)\\s+(?:please\\s+)?${AGAIN}\\b`,
].map((source) => new RegExp(source, 'i'));
const BARE_SECONDS = /\bretry[-_ ]after\s*[:=]?\s*(\d{1,6})(?![\d:.]|\s*[a-z])/i;
const LONGEST_WAIT_SECONDS = 5 * DAY;

/**
 * The wait that a reply text asks for, in seconds ("try again in 5 minutes", "greylisted for 00:05:00",
 * "Retry-After: 120"), or `null` where it asks for none between a second and five days. Of a range, the longer end.
 */
export function retryAfterSeconds(text: string): number | null {
  const head = text.slice(0, 2000);
  const seconds = statedWait(head);
  return seconds !== null && seconds >= 1 && seconds <= LONGEST_WAIT_SECONDS ? seconds : null;
}

function statedWait(text: string): number | null {
  for (const hint of HINTS) {
    const wait = hint.exec(text)?.groups?.wait;
    if (wait !== undefined) return durationSeconds(wait);
  }
  const bare = BARE_SECONDS.exec(text)?.[1];
  return bare === undefined ? null : Number(bare);
}

/** Reads what {@link DURATION} matched: `00:05:00`, `05:00`, `300 seconds`, `an hour`, `5-10 minutes`, `4 min 30 s`. */
function durationSeconds(wait: string): number {
  if (wait.includes(':')) return wait.split(':').reduce((total, part) => total * 60 + Number(part), 0);
  let seconds = 0;
  for (const [, amount, unit] of wait.matchAll(new RegExp(`(\\d+\\s*|\\b(?:an?|one)\\s+)${UNIT}`, 'gi'))) {
    const count = /^\d/.test(amount!) ? Number(amount) : 1;
    seconds += count * UNIT_SECONDS[unit!.charAt(0).toLowerCase() as 's' | 'm' | 'h' | 'd'];
  }
  return seconds;
}
