import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { ensureAddresses } from '../../db/queries/addresses.ts';
import { outboxBacklog } from '../../db/queries/outbox.ts';
import { startSimulatorProcess } from '../../tools/bench/simulatorProcess.ts';
import { createTestAccount, parsed, type TestAccount } from '../support/account.ts';
import { newAutomation, transition } from '../support/automating.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { readSimulatorLog } from '../support/simulatorLog.ts';
import { startWorkerProcess } from '../support/workerProcess.ts';

/*
 * An automation while its worker, which is also the relay, is killed again and again. What then stands in the database
 * is held against what the mail server says it got.
 */

/** In `npm test` as many as a minute or two bear; `npm run test:proof` takes 5,000. */
const PROSPECTS = inject('automationProspects');
/**
 * How long a worker may live once it takes work, in turns: at first it is still enrolling, later everything is under way;
 * and longer lives, for what dies with a worker is given to the next one only after ten seconds.
 */
const LIVES_MS = [3_000, 6_000, 9_000, 20_000, 40_000];
const LIMIT_MS = 45 * 60_000;

let folder: string;
let account: TestAccount;
let temporal: RealTemporal;
let simulator: Awaited<ReturnType<typeof startSimulatorProcess>>;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'heed-automation-'));
  account = await createTestAccount();
  temporal = await connectToTemporal();
  simulator = await startSimulatorProcess({ logFile: join(folder, 'mail.log') });
});
afterAll(async () => {
  await simulator?.stop();
  await temporal?.close();
  await account?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function makeProspects(count: number): Promise<void> {
  const now = new Date();
  const addresses = Array.from({ length: count }, (_, n) => parsed(`accept+${n}@example.net`));
  const ids = await ensureAddresses(account.db, account.hasher, now, addresses);
  await account.db.query(
    plain(`insert into prospect (id, address_id, email, created_at, updated_at)
           select r.id, r.address_id, r.email, $2, $2 from jsonb_to_recordset($1::jsonb) as r(id uuid, address_id uuid, email text)`),
    [
      JSON.stringify(
        addresses.map((address) => ({
          id: uuidv7(),
          address_id: ids.get(address.comparisonForm),
          email: address.given,
        })),
      ),
      now,
    ],
  );
}

async function count(what: string, ...values: unknown[]): Promise<number> {
  const [row] = await account.db.query<{ n: number }>(
    plain(`select count(*)::int as n from ${what}`),
    values,
  );
  return row!.n;
}

async function openWorkflows(): Promise<number> {
  const { count: open } = await temporal.client.workflow.count(
    `ExecutionStatus = 'Running' and WorkflowType in ('automation', 'enrollment', 'emailSend')`,
  );
  return open;
}

/** Kills the worker again and again until everything is done. @returns how often */
async function killUntil(done: () => Promise<boolean>): Promise<number> {
  const deadline = performance.now() + LIMIT_MS;
  for (let killed = 0; ; killed += 1) {
    const worker = await startWorkerProcess({
      databaseUrl: account.url,
      temporal,
      smtpPort: simulator.smtpPort,
      addressKey: account.addressKey,
    });
    const end = performance.now() + LIVES_MS[killed % LIVES_MS.length]!;
    while (performance.now() < end) {
      if (await done()) {
        await worker.stop();
        return killed;
      }
      if (performance.now() > deadline) throw new Error(`not done; the worker said:\n${worker.output()}`);
      await delay(250);
    }
    worker.kill('SIGKILL');
    await worker.ended;
  }
}

it(
  `I2, I7: ${PROSPECTS} prospects get every action once and every workflow closes, whenever the worker is killed`,
  async () => {
    await makeProspects(PROSPECTS);
    const [emailId, listId] = [await account.email(), await account.list()];
    const automationId = await newAutomation(account, [
      { id: 'set', type: 'setField', field: 'country', value: 'Austria' },
      { id: 'first', type: 'sendEmail', emailId },
      { id: 'wait', type: 'wait', seconds: 2 },
      { id: 'second', type: 'sendEmail', emailId },
      { id: 'list', type: 'addToList', listId },
    ]);
    await transition(account, automationId, 'activate');
    const killed = await killUntil(
      async () =>
        (await count(`enrollment where state = 'done'`)) === PROSPECTS &&
        (await count(`send where state <> 'final'`)) === 0 &&
        (await outboxBacklog(account.db)).entries === 0 &&
        // Some worker has to live until then: what is written down is not yet said to Temporal.
        (await openWorkflows()) === 0,
    );
    expect(killed).toBeGreaterThanOrEqual(2);

    // Everybody entered once and had every action once, each note saying so.
    expect(await count('enrollment')).toBe(PROSPECTS);
    const steps = await account.db.query<{ step: string; state: string; n: number }>(
      plain(
        'select step_id as step, state, count(*)::int as n from enrollment_step group by 1, 2 order by 1',
      ),
    );
    expect(steps).toEqual(
      ['first', 'list', 'second', 'set', 'wait'].map((step) => ({ step, state: 'applied', n: PROSPECTS })),
    );
    // The row counts its changes: setting the field is the only one.
    expect(await count(`prospect where country = 'Austria' and version = 2`)).toBe(PROSPECTS);
    expect(await count('list_member where list_id = $1', listId)).toBe(PROSPECTS);

    // One send a step, one outcome a send; and of each send one copy in the mail server's own record. Whether the message
    // of a send whose worker was killed over the final dot was taken over nobody can know: it is not sent again.
    const sends = await account.db.query<{ id: string; outcome: string; attempts: number }>(
      plain('select message_id as id, outcome, attempt_count as attempts from send'),
    );
    expect(sends).toHaveLength(2 * PROSPECTS);
    expect(new Set(sends.map(({ attempts }) => attempts))).toEqual(new Set([1]));
    const copies = new Map<string, number>();
    for (const { messageId, accepted } of readSimulatorLog(join(folder, 'mail.log'))) {
      if (accepted) copies.set(messageId!, (copies.get(messageId!) ?? 0) + 1);
    }
    const wrong = sends.filter(({ id, outcome }) => {
      const got = copies.get(id) ?? 0;
      return outcome === 'delivered' ? got !== 1 : outcome !== 'unknown' || got > 1;
    });
    expect(wrong).toEqual([]);
    const delivered = sends.filter(({ outcome }) => outcome === 'delivered').length;
    expect(delivered).toBeGreaterThan(1.8 * PROSPECTS);

    process.stderr.write(
      `${PROSPECTS} prospects, ${killed} kills: ${delivered} sends delivered, ${sends.length - delivered} unknown\n`,
    );
  },
  LIMIT_MS + 120_000,
);
