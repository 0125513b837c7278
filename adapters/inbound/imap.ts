import { ImapFlow } from 'imapflow';
import { INBOUND_KEPT_OCTETS } from '../../domain/inbound.ts';
import type { CollectedMessage } from './collect.ts';

/** A mailbox that bounces come to. */
export interface ImapMailbox {
  readonly host: string;
  readonly port: number;
  /** `implicit` from the first byte; `starttls` and nothing without it; `none` for a server on the same machine. */
  readonly tls: 'implicit' | 'starttls' | 'none';
  readonly auth: { readonly user: string; readonly password: string };
  /** Name of the mailbox, such as `INBOX`. */
  readonly mailbox: string;
  /** Where messages are moved once they are kept; `null`: they stay and get {@link DONE_KEYWORD}. */
  readonly doneMailbox: string | null;
}

/** Keyword (RFC 9051 section 2.3.2) of a message that was kept. */
export const DONE_KEYWORD = '$HeedDone';
/** Messages that are marked as done with one command. */
const BATCH = 50;
const QUERY = { uid: true, size: true, source: { start: 0, maxLength: INBOUND_KEPT_OCTETS } } as const;

export interface PollOptions {
  /** Messages that are taken at the most. */
  readonly limit: number;
  /** Keeps one message; resolves once it is durable (I7). What was kept before is known by its content. */
  readonly store: (message: CollectedMessage) => Promise<void>;
  /** Called after each message, so that whoever waits knows that it goes on. */
  readonly onProgress: () => void;
  readonly signal: AbortSignal;
}

/**
 * Takes the messages that are not marked as done, oldest first, one at a time and of each only the beginning. A message
 * is marked after it was kept: a crash in between shows it again, and it is known then.
 *
 * @returns how many were taken, and whether there are more
 * @throws where the server cannot be reached, refuses the account, or cannot mark messages
 */
export async function pollMailbox(
  from: ImapMailbox,
  options: PollOptions,
): Promise<{ taken: number; more: boolean }> {
  const client = new ImapFlow({
    host: from.host,
    port: from.port,
    secure: from.tls === 'implicit',
    doSTARTTLS: from.tls === 'starttls',
    auth: { user: from.auth.user, pass: from.auth.password },
    logger: false,
    disableAutoIdle: true,
  });
  // A connection that breaks tells the command under way; unheard, the event would end the process.
  client.on('error', () => {});
  const onAbort = () => client.close();
  options.signal.addEventListener('abort', onAbort, { once: true });
  try {
    options.signal.throwIfAborted();
    await client.connect();
    const page = await takeAll(client, from, options);
    await client.logout();
    return page;
  } finally {
    options.signal.removeEventListener('abort', onAbort);
    client.close();
  }
}

async function takeAll(
  client: ImapFlow,
  from: ImapMailbox,
  { limit, store, onProgress, signal }: PollOptions,
): Promise<{ taken: number; more: boolean }> {
  const opened = await client.mailboxOpen(from.mailbox);
  if (from.doneMailbox === null && !canKeepKeywords(opened.permanentFlags)) {
    throw new Error(
      'The IMAP server keeps no keywords of ours in this mailbox: set HEED_IMAP_DONE_MAILBOX to a mailbox that messages are moved to.',
    );
  }
  const waiting =
    (await client.search(from.doneMailbox === null ? { unKeyword: DONE_KEYWORD } : { all: true }, {
      uid: true,
    })) || [];
  const uids = waiting.slice(0, limit);
  if (from.doneMailbox !== null && uids.length > 0) await makeMailbox(client, from.doneMailbox);
  let taken = 0;
  for (let at = 0; at < uids.length; at += BATCH) {
    const batch = uids.slice(at, at + BATCH);
    const kept: number[] = [];
    // The next message is read from the connection once this one is kept.
    for await (const { uid, source, size } of client.fetch(batch, QUERY, { uid: true })) {
      signal.throwIfAborted();
      onProgress();
      // NIL where the server cannot read it itself: it is asked for again the next time, and keeps nobody waiting.
      if (!source) continue;
      await store({ content: source, size: octetsOf(source, size) });
      kept.push(uid);
    }
    // What the server left out of its answer was not read, and is not done.
    if (kept.length > 0) await markDone(client, from.doneMailbox, kept);
    taken += kept.length;
  }
  return { taken, more: taken > 0 && waiting.length > uids.length };
}

/** RFC822.SIZE is not what every server says that it is, and is asked only where the message was cut. */
function octetsOf(source: Uint8Array, size: number | undefined): number {
  return source.length < INBOUND_KEPT_OCTETS ? source.length : Math.max(source.length, size ?? 0);
}

/** Servers have several ways to say that it is there already; one that is really missing shows when messages are moved. */
async function makeMailbox(client: ImapFlow, path: string): Promise<void> {
  await client.mailboxCreate(path).catch(() => {});
}

async function markDone(client: ImapFlow, doneMailbox: string | null, uids: number[]): Promise<void> {
  if (doneMailbox === null) {
    await client.messageFlagsAdd(uids, [DONE_KEYWORD], { uid: true });
    return;
  }
  if (!(await client.messageMove(uids, doneMailbox, { uid: true }))) {
    throw new Error(`The IMAP server does not move messages to ${doneMailbox}.`);
  }
}

/** RFC 9051 section 7.1: `\*` means that new keywords are kept. */
function canKeepKeywords(permanentFlags: ReadonlySet<string> | undefined): boolean {
  return permanentFlags === undefined || permanentFlags.has('\\*') || permanentFlags.has(DONE_KEYWORD);
}
