import { randomBytes } from 'node:crypto';
import pg from 'pg';

/** An empty database that a benchmark has to itself. */
export interface BenchDatabase {
  readonly url: string;
  end(): Promise<void>;
}

/**
 * A new database on a server that runs already, dropped at the end.
 *
 * @param server address of any of its databases, for a user that may create others
 */
export async function temporaryDatabase(server: string): Promise<BenchDatabase> {
  const name = `heed_bench_${randomBytes(4).toString('hex')}`;
  await run(server, `create database ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { url: url.href, end: () => run(server, `drop database ${name} with (force)`) };
}

async function run(server: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: server });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
