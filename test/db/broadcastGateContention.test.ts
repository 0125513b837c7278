import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase, plain } from '../../db/connection.ts';
import { type GateSlice, gateSlice } from '../../db/queries/broadcastGate.ts';
import { claimPage, readPageRecipients } from '../../db/queries/broadcastPages.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { gate } from '../../db/queries/gate.ts';
import { addDomainSuppression, addSuppressions } from '../../db/queries/suppressions.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestSend } from '../support/account.ts';
import { listWith, readyBroadcast } from '../support/broadcasting.ts';

/*
 * I1 of the page gate where it is hardest: slices of several broadcasts, single sends and suppressions, all of the same
 * addresses at the same moment. Which of two commits came first is what PostgreSQL recorded of them.
 */

const ROUNDS = 80;
const PEOPLE = 12;
const BROADCASTS = 3;
const CONNECTIONS = BROADCASTS + 2 * PEOPLE;

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

type PageGate = (db: Database, slice: GateSlice) => Promise<unknown>;

/** What a page gate must not be: it locks and looks in one statement, so it decides on what was true before it waited. */
const oneStatementGate: PageGate = (db, slice) =>
  db.query(
    plain(`
      with given as (select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $7::text[]) as g(id, prospect_id, address_id, list_id, domain)),
      domain_lock as materialized (select pg_advisory_xact_lock_shared(hashtextextended(d, 4801)) from (select distinct domain as d from given) x),
      prospect_lock as materialized (select id, email_opt_out, bounced from prospect where id = any($2::uuid[]) order by id for no key update),
      address_lock as materialized (select id from address where id = any($3::uuid[]) order by id for no key update),
      made as (
        insert into send (id, email_id, email_version, kind, prospect_id, address_id, recipient_domain, list_id, broadcast_id, message_id,
          schedule_seconds, state, run, attempt_count, created_at)
        select g.id, $5, 1, 'marketing', g.prospect_id, g.address_id, g.domain, g.list_id, $6, g.id::text, '[0]', 'attempting', 0, 1, now()
        from given g join prospect_lock p on p.id = g.prospect_id join address_lock a on a.id = g.address_id
          cross join (select count(*) from domain_lock) l
        where not p.email_opt_out and not p.bounced
          and not exists (select from suppression s where s.address_id = g.address_id and (s.list_id is null or s.list_id = g.list_id))
          and not exists (select from domain_suppression where domain = g.domain)
        returning id)
      insert into attempt (send_id, number, epoch, state, trigger, gated_at) select id, 1, 1, 'gated', 'schedule', now() from made`),
    [
      slice.items.map((item) => item.sendId),
      slice.items.map((item) => item.prospectId),
      slice.items.map((item) => item.addressId),
      slice.items.map((item) => item.listId),
      slice.email.id,
      slice.broadcastId,
      slice.items.map((item) => item.recipientDomain),
    ],
  );

async function sliceOf(broadcastId: string, emailId: string): Promise<GateSlice> {
  const page = (await claimPage(account.db, new Date(), broadcastId, 0))!;
  const recipients = await readPageRecipients(account.db, page);
  return {
    broadcastId,
    page,
    kind: 'marketing',
    email: { id: emailId, version: 1 },
    items: recipients.map(({ prospect: _, gated: __, ...item }) => {
      const sendId = randomUUID();
      return { ...item, sendId, messageId: `<${sendId}@heed.test>` };
    }),
    createdAt: new Date(),
    now: new Date(),
  };
}

/** Each way in which an address comes to be suppressed. */
async function suppress(
  db: Database,
  person: { id: string; addressId: string; domain: string },
  way: number,
  listId: string,
): Promise<void> {
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
        await addDomainSuppression(tx, ORIGIN, now, person.domain, null);
    }
  });
}

interface Findings {
  /** Attempts that began after a suppression that applies to them was committed. */
  violations: number;
  opened: number;
  refused: number;
  slowestWriterMs: number;
  errors: string[];
}

async function contend(ask: PageGate, rounds: number, tag: string): Promise<Findings> {
  const findings: Findings = { violations: 0, opened: 0, refused: 0, slowestWriterMs: 0, errors: [] };
  const emailId = await account.email();
  for (let round = 0; round < rounds; round += 1) {
    const people = await Promise.all(
      Array.from({ length: PEOPLE }, (_, index) => account.prospect(`p@${tag}-${round}-${index}.pages.test`)),
    );
    const listId = await listWith(
      account,
      people.map(({ id }) => id),
    );
    const slices: GateSlice[] = [];
    for (let index = 0; index < BROADCASTS; index += 1) {
      slices.push(await sliceOf(await readyBroadcast(account, listId, { emailId }), emailId));
    }
    const singles: TestSend[] = [];
    for (const person of people) singles.push(await account.send(person, { emailId, listId }));
    const work = [
      ...slices.map((slice) => () => ask(many, slice)),
      ...singles.map((send) => () => gate(many, { ...send, trigger: 'schedule', now: new Date() })),
      ...people.map((person, index) => async () => {
        const startedAt = performance.now();
        await suppress(many, { ...person, domain: person.address.domain }, index % 5, listId);
        findings.slowestWriterMs = Math.max(findings.slowestWriterMs, performance.now() - startedAt);
      }),
    ].sort(() => Math.random() - 0.5);
    for (const result of await Promise.allSettled(work.map((start) => start()))) {
      if (result.status === 'rejected') findings.errors.push(String(result.reason));
    }
    await count(findings, slices);
  }
  return findings;
}

async function count(findings: Findings, slices: readonly GateSlice[]): Promise<void> {
  const [row] = await account.db.query<{ opened: number; all: number; violations: number }>(
    plain(`
      select count(*) filter (where a.outcome is null)::int as opened, count(*)::int as all,
        count(*) filter (where a.outcome is null and exists (
          select from suppression x where x.address_id = s.address_id
            and pg_xact_commit_timestamp(x.xmin) < pg_xact_commit_timestamp(a.xmin)
          union all
          select from domain_suppression d where d.domain = s.recipient_domain
            and pg_xact_commit_timestamp(d.xmin) < pg_xact_commit_timestamp(a.xmin)))::int as violations
      from attempt a join send s on s.id = a.send_id where s.broadcast_id = any($1::uuid[])`),
    [slices.map((slice) => slice.broadcastId)],
  );
  findings.opened += row!.opened;
  findings.refused += slices.length * PEOPLE - row!.opened;
  findings.violations += row!.violations;
}

describe('I1 of the page gate under contention', () => {
  it('no attempt begins after a suppression that applies to it was committed; no writer waits a second; no deadlock', async () => {
    const found = await contend(gateSlice, ROUNDS, 'real');
    expect(found.errors).toEqual([]);
    expect(found.violations).toBe(0);
    // Both must have happened often, or nothing was contended for.
    expect(found.opened).toBeGreaterThan(200);
    expect(found.refused).toBeGreaterThan(200);
    expect(found.slowestWriterMs).toBeLessThan(1_000);
    const [row] = await account.db.query<{ deadlocks: string }>(
      plain('select deadlocks from pg_stat_database where datname = current_database()'),
    );
    expect(Number(row!.deadlocks)).toBe(0);
  }, 300_000);

  it('a page gate written as one statement is caught', async () => {
    const found = await contend(oneStatementGate, ROUNDS / 2, 'single');
    expect(found.violations).toBeGreaterThan(0);
  }, 300_000);
});
