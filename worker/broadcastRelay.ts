import type { WorkflowProcesses } from '../adapters/temporal/processes.ts';
import type { Database } from '../db/connection.ts';
import { endSendsOfBroadcast, restartBroadcast } from '../db/queries/broadcasts.ts';
import { HEED } from '../db/queries/gate.ts';
import type { OutboxMessage } from '../db/queries/outbox.ts';
import { onePage } from './onePage.ts';

const PAGE = 500;

type BroadcastMessage = Extract<
  OutboxMessage,
  { type: 'startBroadcast' | 'wakeBroadcast' | 'endSendsOfBroadcast' }
>;

/**
 * Carries an outbox entry about a broadcast to Temporal, or follows it up page by page. Each page is a transaction of its
 * own, and every one of these may be done again.
 */
export async function deliverToBroadcasts(
  { db, processes }: { db: Database; processes: WorkflowProcesses },
  now: Date,
  { aggregate, message }: { readonly aggregate: string; readonly message: BroadcastMessage },
): Promise<void> {
  const { broadcastId } = message;
  switch (message.type) {
    case 'startBroadcast':
      return processes.startBroadcast(message);
    case 'wakeBroadcast':
      if (await processes.wakeBroadcast(message)) return;
      // One that is over has nothing to be told; of one that is not, the workflow was lost.
      await db.transaction((tx) => restartBroadcast(tx, now, broadcastId, message.run));
      return;
    case 'endSendsOfBroadcast':
      return onePage(db, now, { aggregate, message }, (tx, after) =>
        endSendsOfBroadcast(tx, HEED, now, broadcastId, after, PAGE),
      );
  }
}
