/**
 * How fast mail goes to one destination: as fast as allowed until its servers say that it is too much, then half as
 * fast, then little by little faster again (additive increase, multiplicative decrease).
 */

export interface PaceLimits {
  /** Most connections at a time, at least 1. */
  readonly connections: number;
  /** Most messages a minute, at least 1. */
  readonly messagesPerMinute: number;
}

/** Times in milliseconds of one clock, which never goes back. */
export interface Pace {
  readonly connections: number;
  readonly messagesPerMinute: number;
  /** When it was changed, or the destination was first written to. */
  readonly since: number;
  /** When the next message may begin, were all earlier ones spread evenly. */
  readonly nextTurn: number;
  /** When the next one of those who were sent away may come back. */
  readonly nextReturn: number;
}

/** What several servers say in the same breath is one complaint. */
const ONE_COMPLAINT_MS = 5_000;
/** After so long without a complaint it goes a step faster. */
const STEP_MS = 60_000;
/** The steps from a standstill back to the limit. */
const STEPS = 20;
/** Messages that were not sent in this time may be sent at once. */
const BURST_MS = 5_000;
/** Who is sent away comes back after no less, and no later than what a destination may need to recover. */
const SOONEST_RETURN_MS = 5_000;
const LATEST_RETURN_MS = 15 * 60_000;

/** The pace towards a destination that nothing is known of. */
export function startingPace(limits: PaceLimits, now: number): Pace {
  return { ...limits, since: now, nextTurn: now, nextReturn: now };
}

/** The destination said that this is too much (421, 4.7.x): half as fast, though never a standstill. */
export function slower(pace: Pace, now: number, limits: PaceLimits): Pace {
  const isLowered =
    pace.connections < limits.connections || pace.messagesPerMinute < limits.messagesPerMinute;
  if (isLowered && now - pace.since < ONE_COMPLAINT_MS) return pace;
  return {
    ...pace,
    connections: Math.max(1, Math.floor(pace.connections / 2)),
    messagesPerMinute: Math.max(1, Math.floor(pace.messagesPerMinute / 2)),
    since: now,
  };
}

/** A message was accepted: a step faster, where the last change is long enough ago. */
export function afterAccepted(pace: Pace, now: number, limits: PaceLimits): Pace {
  if (now - pace.since < STEP_MS) return pace;
  if (pace.connections >= limits.connections && pace.messagesPerMinute >= limits.messagesPerMinute)
    return pace;
  const step = (current: number, limit: number) => Math.min(limit, current + Math.ceil(limit / STEPS));
  return {
    ...pace,
    connections: step(pace.connections, limits.connections),
    messagesPerMinute: step(pace.messagesPerMinute, limits.messagesPerMinute),
    since: now,
  };
}

/**
 * Milliseconds until the next message may begin, and the pace once it has its turn; the turn counts as taken only where
 * that pace is kept.
 */
export function takeTurn(pace: Pace, now: number): { readonly wait: number; readonly taken: Pace } {
  const turn = Math.max(pace.nextTurn, now - BURST_MS);
  return {
    wait: Math.max(0, turn - now),
    taken: { ...pace, nextTurn: turn + 60_000 / pace.messagesPerMinute },
  };
}

/**
 * When somebody for whom there is no room now had better come back, in milliseconds: those who are sent away come back
 * one after the other, as fast as messages may go, so that few of them are sent away twice.
 *
 * @param atLeast milliseconds
 */
export function takeReturn(
  pace: Pace,
  now: number,
  atLeast: number,
): { readonly wait: number; readonly taken: Pace } {
  const at = Math.max(pace.nextReturn, now + Math.max(atLeast, SOONEST_RETURN_MS));
  if (at > now + LATEST_RETURN_MS) return { wait: LATEST_RETURN_MS, taken: pace };
  return { wait: at - now, taken: { ...pace, nextReturn: at + 60_000 / pace.messagesPerMinute } };
}
