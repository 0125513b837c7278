import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { recordDeliveries } from '../../db/queries/broadcastOutcome.ts';
import { applyDeliveryEvent } from '../../db/queries/deliveryEvents.ts';
import { gate } from '../../db/queries/gate.ts';
import { recordOutcome } from '../../db/queries/outcome.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { updateProspect } from '../../db/queries/prospects.ts';
import { DELIVERY_EVENT_KINDS, type DeliveryEventKind } from '../../domain/deliveryEvent.ts';
import type { SendOutcome } from '../../domain/words.ts';
import {
  createTestAccount,
  ORIGIN,
  parsed,
  type TestAccount,
  type TestProspect,
  type TestSend,
} from '../support/account.ts';

let account: TestAccount;
let emailId: string;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount();
  emailId = await account.email();
});
afterAll(() => account.close());

const NOW = new Date('2026-03-02T10:00:00Z');

const END = {
  category: null,
  faultOurs: false,
  holdsBack: false,
  rule: null,
  phase: 'final',
  replyCode: 250,
  enhancedCode: null,
  replyText: 'ok',
  remoteHost: 'mx.example.net',
  hintSeconds: null,
  destination: 'relay:test:25',
};

async function sendThatEnded(outcome: SendOutcome): Promise<TestSend> {
  const send = await account.send(await account.prospect(`event${++counter}@example.net`), { emailId });
  await account.db.query(
    plain(
      `update send set state = 'final', outcome = $2, first_attempt_at = $3, finished_at = $3 where id = $1`,
    ),
    [send.sendId, outcome, NOW],
  );
  return send;
}

function apply(send: { sendId: string }, kind: DeliveryEventKind) {
  return account.db.transaction((tx) =>
    applyDeliveryEvent(tx, NOW, { sendId: send.sendId, kind, category: null, faultOurs: false }),
  );
}

async function stateOf(send: TestSend) {
  const [row] = await account.db.query(
    plain(`select s.state, s.outcome, p.bounced, p.email_opt_out,
      (select coalesce(array_agg(reason order by reason), '{}') from suppression where address_id = s.address_id) as reasons
      from send s join prospect p on p.id = s.prospect_id where s.id = $1`),
    [send.sendId],
  );
  return row!;
}

describe('delivery events', () => {
  it.each([
    ['delivered', 'hard_bounce', 'bounced'],
    ['delivered', 'gave_up', 'exhausted'],
    ['delivered', 'rejected', 'rejected'],
    ['delivered', 'delivered', 'delivered'],
    ['delivered', 'none', 'delivered'],
    ['unknown', 'delivered', 'delivered'],
    ['unknown', 'complaint', 'delivered'],
    ['unknown', 'hard_bounce', 'bounced'],
    ['bounced', 'delivered', 'bounced'],
    ['suppressed', 'hard_bounce', 'suppressed'],
    ['cancelled', 'delivered', 'cancelled'],
  ] as const)('a send that is %s and then a report of %s: %s', async (before, kind, after) => {
    const send = await sendThatEnded(before);
    await apply(send, kind);
    expect(await stateOf(send)).toMatchObject({ state: 'final', outcome: after });
  });

  it('I3 I4 a late hard bounce sets Bounced of whoever has the address, and opts nobody out', async () => {
    const send = await sendThatEnded('delivered');
    expect(await apply(send, 'hard_bounce')).toBe('applied');
    expect(await stateOf(send)).toMatchObject({ bounced: true, email_opt_out: false, reasons: ['bounced'] });
  });

  it('I3 a complaint has its own reason, opts out by the setting, and bounces nobody', async () => {
    const send = await sendThatEnded('delivered');
    await apply(send, 'complaint');
    expect(await stateOf(send)).toMatchObject({
      outcome: 'delivered',
      bounced: false,
      email_opt_out: true,
      reasons: ['complaint', 'opt_out'],
    });
    await account.setting({ complaint_sets_opt_out: false });
    const other = await sendThatEnded('delivered');
    await apply(other, 'complaint');
    expect(await stateOf(other)).toMatchObject({ email_opt_out: false, reasons: ['complaint'] });
    await account.setting({ complaint_sets_opt_out: true });
  });

  it.each(['changed its address', 'was merged away'] as const)(
    'I4 a late complaint is of the person who %s meanwhile, at both addresses',
    async (what) => {
      const send = await sendThatEnded('delivered');
      const address = parsed(`moved${++counter}@example.net`);
      const moved = await account.db.transaction(async (tx): Promise<TestProspect> => {
        if (what === 'was merged away') {
          const winner = await account.prospect(address.given);
          await mergeProspects(tx, ORIGIN, NOW, winner.id, send.prospectId);
          return winner;
        }
        const updated = await updateProspect(tx, account.hasher, ORIGIN, NOW, send.prospectId, null, {
          address,
        });
        if (updated.kind !== 'updated') throw new Error(updated.kind);
        return { id: send.prospectId, addressId: updated.prospect.addressId, address };
      });
      const waiting = await account.send(moved, { emailId });
      expect(await apply(send, 'complaint')).toBe('applied');
      expect(await stateOf(send)).toMatchObject({ reasons: ['complaint', 'opt_out'] });
      const standing = { email_opt_out: true, reasons: ['complaint', 'opt_out'] };
      expect(await stateOf(waiting)).toMatchObject({ outcome: 'suppressed', ...standing });
      const next = await account.send(moved, { emailId });
      expect(await gate(account.db, { ...next, trigger: 'schedule', now: NOW })).toMatchObject({
        kind: 'refused',
        outcome: 'suppressed',
      });
      expect(await apply(send, 'complaint')).toBe('no_change');
    },
  );

  it('I4 a late bounce stays with the address', async () => {
    const send = await sendThatEnded('delivered');
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, NOW, send.prospectId, null, {
        address: parsed(`moved${++counter}@example.net`),
      }),
    );
    await apply(send, 'hard_bounce');
    expect(await stateOf(send)).toMatchObject({ bounced: false, reasons: ['bounced'] });
  });

  it('a late bounce ends the other waiting sends to the address, and tells their workflows', async () => {
    const prospect = await account.prospect('late@example.net');
    const first = await account.send(prospect, { emailId });
    const waiting = await account.send(prospect, { emailId });
    await account.db.query(plain(`update send set state = 'final', outcome = 'delivered' where id = $1`), [
      first.sendId,
    ]);
    await apply(first, 'hard_bounce');
    expect(await stateOf(waiting)).toMatchObject({ state: 'final', outcome: 'suppressed' });
    const entries = await account.db.query(
      plain(`select message->>'type' as type from outbox where aggregate = $1`),
      [`send:${waiting.sendId}`],
    );
    expect(entries.map((entry) => entry.type)).toContain('endSend');
  });

  it('a dead address ends the very send that still waits, as bounced', async () => {
    const send = await account.send(await account.prospect(`resting${++counter}@example.net`), { emailId });
    await account.db.query(plain(`update send set state = 'waiting', next_attempt_at = $2 where id = $1`), [
      send.sendId,
      NOW,
    ]);
    await apply(send, 'hard_bounce');
    expect(await stateOf(send)).toMatchObject({ state: 'final', outcome: 'bounced' });
  });

  it('a report that comes while an attempt is in the air suppresses at once, and settles once it has ended', async () => {
    const told = [
      ['hard_bounce', 'delivered', 'bounced', ['bounced']],
      ['gave_up', 'delivered', 'exhausted', []],
      ['rejected', 'unknown', 'rejected', []],
      ['delivered', 'unknown', 'delivered', []],
    ] as const;
    for (const [kind, ended, outcome, reasons] of told) {
      const send = await account.send(await account.prospect(`early${++counter}@example.net`), { emailId });
      await account.db.query(plain(`update send set state = 'attempting' where id = $1`), [send.sendId]);
      expect(await apply(send, kind)).toBe('too_early');
      expect(await stateOf(send)).toMatchObject({ state: 'attempting', reasons });
      await account.db.query(plain(`update send set state = 'final', outcome = $2 where id = $1`), [
        send.sendId,
        ended,
      ]);
      expect(await apply(send, kind)).toBe('applied');
      expect(await stateOf(send)).toMatchObject({ state: 'final', outcome, reasons });
    }
    const send = await account.send(await account.prospect(`early${++counter}@example.net`), { emailId });
    await account.db.query(plain(`update send set state = 'attempting' where id = $1`), [send.sendId]);
    expect(await apply(send, 'none')).toBe('no_change');
  });

  it('I2 whoever lost an attempt and finds that it was taken does not overrule a report that came first', async () => {
    for (const [kind, outcome] of [
      ['gave_up', 'exhausted'],
      ['none', 'delivered'],
    ] as const) {
      const send = await account.send(await account.prospect(`lost${++counter}@example.net`), { emailId });
      const decision = await gate(account.db, { ...send, trigger: 'schedule', now: NOW });
      if (decision.kind !== 'open') throw new Error(decision.kind);
      const record = (end: 'unknown' | 'delivered') =>
        recordOutcome(account.db, send, decision.attempt, { ...END, outcome: end }, NOW);
      expect(await record('unknown')).toMatchObject({ outcome: 'unknown' });
      await apply(send, kind);
      expect(await record('delivered')).toMatchObject({ state: 'final', outcome });
      expect(await stateOf(send)).toMatchObject({ outcome });
      expect(await record('delivered')).toMatchObject({ state: 'final', outcome });
      expect(await stateOf(send)).toMatchObject({ outcome });
    }
  });

  it('I2 nor does a page of a broadcast that tells of it afterwards', async () => {
    const send = await account.send(await account.prospect(`lost${++counter}@example.net`), { emailId });
    const decision = await gate(account.db, { ...send, trigger: 'schedule', now: NOW });
    if (decision.kind !== 'open') throw new Error(decision.kind);
    const { attempt } = decision;
    await recordOutcome(account.db, send, attempt, { ...END, outcome: 'unknown' }, NOW);
    await apply(send, 'gave_up');
    const delivery = { sendId: send.sendId, attempt, end: { ...END, outcome: 'delivered' as const } };
    for (const told of [1, 0]) {
      expect(await recordDeliveries(account.db, NOW, [delivery])).toBe(told);
      expect(await stateOf(send)).toMatchObject({ outcome: 'exhausted' });
    }
  });

  it('a report about a send that we never made changes nothing', async () => {
    expect(await apply({ sendId: '00000000-0000-7000-8000-000000000000' }, 'hard_bounce')).toBe('unmatched');
  });

  it('I5 late reports of exhaustion count like any', async () => {
    await account.setting({ soft_bounce_limit: 2 });
    const prospect = await account.prospect('late-limit@example.net');
    for (const bounced of [false, true]) {
      const send = await account.send(prospect, { emailId });
      await account.db.query(
        plain(`update send set state = 'final', outcome = 'delivered', first_attempt_at = $2 where id = $1`),
        [send.sendId, NOW],
      );
      await apply(send, 'gave_up');
      expect(await stateOf(send)).toMatchObject({ outcome: 'exhausted', bounced });
    }
    await account.setting({ soft_bounce_limit: 5 });
  });

  it.each([[[0, 1]], [[1, 0]]])(
    'I5 reports in the order %s count in a row though a later send still stands as delivered',
    async (order) => {
      await account.setting({ soft_bounce_limit: 2 });
      const prospect = await account.prospect(`relay${++counter}@example.net`);
      const sends: TestSend[] = [];
      for (const day of [0, 1, 2]) {
        const send = await account.send(prospect, { emailId });
        await account.db.query(
          plain(
            `update send set state = 'final', outcome = 'delivered', first_attempt_at = $2 where id = $1`,
          ),
          [send.sendId, new Date(NOW.getTime() + day * 86_400_000)],
        );
        sends.push(send);
      }
      for (const [index, bounced] of [false, true].entries()) {
        await apply(sends[order[index]!]!, 'gave_up');
        expect(await stateOf(sends[2]!)).toMatchObject({ outcome: 'delivered', bounced });
      }
      await account.setting({ soft_bounce_limit: 5 });
    },
  );

  it('any order and any repetition of the same events ends the same', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('delivered', 'unknown', 'exhausted', 'suppressed' as const),
        fc.array(fc.constantFrom(...DELIVERY_EVENT_KINDS), { minLength: 1, maxLength: 5 }),
        fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
        async (before, kinds, random) => {
          const [one, other] = [await sendThatEnded(before), await sendThatEnded(before)];
          for (const kind of kinds) await apply(one, kind);
          const shuffled = [...kinds, ...kinds]
            .map((kind) => ({ kind, at: random.next().value }))
            .sort((a, b) => a.at - b.at);
          for (const { kind } of shuffled) await apply(other, kind);
          expect(await stateOf(other)).toEqual(await stateOf(one));
        },
      ),
      { numRuns: 60 },
    );
  });
});
