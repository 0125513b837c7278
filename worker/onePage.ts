import type { Database, Transaction } from '../db/connection.ts';
import { addToOutbox, type OutboxMessage } from '../db/queries/outbox.ts';

const NO_ID = '00000000-0000-0000-0000-000000000000';

/** An entry that is followed up page by page. */
export interface PagedEntry {
  readonly aggregate: string;
  readonly message: Extract<
    OutboxMessage,
    {
      type:
        | 'followAutomation'
        | 'moveEnrollments'
        | 'wakeHeldBack'
        | 'wakePausedSends'
        | 'endSendsOfDomain'
        | 'endSendsOfBroadcast';
    }
  >;
}

/**
 * One page of what an entry is followed up with, and in the same transaction an entry for the rest, behind all that waits
 * by now: however many they are, nobody else is kept waiting.
 *
 * @param page does what comes after an id; returns the last one that it came to, or `null` when there were no more
 */
export async function onePage(
  db: Database,
  now: Date,
  entry: PagedEntry,
  page: (tx: Transaction, after: string) => Promise<string | null>,
): Promise<void> {
  await db.transaction(async (tx) => {
    const next = await page(tx, entry.message.after ?? NO_ID);
    if (next === null) return;
    const message = { ...entry.message, after: next };
    await addToOutbox(tx, now, [{ aggregate: entry.aggregate, message }]);
  });
}
