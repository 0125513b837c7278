import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** Where statements can be run: the pool, or the one connection of a transaction. */
export interface Session {
  /** Runs one statement; those with a name are prepared once for each connection. */
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    statement: Statement,
    values?: readonly unknown[],
  ): Promise<Row[]>;
}

/** A transaction; only such a session may take locks. */
export interface Transaction extends Session {
  readonly inTransaction: true;
  /**
   * Runs one statement without waiting for its end: what is only issued at the end of the work travels with the commit,
   * and its failure is the transaction's.
   *
   * @returns its rows, to be looked at once the transaction is over
   */
  issue<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    statement: Statement,
    values?: readonly unknown[],
  ): Promise<Row[]>;
}

export interface Database extends Session {
  /** Runs `work` in one READ COMMITTED transaction, and again from the start after a deadlock or serialization failure. */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  readonly pool: pg.Pool;
  close(): Promise<void>;
}

/** A statement; `name` makes PostgreSQL plan it once for each connection. */
export interface Statement {
  readonly name?: string;
  readonly text: string;
}

const preparedTexts = new Map<string, string>();

/**
 * SQL of a statement that is run often enough to be worth preparing.
 *
 * @throws where another statement has the name: a connection would refuse whichever of the two comes second
 */
export function prepared(name: string, text: string): Statement {
  if ((preparedTexts.get(name) ?? text) !== text) throw new Error(`two statements have the name ${name}`);
  preparedTexts.set(name, text);
  return { name, text };
}

/** SQL of a statement that is run seldom. */
export function plain(text: string): Statement {
  return { text };
}

/** SQLSTATE classes after which the same work may simply be tried again: PostgreSQL manual, section 13.5. */
const RETRYABLE = new Set(['40001', '40P01']);
const IN_FAILED_TRANSACTION = '25P02';
/** With the pauses below some two seconds in all; who waits longer than that is told of it. */
const MAX_TRIES = 16;
/** Between tries, so that those who met do not meet again: a random part of a time that doubles up to this. */
const LONGEST_PAUSE_MS = 250;

/**
 * Opens a pool. Connections are pipelined: statements issued without waiting for one another share a round trip and
 * still run one after the other, each with its own snapshot.
 *
 * @param url `postgres://…`
 * @param options.max connections at the most
 */
export function openDatabase(url: string, options: { max: number; applicationName?: string }): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.max,
    pipeline: true,
    application_name: options.applicationName ?? 'heed',
    // Long enough for a server that restarts, short enough for a request that waits on it.
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 60_000,
    // A frozen process must not keep the locks of a transaction that it was in; longer than the calls to Temporal within one.
    idle_in_transaction_session_timeout: 30_000,
    keepAlive: true,
  });
  // A connection that breaks while idle is replaced by the pool; the next query meets the trouble, if there still is any.
  pool.on('error', () => {});
  // One that is lent out tells its statements, and the pool listens no more: unheard, the event would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  return {
    pool,
    query: (statement, values) => run(pool, statement, values),
    transaction: (work) => transaction(pool, work),
    close: () => pool.end(),
  };
}

async function run<Row extends pg.QueryResultRow>(
  on: pg.Pool | pg.PoolClient,
  statement: Statement,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const result = await on.query<Row>({ ...statement, values: values as unknown[] });
  return result.rows;
}

async function transaction<T>(pool: pg.Pool, work: (tx: Transaction) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await once(pool, work);
    } catch (error) {
      if (tries >= MAX_TRIES || !RETRYABLE.has((error as { code?: string }).code ?? '')) throw error;
      await sleep(Math.random() * Math.min(LONGEST_PAUSE_MS, 2 ** tries));
    }
  }
}

async function once<T>(pool: pg.Pool, work: (tx: Transaction) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  // Statements that were issued behind one that fails, fail too and may be heard of first: what counts is the first.
  let cause: unknown;
  const query: Session['query'] = async (statement, values) => {
    try {
      return await run(client, statement, values);
    } catch (error) {
      cause ??= error;
      throw error;
    }
  };
  const tx: Transaction = {
    inTransaction: true,
    query,
    issue(statement, values) {
      const rows = query(statement, values) as Promise<never[]>;
      // Its failure shows in the commit too.
      rows.catch(() => {});
      return rows;
    },
  };
  try {
    // Not awaited: it travels with the first statement of the work. Its failure shows in that statement too.
    const begun = client.query('begin isolation level read committed');
    begun.catch(() => {});
    const result = await work(tx);
    const [, ended] = await Promise.all([begun, client.query('commit')]);
    // PostgreSQL answers the commit of a failed transaction with ROLLBACK and no error.
    if (ended.command !== 'COMMIT') {
      throw cause ?? new Error('the transaction was rolled back, since a statement in it had failed');
    }
    return result;
  } catch (error) {
    await client.query('rollback').catch((failure: Error) => {
      broken = failure;
    });
    throw (error as { code?: string }).code === IN_FAILED_TRANSACTION ? (cause ?? error) : error;
  } finally {
    client.release(broken);
  }
}
