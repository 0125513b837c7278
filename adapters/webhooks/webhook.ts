import type { InboundSource } from '../../domain/inbound.ts';

/** A request of a provider, as it came. */
export interface WebhookRequest {
  /** Value of a header, its name in any letter case. */
  header(name: string): string | undefined;
  readonly body: Uint8Array;
}

/** One event to be kept. */
export interface WebhookItem {
  /** The provider's id of it: what comes again has the same. */
  readonly dedupeKey: string;
  readonly content: Uint8Array;
  /** What comes again under this key with other content is a forgery. */
  readonly keyIsUsedOnce: boolean;
}

export type WebhookDecision =
  /** It came from the provider; nothing to keep where it told nothing that matters here. */
  | { readonly kind: 'accepted'; readonly items: readonly WebhookItem[] }
  /** It did not come from the provider, or long ago, or for somebody else. */
  | { readonly kind: 'refused'; readonly detail: string }
  /** It is not of the form that the provider documents. */
  | { readonly kind: 'malformed'; readonly detail: string }
  /** It could not be decided now; the provider is to try again. */
  | { readonly kind: 'unavailable'; readonly detail: string };

/** Requests of one provider. */
export interface Webhook {
  readonly source: InboundSource;
  /** Verifies a request and takes it apart. Changes nothing here. */
  accept(request: WebhookRequest, now: Date): Promise<WebhookDecision>;
}

/**
 * How old a signed request may be. SendGrid tries for 24 hours and Mailgun for 8 to hand an event over, and neither says
 * that a later try is signed anew; a shorter time could lose events. What comes a second time is known by its
 * key, which is kept for good, so a replay changes nothing however fresh it is.
 */
const OLDEST_MS = 25 * 60 * 60_000;
/** Clocks differ. */
const MOST_AHEAD_MS = 5 * 60_000;

/**
 * Whether a signed time is one at which a request may have been made that comes in now.
 *
 * @param seconds of the epoch, as text
 */
export function isTimely(seconds: string, now: Date): boolean {
  if (!/^\d{1,12}$/.test(seconds)) return false;
  const age = now.getTime() - Number(seconds) * 1000;
  return age <= OLDEST_MS && age >= -MOST_AHEAD_MS;
}

/** Parses a body or a part of it; `null` where it is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export const textOf = (body: Uint8Array): string => Buffer.from(body).toString('utf8');
