import { closeSync, openSync, writeSync } from 'node:fs';
import { behaviourOf, type Decision } from './behaviours.ts';

/** A message as it arrived. MIME is parsed when somebody looks, never while mail comes in. */
export interface StoredMessage {
  /** Counts up from 1. */
  readonly id: number;
  /** ISO 8601. */
  readonly at: string;
  readonly from: string;
  readonly recipients: readonly string[];
  /** With its angle brackets; null without one. */
  readonly messageId: string | null;
  readonly content: Buffer;
}

/** One recipient of one transaction, and what became of it. */
export interface AttemptRecord {
  readonly at: string;
  readonly recipient: string;
  /** Null where the content was never seen. */
  readonly messageId: string | null;
  /** Whether the message was kept: then its recipient has it, whatever the sender was told. */
  readonly accepted: boolean;
  /** What the sender was told; null where the connection broke instead. */
  readonly reply: string | null;
}

export interface MailboxOptions {
  /** Messages kept; older ones are forgotten. Default 10,000. */
  readonly keepMessages?: number;
  /** Attempts kept. Default 200,000. */
  readonly keepAttempts?: number;
  /** Appended to: one AttemptRecord a line, as JSON, written before the sender is answered. */
  readonly logFile?: string;
}

/** What arrived and what was tried, in memory and bounded. */
export class Mailbox {
  readonly messages: StoredMessage[] = [];
  readonly attempts: AttemptRecord[] = [];
  readonly #seen = new Map<string, { count: number; firstAt: number }>();
  readonly #keepMessages: number;
  readonly #keepAttempts: number;
  readonly #log: number | undefined;
  #lastId = 0;

  constructor(options: MailboxOptions) {
    this.#keepMessages = options.keepMessages ?? 10_000;
    this.#keepAttempts = options.keepAttempts ?? 200_000;
    this.#log = options.logFile === undefined ? undefined : openSync(options.logFile, 'a');
  }

  /** Counts an attempt at the address and says what is to be done with it. */
  decide(recipient: string, now: number): Decision {
    const key = recipient.toLowerCase();
    const seen = this.#seen.get(key) ?? { count: 0, firstAt: now };
    this.#seen.set(key, seen);
    const earlier = seen.count;
    seen.count += 1;
    const { behaviour, n } = behaviourOf(recipient);
    return behaviour.decide({ n, earlier, sinceFirstMs: now - seen.firstAt });
  }

  record(recipient: string, outcome: Pick<AttemptRecord, 'messageId' | 'accepted' | 'reply'>): void {
    const attempt = { at: new Date().toISOString(), recipient, ...outcome };
    if (this.#log !== undefined) writeSync(this.#log, `${JSON.stringify(attempt)}\n`);
    push(this.attempts, attempt, this.#keepAttempts);
  }

  keep(from: string, recipients: readonly string[], content: Buffer, messageId: string | null): void {
    this.#lastId += 1;
    const at = new Date().toISOString();
    push(this.messages, { id: this.#lastId, at, from, recipients, messageId, content }, this.#keepMessages);
  }

  /** Forgets messages, attempts and how often each address was tried. Ids go on counting; the log file stays. */
  clear(): void {
    this.messages.length = 0;
    this.attempts.length = 0;
    this.#seen.clear();
  }

  close(): void {
    if (this.#log !== undefined) closeSync(this.#log);
  }
}

/** Forgets in blocks, so that a full list does not move all its entries for each new one. */
function push<T>(list: T[], entry: T, keep: number): void {
  list.push(entry);
  if (list.length >= keep * 1.1 + 1) list.splice(0, list.length - keep);
}

/** Message-ID of a message, without parsing the rest. */
export function messageIdOf(content: Buffer): string | null {
  const end = content.indexOf('\r\n\r\n');
  const header = content.toString('latin1', 0, end === -1 ? content.length : end);
  return /^message-id:\s*(<[^>\r\n]+>)/im.exec(header)?.[1] ?? null;
}
