import { performance } from 'node:perf_hooks';
import { activityInfo, cancellationSignal } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { Composed, EmailComposer } from '../adapters/mailer/composer.ts';
import type { Mailer, NoConversation, ReadyConversation } from '../adapters/mailer/mailer.ts';
import type { Database } from '../db/connection.ts';
import { type AttemptOwnership, type GateDecision, gate, markHandingOver } from '../db/queries/gate.ts';
import { clearHold, raiseHold, readHold } from '../db/queries/holds.ts';
import { type AfterAttempt, type AttemptEnd, recordOutcome } from '../db/queries/outcome.ts';
import { cancelSend, loadSendToAttempt, type SendToAttempt } from '../db/queries/sends.ts';
import { maskAddresses } from '../domain/address.ts';
import type { Category } from '../domain/bounce/verdict.ts';
import { GATE_HOLDS_MS } from '../domain/gateHolds.ts';
import { MARKETING_PAUSED, spreadMilliseconds } from '../domain/hold.ts';
import type { AttemptTrigger, SendOutcome } from '../domain/words.ts';
import {
  endOfBroken,
  endOfRendering,
  endOfTransmission,
  endWithoutConversation,
  lostOutcome,
} from './attemptEnd.ts';
import { beating } from './beating.ts';
import { clockFrom } from './clock.ts';
import { persistently } from './persistently.ts';

const MAX_SHOWN_TEXT = 300;

export interface AttemptInput {
  readonly sendId: string;
  readonly run: number;
  readonly trigger: AttemptTrigger;
  /** Of a retry by hand: the `attempts` of the result before it. Once there are more, it was made, and is not made again. */
  readonly attemptsBefore?: number | undefined;
  /** The workflow's time, in milliseconds of the epoch. */
  readonly now: number;
}

/** An attempt as the workflow may know it: codes, and the reply with its addresses masked. */
export interface AttemptSummary {
  readonly number: number;
  readonly at: number;
  readonly outcome: AttemptEnd['outcome'];
  readonly category: Category | null;
  /** Reply code and enhanced code, e.g. `452 4.2.2`. */
  readonly reply: string | null;
  readonly text: string | null;
  readonly remoteHost: string | null;
}

/** `attempts`: how many were begun so far, those of other runs and of a broadcast included. */
export type AttemptResult =
  | {
      readonly status: 'final';
      readonly outcome: SendOutcome;
      readonly reason: string | null;
      readonly attempt?: AttemptSummary;
    }
  | {
      readonly status: 'waiting';
      readonly nextAttemptAt: number;
      readonly attempts: number;
      readonly attempt?: AttemptSummary;
    }
  /** Nothing was attempted: a fault of ours holds the way out back, or marketing email is paused. */
  | {
      readonly status: 'held';
      /** `null`: when the workflow is woken. */
      readonly nextAttemptAt: number | null;
      readonly attempts: number;
      readonly category: string;
      readonly text: string | null;
    }
  /** Another run, or another worker, has this send now. */
  | { readonly status: 'superseded' };

export interface CancelInput {
  readonly sendId: string;
  readonly reason: string | null;
  readonly now: number;
}

/** Activities that try to deliver a send. */
export function createDeliveryActivities({
  db,
  mailer,
  composer,
}: {
  db: Database;
  mailer: Mailer;
  composer: EmailComposer;
}) {
  return {
    /**
     * One attempt: gate, conversation, outcome; or none, where it is not due, refused or held back. Safe to run again
     * after a crash at any line, and beside a twin that was taken for dead.
     */
    async attemptDelivery(input: AttemptInput): Promise<AttemptResult> {
      return beating(() => attempt({ db, mailer, composer }, input, cancellationSignal()));
    },

    /** Cancels a send for somebody at the Temporal UI. */
    async cancelSend(input: CancelInput): Promise<'done' | 'requested' | 'already_final'> {
      const { workflowExecution } = activityInfo();
      const result = await db.transaction((tx) =>
        cancelSend(
          tx,
          { way: 'person', actor: `temporal:${workflowExecution?.workflowId}`, reason: input.reason },
          clockFrom(input.now)(),
          input.sendId,
        ),
      );
      if (result === 'not_found') throw noSuchSend(input.sendId);
      return result;
    },
  };
}

export type DeliveryActivities = ReturnType<typeof createDeliveryActivities>;

function noSuchSend(sendId: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(`there is no send ${sendId}`, 'NoSuchSend');
}

async function attempt(
  parts: { db: Database; mailer: Mailer; composer: EmailComposer },
  input: AttemptInput,
  signal: AbortSignal,
): Promise<AttemptResult> {
  const { db, mailer, composer } = parts;
  const clock = clockFrom(input.now);
  const send = await loadSendToAttempt(db, input.sendId);
  if (send === null) throw noSuchSend(input.sendId);

  if (send.marketingPaused) {
    // The gate decides, before a server is troubled; where it opens after all, it is asked again below.
    const decision = await gate(db, { ...send, ...input, now: clock() });
    if (decision.kind === 'held') return pausedAfter(decision.attempts);
  }
  const destination = mailer.destinationOf(send.recipientDomain);
  const hold = await readHold(db, destination);
  if (hold !== null && hold.until > clock() && input.trigger === 'schedule' && send.state !== 'final') {
    return holdBack(db, send, input, clock, { ...hold, text: null });
  }

  const composed = await composer.compose(send);
  let conversation = await mailer.reserve(send.recipientDomain, signal);
  try {
    if (!conversation.ready && conversation.busyMilliseconds !== undefined) {
      const until = new Date(clock().getTime() + conversation.busyMilliseconds);
      const text = conversation.detail;
      return await holdBack(db, send, input, clock, { destination, until, category: 'rate_limit', text });
    }
    if (!conversation.ready && conversation.verdict === null) {
      const category = conversation.phase === 'auth' ? 'authentication' : 'relay_unavailable';
      const until = await raiseHold(db, clock(), destination, category, conversation.detail);
      const text = conversation.detail;
      return await holdBack(db, send, input, clock, { destination, until, category, text });
    }
    const result = await throughGate(db, send, input, clock, destination, async (attempt, decidedAt) => {
      const end = await tryOnce(db, send, attempt, decidedAt, clock, composed, conversation);
      if (end !== 'conversation_over') return end;
      // That was about those before; this one gets a conversation of its own, and the gate is asked anew.
      if (conversation.ready) conversation.release();
      conversation = await mailer.reserve(send.recipientDomain, signal);
      if (conversation.ready || conversation.verdict !== null) return 'gate_expired';
      return endOfBroken(destination, conversation);
    });
    if (hold !== null && 'attempt' in result && result.attempt?.outcome === 'delivered') {
      await clearHold(db, clock(), destination);
    }
    return result;
  } finally {
    if (conversation.ready) conversation.release();
  }
}

function pausedAfter(attempts: number): AttemptResult {
  return { status: 'held', nextAttemptAt: null, attempts, category: MARKETING_PAUSED, text: null };
}

/** How one try through an open gate ended; `gate_expired` and `ownership_lost` without anything having been sent. */
type Try = AttemptEnd | 'gate_expired' | 'ownership_lost';
type TryInConversation = Try | 'conversation_over';

async function tryOnce(
  db: Database,
  send: SendToAttempt,
  attempt: AttemptOwnership,
  decidedAt: number,
  clock: () => Date,
  composed: Composed,
  conversation: ReadyConversation | NoConversation,
): Promise<TryInConversation> {
  if (!composed.ok) return endOfRendering(composed, conversation.destination);
  if (!conversation.ready) return endWithoutConversation({ ...conversation, verdict: conversation.verdict! });
  const transmission = await conversation.transmit(composed.message, {
    mayBegin: () => performance.now() - decidedAt <= GATE_HOLDS_MS,
    beforeHandOver: () => markHandingOver(db, send.sendId, attempt, clock(), conversation.remoteHost),
  });
  return transmission.kind === 'not_begun'
    ? transmission.why
    : endOfTransmission(transmission, conversation, send);
}

/**
 * Holds the send until the way out opens. The gate decides that it is held, too: what a worker had begun and did not live
 * to hand over may have been suppressed or cancelled meanwhile, and then ends at once (I1).
 */
async function holdBack(
  db: Database,
  send: SendToAttempt,
  input: AttemptInput,
  clock: () => Date,
  hold: { destination: string; until: Date; category: string; text: string | null },
): Promise<AttemptResult> {
  const now = clock();
  const { destination, category } = hold;
  const until = new Date(
    hold.until.getTime() + spreadMilliseconds(send.sendId, hold.until.getTime() - now.getTime()),
  );
  const wayOut = { until, reason: category };
  const decision = await gate(db, { ...send, ...input, now, wayOut });
  if (decision.kind === 'outcome_lost') {
    return record(db, send, decision.attempt, now, lostOutcome(destination), clock);
  }
  if (decision.kind !== 'held_back') return withoutAttempt(decision);
  const text = shown(hold.text, send);
  return { status: 'held', nextAttemptAt: until.getTime(), attempts: decision.attempts, category, text };
}

/** What follows where the gate says that there is no attempt to be made now. */
function withoutAttempt(decision: Exclude<GateDecision, { kind: 'outcome_lost' }>): AttemptResult {
  switch (decision.kind) {
    case 'superseded':
      return { status: 'superseded' };
    case 'final':
    case 'refused':
      return { status: 'final', outcome: decision.outcome, reason: decision.reason };
    case 'held':
      return pausedAfter(decision.attempts);
    case 'not_due':
      return {
        status: 'waiting',
        nextAttemptAt: decision.nextAttemptAt.getTime(),
        attempts: decision.attempts,
      };
    default:
      throw new Error(`the gate said ${decision.kind} where it could not`);
  }
}

/** Asks the gate, tries once it opens, and records the end; a decision that grew too old is asked for anew. */
async function throughGate(
  db: Database,
  send: SendToAttempt,
  input: AttemptInput,
  clock: () => Date,
  destination: string,
  tryIt: (attempt: AttemptOwnership, decidedAt: number) => Promise<Try>,
): Promise<AttemptResult> {
  let held: AttemptOwnership | undefined;
  for (;;) {
    const now = clock();
    const decision = await gate(db, {
      ...send,
      ...input,
      now,
      ...(held && { held }),
    });
    if (decision.kind === 'outcome_lost') {
      return record(db, send, decision.attempt, now, lostOutcome(destination), clock);
    }
    if (decision.kind !== 'open') return withoutAttempt(decision);
    const end = await tryIt(decision.attempt, decision.decidedAt);
    if (end === 'ownership_lost') return { status: 'superseded' };
    if (end !== 'gate_expired') return record(db, send, decision.attempt, now, end, clock);
    held = decision.attempt;
  }
}

async function record(
  db: Database,
  send: SendToAttempt,
  attempt: AttemptOwnership,
  at: Date,
  end: AttemptEnd,
  clock: () => Date,
): Promise<AttemptResult> {
  // What the server said is known only here: while this process lives it keeps trying to write it down.
  const after: AfterAttempt | null = await persistently(() => recordOutcome(db, send, attempt, end, clock()));
  if (after === null) return { status: 'superseded' };
  const summary: AttemptSummary = {
    number: attempt.number,
    at: at.getTime(),
    outcome: end.outcome,
    category: end.category,
    reply: [end.replyCode, end.enhancedCode].filter(Boolean).join(' ') || null,
    // An acceptance says nothing that an operator looks for, and masking a text costs time for every send.
    text: end.outcome === 'delivered' ? null : shown(end.replyText, send),
    remoteHost: end.remoteHost,
  };
  return after.state === 'waiting'
    ? {
        status: 'waiting',
        nextAttemptAt: after.nextAttemptAt.getTime(),
        attempts: attempt.number,
        attempt: summary,
      }
    : { status: 'final', outcome: after.outcome, reason: after.reason, attempt: summary };
}

/** No personal data in Temporal: the text with addresses masked, and cut to what an operator reads. */
function shown(text: string | null, send: SendToAttempt): string | null {
  if (text === null) return null;
  const localPart = send.recipient?.slice(0, send.recipient.lastIndexOf('@'));
  return maskAddresses(text, localPart).slice(0, MAX_SHOWN_TEXT);
}
