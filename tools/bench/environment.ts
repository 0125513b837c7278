import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadEmbeddedConfig } from '../../config/config.ts';
import { type Database, openDatabase } from '../../db/connection.ts';
import { migrate } from '../../db/migrate.ts';
import { AddressHasher } from '../../db/queries/addresses.ts';
import { prepareSettings } from '../../db/queries/settings.ts';
import { startPostgres } from '../embedded/postgres.ts';
import { ensureTemporal, startTemporal } from '../embedded/temporal.ts';
import { type BenchDatabase, temporaryDatabase } from './temporaryDatabase.ts';

/** The services that a benchmark runs on, set up as `npm start` sets them up, and thrown away afterwards. */
export interface BenchEnvironment {
  readonly db: Database;
  /** Of the database, for further processes. */
  readonly url: string;
  readonly hasher: AddressHasher;
  readonly temporalAddress: string;
  readonly namespace: string;
  close(): Promise<void>;
}

/** @param options.server address of a database of a PostgreSQL server to run on, for a user that may create databases; default: one of its own */
export async function startBenchEnvironment(options: {
  temporal: boolean;
  server?: string | undefined;
}): Promise<BenchEnvironment> {
  const progress = (text: string) => process.stderr.write(`${text}\n`);
  const config = loadEmbeddedConfig();
  const dir = mkdtempSync(join(tmpdir(), 'heed-bench-'));
  const database = await (options.server === undefined
    ? ownServer(dir, progress)
    : temporaryDatabase(options.server));
  const namespace = 'heed';
  const temporal = options.temporal
    ? await startTemporal({
        binary: await ensureTemporal(config, progress),
        namespace,
        logFile: join(dir, 'temporal.log'),
        dbFile: join(dir, 'temporal.db'),
        temporary: true,
      })
    : null;
  const { url } = database;
  await migrate(url);
  const db = openDatabase(url, { max: 20 });
  const hasher = new AddressHasher(randomBytes(32));
  await prepareSettings(db, hasher, new Date());
  return {
    db,
    url,
    hasher,
    temporalAddress: temporal?.address ?? '',
    namespace,
    async close() {
      await db.close();
      await Promise.all([temporal?.stop(), database.end()]);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function ownServer(dir: string, progress: (text: string) => void): Promise<BenchDatabase> {
  const postgres = await startPostgres({
    dir: join(dir, 'postgres'),
    password: 'bench',
    durability: 'real',
    temporary: true,
    progress,
  });
  await postgres.ensureDatabase('heed');
  return { url: postgres.urlOf('heed'), end: () => postgres.stop() };
}
