import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Database, openDatabase, plain } from '../../db/connection.ts';
import { type GateRequest, gate } from '../../db/queries/gate.ts';
import { wakePausedSends } from '../../db/queries/sends.ts';
import { changeSettings } from '../../db/queries/settings.ts';
import { addSuppressions } from '../../db/queries/suppressions.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestSend } from '../support/account.ts';
import { until } from '../support/until.ts';

/*
 * The kill switch: while it is on, no attempt of a marketing send begins. It is ordered against the gate as a
 * suppression is (I1).
 */

let account: TestAccount;
let transactional: string;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount();
  transactional = await account.email('transactional');
});
afterAll(() => account.close());
beforeEach(() => paused(false));

const NOW = new Date('2026-03-02T10:00:00Z');
/** Gates at a time, and how often each is asked. */
const LANES = 8;
const SENDS_A_LANE = 100;
const NO_ID = '00000000-0000-0000-0000-000000000000';

function paused(marketingPaused: boolean, db: Database = account.db) {
  return db.transaction((tx) => changeSettings(tx, ORIGIN, NOW, { marketingPaused }));
}

async function newSend(options: Parameters<TestAccount['send']>[1] = {}): Promise<TestSend> {
  return account.send(await account.prospect(`paused${++counter}@example.net`), options);
}

const ask = (send: TestSend, more: Partial<GateRequest> = {}) =>
  gate(account.db, { ...send, trigger: 'schedule', now: NOW, ...more });

async function rowOf(send: TestSend): Promise<Record<string, unknown>> {
  const [row] = await account.db.query(plain('select * from send where id = $1'), [send.sendId]);
  return row!;
}

const attemptsOf = (send: TestSend) =>
  account.db.query(
    plain('select number, state, outcome, fault_ours, rule from attempt where send_id = $1 order by number'),
    [send.sendId],
  );

/** Whom the switch being taken back wakes, page by page. */
async function woken(limit = 2): Promise<string[]> {
  await account.db.query(plain('delete from outbox'));
  for (let after: string | null = NO_ID; after !== null; ) {
    const from: string = after;
    after = await account.db.transaction((tx) => wakePausedSends(tx, NOW, from, limit));
  }
  const rows = await account.db.query<{ message: { type: string; sendId: string } }>(
    plain('select message from outbox order by id'),
  );
  expect(rows.every(({ message }) => message.type === 'wakeSend')).toBe(true);
  return rows.map(({ message }) => message.sendId);
}

describe('while marketing email is paused', () => {
  it('no attempt of a marketing send begins, none is counted, and it says what it waits for', async () => {
    const send = await newSend();
    await paused(true);
    for (const trigger of ['schedule', 'retry_now'] as const) {
      expect(await ask(send, { trigger })).toMatchObject({ kind: 'held' });
    }
    expect(await attemptsOf(send)).toEqual([]);
    expect(await rowOf(send)).toMatchObject({
      state: 'held',
      held_reason: 'marketing_paused',
      next_attempt_at: null,
      attempt_count: 0,
      first_attempt_at: null,
      schedule_started_at: null,
    });
    await paused(false);
    expect(await ask(send)).toMatchObject({ kind: 'open', attempt: { number: 1 } });
  });

  it('transactional email goes on', async () => {
    const send = await newSend({ emailId: transactional });
    await paused(true);
    expect(await ask(send)).toMatchObject({ kind: 'open' });
  });

  it('a retry that is due waits too, and goes on with the slot that was its turn', async () => {
    const send = await newSend();
    await account.db.query(
      plain(`update send set state = 'waiting', attempt_count = 1, slot = 0, next_slot = 1, schedule_started_at = $2,
             first_attempt_at = $2, next_attempt_at = $3 where id = $1`),
      [send.sendId, NOW, new Date(NOW.getTime() + 300_000)],
    );
    await paused(true);
    expect(await ask(send)).toMatchObject({ kind: 'not_due' });
    const due = new Date(NOW.getTime() + 301_000);
    expect(await ask(send, { now: due })).toMatchObject({ kind: 'held' });
    expect(await rowOf(send)).toMatchObject({ attempt_count: 1, slot: 0, next_slot: 1 });
    await paused(false);
    expect(await ask(send, { now: due })).toMatchObject({ kind: 'open', attempt: { number: 2 } });
    expect(await rowOf(send)).toMatchObject({ slot: 1 });
  });

  it('I1 whoever said no is refused all the same, and waits for no switch', async () => {
    const [refused, held] = [await newSend(), await newSend()];
    await paused(true);
    await account.db.query(plain(`update send set state = 'attempting' where id = $1`), [refused.sendId]);
    const add = (send: TestSend) =>
      account.db.transaction((tx) =>
        addSuppressions(tx, ORIGIN, NOW, [{ addressId: send.addressId, reason: 'opt_out' }]),
      );
    await add(refused);
    expect(await ask(refused)).toMatchObject({ kind: 'refused', outcome: 'suppressed' });
    await ask(held);
    await add(held);
    expect(await rowOf(held)).toMatchObject({ state: 'final', outcome: 'suppressed' });
  });

  it('an attempt whose decision grew too old before anything was sent is broken off, against nobody', async () => {
    const send = await newSend();
    const decision = await ask(send);
    if (decision.kind !== 'open') throw new Error(decision.kind);
    await paused(true);
    expect(await ask(send, { held: decision.attempt })).toMatchObject({ kind: 'held' });
    expect(await attemptsOf(send)).toEqual([
      { number: 1, state: 'finished', outcome: 'soft_bounce', fault_ours: true, rule: 'marketing_paused' },
    ]);
    expect(await rowOf(send)).toMatchObject({ state: 'held', held_reason: 'marketing_paused' });
  });
});

describe('when the switch is taken back', () => {
  it('those who wait for it are woken, each once, and nobody else', async () => {
    await account.db.query(
      plain(`update send set state = 'final', outcome = 'cancelled' where state <> 'final'`),
    );
    const sends = [await newSend(), await newSend(), await newSend(), await newSend(), await newSend()];
    const other = await newSend();
    await paused(true);
    for (const send of sends) await ask(send);
    await account.db.query(
      plain(`update send set state = 'held', held_reason = 'rate_limit' where id = $1`),
      [other.sendId],
    );
    await account.db.query(plain('delete from outbox'));
    await paused(false);
    const [entry] = await account.db.query(plain('select message from outbox'));
    expect(entry).toEqual({ message: { type: 'wakeHeldBack' } });
    expect(await woken()).toEqual(sends.map(({ sendId }) => sendId));
    for (const send of sends) await ask(send);
    expect(await woken()).toEqual([]);
  });
});

describe('I1 the switch is ordered against every gate', () => {
  it('a gate waits for a switch that is being set, and then holds', async () => {
    const send = await newSend();
    const commit = Promise.withResolvers<void>();
    const set = Promise.withResolvers<void>();
    const setting = account.db.transaction(async (tx) => {
      await changeSettings(tx, ORIGIN, NOW, { marketingPaused: true });
      set.resolve();
      await commit.promise;
    });
    await set.promise;
    const asked = ask(send);
    await until('the gate waits', waitsForALock);
    commit.resolve();
    await setting;
    expect(await asked).toMatchObject({ kind: 'held' });
  });

  it('among many gates and switches no attempt begins while it is on, and nobody is held once it is off', async () => {
    const emailId = await account.email();
    const many = openDatabase(account.url, { max: LANES + 1 });
    const lanes = await Promise.all(
      Array.from({ length: LANES }, async (_, lane) => {
        const prospect = await account.prospect(`lane${lane}@example.net`);
        const sends: TestSend[] = [];
        while (sends.length < SENDS_A_LANE) sends.push(await account.send(prospect, { emailId }));
        return sends;
      }),
    );
    let over = false;
    let switches = 0;
    const switching = (async () => {
      while (!over) await paused(++switches % 2 === 1, many);
      await paused(false, many);
    })();
    const kinds = new Map<string, number>();
    const run = async (sends: readonly TestSend[]) => {
      for (const send of sends) {
        const { kind } = await gate(many, { ...send, trigger: 'schedule', now: NOW });
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
      }
    };
    await Promise.all(lanes.map(run));
    over = true;
    await switching;
    // Which commit came first is what PostgreSQL recorded of them, not what this process believes.
    const [found] = await account.db.query(
      plain(`
        with change as (
          select pg_xact_commit_timestamp(xmin) as at, (after->>'marketingPaused')::boolean as paused
          from audit_entry where action = 'setting.changed'
        ), decided as (
          select state, pg_xact_commit_timestamp(xmin) as at from send where id = any($1::uuid[])
        ), judged as (
          select state, (select c.paused from change c where c.at < d.at order by c.at desc limit 1) as paused from decided d
        )
        select count(*) filter (where state = 'attempting')::int as opened,
          count(*) filter (where state = 'attempting' and paused)::int as "openedWhilePaused",
          count(*) filter (where state = 'held')::int as held,
          -- Whoever is held after the switch was taken back would not be woken by that.
          count(*) filter (where state = 'held' and not paused)::int as "heldTooLate"
        from judged`),
      [lanes.flat().map(({ sendId }) => sendId)],
    );
    const [opened, held] = [kinds.get('open') ?? 0, kinds.get('held') ?? 0];
    expect(found).toEqual({ opened, openedWhilePaused: 0, held, heldTooLate: 0 });
    // Both must have happened often, or nothing was contended for.
    expect(opened).toBeGreaterThan(50);
    expect(held).toBeGreaterThan(50);
    await many.close();
  }, 120_000);
});

async function waitsForALock(): Promise<boolean> {
  const [row] = await account.db.query<{ waiting: boolean }>(
    plain(`select exists (select from pg_locks where not granted and locktype = 'advisory'
           and database = (select oid from pg_database where datname = current_database())) as waiting`),
  );
  return row!.waiting;
}
