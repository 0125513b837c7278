import { retryAfterSeconds } from '../retrySchedule.ts';
import { enhancedCodeIn, phaseInText } from './replyText.ts';
import { RULES, type SeenReply, type Speaker } from './rules.ts';
import type { Category, SmtpPhase, SmtpReply, Verdict } from './verdict.ts';

export interface ReplyToClassify {
  readonly reply: SmtpReply;
  /** The stage that the reply answered; `null` where it is told by a report that does not say. */
  readonly phase: SmtpPhase | null;
  /** Normalised; lets addresses of others in the text (the sender's) be told from the recipient's. */
  readonly recipientDomain?: string;
  /** Who replied; our own relay unless said otherwise, which is never taken for a verdict on the domain. */
  readonly speaker?: Speaker;
}

/** Before MAIL FROM nothing was said about anybody: a refusal is about us, or the server is not well. */
const CONVERSATION: readonly SmtpPhase[] = ['connect', 'greeting', 'ehlo', 'starttls', 'auth', 'quit'];
/** What can go wrong between us and the server; of anything else it is simply not available. */
const OF_CONVERSATION: readonly Category[] = [
  'rate_limit',
  'reputation',
  'authentication',
  'policy',
  'network',
  'protocol',
];
const AFTER_RECIPIENT: readonly SmtpPhase[] = ['data', 'message', 'final'];

/**
 * Tells what a refusing SMTP reply means: the first of {@link RULES} that matches, and
 *
 * - a temporary reply (4yz or 4.y.z, where the two disagree too) is always soft;
 * - before MAIL FROM everything is soft and a fault of ours; in reply to MAIL FROM it is at worst a no to us;
 * - a server that took the recipient and calls the user unknown only after DATA says it of the message as often as of
 *   the mailbox (NTT docomo answers so where the recipient's filter refuses): soft, unless the enhanced code X.1.y
 *   confirms it. The limit of consecutive exhausted sends catches what is dead after all.
 */
export function classifyReply(input: ReplyToClassify): Verdict {
  const { reply } = input;
  const seen: SeenReply = {
    text: normalise(reply.text, input.recipientDomain),
    code: reply.code,
    enhancedCode: reply.enhancedCode ?? enhancedCodeIn(reply.text),
    phase: phaseInText(reply.text) ?? input.phase,
    speaker: input.speaker ?? 'own_relay',
  };
  const verdict = judge(seen);
  return { ...verdict, retryAfterSeconds: verdict.action === 'soft' ? retryAfterSeconds(reply.text) : null };
}

function judge(seen: SeenReply): Omit<Verdict, 'retryAfterSeconds'> {
  const inConversation = seen.phase !== null && CONVERSATION.includes(seen.phase);
  const beforeRecipient = inConversation || seen.phase === 'mail';
  const rule = RULES.find((each) => !(each.permanent === 'hard' && beforeRecipient) && each.matches(seen));
  const name = rule?.name ?? 'no rule';
  if (inConversation) {
    const category = rule && OF_CONVERSATION.includes(rule.category) ? rule.category : 'relay_unavailable';
    return { action: 'soft', category: seen.phase === 'auth' ? 'authentication' : category, fault: 'ours', rule: name };
  }
  if (rule === undefined) return { action: 'soft', category: 'other', fault: 'recipient', rule: name };
  const { category } = rule;
  const fault = seen.phase === 'mail' && rule.category === 'policy' ? 'ours' : rule.fault;
  if (isTemporary(seen)) return { action: 'soft', category, fault, rule: name };
  if (rule.permanent === 'hard' && isSaidOfMessage(seen)) return { action: 'soft', category, fault, rule: name };
  return { action: rule.permanent, category, fault, rule: name };
}

function isTemporary({ code, enhancedCode }: SeenReply): boolean {
  return (code >= 400 && code < 500) || (enhancedCode?.startsWith('4.') ?? false);
}

function isSaidOfMessage({ phase, enhancedCode }: SeenReply): boolean {
  return phase !== null && AFTER_RECIPIENT.includes(phase) && !/^5\.(?:1\.|4\.1$)/.test(enhancedCode ?? '');
}

function normalise(text: string, recipientDomain: string | undefined): string {
  return text
    .toLowerCase()
    .replace(/[’‘`]/g, "'")
    .replace(/<?[^\s<>"'(),;:[\]]+@([^\s<>"'(),;:[\]]+[^\s<>"'(),;:.[\]])>?/g, (_, domain: string) =>
      recipientDomain === undefined || domain === recipientDomain ? 'addr' : 'otheraddr',
    )
    .replace(/\s+/g, ' ')
    .trim();
}
