import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { loadEmbeddedConfig } from '../../config/config.ts';
import { migrate } from '../../db/migrate.ts';
import { startPostgres } from '../../tools/embedded/postgres.ts';
import { ensureTemporal, startTemporal } from '../../tools/embedded/temporal.ts';
import { ensureTestServer } from '../../tools/embedded/testServer.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Address of the maintenance database of the run's PostgreSQL; see database.ts for one of one's own. */
    postgresUrl: string;
    /** `host:port` of the run's Temporal dev server (in memory, no UI, real time). */
    temporalAddress: string;
    /** For `TestWorkflowEnvironment.createTimeSkipping({ server: { executable: { type: 'existing-path', path } } })`. */
    testServerPath: string;
    /** How many prospects `test/faults/automation.test.ts` takes; from the configuration of vitest. */
    automationProspects: number;
  }
}

/** Namespace of the run's dev server, with a retention of 30 days. */
export const TEST_NAMESPACE = 'heed';

/** Migrated, never connected to, copied for every test database. */
export const TEMPLATE_DATABASE = 'heed_template';

/** Starts what the tests of one run share. All of it ends with the run, also with one that is killed. */
export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  const config = loadEmbeddedConfig();
  const progress = (message: string) => process.stderr.write(`${message}\n`);
  const run = join(tmpdir(), `heed-test-${randomBytes(6).toString('hex')}`);

  const [postgres, temporal, testServerPath] = await Promise.all([
    startPostgresWithTemplate(`${run}-postgres`, progress),
    ensureTemporal(config, progress).then((binary) =>
      startTemporal({ binary, namespace: TEST_NAMESPACE, logFile: `${run}-temporal.log`, temporary: true }),
    ),
    ensureTestServer(config, progress),
  ]);

  provide('postgresUrl', postgres.urlOf('postgres'));
  provide('temporalAddress', temporal.address);
  provide('testServerPath', testServerPath);
  return async () => {
    await Promise.all([postgres.stop(), temporal.stop()]);
  };
}

async function startPostgresWithTemplate(dir: string, progress: (message: string) => void) {
  const postgres = await startPostgres({
    dir,
    password: 'test',
    durability: 'none',
    temporary: true,
    progress,
  });
  await postgres.ensureDatabase(TEMPLATE_DATABASE);
  await migrate(postgres.urlOf(TEMPLATE_DATABASE));
  return postgres;
}
