import type { SendOutcome, SendState } from './words.ts';

/**
 * What can be learnt about a send after its message was handed over. `gave_up`: somebody on the way stopped trying,
 * the address is not dead. `unsubscribe`: the recipient said no by a link of the provider's own. `none`: not about a
 * delivery (out of office, delay notice) or not understood.
 */
export const DELIVERY_EVENT_KINDS = [
  'delivered',
  'hard_bounce',
  'gave_up',
  'rejected',
  'complaint',
  'unsubscribe',
  'none',
] as const;
export type DeliveryEventKind = (typeof DELIVERY_EVENT_KINDS)[number];

/** What each kind of evidence says that became of the send; a complaint was written by somebody who got it. */
const EVIDENCE: Readonly<Record<DeliveryEventKind, SendOutcome | null>> = {
  delivered: 'delivered',
  hard_bounce: 'bounced',
  gave_up: 'exhausted',
  rejected: 'rejected',
  complaint: 'delivered',
  unsubscribe: null,
  none: null,
};

/**
 * Evidence from weak to strong. The stronger one stands whatever came first, so that any order and any repetition of
 * the same events ends the same: a smart host's acceptance is provisional, a report of a failure replaces it.
 */
const STRENGTH: readonly SendOutcome[] = ['unknown', 'delivered', 'exhausted', 'rejected', 'bounced'];

/**
 * The outcome of a send after an event, or `null` where it stays as it is.
 *
 * What Heed ended itself (suppressed, cancelled) stays so. A send that still waits for its next attempt is ended by a
 * dead address and by a proof of delivery; that somebody else gave up is no reason for us to. What is learnt while an
 * attempt is in the air has to come again ({@link comesTooEarly}).
 */
export function outcomeAfterEvent(
  send: { readonly state: SendState; readonly outcome: SendOutcome | null },
  kind: DeliveryEventKind,
): SendOutcome | null {
  const told = EVIDENCE[kind];
  if (told === null) return null;
  if (send.state === 'attempting') return null;
  if (send.state !== 'final') return told === 'bounced' || kind === 'delivered' ? told : null;
  const before = STRENGTH.indexOf(send.outcome!);
  return before >= 0 && STRENGTH.indexOf(told) > before ? told : null;
}

/**
 * Whether an event tells of an outcome before the attempt's own is written down: a relay next door reports a failure
 * sooner than we note that it took the message, and a worker that died notes nothing for minutes. It is applied once the
 * attempt has ended, or the end would depend on which of the two came first.
 */
export function comesTooEarly(send: { readonly state: SendState }, kind: DeliveryEventKind): boolean {
  return send.state === 'attempting' && EVIDENCE[kind] !== null;
}
