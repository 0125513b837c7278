import { isOver } from '../../domain/bulkUpdate/words.ts';
import { type Database, plain } from '../connection.ts';
import { entry, readBulkUpdate } from './bulkUpdates.ts';
import { addToOutbox } from './outbox.ts';

const UNFINISHED = plain(
  `select id from bulk_update where state in ('queued', 'running', 'paused') and created_at < $1 order by id`,
);
const PENDING = plain('select 1 from outbox where aggregate = $1 limit 1');

/** Bulk updates that are not over, made before that time. */
export async function readUnfinishedBulkUpdates(db: Database, createdBefore: Date): Promise<string[]> {
  return (await db.query<{ id: string }>(UNFINISHED, [createdBefore])).map(({ id }) => id);
}

/**
 * Asks for the workflow of an unfinished bulk update again; it goes on where the last page was committed.
 *
 * @returns whether it was asked for
 */
export async function restartBulkUpdate(db: Database, now: Date, id: string): Promise<boolean> {
  return db.transaction(async (tx) => {
    const job = await readBulkUpdate(tx, id);
    const again = entry({ type: 'startBulkUpdate', bulkUpdateId: id });
    if (job === null || isOver(job.state) || (await tx.query(PENDING, [again.aggregate])).length > 0)
      return false;
    await addToOutbox(tx, now, [again]);
    return true;
  });
}
