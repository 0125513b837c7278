import { classifyReply } from '../../domain/bounce/classifyReply.ts';
import { parseReplyText } from '../../domain/bounce/replyText.ts';
import type { Finding } from '../../domain/inbound.ts';

/** What a provider says of one event, before it is known which send it is about. */
export type ProviderFinding = Omit<Finding, 'sendIds' | 'messageIds'>;

export const KIND_OF_ACTION = { hard: 'hard_bounce', soft: 'gave_up', rejected: 'rejected' } as const;

/**
 * Judges a failure by the reply that the provider passes on, as any other reply is; where that tells nothing, by what the
 * provider calls it.
 *
 * @param failure.permanent whether the provider calls the address dead
 * @param failure.rule name of the provider's own category
 */
export function judgeFailure(failure: {
  readonly permanent: boolean;
  readonly diagnostic: string | null;
  readonly status: string | null;
  readonly rule: string;
}): ProviderFinding {
  const { permanent, diagnostic, rule } = failure;
  const read = parseReplyText((diagnostic ?? '').slice(0, 4_000));
  const reply = { ...read, enhancedCode: read.enhancedCode ?? enhancedCode(failure.status) };
  const verdict = classifyReply({ reply, phase: null, speaker: 'exchanger', calledDead: permanent });
  const told = verdict.rule !== 'no rule';
  const kind = told ? KIND_OF_ACTION[verdict.action] : permanent ? 'hard_bounce' : 'gave_up';
  return {
    kind,
    category: verdict.category,
    faultOurs: told && verdict.fault === 'ours',
    status: reply.enhancedCode,
    replyCode: reply.code === 0 ? null : reply.code,
    diagnostic,
    rule: told ? `${rule}; ${verdict.rule}` : rule,
  };
}

/** A finding that the provider's own word decides. */
export function stated(
  kind: Finding['kind'],
  rule: string,
  more: Partial<Pick<Finding, 'category' | 'faultOurs' | 'status' | 'replyCode' | 'diagnostic'>> = {},
): ProviderFinding {
  return {
    category: null,
    faultOurs: false,
    status: null,
    replyCode: null,
    diagnostic: null,
    ...more,
    kind,
    rule,
  };
}

/** An enhanced status code (RFC 3463), or `null` for anything else. */
export function enhancedCode(text: string | null | undefined): string | null {
  return /^[245]\.\d{1,3}\.\d{1,3}$/.exec(text?.trim() ?? '')?.[0] ?? null;
}
