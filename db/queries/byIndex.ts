import type { QueryResultRow } from 'pg';
import { type Database, prepared, type Statement, type Transaction } from '../connection.ts';

const BY_INDEX = prepared(
  'by_index',
  `select set_config(name, value, true) from (values ('enable_seqscan', 'off'), ('enable_hashjoin', 'off'),
     ('enable_mergejoin', 'off'), ('enable_material', 'off'), ('jit', 'off'), ('max_parallel_workers_per_gather', '0'))
     as s(name, value)`,
);

/**
 * For statements on some hundred rows that are named by their keys: until the end of the transaction each row is fetched
 * by index, one after the other. To PostgreSQL, which judges by the size that a table has now, reading all of one that
 * is still small looks cheaper, and such a plan was kept, or made anew, while the table grew under it. So does reading
 * all of a large one once and keeping it at hand, as long as its statistics are yet to be gathered: a key is then taken
 * for that of a two-hundredth of its rows (DEFAULT_NUM_DISTINCT in PostgreSQL's selfuncs.h).
 */
export async function byIndex(tx: Transaction): Promise<void> {
  await tx.query(BY_INDEX);
}

/** One such statement in a transaction of its own, which goes to the database and back once. */
export async function queryByIndex<Row extends QueryResultRow>(
  db: Database,
  statement: Statement,
  values: readonly unknown[],
): Promise<Row[]> {
  const rows = await db.transaction(async (tx) => {
    tx.issue(BY_INDEX);
    // Behind a promise it would be waited for before the commit is sent.
    return { issued: tx.issue<Row>(statement, values) };
  });
  return rows.issued;
}
