import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { judgeRates } from '../../db/queries/alerting.ts';
import { listAlerts } from '../../db/queries/alerts.ts';
import { changeSettings, readSettings, type Settings } from '../../db/queries/settings.ts';
import { describeRate, isOverLimit, RATE_ALERTS } from '../../domain/alerting.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestSend } from '../support/account.ts';

let account: TestAccount;
let send: TestSend;
beforeAll(async () => {
  account = await createTestAccount();
  send = await account.send(await account.prospect('rates@example.net'));
});
afterAll(() => account.close());
beforeEach(() => account.db.query(plain('truncate attempt, alert, delivery_event, inbound')));

const NOW = new Date('2026-03-02T10:00:00Z');
const hoursAgo = (hours: number) => new Date(NOW.getTime() - hours * 3_600_000);
let number = 0;

async function attempts(
  count: number,
  outcome: string,
  more: { at?: Date; category?: string; faultOurs?: boolean } = {},
): Promise<void> {
  await account.db.query(
    plain(`insert into attempt (send_id, number, epoch, state, trigger, outcome, category, fault_ours, gated_at)
           select $1, $2 + n, 1, 'finished', 'schedule', $3, $4, $5, $6 from generate_series(1, $7) as n`),
    [
      send.sendId,
      number,
      outcome,
      more.category ?? null,
      more.faultOurs ?? false,
      more.at ?? hoursAgo(1),
      count,
    ],
  );
  number += count;
}

/** Complaints come from different people: each about a send of its own. */
async function complaints(count: number, at = hoursAgo(1)): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    const { sendId } = await account.send(await account.prospect(`complainer${++number}@example.net`));
    await account.db.query(
      plain(`with i as (insert into inbound (id, source, dedupe_key, content, size, recipients, state, received_at)
               values (gen_random_uuid(), 'http', gen_random_uuid()::text, '', 0, '{}', 'applied', $2) returning id)
             insert into delivery_event (inbound_id, n, kind, fault_ours, rule, send_id, result, at)
             select id, 1, 'complaint', false, 'test', $1, 'applied', $2 from i`),
      [sendId, at],
    );
  }
}

const open = async () => (await listAlerts(account.db, false, null, 10)).map(({ kind }) => kind);

describe('alerts about rates', () => {
  it('rise from their share on, say how much, and go when it is over', async () => {
    await attempts(190, 'delivered');
    await attempts(10, 'hard_bounce');
    expect(await judgeRates(account.db, NOW)).toEqual(['hard_bounce_rate']);
    expect(await judgeRates(account.db, NOW)).toEqual(['hard_bounce_rate']);
    expect(await listAlerts(account.db, false, null, 10)).toMatchObject([
      {
        key: 'hard_bounce_rate',
        kind: 'hard_bounce_rate',
        count: 2,
        detail: '10 of 200 (5.0 %) within 24 hours',
      },
    ]);
    await attempts(10, 'delivered');
    expect(await judgeRates(account.db, NOW)).toEqual([]);
    expect(await open()).toEqual([]);
  });

  it('need a minimum of samples', async () => {
    await attempts(199, 'hard_bounce');
    expect(await judgeRates(account.db, NOW)).toEqual([]);
    await attempts(1, 'hard_bounce');
    expect(await judgeRates(account.db, NOW)).toEqual(['hard_bounce_rate']);
  });

  it('look back a day', async () => {
    await attempts(300, 'hard_bounce', { at: hoursAgo(25) });
    expect(await judgeRates(account.db, NOW)).toEqual([]);
    await attempts(300, 'hard_bounce', { at: hoursAgo(23) });
    expect(await judgeRates(account.db, NOW)).toEqual(['hard_bounce_rate']);
    expect(await judgeRates(account.db, new Date(NOW.getTime() + 2 * 3_600_000))).toEqual([]);
  });

  it('complaints count against what was delivered', async () => {
    await attempts(2_000, 'delivered');
    await complaints(1);
    expect(await judgeRates(account.db, NOW)).toEqual([]);
    await complaints(1);
    expect(await judgeRates(account.db, NOW)).toEqual(['complaint_rate']);
  });

  it('our own address refused is what counts as a fault of ours by reputation or authentication', async () => {
    await attempts(60, 'delivered');
    await attempts(5, 'rejected', { category: 'reputation' });
    await attempts(5, 'soft_bounce', { category: 'rate_limit', faultOurs: true });
    expect(await judgeRates(account.db, NOW)).toEqual([]);
    await attempts(2, 'rejected', { category: 'authentication', faultOurs: true });
    expect(await judgeRates(account.db, NOW)).toEqual(['own_address_refused']);
  });

  it('a domain that refuses us has an alert of its own, though it is a small share of all', async () => {
    await attempts(5_000, 'delivered');
    const strict = await account.send(await account.prospect('rates@strict.example'));
    const all = send;
    send = strict;
    await attempts(15, 'delivered');
    await attempts(4, 'rejected', { category: 'reputation', faultOurs: true });
    await judgeRates(account.db, NOW);
    expect(await open()).toEqual([]);
    await attempts(1, 'rejected', { category: 'authentication', faultOurs: true });
    for (const _again of [1, 2]) expect(await judgeRates(account.db, NOW)).toEqual([]);
    expect(await listAlerts(account.db, false, null, 10)).toMatchObject([
      {
        key: 'own_address_refused:strict.example',
        kind: 'own_address_refused',
        detail: 'at strict.example: 5 of 20 (25 %) within 24 hours',
        count: 2,
      },
    ]);
    await attempts(10, 'delivered');
    await judgeRates(account.db, NOW);
    expect(await open()).toEqual([]);
    send = all;
  });

  it('test sends count for nothing', async () => {
    await account.db.query(plain('update send set test = true where id = $1'), [send.sendId]);
    await attempts(300, 'hard_bounce');
    expect(await judgeRates(account.db, NOW)).toEqual([]);
    await account.db.query(plain('update send set test = false where id = $1'), [send.sendId]);
  });
});

describe('marketing', () => {
  const paused = async () => (await readSettings(account.db)).marketingPaused;
  const set = (change: Partial<Settings>) =>
    account.db.transaction((tx) => changeSettings(tx, ORIGIN, NOW, change));

  it('goes on when an alert is raised, unless the account wants it to pause', async () => {
    await attempts(300, 'hard_bounce');
    await judgeRates(account.db, NOW);
    expect(await paused()).toBe(false);
  });

  it('I6 pauses by itself where the setting says so, once an alert, and a person ends it', async () => {
    await set({ pauseMarketingOnAlert: true });
    await attempts(300, 'hard_bounce');
    await judgeRates(account.db, NOW);
    expect(await paused()).toBe(true);
    const [entry] = await account.db.query(
      plain(
        `select way, actor, reason from audit_entry where action = 'setting.changed' order by id desc limit 1`,
      ),
    );
    expect(entry).toEqual({ way: 'system', actor: 'heed', reason: 'hard_bounce_rate' });
    // The person knows, and goes on although the alert still stands.
    await set({ marketingPaused: false });
    await judgeRates(account.db, NOW);
    expect(await paused()).toBe(false);
  });
});

describe('a share', () => {
  const limit = RATE_ALERTS.hard_bounce_rate;
  it.each([
    [0, 0, false],
    [199, 199, false],
    [9, 200, false],
    [10, 200, true],
    [200, 200, true],
  ])('%i of %i: %s', (hits, samples, over) => {
    expect(isOverLimit({ hits, samples }, limit)).toBe(over);
  });

  it('of nothing is nothing', () => {
    expect(describeRate({ hits: 0, samples: 0 })).toBe('0 of 0 (0.0 %) within 24 hours');
  });
});
