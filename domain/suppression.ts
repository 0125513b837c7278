import { type EmailKind, SUPPRESSION_REASONS, type SuppressionReason } from './words.ts';

/**
 * One thing that forbids a send, as where it stands and what it is: a flag of the prospect, an entry of the address,
 * an entry within the list that the send goes to, a suppressed domain.
 */
export type SuppressionCause =
  | 'prospect:opt_out'
  | 'prospect:bounced'
  | `address:${SuppressionReason}`
  | `list:${SuppressionReason}`
  | `domain:${string}`;

export type SuppressionDecision =
  | { readonly allowed: true }
  /** All causes, in the order of {@link SuppressionCause}. */
  | { readonly allowed: false; readonly because: readonly SuppressionCause[] };

/** Everything that is known against a send at the moment of its gate. */
export interface SuppressionFacts {
  readonly kind: EmailKind;
  /** The prospect's flag Email Opt Out. */
  readonly optedOut: boolean;
  /** The prospect's flag Bounced. */
  readonly bounced: boolean;
  /** Reasons that the address is on the Global Suppression List for. */
  readonly addressReasons: readonly SuppressionReason[];
  /** Reasons that hold only within the list that this send goes to. */
  readonly listReasons: readonly SuppressionReason[];
  /** Suppressed domains that cover the address: its own or a parent. */
  readonly domainEntries: readonly string[];
  /** Whether the account lets transactional mail pass an opt-out; by default it does not pass. */
  readonly transactionalPassesOptOut: boolean;
}

/**
 * Whether a send may be attempted (I1, SPEC.md "Sending and retrying"). Every cause refuses marketing mail. The account
 * may let transactional mail pass opt-outs, wherever they stand; a bounce, a complaint, a manual entry or a domain it
 * never passes. The flags and the entries are looked at each by itself: none implies or lifts another (I3, I4).
 */
export function decideSuppression(facts: SuppressionFacts): SuppressionDecision {
  const passesOptOut = facts.kind === 'transactional' && facts.transactionalPassesOptOut;
  const holding = (reasons: readonly SuppressionReason[]) =>
    SUPPRESSION_REASONS.filter(
      (reason) => reasons.includes(reason) && !(reason === 'opt_out' && passesOptOut),
    );
  const because: SuppressionCause[] = [];
  if (facts.optedOut && !passesOptOut) because.push('prospect:opt_out');
  if (facts.bounced) because.push('prospect:bounced');
  because.push(...holding(facts.addressReasons).map((reason) => `address:${reason}` as const));
  because.push(...holding(facts.listReasons).map((reason) => `list:${reason}` as const));
  because.push(...facts.domainEntries.toSorted().map((domain) => `domain:${domain}` as const));
  return because.length === 0 ? { allowed: true } : { allowed: false, because };
}
