import type { RenderFailure } from '../adapters/mailer/composer.ts';
import type { NoConversation, ReadyConversation, Transmission } from '../adapters/mailer/mailer.ts';
import type { AttemptEnd } from '../db/queries/outcome.ts';
import { classifyReply } from '../domain/bounce/classifyReply.ts';
import type { SmtpPhase, Verdict } from '../domain/bounce/verdict.ts';

const NOTHING_KNOWN = {
  category: null,
  faultOurs: false,
  holdsBack: false,
  rule: null,
  phase: null,
  replyCode: null,
  enhancedCode: null,
  replyText: null,
  hintSeconds: null,
} as const;

const OUTCOMES = { hard: 'hard_bounce', soft: 'soft_bounce', rejected: 'rejected' } as const;

function judged(verdict: Verdict) {
  const faultOurs = verdict.fault === 'ours';
  return {
    outcome: OUTCOMES[verdict.action],
    category: verdict.category,
    faultOurs,
    holdsBack: faultOurs,
    rule: verdict.rule,
    hintSeconds: verdict.retryAfterSeconds,
  };
}

/** No server of the recipient's domain could be talked to, and that is an answer too. */
export function endWithoutConversation(failure: NoConversation & { readonly verdict: Verdict }): AttemptEnd {
  return {
    ...judged(failure.verdict),
    phase: failure.phase,
    replyCode: failure.reply?.code ?? null,
    enhancedCode: failure.reply?.enhancedCode ?? null,
    replyText: failure.reply?.text ?? failure.detail,
    destination: failure.destination,
    remoteHost: failure.remoteHost,
  };
}

/** What the end of a conversation means for the attempt. */
export function endOfTransmission(
  transmission: Exclude<Transmission, { kind: 'not_begun' }>,
  conversation: ReadyConversation,
  send: { readonly recipientDomain: string },
): AttemptEnd {
  const { destination, remoteHost } = conversation;
  switch (transmission.kind) {
    case 'accepted':
      return {
        ...NOTHING_KNOWN,
        outcome: 'delivered',
        phase: 'final',
        replyCode: transmission.reply.code,
        enhancedCode: transmission.reply.enhancedCode,
        replyText: transmission.reply.text,
        destination,
        remoteHost,
      };
    case 'refused': {
      const { reply, phase } = transmission;
      const { recipientDomain } = send;
      const { speaker } = conversation;
      return {
        ...judged(classifyReply({ reply, phase, recipientDomain, speaker })),
        phase,
        replyCode: reply.code,
        enhancedCode: reply.enhancedCode,
        replyText: reply.text,
        destination,
        remoteHost,
      };
    }
    case 'broken': {
      const end = endOfBroken(destination, { ...transmission, remoteHost });
      return transmission.mayHaveBeenTaken ? { ...end, outcome: 'unknown' } : end;
    }
    case 'unsendable':
      return {
        ...NOTHING_KNOWN,
        outcome: 'rejected',
        category: transmission.why === 'message_too_large' ? 'message_too_large' : 'protocol',
        rule: transmission.why,
        replyText: transmission.detail,
        destination,
        remoteHost,
      };
  }
}

/** The connection broke before the message may have been taken. */
export function endOfBroken(
  destination: string,
  where: { readonly phase: SmtpPhase; readonly detail: string; readonly remoteHost: string },
): AttemptEnd {
  return {
    ...NOTHING_KNOWN,
    outcome: 'soft_bounce',
    category: 'network',
    // A broken connection says nothing about the address; one alone is no reason to hold everybody back either.
    faultOurs: true,
    rule: 'connection_broken',
    phase: where.phase,
    replyText: where.detail,
    destination,
    remoteHost: where.remoteHost,
  };
}

/** The email could not be rendered for this prospect: trying again would change nothing. */
export function endOfRendering(failure: RenderFailure, destination: string): AttemptEnd {
  return {
    ...NOTHING_KNOWN,
    outcome: 'rejected',
    category: 'content',
    rule: 'not_rendered',
    replyText: failure.problem,
    destination,
    remoteHost: null,
  };
}

/** Whoever was handing the message over is gone, and nobody heard the reply (I2). */
export function lostOutcome(destination: string): AttemptEnd {
  return {
    ...NOTHING_KNOWN,
    outcome: 'unknown',
    category: 'system',
    faultOurs: true,
    rule: 'worker_lost',
    phase: 'message',
    replyText: 'the worker was lost while it handed the message over',
    destination,
    remoteHost: null,
  };
}
