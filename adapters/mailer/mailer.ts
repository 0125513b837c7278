import type { SmtpPhase, SmtpReply, Speaker, Verdict } from '../../domain/bounce/verdict.ts';

/** The two addresses of RFC 5321 section 2.3.1 and the message with CRLF line ends, not yet dot-stuffed. */
export interface OutgoingMessage {
  /** Return path without angle brackets; empty for the null reverse-path. */
  readonly from: string;
  /** One recipient without angle brackets. */
  readonly to: string;
  /**
   * Octets; or a text of 7-bit characters whose maker knows of it what is looked for otherwise: its line ends are CRLF,
   * one stands at its end, and no line begins with a dot.
   */
  readonly content: Uint8Array | string;
}

/** Questions that the conversation asks its owner at the points where the answer matters. */
export interface TransmissionHooks {
  /** Asked right before MAIL FROM is written. `false`: the gate's decision is too old, nothing is sent. */
  mayBegin(): boolean;
  /**
   * Asked once the recipient is accepted and before anything by which the message may be taken over is written.
   * `false`: somebody else owns this attempt now; the transaction is reset and nothing is handed over.
   * When it rejects, the connection is dropped, nothing is handed over, and `transmit` rejects with the same error.
   * It has a deadline; missing it ends the conversation as `broken`, phase `data`, not taken.
   */
  beforeHandOver(): Promise<boolean>;
}

/** Why a message cannot be sent by this conversation, found before anything of it was written. */
export type Unsendable =
  /** The address would not survive in a command: line ends, NUL, brackets or spaces outside quotes, no domain. */
  | 'address_malformed'
  /** The address is internationalised and the server does not offer SMTPUTF8 (RFC 6531). */
  | 'address_needs_smtputf8'
  /** The content has octets above 127 and the server does not offer 8BITMIME (RFC 6152). */
  | 'content_needs_8bitmime'
  /** The content has a CR or LF that is not part of a CRLF (RFC 5321 section 2.3.8). */
  | 'content_line_ends'
  /** The content is larger than what the server said it takes (RFC 1870). */
  | 'message_too_large';

/** How the conversation about one message ended. Every end is told; only what a hook threw is thrown. */
export type Transmission =
  | { readonly kind: 'accepted'; readonly reply: SmtpReply }
  | { readonly kind: 'refused'; readonly phase: SmtpPhase; readonly reply: SmtpReply }
  | {
      readonly kind: 'broken';
      readonly phase: SmtpPhase;
      /** True only from the first byte of the final CRLF.CRLF until its reply (RFC 5321 section 4.2.5, RFC 1047): phase `final`. */
      readonly mayHaveBeenTaken: boolean;
      readonly detail: string;
    }
  | { readonly kind: 'not_begun'; readonly why: 'gate_expired' | 'ownership_lost' }
  /**
   * Others had been carried by the conversation before, and the server ended it in the face of this message's MAIL FROM:
   * nobody's address is to blame, and another conversation may carry it.
   */
  | {
      readonly kind: 'not_begun';
      readonly why: 'conversation_over';
      /** What the server said when it ended it. */
      readonly reply: SmtpReply | null;
    }
  /** Refused by ourselves: the server was not asked, the conversation is as good as before. */
  | {
      readonly kind: 'unsendable';
      readonly why: Unsendable;
      /** Which part of the message stands in the way. */
      readonly about: keyof OutgoingMessage;
      readonly detail: string;
    };

/** One of many messages that leave one behind the other; that it may be handed over was settled before. */
export interface QueuedMessage {
  readonly message: OutgoingMessage;
  /** By `performance.now()`: what of it reaches the server later than that counts as not begun. */
  readonly beginBefore: number;
  /** Its MAIL FROM is on its way, at this time by `performance.now()` at the latest. */
  begun(at: number): void;
  /** How it ended; called once. */
  ended(end: Transmission): void;
}

/** A conversation that is ready for MAIL FROM: connected, greeted, encrypted and authenticated as configured. */
export interface ReadyConversation {
  readonly ready: true;
  /** Name under which faults of ours hold back what goes the same way, e.g. `relay:smtp.example.com:587`. */
  readonly destination: string;
  /** Host name and address of the server. */
  readonly remoteHost: string;
  /** Who replies: what our own relay says of itself is never a verdict on an address. */
  readonly speaker: Speaker;
  /** One message after the other. Rejects only with what a hook threw. */
  transmit(message: OutgoingMessage, hooks: TransmissionHooks): Promise<Transmission>;
  /**
   * Message after message, until `next` has none or the conversation takes no more; everything that `next` gave has
   * ended by then. Where the server allows it, the end of one message travels with the envelope of the next one.
   *
   * @returns whether the conversation takes more
   */
  transmitAll(next: () => QueuedMessage | null): Promise<boolean>;
  /** Gives the conversation back, to be used again where it can be; also when nothing was transmitted. A second call does nothing. */
  release(): void;
}

/** There is no conversation to be had now. */
export interface NoConversation {
  readonly ready: false;
  /**
   * What it says about the recipient's domain: then it is the outcome of an attempt. `null` where nobody's address is to
   * blame: a fault of ours, which holds the way out back.
   */
  readonly verdict: Verdict | null;
  /**
   * Nothing failed: as much as the destination takes at a time is on its way, and the send had better come back after
   * so many milliseconds than keep a worker waiting. No fault of anybody, nothing to hold back.
   */
  readonly busyMilliseconds?: number;
  readonly destination: string;
  readonly remoteHost: string;
  readonly phase: SmtpPhase;
  /** Present where the server answered at all. */
  readonly reply: SmtpReply | null;
  readonly detail: string;
}

/** A way for mail to leave: a smart host, or the mail servers of the recipient's own domain. */
export interface Mailer {
  /** The destination that all mail leaves by; `null` where each domain has its own. */
  readonly onlyDestination: string | null;
  /** Destination that mail to this domain leaves by, known without connecting. */
  destinationOf(recipientDomain: string): string;
  /**
   * Waits for a free conversation, first come first served, at the longest until `signal` aborts (then it rejects
   * with the signal's reason). Rejects also when the mailer is closed.
   */
  reserve(recipientDomain: string, signal: AbortSignal): Promise<ReadyConversation | NoConversation>;
  /** Ends idle conversations with QUIT and waits for the busy ones. */
  close(): Promise<void>;
}
