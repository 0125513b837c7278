import { cancellationSignal, heartbeat } from '@temporalio/activity';
import { type CollectedMessage, messageKey } from '../adapters/inbound/collect.ts';
import { type ImapMailbox, pollMailbox } from '../adapters/inbound/imap.ts';
import type { Database } from '../db/connection.ts';
import { type StoredInbound, storeInbound } from '../db/queries/inbound.ts';
import type { InboundSource } from '../domain/inbound.ts';

/** Messages of one activity: some minutes of work, after which its history entry is worth having. */
const PAGE = 2_000;

export interface PollInput {
  /** The workflow's time, in milliseconds of the epoch. */
  readonly now: number;
}

/** Keeps a message that came in, once; resolves when it is durable (I7). */
export function keepMessage(
  db: Database,
  now: Date,
  source: InboundSource,
  message: CollectedMessage,
  recipients: readonly string[],
): Promise<StoredInbound> {
  const dedupeKey = messageKey(message, recipients);
  return db.transaction((tx) => storeInbound(tx, now, { source, dedupeKey, ...message, recipients }));
}

/** Activities that fetch what came in. */
export function createInboundActivities({ db, imap }: { db: Database; imap: ImapMailbox | null }) {
  return {
    /**
     * Keeps a page of the mailbox's new messages. Safe to run again after a crash at any line: a message that was kept is
     * known.
     */
    async pollInboundMailbox(input: PollInput): Promise<{ taken: number; kept: number; more: boolean }> {
      // Configured no longer, while a last poll was still due.
      if (imap === null) return { taken: 0, kept: 0, more: false };
      const now = new Date(Math.max(Date.now(), input.now));
      let kept = 0;
      const page = await pollMailbox(imap, {
        limit: PAGE,
        signal: cancellationSignal(),
        onProgress: () => heartbeat(),
        async store(message) {
          if ((await keepMessage(db, now, 'imap', message, [])).isNew) kept += 1;
        },
      });
      return { ...page, kept };
    },
  };
}

export type InboundActivities = ReturnType<typeof createInboundActivities>;
