import type { BounceAction, Category, Fault } from '../verdict.ts';

/**
 * What kind of message said it:
 *
 * - `dsn`: a delivery status notification (RFC 3464, RFC 6533);
 * - `text`: a notification in words, without such a report;
 * - `delay`: a notice that delivery is still being tried;
 * - `feedback`: a feedback report (RFC 5965), such as a complaint;
 * - `auto_reply`: out of office, vacation and other automatic answers (RFC 3834);
 * - `challenge`: a challenge-response system that wants the sender to prove something;
 * - `receipt`: a disposition notification (RFC 8098), such as a read receipt;
 * - `none`: none of these.
 */
export type ReportSource =
  | 'dsn'
  | 'text'
  | 'delay'
  | 'feedback'
  | 'auto_reply'
  | 'challenge'
  | 'receipt'
  | 'none';

/** `soft` is everything that was not delivered though the address is not known to be dead, rejected ones included. */
export type BounceKind = 'hard' | 'soft' | 'none';

/** What one message says about one recipient. Every text is one line without control characters, bounded in length. */
export interface BounceReport {
  /** Which recipient of the message, from 1, in the order of the message. */
  readonly n: number;
  /** The address that the message was sent to, as reported: the original recipient where told, else the final one. */
  readonly recipient: string | null;
  /** Final-Recipient (RFC 3464 section 2.3.2): the address that failed, after forwarding. */
  readonly finalRecipient: string | null;
  /** Original-Recipient (RFC 3464 section 2.3.1), or what a bounce in words says that it was forwarded from. */
  readonly originalRecipient: string | null;
  readonly kind: BounceKind;
  readonly action: BounceAction | 'none';
  /** Action field as reported, in lower case, of a `dsn` or `delay`. */
  readonly reportedAction: string | null;
  /** `null` where `kind` is `none`. */
  readonly category: Category | null;
  readonly fault: Fault | null;
  /** Enhanced status code, RFC 3463. */
  readonly status: string | null;
  /** Reply code, RFC 5321 section 4.2. */
  readonly reply: number | null;
  /** The words that were judged. */
  readonly diagnostic: string | null;
  readonly remoteMta: string | null;
  /** Name of the rule that decided, for people who ask why. */
  readonly rule: string;
  readonly source: ReportSource;
  /** Feedback-Type (RFC 5965 section 3.1) of a `feedback` report, such as `abuse`. */
  readonly feedbackType: string | null;
  /** Addresses that the message itself was delivered to: one of them may be the signed return address. */
  readonly returnPathTokenCandidates: readonly string[];
  /** Message-ID of the message that is reported on, with its angle brackets. */
  readonly originalMessageId: string | null;
  /** Octets that were read, and that there were: less than all where the message is longer than the limit. */
  readonly octetsRead: number;
  readonly octets: number;
}

/** What is known of one recipient before the message's own facts are added. */
export type RecipientReport = Omit<
  BounceReport,
  'n' | 'returnPathTokenCandidates' | 'originalMessageId' | 'octetsRead' | 'octets'
>;

export interface ReadLimits {
  /** Octets of the message that are read. Reports stand before the message that they return. */
  readonly octets: number;
  /** Lines that are read. */
  readonly lines: number;
  /** Lines that may begin a part (`--`) that are read: a report has three parts. */
  readonly parts: number;
  /** Recipients of one message that are reported. */
  readonly recipients: number;
}

export const READ_LIMITS: ReadLimits = {
  octets: 1024 * 1024,
  lines: 20_000,
  parts: 2000,
  recipients: 500,
};

/** A recipient about whom nothing is decided: what each rule starts from. */
export function unjudged(rule: string, source: ReportSource): RecipientReport {
  return {
    recipient: null,
    finalRecipient: null,
    originalRecipient: null,
    kind: 'none',
    action: 'none',
    reportedAction: null,
    category: null,
    fault: null,
    status: null,
    reply: null,
    diagnostic: null,
    remoteMta: null,
    rule,
    source,
    feedbackType: null,
  };
}
