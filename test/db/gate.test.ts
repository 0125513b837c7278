import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { type AttemptOwnership, type GateRequest, gate, markHandingOver } from '../../db/queries/gate.ts';
import { type AttemptEnd, recordOutcome } from '../../db/queries/outcome.ts';
import { cancelSend, settleSend } from '../../db/queries/sends.ts';
import { addDomainSuppression, addSuppressions, removeSuppressions } from '../../db/queries/suppressions.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestSend } from '../support/account.ts';

let account: TestAccount;
beforeAll(async () => {
  account = await createTestAccount();
});
afterAll(() => account.close());

const NOW = new Date('2026-03-02T10:00:00Z');
const later = (seconds: number) => new Date(NOW.getTime() + seconds * 1000);

const END: AttemptEnd = {
  outcome: 'soft_bounce',
  category: 'mailbox_full',
  faultOurs: false,
  holdsBack: false,
  rule: 'test',
  phase: 'rcpt',
  replyCode: 452,
  enhancedCode: '4.2.2',
  replyText: 'mailbox full',
  remoteHost: 'mx.example.net',
  hintSeconds: null,
  destination: 'relay:test:25',
};

function ask(send: TestSend, more: Partial<GateRequest> = {}) {
  return gate(account.db, { ...send, trigger: 'schedule', now: NOW, ...more });
}

async function open(send: TestSend, more: Partial<GateRequest> = {}): Promise<AttemptOwnership> {
  const decision = await ask(send, more);
  if (decision.kind !== 'open') throw new Error(`the gate said ${decision.kind}`);
  return decision.attempt;
}

async function row(send: TestSend): Promise<Record<string, unknown>> {
  const [found] = await account.db.query(plain('select * from send where id = $1'), [send.sendId]);
  return found!;
}

async function outboxOf(send: TestSend): Promise<{ type: string; run: number }[]> {
  const rows = await account.db.query<{ message: { type: string; run: number } }>(
    plain('select message from outbox where aggregate = $1 order by id'),
    [`send:${send.sendId}`],
  );
  return rows.map(({ message }) => message);
}

async function newSend(local: string, options: Parameters<TestAccount['send']>[1] = {}) {
  const prospect = await account.prospect(`${local}@example.net`);
  return { prospect, send: await account.send(prospect, options) };
}

function actions(send: TestSend) {
  return account.db
    .query<{ action: string }>(plain('select action from audit_entry where send_id = $1 order by id'), [
      send.sendId,
    ])
    .then((rows) => rows.map((entry) => entry.action));
}

describe('gate', () => {
  it('I1 I6 opens for an address that nothing speaks against, records the attempt and writes it down', async () => {
    const { send } = await newSend('open');
    expect(await open(send)).toEqual({ number: 1, epoch: 1 });
    expect(await row(send)).toMatchObject({
      state: 'attempting',
      attempt_count: 1,
      slot: 0,
      first_attempt_at: NOW,
    });
    expect(await actions(send)).toEqual(['attempt.gated']);
  });

  it.each([
    ['opt_out', 'prospect:opt_out address:opt_out'],
    ['bounced', 'prospect:bounced address:bounced'],
    ['complaint', 'address:complaint'],
    ['manual', 'address:manual'],
  ] as const)(
    'I1 I6 refuses after %s was committed, finally, and writes it down',
    async (reason, because) => {
      const { prospect, send } = await newSend(`refuse-${reason}`);
      // Past what ends resting sends, as when the entry came between the claim and the gate.
      await account.db.query(plain(`update send set state = 'attempting' where id = $1`), [send.sendId]);
      await account.db.transaction((tx) =>
        addSuppressions(tx, ORIGIN, NOW, [{ addressId: prospect.addressId, reason }]),
      );
      expect(await ask(send)).toEqual({ kind: 'refused', outcome: 'suppressed', reason: because });
      expect(await row(send)).toMatchObject({
        state: 'final',
        outcome: 'suppressed',
        outcome_reason: because,
      });
      expect(await actions(send)).toEqual(['send.refused']);
      expect(await ask(send)).toMatchObject({ kind: 'final', outcome: 'suppressed' });
    },
  );

  it('I1 refuses below a suppressed domain, and not beside it', async () => {
    const below = await account.send(await account.prospect('a@mail.blocked.example'));
    const beside = await account.send(await account.prospect('a@notblocked.example'));
    await account.db.transaction((tx) => addDomainSuppression(tx, ORIGIN, NOW, 'blocked.example', null));
    expect(await ask(below)).toMatchObject({ kind: 'refused', reason: 'domain:blocked.example' });
    expect(await ask(beside)).toMatchObject({ kind: 'open' });
  });

  it('I1 refuses within the list that was unsubscribed from, and only there', async () => {
    const listId = await account.list();
    const other = await account.list();
    const prospect = await account.prospect('lists@example.net');
    const [within, without, elsewhere] = [
      await account.send(prospect, { listId }),
      await account.send(prospect),
      await account.send(prospect, { listId: other }),
    ];
    await account.db.transaction((tx) =>
      addSuppressions(tx, ORIGIN, NOW, [{ addressId: prospect.addressId, reason: 'opt_out', listId }]),
    );
    expect(await ask(within)).toMatchObject({ kind: 'final', outcome: 'suppressed', reason: 'list:opt_out' });
    expect(await ask(without)).toMatchObject({ kind: 'open' });
    expect(await ask(elsewhere)).toMatchObject({ kind: 'open' });
    const [person] = await account.db.query(plain('select email_opt_out from prospect where id = $1'), [
      prospect.id,
    ]);
    expect(person).toEqual({ email_opt_out: false });
  });

  it('transactional mail passes an opt-out only where the account allows it', async () => {
    const emailId = await account.email('transactional');
    const { prospect } = await newSend('receipt');
    await account.db.transaction((tx) => setFlags(tx, ORIGIN, NOW, prospect.id, { emailOptOut: true }));
    expect(await ask(await account.send(prospect, { emailId }))).toMatchObject({ kind: 'refused' });
    await account.setting({ transactional_passes_opt_out: true });
    expect(await ask(await account.send(prospect, { emailId }))).toMatchObject({ kind: 'open' });
    expect(await ask(await account.send(prospect))).toMatchObject({
      kind: 'refused',
      reason: 'prospect:opt_out address:opt_out',
    });
    await account.setting({ transactional_passes_opt_out: false });
  });

  it('is closed before the next attempt is due, and open for a retry by hand', async () => {
    const { send } = await newSend('due');
    await recordOutcome(account.db, send, await open(send), END, NOW);
    expect(await ask(send, { now: later(299) })).toEqual({
      kind: 'not_due',
      nextAttemptAt: later(300),
      attempts: 1,
    });
    expect(await ask(send, { now: later(10), trigger: 'retry_now' })).toMatchObject({ kind: 'open' });
    expect(await row(send)).toMatchObject({ slot: 0, attempt_count: 2 });
  });

  it.each(['the way out', 'the pause of marketing email'] as const)(
    'I5 a retry by hand that is held by %s uses up no turn of the schedule',
    async (by) => {
      const { send } = await newSend(`held-retry-${by.length}`);
      await account.db.query(
        plain(`update send set state = 'waiting', schedule_seconds = '[0, 3600, 432000]', schedule_started_at = $2,
               first_attempt_at = $2, attempt_count = 2, slot = 1, next_slot = 2, next_attempt_at = $3 where id = $1`),
        [send.sendId, NOW, later(432_000)],
      );
      const retry = { trigger: 'retry_now', now: later(7200) } as const;
      if (by === 'the way out') {
        const wayOut = { until: later(7205), reason: 'relay_unavailable' };
        expect(await ask(send, { ...retry, wayOut })).toMatchObject({ kind: 'held_back' });
      } else {
        await account.setting({ marketing_paused: true });
        expect(await ask(send, retry)).toMatchObject({ kind: 'held' });
        await account.setting({ marketing_paused: false });
      }
      const attempt = await open(send, { now: later(7206) });
      expect(await recordOutcome(account.db, send, attempt, END, later(7206))).toEqual({
        state: 'waiting',
        nextAttemptAt: later(432_000),
      });
    },
  );

  it('an attempt that was only gated is gated anew by another worker, and its first owner can do nothing more', async () => {
    const { send } = await newSend('takeover');
    const first = await open(send);
    const second = await open(send);
    expect(second).toEqual({ number: 1, epoch: 2 });
    expect(await markHandingOver(account.db, send.sendId, first, NOW, 'mx')).toBe(false);
    expect(await ask(send, { held: first })).toEqual({ kind: 'superseded' });
    expect(await markHandingOver(account.db, send.sendId, second, NOW, 'mx')).toBe(true);
    expect(await recordOutcome(account.db, send, first, { ...END, outcome: 'delivered' }, NOW)).toBeNull();
    expect(await row(send)).toMatchObject({ state: 'attempting', outcome: null });
  });

  it('I2 an attempt that was being handed over is never begun again: it is unknown', async () => {
    const { send } = await newSend('lost');
    const attempt = await open(send);
    await markHandingOver(account.db, send.sendId, attempt, NOW, 'mx');
    expect(await ask(send)).toEqual({ kind: 'outcome_lost', attempt });
    await recordOutcome(account.db, send, attempt, { ...END, outcome: 'unknown' }, NOW);
    expect(await row(send)).toMatchObject({ state: 'final', outcome: 'unknown' });
    expect(await ask(send)).toMatchObject({ kind: 'final', outcome: 'unknown' });
  });

  it('an opt-out that came while the attempt was only gated is honoured when it is gated anew', async () => {
    const { prospect, send } = await newSend('regate');
    const held = await open(send);
    await account.db.transaction((tx) => setFlags(tx, ORIGIN, NOW, prospect.id, { emailOptOut: true }));
    expect(await ask(send, { held })).toMatchObject({
      kind: 'refused',
      reason: 'prospect:opt_out address:opt_out',
    });
  });

  it('I1 fails closed: where the suppressions cannot be read it throws, and no attempt begins', async () => {
    const { send } = await newSend('closed');
    await account.db.query(plain('alter table suppression rename to suppression_away'));
    try {
      await expect(ask(send)).rejects.toThrow('suppression');
    } finally {
      await account.db.query(plain('alter table suppression_away rename to suppression'));
    }
    expect(await row(send)).toMatchObject({ state: 'queued', attempt_count: 0 });
    expect(await actions(send)).toEqual([]);
  });
});

describe('outcome', () => {
  it('I4 a hard bounce sets Bounced, keeps everything, and ends the other waiting sends to the address', async () => {
    const { prospect, send } = await newSend('dead');
    const other = await account.send(prospect);
    await recordOutcome(account.db, other, await open(other), END, NOW);
    await recordOutcome(
      account.db,
      send,
      await open(send),
      { ...END, outcome: 'hard_bounce', category: 'user_unknown' },
      NOW,
    );
    expect(await row(send)).toMatchObject({ state: 'final', outcome: 'bounced' });
    expect(await row(other)).toMatchObject({
      state: 'final',
      outcome: 'suppressed',
      outcome_reason: 'prospect:bounced address:bounced',
    });
    expect((await outboxOf(other)).map(({ type }) => type)).toEqual(['startSend', 'endSend']);
    const [person] = await account.db.query(
      plain('select bounced, email_opt_out, deleted_at from prospect where id = $1'),
      [prospect.id],
    );
    expect(person).toEqual({ bounced: true, email_opt_out: false, deleted_at: null });
  });

  it('I5 a soft bounce changes no flag and waits for the schedule', async () => {
    const { prospect, send } = await newSend('soft');
    expect(await recordOutcome(account.db, send, await open(send), END, later(2))).toEqual({
      state: 'waiting',
      nextAttemptAt: later(300),
    });
    const [person] = await account.db.query(plain('select bounced from prospect where id = $1'), [
      prospect.id,
    ]);
    expect(person).toEqual({ bounced: false });
  });

  it('a rejection sets no flag and is not tried again', async () => {
    const { prospect, send } = await newSend('policy');
    const end: AttemptEnd = { ...END, outcome: 'rejected', category: 'policy' };
    expect(await recordOutcome(account.db, send, await open(send), end, NOW)).toEqual({
      state: 'final',
      outcome: 'rejected',
      reason: 'policy',
    });
    const [person] = await account.db.query(plain('select bounced from prospect where id = $1'), [
      prospect.id,
    ]);
    expect(person).toEqual({ bounced: false });
  });

  it('I1 a suppression that came while the attempt was in the air ends the send with that attempt', async () => {
    const { prospect, send } = await newSend('inair');
    const attempt = await open(send);
    await account.db.transaction((tx) => setFlags(tx, ORIGIN, NOW, prospect.id, { emailOptOut: true }));
    expect(await row(send)).toMatchObject({ state: 'attempting' });
    expect(await recordOutcome(account.db, send, attempt, END, NOW)).toMatchObject({
      state: 'final',
      outcome: 'suppressed',
    });
  });

  it('a cancellation that came while the attempt was in the air ends the send, unless it was delivered', async () => {
    for (const [outcome, final] of [
      ['soft_bounce', 'cancelled'],
      ['delivered', 'delivered'],
    ] as const) {
      const { send } = await newSend(`cancel-${outcome}`);
      const attempt = await open(send);
      expect(await account.db.transaction((tx) => cancelSend(tx, ORIGIN, NOW, send.sendId))).toBe(
        'requested',
      );
      // I6: by whom and why is known, however the attempt ends.
      const [asked] = await account.db.query(
        plain(
          `select way, actor, reason from audit_entry where send_id = $1 and action = 'send.cancel_requested'`,
        ),
        [send.sendId],
      );
      expect(asked).toMatchObject({ way: ORIGIN.way, actor: ORIGIN.actor, reason: ORIGIN.reason });
      expect(await recordOutcome(account.db, send, attempt, { ...END, outcome }, NOW)).toMatchObject({
        outcome: final,
      });
    }
  });

  it('recording the same outcome twice changes nothing', async () => {
    for (const outcome of ['delivered', 'soft_bounce', 'hard_bounce', 'unknown', 'rejected'] as const) {
      const { send } = await newSend(`twice-${outcome}`);
      const attempt = await open(send);
      const first = await recordOutcome(account.db, send, attempt, { ...END, outcome }, NOW);
      const audited = await actions(send);
      expect(await recordOutcome(account.db, send, attempt, { ...END, outcome }, later(5))).toMatchObject({
        state: first!.state,
      });
      expect(await actions(send)).toEqual(audited);
    }
  });

  it('I2 an owner who was taken for lost settles the unknown by what it knows', async () => {
    const { send } = await newSend('evidence');
    const attempt = await open(send);
    await markHandingOver(account.db, send.sendId, attempt, NOW, 'mx');
    await recordOutcome(account.db, send, attempt, { ...END, outcome: 'unknown' }, NOW);
    await recordOutcome(account.db, send, attempt, { ...END, outcome: 'delivered' }, later(60));
    expect(await row(send)).toMatchObject({ state: 'final', outcome: 'delivered' });

    const { send: soft } = await newSend('evidence-soft');
    const softly = await open(soft);
    await markHandingOver(account.db, soft.sendId, softly, NOW, 'mx');
    await recordOutcome(account.db, soft, softly, { ...END, outcome: 'unknown' }, NOW);
    await recordOutcome(account.db, soft, softly, END, later(60));
    expect(await row(soft)).toMatchObject({ state: 'waiting', outcome: null, run: 2 });
    expect(await outboxOf(soft)).toMatchObject([{ run: 1 }, { type: 'startSend', run: 2 }]);
  });

  it('I2 a person settles an unknown: delivered, or sent again under the same Message-ID', async () => {
    const { send } = await newSend('settle');
    const attempt = await open(send);
    await recordOutcome(account.db, send, attempt, { ...END, outcome: 'unknown' }, NOW);
    const before = await row(send);
    expect(await account.db.transaction((tx) => settleSend(tx, ORIGIN, NOW, send.sendId, 'resend'))).toBe(
      'done',
    );
    expect(await row(send)).toMatchObject({ state: 'queued', run: 2, message_id: before.message_id });
    expect(await ask(send)).toEqual({ kind: 'superseded' });
    expect(await ask({ ...send, run: 2 })).toMatchObject({ kind: 'open', attempt: { number: 2 } });
    expect(await account.db.transaction((tx) => settleSend(tx, ORIGIN, NOW, send.sendId, 'delivered'))).toBe(
      'not_unknown',
    );
  });

  it('I5 so many exhausted sends in a row set Bounced, a delivery between them does not let it, faults of ours do not count', async () => {
    await account.setting({ soft_bounce_limit: 3, schedule_seconds: [0] });
    const bounced = async (id: string) =>
      (
        await account.db.query<{ bounced: boolean }>(plain('select bounced from prospect where id = $1'), [
          id,
        ])
      )[0]!.bounced;
    const run = async (
      prospect: Awaited<ReturnType<TestAccount['prospect']>>,
      ends: Partial<AttemptEnd>[],
    ) => {
      for (const [index, end] of ends.entries()) {
        const send = await account.send(prospect);
        const now = later(index * 60);
        await recordOutcome(account.db, send, await open(send, { now }), { ...END, ...end }, now);
      }
    };
    const exhausted = {};
    const delivered = { outcome: 'delivered' as const };
    const ours = { faultOurs: true };
    const limit = await account.prospect('limit@example.net');
    await run(limit, [exhausted, exhausted]);
    expect(await bounced(limit.id)).toBe(false);
    await run(limit, [exhausted]);
    expect(await bounced(limit.id)).toBe(true);
    const reset = await account.prospect('reset@example.net');
    await run(reset, [exhausted, exhausted, delivered, exhausted, exhausted]);
    expect(await bounced(reset.id)).toBe(false);
    const spared = await account.prospect('spared@example.net');
    await run(spared, [exhausted, ours, exhausted, ours]);
    expect(await bounced(spared.id)).toBe(false);
    // Whoever takes Bounced off starts the count afresh.
    await account.db.transaction((tx) => setFlags(tx, ORIGIN, later(3600), limit.id, { bounced: false }));
    const again = await account.send(limit);
    await recordOutcome(account.db, again, await open(again, { now: later(7200) }), END, later(7200));
    expect(await bounced(limit.id)).toBe(false);
    await account.setting({ soft_bounce_limit: 5 });
  });
});

describe('suppressions and flags', () => {
  it('I3 I6 each flag changes alone, with its reason on the list, and an audit entry of before and after', async () => {
    const { prospect } = await newSend('flags');
    const state = async () => {
      const [person] = await account.db.query(
        plain(`select email_opt_out, bounced,
          (select coalesce(array_agg(reason order by reason), '{}') from suppression s where s.address_id = p.address_id) as reasons
          from prospect p where id = $1`),
        [prospect.id],
      );
      return person;
    };
    const set = (change: { emailOptOut?: boolean; bounced?: boolean }) =>
      account.db.transaction((tx) => setFlags(tx, ORIGIN, NOW, prospect.id, change));
    await set({ bounced: true });
    expect(await state()).toEqual({ email_opt_out: false, bounced: true, reasons: ['bounced'] });
    await set({ emailOptOut: true });
    expect(await state()).toEqual({ email_opt_out: true, bounced: true, reasons: ['bounced', 'opt_out'] });
    await set({ emailOptOut: false });
    expect(await state()).toEqual({ email_opt_out: false, bounced: true, reasons: ['bounced'] });
    await set({ emailOptOut: false, bounced: false });
    expect(await state()).toEqual({ email_opt_out: false, bounced: false, reasons: [] });
    const entries = await account.db.query(
      plain(
        `select subject, before, after, way, actor from audit_entry where prospect_id = $1 and action = 'flag.changed' order by id`,
      ),
      [prospect.id],
    );
    expect(entries).toEqual(
      [
        ['bounced', false, true],
        ['emailOptOut', false, true],
        ['emailOptOut', true, false],
        ['bounced', true, false],
      ].map(([subject, before, after]) => ({ subject, before, after, way: 'api', actor: 'test' })),
    );
  });

  it('I3 taking a reason off leaves every other reason', async () => {
    const { prospect } = await newSend('reasons');
    const all = (['opt_out', 'bounced', 'complaint', 'manual'] as const).map((reason) => ({
      addressId: prospect.addressId,
      reason,
    }));
    await account.db.transaction((tx) => addSuppressions(tx, ORIGIN, NOW, all));
    await account.db.transaction((tx) => removeSuppressions(tx, ORIGIN, NOW, [all[0]!]));
    const rows = await account.db.query(
      plain('select reason from suppression where address_id = $1 order by reason'),
      [prospect.addressId],
    );
    expect(rows.map((entry) => entry.reason)).toEqual(['bounced', 'complaint', 'manual']);
  });

  it('I6 audit entries can be neither changed nor removed', async () => {
    await newSend('audit');
    for (const statement of [
      'update audit_entry set actor = null',
      'delete from audit_entry',
      'truncate audit_entry',
    ]) {
      await expect(account.db.query(plain(statement))).rejects.toThrow('audit entries are only ever added');
    }
  });
});
