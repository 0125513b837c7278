/** SPEC.md's words as types, in one place: tables, routes and workflows all take them from here. */

/** Why an address is on the Global Suppression List. */
export const SUPPRESSION_REASONS = ['opt_out', 'bounced', 'complaint', 'manual'] as const;
export type SuppressionReason = (typeof SUPPRESSION_REASONS)[number];

export const EMAIL_KINDS = ['marketing', 'transactional'] as const;
export type EmailKind = (typeof EMAIL_KINDS)[number];

/** Which way a change came (I6). `system` is Heed itself carrying out what was asked for earlier. */
export const WAYS = [
  'person',
  'api',
  'unsubscribe_link',
  'one_click',
  'unsubscribe_mail',
  'automation',
  'bulk_update',
  'salesforce',
  'bounce',
  'complaint',
  'import',
  'system',
] as const;
export type Way = (typeof WAYS)[number];

/** Ways by which the recipients themselves say no: nobody else takes that back in bulk. */
export const OWN_WAYS: readonly Way[] = ['unsubscribe_link', 'one_click', 'unsubscribe_mail', 'complaint'];

/** Who changes something, by which way and why; every change takes one and the audit trail keeps it. */
export interface Origin {
  readonly way: Way;
  /** Who: the name of an API key, an automation, `heed`. Never an email address. */
  readonly actor: string;
  /** Why, in the words of whoever did it; `null` where none were given. */
  readonly reason: string | null;
  readonly requestId?: string;
  /** The send that led to it, e.g. whose unsubscribe link was used. */
  readonly sendId?: string;
}

/**
 * Where a send stands. `attempting` has an attempt in the air, `waiting` has a time for its next one,
 * `held` waits because a fault of ours holds the way out back, or because marketing email is paused.
 */
export const SEND_STATES = ['queued', 'attempting', 'waiting', 'held', 'final'] as const;
export type SendState = (typeof SEND_STATES)[number];

/** How a send ended. */
export const SEND_OUTCOMES = [
  'delivered',
  'bounced',
  'exhausted',
  'rejected',
  'suppressed',
  'cancelled',
  'unknown',
] as const;
export type SendOutcome = (typeof SEND_OUTCOMES)[number];

/** `gated` when the gate committed, `handing_over` just before the message may be taken, then `finished`. */
export const ATTEMPT_STATES = ['gated', 'handing_over', 'finished'] as const;
export type AttemptState = (typeof ATTEMPT_STATES)[number];

/** How an attempt ended. */
export const ATTEMPT_OUTCOMES = [
  'delivered',
  'hard_bounce',
  'soft_bounce',
  'rejected',
  'refused',
  'unknown',
] as const;
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];

/** What made an attempt begin. */
export const ATTEMPT_TRIGGERS = ['schedule', 'retry_now'] as const;
export type AttemptTrigger = (typeof ATTEMPT_TRIGGERS)[number];

/**
 * What a recipient unsubscribes from in one step, where no page asks: from everything, or from the list that the email
 * was sent to.
 */
export const ONE_CLICK_SCOPES = ['everything', 'list'] as const;
export type OneClickScope = (typeof ONE_CLICK_SCOPES)[number];

/** Types of custom fields. */
export const CUSTOM_FIELD_TYPES = ['text', 'number', 'boolean', 'date', 'datetime', 'choice'] as const;
export type CustomFieldType = (typeof CUSTOM_FIELD_TYPES)[number];

/** Standard fields of a prospect that hold plain text. */
export const STANDARD_FIELDS = [
  'firstName',
  'lastName',
  'company',
  'title',
  'phone',
  'country',
  'state',
  'city',
  'postalCode',
  'website',
  'leadSource',
  'timeZone',
] as const;
export type StandardField = (typeof STANDARD_FIELDS)[number];
