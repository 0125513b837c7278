import type { SmtpPhase } from '../../domain/bounce/verdict.ts';

/** The longest that each step may take, in milliseconds. */
export interface SmtpTimeouts extends Readonly<Record<SmtpPhase, number>> {
  /** Reply to RSET or NOOP between two messages. */
  readonly reset: number;
  /** Answer of the owner's `beforeHandOver`. */
  readonly handOver: number;
  /** As long as a server answers the final dot within this time, the next envelope goes out together with it. */
  readonly prompt: number;
}

/** RFC 5321 section 4.5.3.2 where it names one; the rest as mail servers have it. */
export const DEFAULT_TIMEOUTS: SmtpTimeouts = {
  connect: 30_000,
  greeting: 300_000,
  ehlo: 300_000,
  /** Reply to STARTTLS, and again the handshake. */
  starttls: 60_000,
  auth: 120_000,
  mail: 300_000,
  rcpt: 300_000,
  data: 120_000,
  /** One block of content. */
  message: 180_000,
  /** Reply to the final dot: a server may filter the content first, and giving up early makes duplicates (RFC 1047). */
  final: 600_000,
  quit: 5_000,
  reset: 20_000,
  /** A database statement or two; the server keeps waiting for DATA meanwhile. */
  handOver: 30_000,
  /** Far below the 2 s for which the decision to send the next message holds. */
  prompt: 250,
};
