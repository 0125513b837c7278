/** Recipients of a page: what a lane claims at a time, and the most that one gate decides on. */
export const PAGE_RECIPIENTS = 500;

/** How much of the two seconds between gate and MAIL FROM a slice is meant to use, in seconds. */
const SLICE_SECONDS = 0.25;
/** Most that are marked `handing_over` at once: what is lost with a worker is unknown. */
export const MARK_AT_MOST = 100;
/** How many messages of a limited broadcast leave together, in seconds of its limit. */
const BURST_SECONDS = 0.5;

/**
 * How many recipients are gated together: as many as are on their way within {@link SLICE_SECONDS}, so that MAIL FROM
 * follows well within two seconds at any rate.
 *
 * @param rate messages a second at present, 0 while it is not known
 * @param conversations how many carry them
 */
export function sliceSize(rate: number, conversations: number): number {
  return clamp(Math.floor(rate * SLICE_SECONDS), conversations * 2, PAGE_RECIPIENTS);
}

/**
 * Most that are marked and without a recorded outcome at a time: the bound of what is unknown after a worker was lost.
 */
export function handingOverAtMost(conversations: number): number {
  return conversations + 3 * MARK_AT_MOST;
}

/** How many messages of a broadcast with a limit leave together. */
export function burstSize(perMinute: number): number {
  return Math.max(1, Math.floor((perMinute / 60) * BURST_SECONDS));
}

/** Messages a minute that a conversation is opened for. */
const PER_CONVERSATION = 240;

/** Conversations that a lane has use for: with a limit no more than it takes, so that single sends find some, too. */
export function conversationsFor(perMinute: number | null): number {
  return perMinute === null ? Number.POSITIVE_INFINITY : Math.ceil(perMinute / PER_CONVERSATION);
}

/** How long so many messages take at a limit. */
export function milliseconds(messages: number, perMinute: number): number {
  return Math.ceil((messages * 60_000) / perMinute);
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
