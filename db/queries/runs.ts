import { plain, type Transaction } from '../connection.ts';
import { lockSends } from './locks.ts';
import { addToOutbox, sendAggregate } from './outbox.ts';

const NEXT_RUNS = plain('update send set run = run + 1 where id = any($1::uuid[]) returning id, run');
const UNFINISHED = plain(`select recipient_domain from send where id = $1 and run = $2 and state <> 'final'`);

/**
 * Gives a send that is not final a new workflow run, since the id of the old one cannot be used again. The caller holds
 * the lock of the send.
 */
export async function startNextRun(
  tx: Transaction,
  now: Date,
  send: { id: string; recipientDomain: string },
): Promise<void> {
  await startNextRuns(tx, now, [send]);
}

/** {@link startNextRun} for many. */
export async function startNextRuns(
  tx: Transaction,
  now: Date,
  sends: readonly { id: string; recipientDomain: string }[],
): Promise<void> {
  if (sends.length === 0) return;
  const rows = await tx.query<{ id: string; run: number }>(NEXT_RUNS, [sends.map((send) => send.id)]);
  const runs = new Map(rows.map((row) => [row.id, row.run]));
  await addToOutbox(
    tx,
    now,
    sends.map(({ id, recipientDomain }) => ({
      aggregate: sendAggregate(id),
      message: { type: 'startSend', sendId: id, run: runs.get(id)!, recipientDomain, goesOn: true },
    })),
  );
}

/** {@link startNextRun} where the send is unfinished and still on this run, whose workflow was lost. */
export async function startNextRunIfUnfinished(
  tx: Transaction,
  now: Date,
  sendId: string,
  run: number,
): Promise<boolean> {
  await lockSends(tx, [sendId]);
  const [row] = await tx.query<{ recipient_domain: string }>(UNFINISHED, [sendId, run]);
  if (row === undefined) return false;
  await startNextRun(tx, now, { id: sendId, recipientDomain: row.recipient_domain });
  return true;
}
