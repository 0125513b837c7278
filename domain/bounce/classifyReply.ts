import { retryAfterSeconds } from '../retrySchedule.ts';
import { enhancedCodeIn, phaseInText } from './replyText.ts';
import { RULES, type SeenReply } from './rules.ts';
import type { Category, SmtpPhase, SmtpReply, Speaker, Verdict } from './verdict.ts';

export interface ReplyToClassify {
  readonly reply: SmtpReply;
  /** The stage that the reply answered; `null` where it is told by a report that does not say. */
  readonly phase: SmtpPhase | null;
  /** Normalised; lets addresses of others in the text (the sender's) be told from the recipient's. */
  readonly recipientDomain?: string;
  /** Who replied; our own relay unless said otherwise, which is never taken for a verdict on the domain. */
  readonly speaker?: Speaker;
  /** A provider that saw the whole conversation calls the address dead: words that would be doubtful are not. */
  readonly calledDead?: boolean;
}

/** Before MAIL FROM nothing was said about anybody: a refusal is about us, or the server is not well. */
const CONVERSATION: readonly SmtpPhase[] = ['connect', 'greeting', 'ehlo', 'starttls', 'auth', 'quit'];
/** What can go wrong between us and the server; of anything else it is simply not available. */
const OF_CONVERSATION: readonly Category[] = ['rate_limit', 'reputation', 'authentication', 'network'];
/** Who said it, as Postfix and Exim put it before what was said. */
const SPEAKER = /(?<!client )\bhost [\w-]+\.[\w.-]+(?:\s?\[[^\]\s]+\](?::\d+)?)?(?: said)?:/g;
const LINK = /\bhttps?:\/\/\S+/gi;
/** Characters looked at: far more than a reply has, few enough for every pattern. */
const LONGEST_TEXT = 4000;
/** KDDI (au) leaves the address out where the recipient's own filter refuses, and names it where there is none. */
const NAMES_NOBODY = /(?:^|> )(?:550 )?: user unknown\b/;
const NAMES_THE_RECIPIENT = /^(?:addr: user unknown|(?:addr: )?unknown user: \S+)\W*$/;
const TERSE =
  /\b(?:unknown user|user unknown|no such user|user (?:does )?not (?:exist|found)|recipient not found)\b/;
/** The RFC's own text of 550, which stands for "not found", "no access" and "policy" alike. */
const RFC5321_550 = /\brequested action not taken: mailbox unavailable\b/;
/** The same in fewer words; not Outlook.com's 5.5.0, which it gives in reply to RCPT TO. */
const UNAVAILABLE = /\bmail ?box (?:is )?(?:unavailable|not available)\b/;
const AFTER_RECIPIENT: readonly SmtpPhase[] = ['data', 'message', 'final'];

/**
 * Tells what a refusing SMTP reply means: the first of {@link RULES} that matches, and
 *
 * - a temporary reply (4yz or 4.y.z, where the two disagree too) is always soft;
 * - before MAIL FROM everything is soft and a fault of ours; in reply to MAIL FROM it is at worst a no to us;
 * - a server that took the recipient and says "user unknown" only after DATA says it of the message as often as of the
 *   mailbox (NTT docomo answers so where the recipient's filter refuses): soft, unless the enhanced code X.1.y confirms
 *   it or it is said at greater length; so it is, where a report does not tell the stage, beside a code that says the mailbox exists (X.2.y).
 *   The limit of consecutive exhausted sends catches what is dead after all.
 */
export function classifyReply(input: ReplyToClassify): Verdict {
  const { reply } = input;
  const text = reply.text.slice(0, LONGEST_TEXT);
  const seen: SeenReply = {
    text: normalise(text.replace(LINK, ' '), input.recipientDomain),
    links: (text.match(LINK) ?? []).join(' ').toLowerCase(),
    code: reply.code,
    enhancedCode: reply.enhancedCode ?? enhancedCodeIn(text),
    phase: phaseInText(text) ?? input.phase,
    speaker: input.speaker ?? 'own_relay',
  };
  const verdict = judge(seen, input.calledDead ?? false);
  return { ...verdict, retryAfterSeconds: verdict.action === 'soft' ? retryAfterSeconds(text) : null };
}

function judge(seen: SeenReply, calledDead: boolean): Omit<Verdict, 'retryAfterSeconds'> {
  const inConversation = seen.phase !== null && CONVERSATION.includes(seen.phase);
  const beforeRecipient = inConversation || seen.phase === 'mail';
  const rule = RULES.find((each) => !(each.permanent === 'hard' && beforeRecipient) && each.matches(seen));
  const name = rule?.name ?? 'no rule';
  if (inConversation) {
    const category = rule && OF_CONVERSATION.includes(rule.category) ? rule.category : 'relay_unavailable';
    return {
      action: 'soft',
      category: seen.phase === 'auth' ? 'authentication' : category,
      fault: 'ours',
      rule: name,
    };
  }
  if (rule === undefined) return { action: 'soft', category: 'other', fault: 'recipient', rule: name };
  const { category } = rule;
  const fault = seen.phase === 'mail' && rule.category === 'policy' ? 'ours' : rule.fault;
  if (isTemporary(seen)) return { action: 'soft', category, fault, rule: name };
  if (rule.permanent === 'hard' && !calledDead && isDoubtful(seen)) {
    return { action: 'soft', category, fault, rule: name };
  }
  return { action: rule.permanent, category, fault, rule: name };
}

function isTemporary({ code, enhancedCode, text }: SeenReply): boolean {
  if (code === 0 && enhancedCode === null) return /\b(?:temporar|deferred|later|will be retried)/.test(text);
  return (code >= 400 && code < 500) || (enhancedCode?.startsWith('4.') ?? false);
}

/** Whether words that call the mailbox unknown are doubtful by where they stand or by the code beside them. */
function isDoubtful({ phase, code, enhancedCode, text }: SeenReply): boolean {
  const isAfterRecipient = phase !== null && AFTER_RECIPIENT.includes(phase);
  if (isAfterRecipient && UNAVAILABLE.test(text)) return !enhancedCode?.startsWith('5.1.');
  if (!TERSE.test(text) && !(enhancedCode === null && RFC5321_550.test(text))) return false;
  if (NAMES_NOBODY.test(text)) return true;
  if (enhancedCode?.startsWith('5.1.')) return false;
  if (phase !== null) return isAfterRecipient;
  if (enhancedCode?.startsWith('5.2.')) return true;
  // A status without a reply: the reporting system itself did not find the mailbox.
  if (code === 0 && enhancedCode !== null) return false;
  return !NAMES_THE_RECIPIENT.test(text);
}

function normalise(text: string, recipientDomain: string | undefined): string {
  return text
    .toLowerCase()
    .replace(SPEAKER, ' ')
    .replace(/[’‘`]/g, "'")
    .replace(/<?[^\s<>"'(),;:[\]]+@([^\s<>"'(),;:[\]]+[^\s<>"'(),;:.[\]])>?/g, (_, domain: string) =>
      recipientDomain === undefined || domain === recipientDomain ? 'addr' : 'otheraddr',
    )
    .replace(/[\s_]+/g, ' ')
    .trim();
}
