import type { Database } from '../db/connection.ts';
import { addToOutbox, type OutboxMessage } from '../db/queries/outbox.ts';

const NO_ID = '00000000-0000-0000-0000-000000000000';

/** What is followed up page by page. */
export type PagedMessage = Extract<
  OutboxMessage,
  { type: 'followAutomation' | 'moveEnrollments' | 'wakeHeldBack' | 'wakePausedSends' }
>;

/**
 * One page of what an entry is followed up with, and an entry for the rest behind all that waits by now: however many
 * they are, nobody else is kept waiting. A relay that dies in between does the page again.
 *
 * @param page does what comes after an id; returns the last one that it came to, or `null` when there were no more
 */
export async function onePage(
  db: Database,
  now: Date,
  { aggregate, message }: { readonly aggregate: string; readonly message: PagedMessage },
  page: (after: string) => Promise<string | null>,
): Promise<void> {
  const next = await page(message.after ?? NO_ID);
  if (next === null) return;
  await db.transaction((tx) => addToOutbox(tx, now, [{ aggregate, message: { ...message, after: next } }]));
}
