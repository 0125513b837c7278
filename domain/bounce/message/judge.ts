import { classifyReply } from '../classifyReply.ts';
import { parseReplyText } from '../replyText.ts';
import { ENHANCED_CODE_RULES, WORD_RULES } from '../rules.ts';
import type { SmtpPhase, Verdict } from '../verdict.ts';
import type { RecipientReport } from './report.ts';
import { oneLine } from './text.ts';

/** Words that may tell why a recipient was not reached. */
export interface Evidence {
  readonly text: string;
  /** Enhanced status code given beside the text. */
  readonly status: string | null;
  readonly phase: SmtpPhase | null;
  /** A server's own reply, not the prose that a mail system wraps it in for people. */
  readonly quoted: boolean;
}

type Judgement = Pick<
  RecipientReport,
  'kind' | 'action' | 'category' | 'fault' | 'status' | 'reply' | 'diagnostic' | 'rule'
>;

const BY_WORDS: ReadonlySet<string> = new Set(WORD_RULES.map(({ name }) => name));
const BY_ENHANCED_CODE: ReadonlySet<string> = new Set(ENHANCED_CODE_RULES.map(({ name }) => name));

/**
 * Judges a recipient by the most telling evidence: provider text over enhanced code over reply code, what a server
 * said over what is said about it, and of equals the first. Prose counts only where no reply told anything, for it
 * lists what may have happened ("misspelled, or it may not exist any longer").
 */
export function judge(evidence: readonly Evidence[], recipientDomain: string | null): Judgement {
  const judged = evidence.map((each) => ({ each, ...verdictOn(each, recipientDomain) }));
  const quoted = mostTelling(judged.filter(({ each }) => each.quoted));
  const best = quoted && quoted.rank >= 2 ? quoted : (mostTelling(judged) ?? undefined);
  const stated = evidence.find(({ status }) => status !== null)?.status ?? null;
  if (best === undefined) {
    const { verdict } = verdictOn({ text: '', status: stated, phase: null, quoted: false }, recipientDomain);
    return judgement(verdict, stated, 0, null);
  }
  const { reply, each } = best;
  const verdict = isUnconfirmed(best) ? { ...best.verdict, action: 'soft' as const } : best.verdict;
  return judgement(verdict, specific(reply.enhancedCode, stated), reply.code, each.text);
}

/**
 * A diagnostic without any code is no reply of a server: `The account does not exist` beside Status 5.0.0 may be
 * anybody's guess.
 */
function isUnconfirmed({ verdict, reply, each }: ReturnType<typeof verdictOn> & { each: Evidence }): boolean {
  if (verdict.category !== 'user_unknown' || !each.quoted || each.phase !== null || reply.code !== 0)
    return false;
  return reply.enhancedCode === null || reply.enhancedCode.endsWith('.0.0');
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

function verdictOn(evidence: Evidence, recipientDomain: string | null) {
  const read = parseReplyText(evidence.text.slice(0, 8000));
  const reply = { ...read, enhancedCode: specific(read.enhancedCode, evidence.status) };
  const verdict = classifyReply({
    reply,
    phase: evidence.phase,
    speaker: 'exchanger',
    ...(recipientDomain !== null && { recipientDomain }),
  });
  return { verdict, reply, rank: rankOf(verdict.rule) };
}

function rankOf(rule: string): number {
  if (BY_WORDS.has(rule)) return 3;
  if (BY_ENHANCED_CODE.has(rule)) return 2;
  return rule === 'no rule' ? 0 : 1;
}

/** The code in the text, unless it says nothing (X.0.0) and the one beside it does. */
function specific(inText: string | null, beside: string | null): string | null {
  if (inText === null || (/\.0\.0$/.test(inText) && beside !== null)) return beside ?? inText;
  return inText;
}

function mostTelling<T extends { readonly rank: number }>(judged: readonly T[]): T | undefined {
  return judged.reduce<T | undefined>(
    (best, each) => (best && best.rank >= each.rank ? best : each),
    undefined,
  );
}
