import { type Database, plain } from '../connection.ts';
import { abandonUpload, importAggregate, readAbandonedUploads } from './imports.ts';
import { addToOutbox } from './outbox.ts';

const UNFINISHED = plain(
  `select id from import_job where state in ('queued', 'running') and created_at < $1 order by id`,
);
const PENDING = plain('select 1 from outbox where aggregate = $1 limit 1');
const LOCK_UNFINISHED = plain(
  `select id from import_job where id = $1 and state in ('queued', 'running') for update`,
);

/** Gives up uploads that were begun before that time and never ended: whoever sent them is gone. */
export async function abandonUploads(db: Database, begunBefore: Date): Promise<number> {
  const ids = await readAbandonedUploads(db, begunBefore);
  for (const id of ids) await db.transaction((tx) => abandonUpload(tx, id));
  return ids.length;
}

/** Imports that are not over, made before that time. */
export async function readUnfinishedImports(db: Database, createdBefore: Date): Promise<string[]> {
  return (await db.query<{ id: string }>(UNFINISHED, [createdBefore])).map(({ id }) => id);
}

/**
 * Asks for the workflow of an unfinished import again; it goes on where the last page was committed.
 *
 * @returns whether it was asked for
 */
export async function restartImport(db: Database, now: Date, importId: string): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [unfinished] = await tx.query(LOCK_UNFINISHED, [importId]);
    const [pending] = await tx.query(PENDING, [importAggregate(importId)]);
    if (unfinished === undefined || pending !== undefined) return false;
    await addToOutbox(tx, now, [
      { aggregate: importAggregate(importId), message: { type: 'startImport', importId } },
    ]);
    return true;
  });
}
