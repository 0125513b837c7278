import { classifyReply } from '../classifyReply.ts';
import { parseReplyText, saysNothing } from '../replyText.ts';
import { ENHANCED_CODE_RULES, WORD_RULES } from '../rules.ts';
import type { SmtpPhase, SmtpReply, Verdict } from '../verdict.ts';
import type { RecipientReport } from './report.ts';
import { oneLine } from './text.ts';

/** Words that may tell why a recipient was not reached. */
export interface Evidence {
  readonly text: string;
  readonly phase: SmtpPhase | null;
  /** A server's own reply, not the prose that a mail system wraps it in for people. */
  readonly quoted: boolean;
}

type Judgement = Pick<
  RecipientReport,
  'kind' | 'action' | 'category' | 'fault' | 'status' | 'reply' | 'diagnostic' | 'rule'
>;

const WORDS: ReadonlySet<string> = new Set(WORD_RULES.map(({ name }) => name));
const ENHANCED_CODES: ReadonlySet<string> = new Set(ENHANCED_CODE_RULES.map(({ name }) => name));
const BY_WORDS = 3;
const BY_ENHANCED = 2;
/** Characters of a text that are judged. */
const LONGEST_EVIDENCE = 4000;

/**
 * Judges a recipient by the most telling evidence: provider text over enhanced code over reply code, what a server
 * said over what is said about it, and of equals the first. Prose counts only where no reply told anything, for it
 * lists what may have happened ("misspelled, or it may not exist any longer").
 *
 * `status` is the enhanced status code that a report gives beside the texts; replies come before prose. `calledDead`:
 * a provider that saw the whole conversation calls the address dead.
 */
export function judge(
  evidence: Iterable<Evidence>,
  status: string | null,
  recipientDomain: string | null,
  calledDead = false,
): Judgement {
  let best: Judged | null = null;
  for (const each of evidence) {
    if (!each.quoted && best !== null && best.rank >= BY_ENHANCED) break;
    const judged = verdictOn(each, status, recipientDomain, calledDead);
    if (best === null || judged.rank > best.rank) best = judged;
    if (best.rank === BY_WORDS) break;
  }
  if (best === null) {
    const nothing = { text: '', phase: null, quoted: false };
    const { verdict } = verdictOn(nothing, status, recipientDomain, calledDead);
    return judgement(verdict, status, 0, null);
  }
  const verdict =
    !calledDead && isUnconfirmed(best) ? { ...best.verdict, action: 'soft' as const } : best.verdict;
  return judgement(verdict, specific(best.reply.enhancedCode, status), best.reply.code, best.each.text);
}

/**
 * A diagnostic without any code is no reply of a server: `The account does not exist` beside Status 5.0.0 may be
 * anybody's guess.
 */
function isUnconfirmed({ verdict, reply, each }: Judged): boolean {
  if (verdict.category !== 'user_unknown' || !each.quoted || each.phase !== null || reply.code !== 0)
    return false;
  return reply.enhancedCode === null || saysNothing(reply.enhancedCode);
}

function judgement(
  verdict: Verdict,
  status: string | null,
  code: number,
  diagnostic: string | null,
): Judgement {
  return {
    kind: verdict.action === 'hard' ? 'hard' : 'soft',
    action: verdict.action,
    category: verdict.category,
    fault: verdict.fault,
    status,
    reply: code === 0 ? null : code,
    diagnostic: oneLine(diagnostic),
    rule: verdict.rule,
  };
}

interface Judged {
  readonly each: Evidence;
  readonly verdict: Verdict;
  readonly reply: SmtpReply;
  /** How telling it is: {@link BY_WORDS}, {@link BY_ENHANCED}, 1 by the reply code, 0 by nothing. */
  readonly rank: number;
}

function verdictOn(
  each: Evidence,
  status: string | null,
  recipientDomain: string | null,
  calledDead: boolean,
): Judged {
  const read = parseReplyText(each.text.slice(0, LONGEST_EVIDENCE));
  const reply = { ...read, enhancedCode: specific(read.enhancedCode, status) };
  const verdict = classifyReply({
    reply,
    phase: each.phase,
    speaker: 'exchanger',
    calledDead,
    ...(recipientDomain !== null && { recipientDomain }),
  });
  return { each, verdict, reply, rank: rankOf(verdict.rule) };
}

function rankOf(rule: string): number {
  if (WORDS.has(rule)) return BY_WORDS;
  if (ENHANCED_CODES.has(rule)) return BY_ENHANCED;
  return rule === 'no rule' ? 0 : 1;
}

/** The code in the text, unless it says nothing and there is one beside it. */
function specific(inText: string | null, beside: string | null): string | null {
  if (inText === null || (saysNothing(inText) && beside !== null)) return beside ?? inText;
  return inText;
}
