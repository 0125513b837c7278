import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { readBulkUpdate } from '../../db/queries/bulkUpdates.ts';
import { bulkUpdateId } from '../../domain/processes.ts';
import { createTestAccount, type TestAccount } from '../support/account.ts';
import { newBulkUpdate, newUndo } from '../support/bulkUpdating.ts';
import type { HeedProcess } from '../support/childProcess.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { until } from '../support/until.ts';
import { startWorkerProcess } from '../support/workerProcess.ts';

/*
 * Workers as real processes, killed and frozen in the middle of a bulk update. What a dead one held is given to another
 * after its heartbeat timeout of 20 s: so these tests take their time.
 */

const PEOPLE = 20_000;

let account: TestAccount;
let temporal: RealTemporal;
beforeAll(async () => {
  account = await createTestAccount();
  temporal = await connectToTemporal();
  await account.db.query(
    plain(`insert into address (id, hash, email, domain, created_at)
           select uuidv7(), sha256(n::text::bytea), 'person' || n || '@example.com', 'example.com', now()
           from generate_series(1, $1::int) n`),
    [PEOPLE],
  );
  await account.db.query(
    plain(`insert into prospect (id, address_id, email, city, created_at, updated_at)
           select uuidv7(), id, email, 'City of ' || split_part(email, '@', 1), now(), now() from address`),
  );
});
afterAll(async () => {
  await temporal?.close();
  await account?.close();
});

const workers: HeedProcess[] = [];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});

async function startWorker(): Promise<HeedProcess> {
  const worker = await startWorkerProcess({
    databaseUrl: account.url,
    temporal,
    smtpPort: 1,
    addressKey: account.addressKey,
  });
  workers.push(worker);
  return worker;
}

const changedOf = async (id: string) => (await readBulkUpdate(account.db, id))!.changed;
const isDone = (id: string) =>
  until(
    'it is done, and its workflow with it',
    async () => {
      const { status } = await temporal.client.workflow.getHandle(bulkUpdateId(id)).describe();
      return (await readBulkUpdate(account.db, id))?.state === 'done' && status.name === 'COMPLETED';
    },
    240_000,
  );

async function numbers(sql: string, values: unknown[] = []): Promise<Record<string, number>> {
  const [row] = await account.db.query<Record<string, number>>(plain(sql), values);
  return row!;
}

/** Audit entries of one bulk update, and of how many prospects. */
const audited = (id: string, action: string) =>
  numbers(
    `select count(*)::int as entries, count(distinct coalesce(prospect_id, address_id))::int as prospects
     from audit_entry where action = $1 and reason like $2`,
    [action, `bulkUpdate:${id} %`],
  );

it('I6, I7: killed again and again in mid-run: each row is done once, with one entry in the audit trail', async () => {
  const id = await newBulkUpdate(account, { field: 'emailOptOut', value: true });
  let worker = await startWorker();
  for (const share of [0.1, 0.3, 0.5, 0.7]) {
    await until(`${share} of it is done`, async () => (await changedOf(id)) >= share * PEOPLE, 240_000);
    worker.kill('SIGKILL');
    expect(await worker.ended).toEqual({ code: null, signal: 'SIGKILL' });
    const left = (await readBulkUpdate(account.db, id))!;
    expect([left.state, left.changed < PEOPLE]).toEqual(['running', true]);
    worker = await startWorker();
  }
  await isDone(id);
  expect(await readBulkUpdate(account.db, id)).toMatchObject({
    total: PEOPLE,
    changed: PEOPLE,
    alreadySo: 0,
    refused: 0,
  });
  expect(
    await numbers(
      `select count(*)::int as rows, count(distinct prospect_id)::int as prospects from bulk_update_row
       where bulk_update_id = $1 and outcome = 'changed'`,
      [id],
    ),
  ).toEqual({ rows: PEOPLE, prospects: PEOPLE });
  expect(await audited(id, 'flag.changed')).toEqual({ entries: PEOPLE, prospects: PEOPLE });
  expect(await audited(id, 'suppression.added')).toEqual({ entries: PEOPLE, prospects: PEOPLE });
  // Twice done it would be at version 3.
  expect(
    await numbers('select min(version) as least, max(version) as most, count(*)::int as n from prospect'),
  ).toEqual({ least: 2, most: 2, n: PEOPLE });
}, 600_000);

it('I7: frozen in mid-page beside a second worker, and woken again: each row is done once', async () => {
  const id = await newBulkUpdate(account, { field: 'city', value: 'Bonn' });
  const frozen = await startWorker();
  await until('it has begun', async () => (await changedOf(id)) >= 1_000);
  frozen.kill('SIGSTOP');
  await startWorker();
  // The locks that it may hold are taken from it, and its slice is given to the other one.
  await isDone(id);
  frozen.kill('SIGCONT');
  await frozen.stop();
  expect(await readBulkUpdate(account.db, id)).toMatchObject({ total: PEOPLE, changed: PEOPLE });
  expect(await audited(id, 'prospect.updated')).toEqual({ entries: PEOPLE, prospects: PEOPLE });

  const undo = await newUndo(account, id);
  await isDone(undo);
  expect(await readBulkUpdate(account.db, undo)).toMatchObject({ total: PEOPLE, changed: PEOPLE });
  expect(
    await numbers(
      `select count(*)::int as n from prospect where city = 'City of ' || split_part(email, '@', 1)`,
    ),
  ).toEqual({ n: PEOPLE });
}, 600_000);
