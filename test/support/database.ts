import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { TEMPLATE_DATABASE } from './globalSetup.ts';

/** A migrated and empty database of one's own, on the run's PostgreSQL. */
export interface TestDatabase {
  readonly url: string;
  /** Deletes it, closing what is still connected. */
  drop(): Promise<void>;
}

/** Copies the template database, which takes some 50 ms. For tests: call it once a file, in `beforeAll`. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`;
  const url = new URL(inject('postgresUrl'));
  await onMaintenanceDatabase(`create database ${name} template ${TEMPLATE_DATABASE}`);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    drop: () => onMaintenanceDatabase(`drop database if exists ${name} with (force)`),
  };
}

async function onMaintenanceDatabase(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
