/** Shares of what was sent that a person has to know of, since mailbox providers act on them. */
export const RATE_ALERTS = {
  /**
   * Complaints of what was delivered. Gmail asks to stay below 0.1 % and acts from 0.3 % on
   * (https://support.google.com/a/answer/81126); Amazon SES reviews accounts from 0.1 % on
   * (https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-messages.html). One complaint alone is no rate.
   */
  complaint_rate: { share: 0.001, minimumSamples: 2_000 },
  /** Dead addresses of what was attempted. Amazon SES reviews accounts from 5 % on (the same page). */
  hard_bounce_rate: { share: 0.05, minimumSamples: 200 },
  /**
   * Refused because of us: our address is listed, or what we sign is not accepted (550 5.7.515 and its kind). A few such
   * answers are one strict recipient; a share of all is our own trouble.
   */
  own_address_refused: { share: 0.02, minimumSamples: 50 },
} as const satisfies Record<string, RateLimit>;
export type RateAlert = keyof typeof RATE_ALERTS;

/**
 * The last of these at one recipient domain, which may refuse us while the others do not: a large share of what goes
 * there, since a small one is its own strictness. It is an alert by itself and pauses nothing.
 */
export const REFUSED_AT_DOMAIN: RateLimit = { share: 0.2, minimumSamples: 20 };

/** Key of the alert that a domain refuses us. */
export function refusedAtKey(domain: string): string {
  return `own_address_refused:${domain}`;
}

/** How far back is looked: 24 hours, in milliseconds. */
export const RATE_WINDOW_MS = 24 * 60 * 60_000;

export interface RateLimit {
  /** The alert is raised from this share on, 0 to 1. */
  readonly share: number;
  /** With fewer samples a share tells nothing. */
  readonly minimumSamples: number;
}

/** What happened within the window. */
export interface RateSample {
  readonly hits: number;
  readonly samples: number;
}

/**
 * Whether the alert is to stand. It goes once the share is below the limit again, or nothing is sent from which it could
 * be told.
 */
export function isOverLimit({ hits, samples }: RateSample, limit: RateLimit): boolean {
  return samples >= limit.minimumSamples && hits / samples >= limit.share;
}

/** One line for people, such as `12 of 2400 (0.5 %)`. */
export function describeRate({ hits, samples }: RateSample): string {
  const percent = samples === 0 ? 0 : (100 * hits) / samples;
  return `${hits} of ${samples} (${percent.toPrecision(2)} %) within 24 hours`;
}
