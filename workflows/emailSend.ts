import {
  CancellationScope,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  isCancellation,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type {
  AttemptInput,
  AttemptResult,
  AttemptSummary,
  DeliveryActivities,
} from '../activities/delivery.ts';
import type { AttemptTrigger, SendOutcome } from '../domain/words.ts';
import { showEnd, showWaiting } from './emailSendView.ts';

/** Tries now what waits for its next attempt. A command that comes twice is carried out once. */
export const retryNow = defineSignal<[command?: { commandId?: number | string }]>('retryNow');
/** Cancels the send; for people at the Temporal UI. The API cancels in the database and sends `ended`. */
export const cancel = defineSignal<[command?: { reason?: string }]>('cancel');
/** What the send was held for is over: it is attempted as its schedule has it. */
export const wakeSend = defineSignal('wakeSend');
/** The send was made final outside, by a suppression or a cancellation that is already committed. */
export const ended = defineSignal<[end: { outcome: SendOutcome; reason: string | null }]>('ended');
/** Every attempt so far, and exactly when the next one comes. */
export const timeline = defineQuery<Timeline>('timeline');

export interface EmailSendInput {
  readonly sendId: string;
  /** Which workflow run of the send this is: 1, or more after it was sent again by hand or its workflow was lost. */
  readonly run: number;
  /** For the operator's eyes alone. */
  readonly recipientDomain: string;
  /** Attempts known so far, where this run goes on from another one with a history grown too long. */
  readonly attempts?: readonly AttemptSummary[];
}

export interface EmailSendResult {
  /** `superseded`: another run has the send now. */
  readonly outcome: SendOutcome | 'superseded';
  readonly reason: string | null;
}

export interface Timeline {
  readonly sendId: string;
  readonly state: 'attempting' | 'waiting' | 'held' | 'final';
  readonly attempts: readonly AttemptSummary[];
  /** Milliseconds of the epoch; `null` while an attempt is in the air, while marketing email is paused, and after the end. */
  readonly nextAttemptAt: number | null;
  readonly outcome: EmailSendResult['outcome'] | null;
}

const { attemptDelivery } = proxyActivities<DeliveryActivities>({
  // Longer than the sum of RFC 5321's timeouts for one message (section 4.5.3.2), and time to write the outcome down.
  startToCloseTimeout: '45 minutes',
  // The activity beats every 5 s: three beats missed and its worker is taken for dead.
  heartbeatTimeout: '20 seconds',
  // Only faults throw (database down, worker lost), and they pass: never give up, try again within half a minute.
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

const { cancelSend } = proxyActivities<DeliveryActivities>({
  // One short transaction.
  startToCloseTimeout: '30 seconds',
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
});

/**
 * One send: it is attempted, and where it soft-bounces it is attempted again on its schedule, until it is final. What
 * happened is in the database; this is the process that remembers when to go on.
 */
export async function emailSend(input: EmailSendInput): Promise<EmailSendResult> {
  const { sendId, run, recipientDomain } = input;
  const attempts: AttemptSummary[] = [...(input.attempts ?? [])];
  const commands = listen();
  let state: Timeline['state'] = 'attempting';
  let nextAttemptAt: number | null = null;
  let outcome: EmailSendResult['outcome'] | null = null;
  setHandler(timeline, () => ({ sendId, state, attempts, nextAttemptAt, outcome }));

  const end = (result: EmailSendResult): EmailSendResult => {
    state = 'final';
    nextAttemptAt = null;
    outcome = result.outcome;
    showEnd(result, attempts);
    return result;
  };

  let trigger: AttemptTrigger = 'schedule';
  let attemptsBefore: number | undefined;
  for (;;) {
    if (commands.ended) return end(commands.ended);
    const result = await attempt({ sendId, run, trigger, attemptsBefore });
    if ('attempt' in result && result.attempt) attempts.push(result.attempt);
    if (result.status === 'superseded') return end({ outcome: 'superseded', reason: null });
    if (result.status === 'final') return end({ outcome: result.outcome, reason: result.reason });

    state = result.status;
    nextAttemptAt = result.nextAttemptAt;
    showWaiting(recipientDomain, result, attempts);
    const woken = await commands.orTime(result.nextAttemptAt);
    if (woken === 'cancel') {
      const cancelled = await cancelNow(sendId, commands.cancelReason);
      if (cancelled) return end({ outcome: 'cancelled', reason: commands.cancelReason });
    }
    // Never between a command and its carrying out: what a command set in motion is in the loop, not in the input.
    if (woken === 'time' && workflowInfo().continueAsNewSuggested) {
      await continueAsNew<typeof emailSend>({ ...input, attempts });
    }
    trigger = woken === 'retry' ? 'retry_now' : 'schedule';
    // An input is no part of what a replay compares, and a result from before this was told leaves it out: no `patched()`.
    attemptsBefore = woken === 'retry' ? result.attempts : undefined;
    state = 'attempting';
    nextAttemptAt = null;
  }
}

/** An attempt is not broken off by a cancellation: it ends as it ends, and the cancellation applies to what follows. */
function attempt(input: Omit<AttemptInput, 'now'>): Promise<AttemptResult> {
  return CancellationScope.nonCancellable(() => attemptDelivery({ ...input, now: Date.now() }));
}

/** @returns whether the send was cancelled; it may have been final already */
async function cancelNow(sendId: string, reason: string | null): Promise<boolean> {
  const result = await CancellationScope.nonCancellable(() =>
    cancelSend({ sendId, reason, now: Date.now() }),
  );
  return result === 'done';
}

type Woken = 'time' | 'woken' | 'retry' | 'cancel' | 'ended';

interface Commands {
  ended: { outcome: SendOutcome; reason: string | null } | null;
  cancelReason: string | null;
  /** @param at `null`: no time, only a command ends the waiting */
  orTime(at: number | null): Promise<Woken>;
}

/** Hears the signals from the first moment on, and a cancellation of the workflow like the signal `cancel`. */
function listen(): Commands {
  let retry = false;
  let woken = false;
  let cancelled = false;
  const seen = new Set<number | string>();
  const commands: Commands = {
    ended: null,
    cancelReason: null,
    async orTime(at) {
      const wakes = () => retry || woken || cancelled || commands.ended !== null;
      try {
        if (at === null) await condition(wakes);
        else await condition(wakes, Math.max(0, at - Date.now()), { summary: 'next attempt' });
      } catch (error) {
        // Cancelled at the Temporal UI: the send is cancelled, and the workflow ends with that result.
        if (!isCancellation(error)) throw error;
        cancelled = true;
      }
      if (commands.ended) return 'ended';
      if (cancelled) return 'cancel';
      const by = retry ? 'retry' : woken ? 'woken' : 'time';
      retry = false;
      woken = false;
      return by;
    },
  };
  setHandler(retryNow, (command) => {
    const id = command?.commandId;
    if (id !== undefined && seen.has(id)) return;
    if (id !== undefined) seen.add(id);
    retry = true;
  });
  setHandler(wakeSend, () => {
    woken = true;
  });
  setHandler(cancel, (command) => {
    cancelled = true;
    commands.cancelReason = command?.reason ?? null;
  });
  setHandler(ended, (end) => {
    commands.ended = end;
  });
  return commands;
}
