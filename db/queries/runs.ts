import { plain, type Transaction } from '../connection.ts';
import { addToOutbox, sendAggregate } from './outbox.ts';

const NEXT_RUN = plain('update send set run = run + 1 where id = $1 returning run');

/**
 * Gives a send that is not final a new workflow run, since the id of the old one cannot be used again. The caller holds
 * the lock of the send.
 */
export async function startNextRun(
  tx: Transaction,
  now: Date,
  send: { id: string; recipientDomain: string },
): Promise<void> {
  const [row] = await tx.query<{ run: number }>(NEXT_RUN, [send.id]);
  await addToOutbox(tx, now, [
    {
      aggregate: sendAggregate(send.id),
      message: { type: 'startSend', sendId: send.id, run: row!.run, recipientDomain: send.recipientDomain },
    },
  ]);
}
