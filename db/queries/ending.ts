import type { SuppressionCause } from '../../domain/suppression.ts';
import type { Origin, SendOutcome } from '../../domain/words.ts';
import { plain, type Transaction } from '../connection.ts';
import { addAuditEntries } from './audit.ts';
import { readSendFacts, type SendFacts } from './facts.ts';
import { lockSends } from './locks.ts';
import { addToOutbox, sendAggregate } from './outbox.ts';

/** Sends whose attempt is in the air are not ended from outside: the attempt's own outcome looks again. */
const RESTING = `state in ('queued', 'waiting', 'held')`;

const RESTING_OF_ADDRESSES = plain(
  `select id, recipient_domain from send where address_id = any($1::uuid[]) and ${RESTING}`,
);
const RESTING_OF_PROSPECTS = plain(
  `select id, recipient_domain from send where prospect_id = any($1::uuid[]) and ${RESTING}`,
);
const RESTING_OF_DOMAIN = plain(
  `select id, recipient_domain from send
   where (reverse(recipient_domain) = reverse($1) or reverse(recipient_domain) like reverse('.' || $1) || '%')
     and standing in ('queued', 'waiting', 'held') and id > $2
   order by id limit $3`,
);
const FINISH = plain(
  `update send set state = 'final', outcome = $2, outcome_reason = r.reason, finished_at = $3, next_attempt_at = null, next_slot = null
   from jsonb_to_recordset($1::jsonb) as r(id uuid, reason text) where send.id = r.id`,
);

/** Of more that end at once, one person's own end is not to wait behind all. */
const MANY = 10;

interface Resting extends Record<string, unknown> {
  id: string;
  recipient_domain: string;
}

/**
 * Ends the resting sends to these addresses, or of these prospects, that a suppression now applies to; their workflows
 * are told. The caller holds the locks of the addresses and prospects.
 */
export async function endSuppressedSends(
  tx: Transaction,
  origin: Origin,
  now: Date,
  of: { addressIds: readonly string[] } | { prospectIds: readonly string[] },
): Promise<void> {
  const resting =
    'addressIds' in of
      ? await tx.query<Resting>(RESTING_OF_ADDRESSES, [of.addressIds])
      : await tx.query<Resting>(RESTING_OF_PROSPECTS, [of.prospectIds]);
  await endWhereSuppressed(tx, origin, now, resting);
}

/**
 * Ends up to `limit` resting sends to a suppressed domain and below it.
 *
 * @returns the last id looked at, to go on from, or `null` when there were no more
 */
export async function endSuppressedSendsOfDomain(
  tx: Transaction,
  origin: Origin,
  now: Date,
  domain: string,
  afterId: string,
  limit: number,
): Promise<string | null> {
  const resting = await tx.query<Resting>(RESTING_OF_DOMAIN, [domain, afterId, limit]);
  await endWhereSuppressed(tx, origin, now, resting);
  return resting.length < limit ? null : resting.at(-1)!.id;
}

async function endWhereSuppressed(
  tx: Transaction,
  origin: Origin,
  now: Date,
  resting: readonly Resting[],
): Promise<void> {
  if (resting.length === 0) return;
  const ids = resting.map((send) => send.id);
  await lockSends(tx, ids);
  const facts = await readSendFacts(
    tx,
    ids,
    resting.map((send) => send.recipient_domain),
  );
  const ends = facts.flatMap((send) =>
    isResting(send) && !send.suppression.allowed
      ? [{ send, reason: causesAsText(send.suppression.because) }]
      : [],
  );
  await endSends(tx, origin, now, 'suppressed', ends);
}

/** Whether the send has no attempt in the air and is not final. */
export function isResting(send: Pick<SendFacts, 'state'>): boolean {
  return send.state !== 'attempting' && send.state !== 'final';
}

/** Causes of a refusal as they are kept with a send: codes, separated by a space. */
export function causesAsText(causes: readonly SuppressionCause[]): string {
  return causes.join(' ');
}

/**
 * Makes locked sends final that rest or whose attempt was broken off, writes it down and tells their workflows; while a
 * broadcast makes the first attempt there is none.
 *
 * @param ends each send with the reason that is kept with it
 */
export async function endSends(
  tx: Transaction,
  origin: Origin,
  now: Date,
  outcome: Extract<SendOutcome, 'suppressed' | 'cancelled'>,
  ends: readonly { send: SendFacts; reason: string }[],
): Promise<void> {
  if (ends.length === 0) return;
  await tx.query(FINISH, [
    JSON.stringify(ends.map(({ send, reason }) => ({ id: send.id, reason }))),
    outcome,
    now,
  ]);
  await addAuditEntries(
    tx,
    origin,
    now,
    ends.map(({ send, reason }) => ({
      action: outcome === 'suppressed' ? 'send.refused' : 'send.cancelled',
      sendId: send.id,
      prospectId: send.prospectId,
      addressId: send.addressId,
      subject: reason,
      before: { state: send.state },
      after: { state: 'final', outcome },
    })),
  );
  await addToOutbox(
    tx,
    now,
    ends
      .filter(({ send }) => send.run > 0)
      .map(({ send, reason }) => ({
        aggregate: sendAggregate(send.id),
        message: {
          type: 'endSend',
          sendId: send.id,
          run: send.run,
          outcome,
          reason,
          ...(ends.length > MANY && { oneOfMany: true }),
        },
      })),
  );
}
