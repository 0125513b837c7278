import type { BroadcastState } from '../../domain/broadcast/words.ts';
import { MARKETING_PAUSED } from '../../domain/hold.ts';
import { slotAt } from '../../domain/retrySchedule.ts';
import type { AttemptTrigger, Origin, SendOutcome } from '../../domain/words.ts';
import { type Database, prepared, type Transaction } from '../connection.ts';
import { addAuditEntries } from './audit.ts';
import { BROADCAST_CANCELLED, readBroadcastState, shareGates } from './broadcasts.ts';
import { causesAsText } from './ending.ts';
import { readSendFacts, type SendFacts } from './facts.ts';
import { lockToAttempt } from './locks.ts';
import { holdSend } from './sends.ts';

/** Which send asks, and what does not change about it in one run. */
export interface GateRequest {
  readonly sendId: string;
  readonly run: number;
  readonly prospectId: string;
  readonly addressId: string;
  readonly recipientDomain: string;
  /** The broadcast that makes this first attempt itself: it begins only while that is being sent. */
  readonly broadcastId?: string;
  readonly trigger: AttemptTrigger;
  /** How many attempts there had been when a retry was asked for; once there are more, it was carried out. */
  readonly attemptsBefore?: number | undefined;
  readonly now: Date;
  /** Which attempt the asker holds already, when it asks again because its decision grew too old. */
  readonly held?: AttemptOwnership;
  /** What holds the way out back. Then no attempt begins: what nothing ends is held until that is over. */
  readonly wayOut?: { readonly until: Date; readonly reason: string };
}

/** Who owns an attempt: only with this epoch may it be handed over and its outcome be recorded. */
export interface AttemptOwnership {
  readonly number: number;
  readonly epoch: number;
}

export type GateDecision =
  /**
   * The attempt has begun; MAIL FROM is to follow within two seconds of `decidedAt` (`performance.now()`), a moment at
   * which the locks were held and the commit was still to come.
   */
  | { readonly kind: 'open'; readonly attempt: AttemptOwnership; readonly decidedAt: number }
  | { readonly kind: 'refused'; readonly outcome: 'suppressed' | 'cancelled'; readonly reason: string }
  | { readonly kind: 'final'; readonly outcome: SendOutcome; readonly reason: string | null }
  | { readonly kind: 'not_due'; readonly nextAttemptAt: Date; readonly attempts: number }
  /** Marketing email is paused. The send is held, and woken once it goes out again. */
  | { readonly kind: 'held'; readonly attempts: number }
  /** As {@link GateRequest.wayOut} asked for. */
  | { readonly kind: 'held_back'; readonly attempts: number }
  /** The broadcast that asks was paused. The attempt stays as it is, for whoever claims the page once it goes on. */
  | { readonly kind: 'stopped' }
  /** Another workflow run has the send now. */
  | { readonly kind: 'superseded' }
  /** Somebody was handing the message over and told no outcome. The caller records it as unknown. */
  | { readonly kind: 'outcome_lost'; readonly attempt: AttemptOwnership };

const OPEN_ATTEMPT = prepared(
  'open_attempt',
  `select number, epoch, state from attempt where send_id = $1 and state <> 'finished'`,
);
const BEGIN_ATTEMPT = prepared(
  'begin_attempt',
  `with begun as (
     insert into attempt (send_id, number, epoch, state, trigger, gated_at)
     values ($1, $2, $3, 'gated', $4, $5)
     on conflict (send_id, number) do update set epoch = excluded.epoch, gated_at = excluded.gated_at
     returning send_id
   ), moved as (
     update send set state = 'attempting', attempt_count = $2, slot = $6, next_attempt_at = null, next_slot = null,
       first_attempt_at = coalesce(first_attempt_at, $5), schedule_started_at = coalesce(schedule_started_at, $5)
     where id = $1
   )
   insert into audit_entry (at, action, way, actor, prospect_id, address_id, send_id, subject, before, after)
   values ($5, 'attempt.gated', 'system', 'heed', $7, $8, $1, $2::int::text, $9, jsonb_build_object('state', 'attempting', 'epoch', $3::int))`,
);
const REFUSE_ATTEMPT = prepared(
  'refuse_attempt',
  `with refused as (
     insert into attempt (send_id, number, epoch, state, trigger, outcome, gated_at, finished_at)
     values ($1, $2, $3, 'finished', $4, 'refused', $5, $5)
     on conflict (send_id, number) do update
       set epoch = excluded.epoch, state = 'finished', outcome = 'refused', finished_at = excluded.finished_at
   )
   update send set state = 'final', outcome = $7, outcome_reason = $6, attempt_count = $2, finished_at = $5,
     next_attempt_at = null, next_slot = null
   where id = $1`,
);

/** Heed itself, doing what was asked for earlier. */
export const HEED: Origin = { way: 'system', actor: 'heed', reason: null };

/**
 * Decides whether an attempt may begin, and records that it does: one short transaction, ordered in the database
 * against every change of a flag or suppression (I1). Whatever goes wrong throws, and nothing is sent: it fails closed.
 */
export async function gate(db: Database, request: GateRequest): Promise<GateDecision> {
  return db.transaction(async (tx) => {
    // Issued together: they share a round trip and still run in this order, the reads each in a statement of its own.
    const [broadcast, , facts, open] = await Promise.all([
      request.broadcastId === undefined ? null : standingOf(tx, request.broadcastId),
      lockToAttempt(tx, request),
      readSendFacts(tx, [request.sendId], [request.recipientDomain]),
      tx.query<{ number: number; epoch: number; state: string }>(OPEN_ATTEMPT, [request.sendId]),
    ]);
    const send = facts[0];
    if (send === undefined) throw new Error(`there is no send ${request.sendId}`);
    const asked = withoutSpentRetry(request, send, open[0]);
    return decide(tx, asked, send, open[0], broadcast, performance.now());
  });
}

/** Where the broadcast stands, which no command changes before this transaction is over. */
async function standingOf(tx: Transaction, broadcastId: string): Promise<BroadcastState | null> {
  const [, state] = await Promise.all([shareGates(tx, broadcastId), readBroadcastState(tx, broadcastId)]);
  return state;
}

/**
 * A retry is made once, also where its worker was lost between the commit of its outcome and telling so: from then on the
 * send goes by its schedule.
 */
function withoutSpentRetry(request: GateRequest, send: SendFacts, open: object | undefined): GateRequest {
  const { attemptsBefore = send.attemptCount } = request;
  return open === undefined && send.attemptCount > attemptsBefore
    ? { ...request, trigger: 'schedule' }
    : request;
}

async function decide(
  tx: Transaction,
  request: GateRequest,
  send: SendFacts,
  open: { number: number; epoch: number; state: string } | undefined,
  broadcast: BroadcastState | null,
  decidedAt: number,
): Promise<GateDecision> {
  if (send.run !== request.run) return { kind: 'superseded' };
  if (send.state === 'final') return { kind: 'final', outcome: send.outcome!, reason: send.outcomeReason };
  if (open?.state === 'handing_over') {
    return { kind: 'outcome_lost', attempt: { number: open.number, epoch: open.epoch } };
  }
  // Whoever asks again for its own attempt must still own it; anybody else takes an attempt over that was only gated.
  if (request.held !== undefined && open?.epoch !== request.held.epoch) return { kind: 'superseded' };
  if (broadcast === 'paused') return { kind: 'stopped' };
  if (open === undefined && !isDue(send, request)) {
    return { kind: 'not_due', nextAttemptAt: send.nextAttemptAt!, attempts: send.attemptCount };
  }
  const attempt = { number: open?.number ?? send.attemptCount + 1, epoch: (open?.epoch ?? 0) + 1 };
  const refusal = refusalOf(send, broadcast);
  if (refusal !== null) {
    await Promise.all([
      tx.query(REFUSE_ATTEMPT, [
        send.id,
        attempt.number,
        attempt.epoch,
        request.trigger,
        request.now,
        refusal.reason,
        refusal.outcome,
      ]),
      addAuditEntries(tx, HEED, request.now, [
        {
          action: refusal.outcome === 'suppressed' ? 'send.refused' : 'send.cancelled',
          sendId: send.id,
          prospectId: send.prospectId,
          addressId: send.addressId,
          subject: refusal.reason,
          before: { state: send.state },
          after: { state: 'final', outcome: refusal.outcome },
        },
      ]),
    ]);
    return { kind: 'refused', ...refusal };
  }
  // After what ends a send, so that nobody who said no waits for the switch. Nothing was attempted, and nothing is counted.
  if (send.marketingPaused) {
    await holdSend(tx, { ...request, until: null, reason: MARKETING_PAUSED, rule: MARKETING_PAUSED });
    return { kind: 'held', attempts: send.attemptCount };
  }
  if (request.wayOut !== undefined) {
    await holdSend(tx, { ...request, ...request.wayOut, rule: 'worker_lost' });
    return { kind: 'held_back', attempts: send.attemptCount };
  }
  tx.issue(BEGIN_ATTEMPT, [
    send.id,
    attempt.number,
    attempt.epoch,
    request.trigger,
    request.now,
    open === undefined ? slotOf(send, request) : send.slot,
    send.prospectId,
    send.addressId,
    JSON.stringify({ state: send.state }),
  ]);
  return { kind: 'open', attempt, decidedAt };
}

function refusalOf(
  send: SendFacts,
  broadcast: BroadcastState | null,
): { outcome: 'suppressed' | 'cancelled'; reason: string } | null {
  if (!send.suppression.allowed)
    return { outcome: 'suppressed', reason: causesAsText(send.suppression.because) };
  if (broadcast === 'cancelled') return { outcome: 'cancelled', reason: BROADCAST_CANCELLED };
  // Asked for while an attempt was in the air that then never came to be handed over.
  if (send.cancelBecause !== null) return { outcome: 'cancelled', reason: send.cancelBecause };
  // A send keeps its address (I4), so it ends where the prospect has left it; only one sent again by hand comes so far.
  if (!send.recipientCurrent) return { outcome: 'cancelled', reason: 'prospect_gone' };
  return null;
}

function isDue(send: SendFacts, request: GateRequest): boolean {
  if (request.trigger === 'retry_now' || send.nextAttemptAt === null) return true;
  return send.nextAttemptAt.getTime() <= request.now.getTime();
}

/** A retry by hand uses none of the schedule's offsets; what was missed while Heed was down collapses into one. */
function slotOf(send: SendFacts, request: GateRequest): number {
  if (send.scheduleStartedAt === null) return 0;
  if (request.trigger === 'retry_now') return send.slot;
  return slotAt({
    offsetsSeconds: send.scheduleSeconds,
    startedAt: send.scheduleStartedAt.getTime(),
    now: request.now.getTime(),
    atLeast: send.nextSlot ?? send.slot,
  });
}

const MARK_HANDING_OVER = prepared(
  'mark_handing_over',
  `update attempt set state = 'handing_over', handing_over_at = $4, remote_host = $5
   where send_id = $1 and number = $2 and epoch = $3 and state = 'gated'`,
);

/**
 * Marks that the message may be taken over from now on.
 *
 * @returns false where somebody else owns the attempt now: then nothing may be handed over
 */
export async function markHandingOver(
  db: Database,
  sendId: string,
  attempt: AttemptOwnership,
  now: Date,
  remoteHost: string,
): Promise<boolean> {
  const result = await db.pool.query({
    ...MARK_HANDING_OVER,
    values: [sendId, attempt.number, attempt.epoch, now, remoteHost],
  });
  return result.rowCount === 1;
}
