import type { SmtpPhase, SmtpReply } from '../../domain/bounce/verdict.ts';

/** The two addresses of RFC 5321 section 2.3.1 and the message with CRLF line ends, not yet dot-stuffed. */
export interface OutgoingMessage {
  /** Return path without angle brackets; empty for the null reverse-path. */
  readonly from: string;
  /** One recipient without angle brackets. */
  readonly to: string;
  readonly content: Uint8Array;
}

/** Questions that the conversation asks its owner at the points where the answer matters. */
export interface TransmissionHooks {
  /** Asked right before MAIL FROM is written. `false`: the gate's decision is too old, nothing is sent. */
  mayBegin(): boolean;
  /**
   * Asked once the recipient is accepted and before anything by which the message may be taken over is written.
   * `false`: somebody else owns this attempt now; the transaction is reset and nothing is handed over.
   */
  beforeHandOver(): Promise<boolean>;
}

/** How the conversation about one message ended. Every end is told; nothing throws. */
export type Transmission =
  | { readonly kind: 'accepted'; readonly reply: SmtpReply }
  | { readonly kind: 'refused'; readonly phase: SmtpPhase; readonly reply: SmtpReply }
  | {
      readonly kind: 'broken';
      readonly phase: SmtpPhase;
      /** True only from the first byte of the final CRLF.CRLF until its reply (RFC 5321 section 4.2.5, RFC 1047). */
      readonly mayHaveBeenTaken: boolean;
      readonly detail: string;
    }
  | { readonly kind: 'not_begun'; readonly why: 'gate_expired' | 'ownership_lost' };

/** A conversation that is ready for MAIL FROM: connected, greeted, encrypted and authenticated as configured. */
export interface ReadyConversation {
  readonly ready: true;
  /** Name under which faults of ours hold back what goes the same way, e.g. `relay:smtp.example.com:587`. */
  readonly destination: string;
  /** Host name and address of the server. */
  readonly remoteHost: string;
  transmit(message: OutgoingMessage, hooks: TransmissionHooks): Promise<Transmission>;
  /** Gives the conversation back, to be used again where it can be. Exactly once, also when nothing was transmitted. */
  release(): void;
}

/** There is no conversation to be had now; nobody's address is to blame. */
export interface NoConversation {
  readonly ready: false;
  readonly destination: string;
  readonly remoteHost: string;
  readonly phase: SmtpPhase;
  /** Present where the server answered at all. */
  readonly reply: SmtpReply | null;
  readonly detail: string;
}

/** A way for mail to leave: a smart host today, the recipient's own MX beside it later. */
export interface Mailer {
  /** Destination that mail to this domain leaves by, known without connecting. */
  destinationOf(recipientDomain: string): string;
  /** Waits for a free conversation, at the longest until `signal` aborts (then it rejects with the signal's reason). */
  reserve(recipientDomain: string, signal: AbortSignal): Promise<ReadyConversation | NoConversation>;
  /** Ends idle conversations with QUIT and waits for the busy ones. */
  close(): Promise<void>;
}
