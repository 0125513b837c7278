import type { Category } from '../../domain/bounce/verdict.ts';
import { comesTooEarly, type DeliveryEventKind, outcomeAfterEvent } from '../../domain/deliveryEvent.ts';
import type { EventResult } from '../../domain/inbound.ts';
import type { Origin, SendOutcome, SuppressionReason } from '../../domain/words.ts';
import { plain, type Transaction } from '../connection.ts';
import { addAuditEntries } from './audit.ts';
import { readSendFacts, type SendFacts } from './facts.ts';
import { lockAddressesWithProspects, lockDomainsShared, lockSends } from './locks.ts';
import { addToOutbox, sendAggregate } from './outbox.ts';
import { applySoftBounceLimit } from './outcome.ts';
import { readSettings } from './settings.ts';
import { addSuppressionsLocked } from './suppressions.ts';
import { lockPerson, unsubscribeInOneStep } from './unsubscribe.ts';

/** What was understood about one send. */
export interface DeliveryEvent {
  readonly sendId: string;
  readonly kind: DeliveryEventKind;
  readonly category: Category | null;
  /** A failure that was a fault of ours is not counted against the address (I5). */
  readonly faultOurs: boolean;
}

const SEND = plain('select prospect_id, address_id, recipient_domain from send where id = $1');
const FINISH = plain(`
  update send set state = 'final', outcome = $2, outcome_reason = $3, fault_ours = $4,
    finished_at = coalesce(finished_at, $5), next_attempt_at = null, next_slot = null
  where id = $1`);

/**
 * Applies what was learnt about a send after it had left: its outcome, the suppression of its address, the flags. Any
 * order and any repetition of the same events ends the same. The address is the send's own (I4), never one that a
 * report names. A no holds for the person, as every other no does: at the addresses of all their records as well.
 *
 * @returns `unmatched` where there is no such send; `too_early` where an attempt is in the air: the address is suppressed
 *   as told, and the event has to be applied again once the attempt has ended
 */
export async function applyDeliveryEvent(
  tx: Transaction,
  now: Date,
  event: DeliveryEvent,
): Promise<EventResult | 'too_early'> {
  if (event.kind === 'unsubscribe') {
    return unsubscribeInOneStep(tx, { way: 'unsubscribe_link', reason: 'provider' }, now, event.sendId);
  }
  const [known] = await tx.query<{ prospect_id: string; address_id: string; recipient_domain: string }>(
    SEND,
    [event.sendId],
  );
  if (known === undefined) return 'unmatched';
  await lockDomainsShared(tx, [known.recipient_domain]);
  const person = event.kind === 'complaint' ? await lockPerson(tx, event.sendId) : null;
  if (person === null) await lockAddressesWithProspects(tx, [known.address_id], [known.prospect_id]);
  await lockSends(tx, [event.sendId]);
  const [send] = await readSendFacts(tx, [event.sendId], [known.recipient_domain]);
  const outcome = outcomeAfterEvent(send!, event.kind);
  if (outcome !== null) await settle(tx, now, send!, event, outcome);
  const added = await suppress(tx, now, person?.addressIds ?? [send!.addressId], event);
  if (outcome === 'exhausted' && !send!.test) await applySoftBounceLimit(tx, send!.addressId, now, send!.id);
  if (comesTooEarly(send!, event.kind)) return 'too_early';
  return outcome !== null || added > 0 ? 'applied' : 'no_change';
}

function originOf(event: DeliveryEvent): Origin {
  const way = event.kind === 'complaint' ? 'complaint' : 'bounce';
  return { way, actor: 'heed', reason: event.category ?? event.kind };
}

async function settle(
  tx: Transaction,
  now: Date,
  send: SendFacts,
  event: DeliveryEvent,
  outcome: SendOutcome,
): Promise<void> {
  const reason = event.category ?? event.kind;
  await tx.query(FINISH, [send.id, outcome, reason, event.faultOurs, now]);
  await addAuditEntries(tx, originOf(event), now, [
    {
      action: 'send.settled',
      sendId: send.id,
      prospectId: send.prospectId,
      addressId: send.addressId,
      subject: event.kind,
      before: { state: send.state, outcome: send.outcome },
      after: { state: 'final', outcome },
    },
  ]);
  if (send.state === 'final') return;
  await addToOutbox(tx, now, [
    {
      aggregate: sendAggregate(send.id),
      message: { type: 'endSend', sendId: send.id, run: send.run, outcome, reason },
    },
  ]);
}

async function suppress(
  tx: Transaction,
  now: Date,
  addressIds: readonly string[],
  event: DeliveryEvent,
): Promise<number> {
  const reasons: SuppressionReason[] = [];
  if (event.kind === 'hard_bounce') reasons.push('bounced');
  if (event.kind === 'complaint') {
    reasons.push('complaint');
    if ((await readSettings(tx)).complaintSetsOptOut) reasons.push('opt_out');
  }
  if (reasons.length === 0) return 0;
  const note = event.category ?? event.kind;
  const entries = addressIds.flatMap((addressId) => reasons.map((reason) => ({ addressId, reason, note })));
  return addSuppressionsLocked(tx, originOf(event), now, entries);
}
