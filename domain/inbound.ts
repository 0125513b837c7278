import type { Category } from './bounce/verdict.ts';
import type { DeliveryEventKind } from './deliveryEvent.ts';

/** Ways in for what comes back about mail that had left. */
export const INBOUND_SOURCES = [
  'listener',
  'imap',
  'http',
  'ses',
  'sendgrid',
  'mailgun',
  'postmark',
] as const;
export type InboundSource = (typeof INBOUND_SOURCES)[number];

/** `failed`: it could not be read, is kept, and is tried again only when a person asks for it. */
export const INBOUND_STATES = ['received', 'applied', 'failed'] as const;
export type InboundState = (typeof INBOUND_STATES)[number];

/** What came of one finding: `unmatched` is about none of our sends and changed nothing. */
export const EVENT_RESULTS = ['applied', 'no_change', 'unmatched'] as const;
export type EventResult = (typeof EVENT_RESULTS)[number];

/** Octets that are kept of a message, and read: a report stands before the message that it returns. */
export const INBOUND_KEPT_OCTETS = 1024 * 1024;
/** Octets that a message may have at all. */
export const INBOUND_MAX_OCTETS = 50 * 1024 * 1024;

/** What came in, as it came. */
export interface InboundItem {
  readonly source: InboundSource;
  /** Its first {@link INBOUND_KEPT_OCTETS}. */
  readonly content: Uint8Array;
  /** Addresses that it was delivered to (RCPT TO); empty where that is not known. */
  readonly recipients: readonly string[];
}

/** What one recipient's part of it says. Texts are as they came: whoever keeps them makes them fit. */
export interface Finding {
  readonly kind: DeliveryEventKind;
  readonly category: Category | null;
  /** The failure was a fault of ours and is not counted against the address. */
  readonly faultOurs: boolean;
  /** Enhanced status code, RFC 3463. */
  readonly status: string | null;
  /** Reply code, RFC 5321 section 4.2. */
  readonly replyCode: number | null;
  readonly diagnostic: string | null;
  /** Name of the rule that decided, for people who ask why. */
  readonly rule: string;
  /** Sends that it names in a way that nobody can forge: a signed return path, or a signed webhook's own field. */
  readonly sendIds: readonly string[];
  /** Message-IDs that it names, with their angle brackets; looked at where no send is named. */
  readonly messageIds: readonly string[];
}

/** What was understood of one item. */
export interface Understood {
  readonly findings: readonly Finding[];
  /** Sends that their recipients wrote about to be unsubscribed, each proven by a signed token. */
  readonly unsubscribes: readonly string[];
}

/** Reads an item. Throws where it cannot be read; never for trouble that passes. */
export type InboundReader = (item: InboundItem) => Promise<Understood>;
