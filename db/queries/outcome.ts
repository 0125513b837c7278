import type { Category } from '../../domain/bounce/verdict.ts';
import { softBounceLimitReached } from '../../domain/consecutive.ts';
import { nextAttempt } from '../../domain/retrySchedule.ts';
import type { AttemptOutcome, Origin, SendOutcome } from '../../domain/words.ts';
import { type Database, plain, prepared, type Transaction } from '../connection.ts';
import { addAuditEntries } from './audit.ts';
import { causesAsText } from './ending.ts';
import { readSendFacts, type SendFacts } from './facts.ts';
import { type AttemptOwnership, HEED } from './gate.ts';
import { raiseHold } from './holds.ts';
import { lockAddressesWithProspects, lockDomainsShared, lockSends } from './locks.ts';
import { startNextRun } from './runs.ts';
import { readSettings } from './settings.ts';
import { addSuppressionsLocked } from './suppressions.ts';

/** How an attempt ended, with everything that is known about why. */
export interface AttemptEnd {
  readonly outcome: Exclude<AttemptOutcome, 'refused'>;
  readonly category: Category | null;
  /** A fault of ours is never counted against the address. */
  readonly faultOurs: boolean;
  /** Whether it holds everything back that leaves by the same way. */
  readonly holdsBack: boolean;
  readonly rule: string | null;
  readonly phase: string | null;
  readonly replyCode: number | null;
  readonly enhancedCode: string | null;
  readonly replyText: string | null;
  readonly remoteHost: string | null;
  /** The server's own wish for the next attempt, in seconds. */
  readonly hintSeconds: number | null;
  /** The way out that a fault of ours holds back. */
  readonly destination: string;
}

/** Where the send stands after its attempt was recorded. */
export type AfterAttempt =
  | { readonly state: 'final'; readonly outcome: SendOutcome; readonly reason: string | null }
  | { readonly state: 'waiting'; readonly nextAttemptAt: Date };

/*
 * A reply may name the person, who may have been erased while the message was in the air: its text is kept only while the
 * send has its recipient.
 */
const DELIVERED = prepared(
  'record_delivered',
  `with kept as materialized (
     select $8::text as reply_text from send where id = $1 and recipient is not null for no key update
   ), done as (
     update attempt set state = 'finished', outcome = 'delivered', finished_at = $4, phase = $5, reply_code = $6,
       enhanced_code = $7, reply_text = (select reply_text from kept), remote_host = $9
     where send_id = $1 and number = $2 and epoch = $3 and (state <> 'finished' or outcome = 'unknown')
     returning state
   ), moved as (
     -- A report that came first is the stronger evidence, and stands.
     update send set state = 'final', outcome = 'delivered', outcome_reason = null, finished_at = $4,
       next_attempt_at = null, next_slot = null
     where id = $1 and exists (select from done)
       and (state <> 'final' or outcome not in ('exhausted', 'rejected', 'bounced'))
     returning prospect_id, address_id
   ), noted as (
     insert into audit_entry (at, action, way, actor, prospect_id, address_id, send_id, subject, before, after)
     select $4, 'attempt.finished', 'system', 'heed', prospect_id, address_id, $1, $2::int::text,
       '{"state":"attempting"}', '{"state":"final","outcome":"delivered"}' from moved
   )
   select exists (select from moved) as moved from done`,
);
const ATTEMPT = prepared(
  'attempt_of_owner',
  'select state, outcome from attempt where send_id = $1 and number = $2 and epoch = $3',
);
const FINISH_ATTEMPT = prepared(
  'finish_attempt',
  `update attempt set state = 'finished', outcome = $4, category = $5, fault_ours = $6, rule = $7, phase = $8, reply_code = $9,
     enhanced_code = $10, reply_text = (select $11::text from send where id = $1 and recipient is not null), remote_host = coalesce($12, remote_host), finished_at = $13, next_attempt_at = $14
   where send_id = $1 and number = $2 and epoch = $3`,
);
const WAIT = prepared(
  'send_waits',
  `update send set state = 'waiting', outcome = null, outcome_reason = null, finished_at = null, next_attempt_at = $2, next_slot = $3
   where id = $1`,
);
const FINISH_SEND = prepared(
  'send_finished',
  `update send set state = 'final', outcome = $2, outcome_reason = $3, fault_ours = $4, finished_at = $5, next_attempt_at = null,
     next_slot = null
   where id = $1`,
);
/**
 * Final outcomes that count, in the order of first attempts. Whoever takes Bounced off an address starts the count
 * afresh: sends from before that are not held against it again.
 */
const CONSECUTIVE = plain(`
  select id, outcome, fault_ours, first_attempt_at from send
  where address_id = $1 and state = 'final' and not test and outcome in ('delivered', 'exhausted')
    and first_attempt_at > coalesce((select max(at) from audit_entry
      where address_id = $1 and action = 'suppression.removed' and subject = 'bounced'), '-infinity')
  order by first_attempt_at desc limit 1000`);

/**
 * Records how an attempt ended, where the send stands now, and everything that follows from it, in one transaction:
 * flags, suppression, hold, alert, audit. Recording the same end twice changes nothing.
 *
 * @param attempt who records; nothing is recorded for somebody who lost the attempt
 * @returns `null` where somebody else owns the attempt and its outcome is not ours to tell
 */
export async function recordOutcome(
  db: Database,
  send: { sendId: string; addressId: string; prospectId: string; recipientDomain: string },
  attempt: AttemptOwnership,
  end: AttemptEnd,
  now: Date,
): Promise<AfterAttempt | null> {
  if (end.outcome === 'delivered') return recordDelivered(db, send.sendId, attempt, end, now);
  return db.transaction(async (tx) => {
    await lockDomainsShared(tx, [send.recipientDomain]);
    await lockAddressesWithProspects(tx, [send.addressId], [send.prospectId]);
    const [, [facts], [mine]] = await Promise.all([
      lockSends(tx, [send.sendId]),
      readSendFacts(tx, [send.sendId], [send.recipientDomain]),
      tx.query<{ state: string; outcome: AttemptOutcome | null }>(ATTEMPT, [
        send.sendId,
        attempt.number,
        attempt.epoch,
      ]),
    ]);
    if (facts === undefined || mine === undefined) return null;
    if (mine.state !== 'finished') {
      const after = await apply(tx, facts, attempt, end, now);
      // A broadcast made its first attempt, and no workflow cares for it yet.
      if (after.state === 'waiting' && facts.run === 0) await startNextRun(tx, now, facts);
      return after;
    }
    // Told before: the same teller again after a lost answer.
    if (mine.outcome !== 'unknown' || facts.outcome !== 'unknown' || end.outcome === 'unknown')
      return standing(facts);
    // Taken for unknown while its owner was out of reach, who now knows better. The workflow has ended by then.
    const after = await apply(tx, facts, attempt, end, now);
    if (after.state === 'waiting') await startNextRun(tx, now, facts);
    return after;
  });
}

async function recordDelivered(
  db: Database,
  sendId: string,
  attempt: AttemptOwnership,
  end: AttemptEnd,
  now: Date,
): Promise<AfterAttempt | null> {
  // Final whatever was suppressed meanwhile, so one statement does without the locks.
  const [done] = await db.query<{ moved: boolean }>(DELIVERED, [
    sendId,
    attempt.number,
    attempt.epoch,
    now,
    end.phase,
    end.replyCode,
    end.enhancedCode,
    end.replyText,
    end.remoteHost,
  ]);
  if (done?.moved) return { state: 'final', outcome: 'delivered', reason: null };
  if (done !== undefined) return readStanding(db, sendId);
  const [mine] = await db.query<{ outcome: AttemptOutcome | null }>(ATTEMPT, [
    sendId,
    attempt.number,
    attempt.epoch,
  ]);
  return mine?.outcome === 'delivered' ? readStanding(db, sendId) : null;
}

const OUTCOME = plain('select outcome, outcome_reason as reason from send where id = $1');

async function readStanding(db: Database, sendId: string): Promise<AfterAttempt> {
  const [row] = await db.query<{ outcome: SendOutcome; reason: string | null }>(OUTCOME, [sendId]);
  return { state: 'final', ...row! };
}

async function apply(
  tx: Transaction,
  send: SendFacts,
  attempt: AttemptOwnership,
  end: AttemptEnd,
  now: Date,
): Promise<AfterAttempt> {
  const held = end.holdsBack
    ? await raiseHold(tx, now, end.destination, end.category ?? 'other', end.replyText)
    : null;
  const next = end.outcome === 'soft_bounce' ? nextOf(send, end, now, held) : null;
  const after = standingAfter(send, end, next);
  const before = { state: send.state, outcome: send.outcome };
  await Promise.all([
    tx.query(FINISH_ATTEMPT, [
      send.id,
      attempt.number,
      attempt.epoch,
      end.outcome,
      end.category,
      end.faultOurs,
      end.rule,
      end.phase,
      end.replyCode,
      end.enhancedCode,
      end.replyText,
      end.remoteHost,
      now,
      after.state === 'waiting' ? after.nextAttemptAt : null,
    ]),
    after.state === 'waiting'
      ? tx.query(WAIT, [send.id, after.nextAttemptAt, next!.slot])
      : tx.query(FINISH_SEND, [send.id, after.outcome, after.reason, end.faultOurs, now]),
    addAuditEntries(tx, HEED, now, [
      {
        action: 'attempt.finished',
        sendId: send.id,
        prospectId: send.prospectId,
        addressId: send.addressId,
        subject: String(attempt.number),
        before,
        after: { ...after, attempt: end.outcome, category: end.category },
      },
    ]),
  ]);
  await markAddress(tx, send, end, after, now);
  return after;
}

function standing(send: SendFacts): AfterAttempt {
  return send.state === 'final' || send.nextAttemptAt === null
    ? { state: 'final', outcome: send.outcome ?? 'unknown', reason: send.outcomeReason }
    : { state: 'waiting', nextAttemptAt: send.nextAttemptAt };
}

interface Next {
  at: Date;
  slot: number;
}

function nextOf(send: SendFacts, end: AttemptEnd, now: Date, heldUntil: Date | null): Next | null {
  const next = nextAttempt({
    offsetsSeconds: send.scheduleSeconds,
    startedAt: send.scheduleStartedAt!.getTime(),
    slot: send.slot,
    now: now.getTime(),
    hintSeconds: end.hintSeconds,
  });
  if (next === null) return null;
  // While the way out is held back there is no use in trying; what is missed meanwhile collapses into one attempt.
  return { at: new Date(Math.max(next.at, heldUntil?.getTime() ?? 0)), slot: next.slot };
}

function standingAfter(send: SendFacts, end: AttemptEnd, next: Next | null): AfterAttempt {
  const final = (outcome: SendOutcome, reason: string | null): AfterAttempt => ({
    state: 'final',
    outcome,
    reason,
  });
  switch (end.outcome) {
    case 'hard_bounce':
      return final('bounced', end.category);
    case 'rejected':
      return final('rejected', end.category);
    case 'unknown':
      return final('unknown', end.phase);
    default:
      if (!send.suppression.allowed) return final('suppressed', causesAsText(send.suppression.because));
      if (send.cancelBecause !== null) return final('cancelled', send.cancelBecause);
      return next === null ? final('exhausted', end.category) : { state: 'waiting', nextAttemptAt: next.at };
  }
}

const BOUNCE: Omit<Origin, 'reason'> = { way: 'bounce', actor: 'heed' };

/** A dead address, or one that has been full for too long, goes on the list; a test send tells of neither. */
async function markAddress(
  tx: Transaction,
  send: SendFacts,
  end: AttemptEnd,
  after: AfterAttempt,
  now: Date,
): Promise<void> {
  if (end.outcome === 'hard_bounce') {
    const reason = end.category ?? 'hard_bounce';
    await addSuppressionsLocked(tx, { ...BOUNCE, reason }, now, [
      { addressId: send.addressId, reason: 'bounced', note: reason },
    ]);
  } else if (after.state === 'final' && after.outcome === 'exhausted' && !send.test) {
    await applySoftBounceLimit(tx, send.addressId, now);
  }
}

/**
 * I5: sets Bounced once so many sends in a row were exhausted. The caller holds the locks of the address.
 *
 * @param reportedId a send whose report came just now, whose row is counted, and not the last one: behind a relay the
 *   sends after it stand as delivered until their own reports come, days later
 */
export async function applySoftBounceLimit(
  tx: Transaction,
  addressId: string,
  now: Date,
  reportedId?: string,
): Promise<void> {
  const { softBounceLimit } = await readSettings(tx);
  if (softBounceLimit === 0) return;
  const rows = await tx.query<{
    id: string;
    outcome: SendOutcome;
    fault_ours: boolean;
    first_attempt_at: Date;
  }>(CONSECUTIVE, [addressId]);
  const finals = rows.map((row) => ({
    id: row.id,
    outcome: row.outcome,
    fault: row.fault_ours ? ('ours' as const) : ('recipient' as const),
    firstAttemptAt: row.first_attempt_at.getTime(),
  }));
  const reported = finals.find(({ id }) => id === reportedId);
  if (reportedId !== undefined && reported === undefined) return;
  if (!softBounceLimitReached(finals, softBounceLimit, reported?.firstAttemptAt)) return;
  await addSuppressionsLocked(tx, { ...BOUNCE, reason: 'soft_bounce_limit' }, now, [
    { addressId, reason: 'bounced', note: 'soft_bounce_limit' },
  ]);
}
