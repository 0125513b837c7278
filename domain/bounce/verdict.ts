/**
 * The words in which an outcome of one attempt is told, shared by everything that reads replies or reports.
 * SPEC.md, "Sending and retrying".
 */

/** What the failure was about. */
export const CATEGORIES = [
  'user_unknown',
  'mailbox_full',
  'mailbox_inactive',
  'mailbox_moved',
  'host_unknown',
  'no_mail_accepted',
  'greylisting',
  'rate_limit',
  'reputation',
  'authentication',
  'policy',
  'content',
  'message_too_large',
  'relay_refused',
  'protocol',
  'network',
  'system',
  'relay_unavailable',
  'expired',
  'other',
] as const;
export type Category = (typeof CATEGORIES)[number];

/**
 * - `hard`: the address is dead.
 * - `soft`: not delivered this time, try again.
 * - `rejected`: a permanent no to this message or to us; no flag, no retry.
 */
export type BounceAction = 'hard' | 'soft' | 'rejected';

/** Whose fault a failure is: `ours` holds the destination back and is never counted against the address. */
export type Fault = 'recipient' | 'ours';

/** What the server said. `code` is 0 where there was no reply code. */
export interface SmtpReply {
  /** Reply code, RFC 5321 section 4.2. */
  readonly code: number;
  /** Enhanced status code `class.subject.detail`, RFC 3463, or `null` where none was given. */
  readonly enhancedCode: string | null;
  /** Text of all lines joined by a space, without the codes. */
  readonly text: string;
}

/** The stage of the conversation that a reply answered; it decides whose fault an unclear reply is. */
export type SmtpPhase =
  | 'connect'
  | 'greeting'
  | 'ehlo'
  | 'starttls'
  | 'auth'
  | 'mail'
  | 'rcpt'
  | 'data'
  | 'message'
  | 'final'
  | 'quit';

/** Who replied: the smart host that takes our mail to everybody, or a server of the recipient's domain. */
export type Speaker = 'own_relay' | 'exchanger';

/** What a refusal means and which rule said so. */
export interface Verdict {
  readonly action: BounceAction;
  readonly category: Category;
  readonly fault: Fault;
  /** Name of the rule that matched, for people who ask why. */
  readonly rule: string;
  /** The server's own wish for the next attempt, in seconds from the reply, where it stated one. */
  readonly retryAfterSeconds: number | null;
}
