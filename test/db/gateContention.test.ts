import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase, plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { gate } from '../../db/queries/gate.ts';
import { addDomainSuppression, addSuppressions } from '../../db/queries/suppressions.ts';
import {
  createTestAccount,
  ORIGIN,
  type TestAccount,
  type TestProspect,
  type TestSend,
} from '../support/account.ts';

/*
 * I1 where it is hardest: gates and suppressions of the same addresses at the same moment, thousands of times. Which of
 * two commits came first is what PostgreSQL recorded of them (track_commit_timestamp), not what this process believes.
 */

const ROUNDS = 120;
const ADDRESSES = 8;
const SENDS_EACH = 4;
/** One for each gate and writer of a round. */
const CONNECTIONS = ADDRESSES * (SENDS_EACH + 1);

let account: TestAccount;
let many: Database;
beforeAll(async () => {
  account = await createTestAccount();
  many = openDatabase(account.url, { max: CONNECTIONS });
  // Opening connections is slow and nobody's lock.
  await Promise.all(Array.from({ length: CONNECTIONS }, () => many.query(plain('select pg_sleep(0.2)'))));
});
afterAll(async () => {
  await many.close();
  await account.close();
});

type Gate = (db: Database, send: TestSend) => Promise<unknown>;

const realGate: Gate = (db, send) => gate(db, { ...send, trigger: 'schedule', now: new Date() });

/** What a gate must not be: it locks and looks in one statement, so it decides on what was true before it waited. */
const oneStatementGate: Gate = (db, send) =>
  db.query(
    plain(`
      with prospect_lock as materialized (select id, email_opt_out, bounced from prospect where id = $2 for no key update),
           address_lock as materialized (select id from address where id = $3 for no key update),
           domain_lock as materialized (select pg_advisory_xact_lock_shared(hashtextextended(d, 4801)) from unnest($4::text[]) d)
      insert into attempt (send_id, number, epoch, state, trigger, gated_at)
      select $1, 1, 1, 'gated', 'schedule', now() from prospect_lock p, address_lock a, (select count(*) from domain_lock) l
      where not p.email_opt_out and not p.bounced
        and not exists (select from suppression s join send on send.id = $1
          where s.address_id = $3 and (s.list_id is null or s.list_id = send.list_id))
        and not exists (select from domain_suppression where domain = any($4::text[]))`),
    [send.sendId, send.prospectId, send.addressId, [send.recipientDomain]],
  );

interface Findings {
  /** Attempts that began after a suppression that applies to them was committed. */
  violations: number;
  opened: number;
  refusedOrEnded: number;
  suppressions: number;
  slowestWriterMs: number;
  errors: string[];
}

async function contend(ask: Gate, rounds: number, tag: string): Promise<Findings> {
  const findings: Findings = {
    violations: 0,
    opened: 0,
    refusedOrEnded: 0,
    suppressions: 0,
    slowestWriterMs: 0,
    errors: [],
  };
  const emailId = await account.email();
  const listId = await account.list();
  for (let round = 0; round < rounds; round += 1) {
    const people = await Promise.all(
      Array.from({ length: ADDRESSES }, (_, index) =>
        account.prospect(`p@${tag}-${round}-${index}.contention.test`),
      ),
    );
    const sends = (
      await Promise.all(
        people.flatMap((person) =>
          Array.from({ length: SENDS_EACH }, () => account.send(person, { emailId, listId })),
        ),
      )
    ).sort(() => Math.random() - 0.5);
    const writers = people.map((person, index) => () => suppress(many, person, index % 5, listId));
    const work = [
      ...sends.map((send) => () => ask(many, send)),
      ...writers.map((write) => async () => {
        const startedAt = performance.now();
        await write();
        findings.slowestWriterMs = Math.max(findings.slowestWriterMs, performance.now() - startedAt);
      }),
    ].sort(() => Math.random() - 0.5);
    const results = await Promise.allSettled(work.map((start) => start()));
    for (const result of results) {
      if (result.status === 'rejected') findings.errors.push(String(result.reason));
    }
    findings.suppressions += writers.length;
    await count(findings, sends);
  }
  return findings;
}

/** Each way in which an address comes to be suppressed. */
async function suppress(db: Database, person: TestProspect, way: number, listId: string): Promise<void> {
  const now = new Date();
  const { addressId } = person;
  await db.transaction(async (tx) => {
    switch (way) {
      case 0:
        await setFlags(tx, ORIGIN, now, person.id, { emailOptOut: true });
        break;
      case 1:
        await setFlags(tx, ORIGIN, now, person.id, { bounced: true });
        break;
      case 2:
        await addSuppressions(tx, ORIGIN, now, [{ addressId, reason: 'manual' }]);
        break;
      case 3:
        await addSuppressions(tx, ORIGIN, now, [{ addressId, reason: 'opt_out', listId }]);
        break;
      default:
        await addDomainSuppression(tx, ORIGIN, now, person.address.domain, null);
    }
  });
}

async function count(findings: Findings, sends: readonly TestSend[]): Promise<void> {
  const [row] = await account.db.query<{ opened: string; violations: string }>(
    plain(`
      select count(*) filter (where a.outcome is null) as opened,
        count(*) filter (where a.outcome is null and exists (
          select from suppression x where x.address_id = s.address_id
            and pg_xact_commit_timestamp(x.xmin) < pg_xact_commit_timestamp(a.xmin)
          union all
          select from domain_suppression d where d.domain = s.recipient_domain
            and pg_xact_commit_timestamp(d.xmin) < pg_xact_commit_timestamp(a.xmin))) as violations
      from attempt a join send s on s.id = a.send_id where s.id = any($1::uuid[])`),
    [sends.map((send) => send.sendId)],
  );
  findings.opened += Number(row!.opened);
  findings.violations += Number(row!.violations);
  findings.refusedOrEnded += sends.length - Number(row!.opened);
}

async function deadlocks(): Promise<number> {
  const [row] = await account.db.query<{ deadlocks: string }>(
    plain('select deadlocks from pg_stat_database where datname = current_database()'),
  );
  return Number(row!.deadlocks);
}

describe('I1 under contention', () => {
  it('no attempt begins after a suppression that applies to it was committed; no writer waits a second; no deadlock', async () => {
    const found = await contend(realGate, ROUNDS, 'real');
    expect(found.errors).toEqual([]);
    expect(found.violations).toBe(0);
    // Both must have happened often, or nothing was contended for.
    expect(found.opened).toBeGreaterThan(200);
    expect(found.refusedOrEnded).toBeGreaterThan(200);
    expect(found.suppressions).toBe(ROUNDS * ADDRESSES);
    expect(found.slowestWriterMs).toBeLessThan(1_000);
    expect(await deadlocks()).toBe(0);
  }, 300_000);

  it('a gate written as one statement is caught', async () => {
    const found = await contend(oneStatementGate, ROUNDS / 3, 'single');
    expect(found.errors).toEqual([]);
    expect(found.violations).toBeGreaterThan(0);
  }, 300_000);
});
