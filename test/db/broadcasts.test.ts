import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { gateSlice, markSlice, unmark } from '../../db/queries/broadcastGate.ts';
import {
  claimPage,
  leavePage,
  readGatedRecipients,
  readPageRecipients,
  takeTurn,
} from '../../db/queries/broadcastPages.ts';
import { prepareRecipients } from '../../db/queries/broadcastPreparing.ts';
import { readBroadcastReport } from '../../db/queries/broadcastReport.ts';
import {
  changeBroadcast,
  createBroadcast,
  endSendsOfBroadcast,
  nextBroadcastStep,
  readBroadcast,
  readUnfinishedBroadcasts,
  restartBroadcast,
  searchBroadcasts,
} from '../../db/queries/broadcasts.ts';
import { readSendFacts } from '../../db/queries/facts.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { gate } from '../../db/queries/gate.ts';
import { eraseProspect } from '../../db/queries/prospectErase.ts';
import { deleteProspect } from '../../db/queries/prospects.ts';
import { readSend } from '../../db/queries/sendSearch.ts';
import { addSuppressions } from '../../db/queries/suppressions.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import {
  listOf,
  listWith,
  newBroadcast,
  readyBroadcast,
  sendsOf,
  sliceOfNextPage,
  takeBack,
} from '../support/broadcasting.ts';

let account: TestAccount;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount();
});
afterAll(() => account?.close());

const now = () => new Date();
const OPEN = { state: 'open', openFrom: null, mayHaveOrphans: false } as const;
const emails = (count: number) => {
  counter += 1;
  return Array.from({ length: count }, (_, index) => `p${index}@b${counter}.example.net`);
};
const change = (id: string, command: Parameters<typeof changeBroadcast>[4], startAt: Date | null = null) =>
  account.db.transaction((tx) => changeBroadcast(tx, ORIGIN, now(), id, command, startAt));
const step = (id: string, at = now(), run = 1) =>
  account.db.transaction((tx) => nextBroadcastStep(tx, at, id, run));
const messages = (id: string) =>
  account.db
    .query<{ message: object }>(
      plain(`select message from outbox where aggregate like 'broadcast:' || $1 || '%' order by id`),
      [id],
    )
    .then((rows) => rows.map(({ message }) => message));

/** A slice of everybody in the next page of a lane. */
const nextSlice = (broadcastId: string, lane?: number) => sliceOfNextPage(account, now(), broadcastId, lane);

describe('creating', () => {
  it('I2: the same key and request give the same broadcast, another request is refused', async () => {
    const { listId } = await listOf(account, emails(1));
    const request = {
      name: 'News',
      emailId: await account.email(),
      audience: { listIds: [listId] as [string], excludeListIds: [] },
      perMinute: null,
      idempotencyKey: 'once',
      requestHash: createHash('sha256').update('one').digest(),
    };
    const create = (hash: Buffer) =>
      account.db.transaction((tx) => createBroadcast(tx, now(), { ...request, requestHash: hash }));
    const results = await Promise.all(Array.from({ length: 4 }, () => create(request.requestHash)));
    expect(results.filter(({ kind }) => kind === 'created')).toHaveLength(1);
    expect(new Set(results.map((one) => 'broadcastId' in one && one.broadcastId)).size).toBe(1);
    expect(await create(createHash('sha256').update('two').digest())).toEqual({ kind: 'key_conflict' });
  });
});

describe('recipients', () => {
  it('are each written down once however many lists they stand in, without the excluded ones', async () => {
    const first = await listOf(account, emails(700));
    const second = await listWith(account, first.prospectIds.slice(600));
    const excluded = await listWith(account, first.prospectIds.slice(0, 50));
    const id = await newBroadcast(account, { listIds: [first.listId, second], excludeListIds: [excluded] });
    await change(id, 'start');
    expect(await step(id)).toEqual({ kind: 'prepare' });
    await prepareRecipients(account.db, now, id);
    expect(await readBroadcast(account.db, id)).toMatchObject({ recipients: 650, state: 'sending' });
    expect(await step(id)).toEqual({ kind: 'send', pages: 2 });
    const rows = await account.db.query<{ list_id: string; count: number }>(
      plain(
        'select list_id, count(*)::int as count from broadcast_recipient where broadcast_id = $1 group by 1',
      ),
      [id],
    );
    expect(rows).toEqual([{ list_id: first.listId, count: 650 }]);
  });

  it('are written down once by twins, and where one of them was stopped the next goes on', async () => {
    const { listId } = await listOf(account, emails(12_000));
    const id = await newBroadcast(account, { listIds: [listId], excludeListIds: [] });
    await change(id, 'start');
    await step(id);
    const stop = new Error('stopped');
    const stopped = prepareRecipients(account.db, now, id, () => Promise.reject(stop));
    await expect(stopped).rejects.toBe(stop);
    expect(await readBroadcast(account.db, id)).toMatchObject({ recipients: 5_000, preparedAt: null });

    await Promise.all([1, 2, 3].map(() => prepareRecipients(account.db, now, id)));
    expect(await readBroadcast(account.db, id)).toMatchObject({ recipients: 12_000 });
    expect(await step(id)).toEqual({ kind: 'send', pages: 24 });
    const [written] = await account.db.query(
      plain(`select (select count(*)::int from broadcast_recipient where broadcast_id = $1) as recipients,
        (select array_agg(number order by number) from broadcast_page where broadcast_id = $1) as pages,
        (select sum(p.recipients)::int from broadcast_page p where broadcast_id = $1) as in_pages`),
      [id],
    );
    const pages = Array.from({ length: 24 }, (_, index) => index + 1);
    expect(written).toEqual({ recipients: 12_000, pages, in_pages: 12_000 });
  });

  it('are no longer written down once the broadcast is cancelled', async () => {
    const { listId } = await listOf(account, emails(11_000));
    const id = await newBroadcast(account, { listIds: [listId], excludeListIds: [] });
    await change(id, 'start');
    await step(id);
    await prepareRecipients(account.db, now, id, async () => void (await change(id, 'cancel')));
    expect(await readBroadcast(account.db, id)).toMatchObject({ state: 'cancelled', recipients: 5_000 });
  });

  it('are sent to through a list that they have not unsubscribed from', async () => {
    const first = await listOf(account, emails(3));
    const second = await listWith(account, first.prospectIds);
    const [one, both] = await account.db.query<{ id: string; address_id: string }>(
      plain('select id, address_id from prospect where id = any($1::uuid[]) order by id'),
      [first.prospectIds],
    );
    await account.db.transaction((tx) =>
      addSuppressions(tx, ORIGIN, now(), [
        { addressId: one!.address_id, reason: 'opt_out', listId: first.listId },
        { addressId: both!.address_id, reason: 'opt_out', listId: first.listId },
        { addressId: both!.address_id, reason: 'opt_out', listId: second },
      ]),
    );
    const id = await newBroadcast(account, { listIds: [first.listId, second], excludeListIds: [] });
    await change(id, 'start');
    await prepareRecipients(account.db, now, id);
    const slice = await nextSlice(id);
    expect(slice.items.map(({ prospectId, listId }) => [prospectId, listId])).toEqual([
      [one!.id, second],
      [both!.id, first.listId],
      [slice.items[2]!.prospectId, first.listId],
    ]);
    expect(await gateSlice(account.db, slice)).toMatchObject({ kind: 'decided', refused: 1 });
    const refused = (await sendsOf(account, id)).filter((send) => send.outcome !== null);
    expect(refused).toMatchObject([{ outcome: 'suppressed', outcome_reason: 'list:opt_out' }]);
  });

  it('who only match criteria that name a list are sent to through none: its opt-outs refuse nobody', async () => {
    const { listId, prospectIds } = await listOf(account, emails(2));
    const addresses = await account.db.query<{ address_id: string }>(
      plain('select address_id from prospect where id = any($1::uuid[]) order by id'),
      [prospectIds],
    );
    const [ofList, ofAll] = addresses.map((row) => row.address_id);
    await account.db.transaction((tx) =>
      addSuppressions(tx, ORIGIN, now(), [
        { addressId: ofList!, reason: 'opt_out', listId },
        { addressId: ofAll!, reason: 'opt_out' },
      ]),
    );
    const id = await newBroadcast(account, { criteria: { list: listId, member: true }, excludeListIds: [] });
    await change(id, 'start');
    await prepareRecipients(account.db, now, id);
    const slice = await nextSlice(id);
    expect(slice.items.map((item) => item.listId)).toEqual([null, null]);
    expect(await gateSlice(account.db, slice)).toMatchObject({ kind: 'decided', refused: 1 });
    const refused = (await sendsOf(account, id)).filter((send) => send.outcome !== null);
    expect(refused).toMatchObject([
      { outcome: 'suppressed', outcome_reason: 'prospect:opt_out address:opt_out' },
    ]);
  });
});

describe('commands', () => {
  it('start at a time, pause, resume and cancel move it on and tell its workflow; what does not fit is refused', async () => {
    const { listId } = await listOf(account, emails(3));
    const id = await newBroadcast(account, { listIds: [listId], excludeListIds: [] });
    const later = new Date(Date.now() + 3_600_000);
    expect(await change(id, 'pause')).toEqual({ kind: 'wrong_state', state: 'draft' });
    expect(await change(id, 'start', later)).toEqual({ kind: 'done' });
    expect(await step(id)).toEqual({ kind: 'wait', until: later });
    expect(await change(id, 'pause')).toEqual({ kind: 'done' });
    expect(await step(id, later)).toEqual({ kind: 'paused' });
    expect(await change(id, 'resume')).toEqual({ kind: 'done' });
    expect(await step(id)).toEqual({ kind: 'wait', until: later });
    expect(await step(id, later)).toEqual({ kind: 'prepare' });
    expect(await change(id, 'cancel')).toEqual({ kind: 'done' });
    expect(await step(id, later)).toEqual({ kind: 'over', state: 'cancelled' });
    expect(await change(id, 'resume')).toEqual({ kind: 'wrong_state', state: 'cancelled' });
    expect(await messages(id)).toEqual([
      { type: 'startBroadcast', broadcastId: id, run: 1 },
      { type: 'wakeBroadcast', broadcastId: id, run: 1 },
      { type: 'wakeBroadcast', broadcastId: id, run: 1 },
      { type: 'wakeBroadcast', broadcastId: id, run: 1 },
      { type: 'endSendsOfBroadcast', broadcastId: id },
    ]);
    const audit = await account.db.query<{ action: string }>(
      plain('select action from audit_entry where subject = $1 order by id'),
      [id],
    );
    expect(audit.map(({ action }) => action)).toEqual([
      'broadcast.started',
      'broadcast.paused',
      'broadcast.resumed',
      'broadcast.cancelled',
    ]);
    expect(await searchBroadcasts(account.db, { state: 'cancelled' }, { limit: 1 })).toMatchObject([{ id }]);
  });

  it('nobody is gated after a pause or a cancellation was committed', async () => {
    const { listId } = await listOf(account, emails(5));
    const id = await readyBroadcast(account, listId);
    const slice = await nextSlice(id);
    await change(id, 'pause');
    expect(await gateSlice(account.db, slice)).toEqual({ kind: 'stopped' });
    await change(id, 'cancel');
    expect(await gateSlice(account.db, slice)).toEqual({ kind: 'stopped' });
    expect(await sendsOf(account, id)).toEqual([]);
  });

  it('the kill switch for marketing email holds it back', async () => {
    const { listId } = await listOf(account, emails(5));
    const id = await readyBroadcast(account, listId);
    const slice = await nextSlice(id);
    await account.setting({ marketing_paused: true });
    expect(await gateSlice(account.db, slice)).toEqual({ kind: 'held_back' });
    await account.setting({ marketing_paused: false });
    expect(await gateSlice(account.db, slice)).toMatchObject({ kind: 'decided' });
  });

  it('its sends keep the schedule that stood when it was started', async () => {
    const { listId } = await listOf(account, emails(2));
    await account.setting({ schedule_seconds: [0, 30, 90] });
    const id = await readyBroadcast(account, listId);
    await account.setting({ schedule_seconds: [0, 60] });
    const slice = await nextSlice(id);
    expect(await gateSlice(account.db, slice)).toMatchObject({ kind: 'decided' });
    const ids = slice.items.map(({ sendId }) => sendId);
    for (const facts of await readSendFacts(account.db, ids, [])) {
      expect(facts.scheduleSeconds).toEqual([0, 30, 90]);
    }
    expect((await readSend(account.db, ids[1]!))?.scheduleSeconds).toEqual([0, 30, 90]);
  });

  it('I7: a lost workflow is given another one, once', async () => {
    const { listId } = await listOf(account, emails(1));
    const id = await readyBroadcast(account, listId);
    const restart = () => account.db.transaction((tx) => restartBroadcast(tx, now(), id, 1));
    expect(await restart()).toBe(true);
    expect(await restart()).toBe(false);
    expect(await step(id)).toEqual({ kind: 'over', state: 'superseded' });
    expect(await step(id, now(), 2)).toMatchObject({ kind: 'send' });
  });
});

describe('lanes', () => {
  it('I7: are as many as it takes to take back the pages of every lane whose worker was lost', async () => {
    const { listId } = await listOf(account, emails(1_001));
    const id = await readyBroadcast(account, listId);
    expect(await step(id)).toEqual({ kind: 'send', pages: 3 });
    for (const lane of [0, 1, 3]) await claimPage(account.db, now(), id, lane);
    await account.db.query(
      plain(`update broadcast_page set state = 'done', lane = null where broadcast_id = $1 and lane < 3`),
      [id],
    );
    expect(await step(id)).toEqual({ kind: 'send', pages: 4 });
    await takeBack(account, id, 3);
    expect(await step(id)).toEqual({ kind: 'send', pages: 1 });
  });
});

describe('the page gate', () => {
  it('I2: a page that was taken back gates nobody for the lane that lost it, and what it had only gated is found again', async () => {
    const { listId } = await listOf(account, emails(10));
    const id = await readyBroadcast(account, listId);
    const slice = await nextSlice(id);
    const first = { ...slice, items: slice.items.slice(0, 4) };
    const rest = { ...slice, items: slice.items.slice(4) };
    const decision = await gateSlice(account.db, first);
    if (decision.kind !== 'decided') throw new Error(decision.kind);
    const owned = first.items.map(({ sendId }) => ({
      sendId,
      attempt: { number: 1, epoch: slice.page.epoch },
    }));
    expect((await markSlice(account.db, now(), owned.slice(0, 1))).size).toBe(1);
    expect(await markSlice(account.db, now(), owned.slice(0, 2))).toEqual(new Set([owned[1]!.sendId]));

    const lost = await takeBack(account, id, 0);
    expect(lost.map(({ sendId }) => sendId).sort()).toEqual(
      owned
        .slice(0, 2)
        .map(({ sendId }) => sendId)
        .sort(),
    );
    expect(await gateSlice(account.db, rest)).toEqual({ kind: 'superseded' });
    expect((await markSlice(account.db, now(), owned.slice(2))).size).toBe(0);
    const again = await nextSlice(id, 1);
    const gated = await readGatedRecipients(account.db, { ...again.page, broadcastId: id });
    expect(gated.map((one) => one.gated!.sendId).sort()).toEqual(
      owned
        .slice(2)
        .map(({ sendId }) => sendId)
        .sort(),
    );
    expect(again.items.map(({ recipient }) => recipient).sort()).toEqual(
      rest.items.map(({ recipient }) => recipient).sort(),
    );
  });

  it('whoever is erased between the reading of their page and its gate is refused, and their address is not written back', async () => {
    const { listId, prospectIds } = await listOf(account, emails(4));
    const id = await readyBroadcast(account, listId);
    const slice = await nextSlice(id);
    await account.db.transaction((tx) => setFlags(tx, ORIGIN, now(), prospectIds[1]!, { emailOptOut: true }));
    for (const index of [0, 1])
      await account.db.transaction((tx) => eraseProspect(tx, ORIGIN, now(), prospectIds[index]!));
    await account.db.transaction((tx) => deleteProspect(tx, ORIGIN, now(), prospectIds[2]!, null));
    expect(await gateSlice(account.db, slice)).toMatchObject({ kind: 'decided', refused: 3 });
    const [gone, saidNo, deleted, other] = slice.items;
    const sends = new Map((await sendsOf(account, id)).map((send) => [send.id, send]));
    expect(sends.get(gone!.sendId)).toMatchObject({ recipient: null, outcome: 'cancelled' });
    expect(sends.get(saidNo!.sendId)).toMatchObject({ recipient: null, outcome: 'suppressed' });
    const { recipient } = deleted!;
    expect(sends.get(deleted!.sendId)).toMatchObject({ recipient, outcome: 'cancelled' });
    expect(sends.get(other!.sendId)).toMatchObject({ recipient: other!.recipient, outcome: null });
    // Of the person there are left the ids, and the domain as with sends from before.
    const left = await account.db.query(
      plain(`select to_jsonb(s)::text as row from send s where id = any($1::uuid[]) union all
             select to_jsonb(a)::text from audit_entry a where send_id = any($1::uuid[])`),
      [[gone!.sendId, saidNo!.sendId]],
    );
    expect(left).toHaveLength(4);
    for (const { row } of left) expect(row).not.toMatch(/p[01]@/);
  });

  it('a send that was gated, whose person was erased since, is found again without an address', async () => {
    const { listId, prospectIds } = await listOf(account, emails(2));
    const id = await readyBroadcast(account, listId);
    const slice = await nextSlice(id);
    await gateSlice(account.db, slice);
    await takeBack(account, id, 0);
    await account.db.transaction((tx) => eraseProspect(tx, ORIGIN, now(), prospectIds[0]!));
    const again = await nextSlice(id);
    const gated = await readGatedRecipients(account.db, { ...again.page, broadcastId: id });
    expect(gated.map(({ recipient }) => recipient)).toEqual([null, slice.items[1]!.recipient]);
    const decision = await gate(account.db, {
      ...gated[0]!,
      sendId: gated[0]!.gated!.sendId,
      run: 0,
      trigger: 'schedule',
      now: now(),
    });
    expect(decision).toMatchObject({ kind: 'refused', outcome: 'cancelled' });
  });

  it('what was gated is not gated anew after a pause or a cancellation was committed', async () => {
    const { listId } = await listOf(account, emails(1));
    const id = await readyBroadcast(account, listId);
    const slice = await nextSlice(id);
    await gateSlice(account.db, slice);
    const again = () =>
      gate(account.db, { ...slice.items[0]!, broadcastId: id, run: 0, trigger: 'schedule', now: now() });
    /** Asked while the command is under way, it waits for its end. */
    const duringCommand = (command: 'pause' | 'cancel') =>
      account.db.transaction(async (tx) => {
        await changeBroadcast(tx, ORIGIN, now(), id, command);
        const asked = again();
        await delay(200);
        return { asked };
      });
    expect(await (await duringCommand('pause')).asked).toEqual({ kind: 'stopped' });
    expect((await sendsOf(account, id))[0]).toMatchObject({ state: 'attempting', run: 0 });
    await change(id, 'resume');
    expect(await again()).toMatchObject({ kind: 'open', attempt: { number: 1, epoch: 2 } });
    expect(await (await duringCommand('cancel')).asked).toEqual({
      kind: 'refused',
      outcome: 'cancelled',
      reason: 'broadcast_cancelled',
    });
  });

  it('one copy an address: whoever came to an address that had its copy gets none', async () => {
    const { listId, prospectIds } = await listOf(account, emails(2));
    const id = await readyBroadcast(account, listId);
    const slice = await nextSlice(id);
    const [earlier, later] = slice.items;
    await gateSlice(account.db, { ...slice, items: [earlier!] });
    await account.db.query(plain('update prospect set deleted_at = now() where id = $1'), [prospectIds[0]]);
    await account.db.query(plain('update prospect set address_id = $2 where id = $1'), [
      prospectIds[1],
      earlier!.addressId,
    ]);
    // Read before the change: nothing is decided about that address.
    expect(await gateSlice(account.db, { ...slice, items: [later!] })).toMatchObject({
      open: new Set(),
      refused: 0,
    });
    // Read again: the address has had its copy.
    expect(await readPageRecipients(account.db, { ...slice.page, broadcastId: id })).toEqual([]);
    const anew = { ...later!, addressId: earlier!.addressId };
    expect(await gateSlice(account.db, { ...slice, items: [anew] })).toMatchObject({ open: new Set() });
    expect(await sendsOf(account, id)).toHaveLength(1);
  });

  it('one copy an address: whoever has it now gets it, though somebody who had it is gone in the same page', async () => {
    const { listId, prospectIds } = await listOf(account, emails(2));
    const id = await readyBroadcast(account, listId);
    const slice = await nextSlice(id);
    const [gone, other] = slice.items;
    await account.db.query(plain('update prospect set deleted_at = now() where id = $1'), [prospectIds[0]]);
    await account.db.query(plain('update prospect set address_id = $2 where id = $1'), [
      prospectIds[1],
      gone!.addressId,
    ]);
    const anew = { ...other!, addressId: gone!.addressId, recipient: gone!.recipient };
    expect(await gateSlice(account.db, { ...slice, items: [gone!, anew] })).toMatchObject({
      kind: 'decided',
      open: new Set([anew.sendId]),
    });
    expect(await sendsOf(account, id)).toMatchObject([{ id: anew.sendId, state: 'attempting' }]);
  });

  it('one copy an address, though somebody else makes theirs while the gate waits for it', async () => {
    const { listId } = await listOf(account, emails(2));
    const id = await readyBroadcast(account, listId);
    const slice = await nextSlice(id);
    const [served, other] = slice.items;
    let gated: ReturnType<typeof gateSlice> | undefined;
    await account.db.transaction(async (tx) => {
      await tx.query(plain('select from address where id = $1 for no key update'), [served!.addressId]);
      gated = gateSlice(account.db, slice);
      await delay(200);
      await tx.query(
        plain(`
          insert into send (id, email_id, email_version, kind, prospect_id, address_id, recipient, recipient_domain, broadcast_id,
            message_id, state, run, attempt_count, created_at)
          values (gen_random_uuid(), $2, 1, 'marketing', gen_random_uuid(), $3, $4, $5, $1, '<theirs@heed.test>', 'attempting', 0, 1, now())`),
        [id, slice.email.id, served!.addressId, served!.recipient, served!.recipientDomain],
      );
    });
    expect(await gated).toMatchObject({ open: new Set([other!.sendId]), refused: 0 });
    const sends = await sendsOf(account, id);
    expect(sends).toHaveLength(2);
  });
});

describe('cancelling while it is being sent', () => {
  const NO_ID = '00000000-0000-0000-0000-000000000000';
  const endSends = async (id: string, limit = 2) => {
    for (let after: string | null = NO_ID; after !== null; ) {
      const page: string = after;
      after = await account.db.transaction((tx) => endSendsOfBroadcast(tx, ORIGIN, now(), id, page, limit));
    }
  };
  /** A page whose recipients are gated, the first of them marked. */
  async function underWay(count: number, marked: number) {
    const { listId } = await listOf(account, emails(count));
    const id = await readyBroadcast(account, listId);
    const slice = await nextSlice(id);
    expect(await gateSlice(account.db, slice)).toMatchObject({ kind: 'decided', refused: 0 });
    const attempt = { number: 1, epoch: slice.page.epoch };
    const owned = slice.items.map(({ sendId }) => ({ sendId, attempt }));
    if (marked > 0) await markSlice(account.db, now(), owned.slice(0, marked));
    return { id, owned, page: { ...slice.page, broadcastId: id } };
  }
  const standingOf = async (id: string) =>
    (await sendsOf(account, id)).map(({ state, outcome }) => outcome ?? state);
  const CANCELLED = {
    state: 'final',
    outcome: 'cancelled',
    outcome_reason: 'broadcast_cancelled',
    attempts: [{ number: 1, epoch: 2, state: 'finished', outcome: 'refused' }],
  };

  it('I2, I6: ends what was only gated, which its lane can mark no more; what is handed over is left to its lane', async () => {
    const { id, owned, page } = await underWay(5, 1);
    await change(id, 'cancel');
    await endSends(id);
    const [first, ...others] = await sendsOf(account, id);
    expect(first).toMatchObject({ state: 'attempting', attempts: [{ epoch: 1, state: 'handing_over' }] });
    expect(others).toHaveLength(4);
    for (const send of others) expect(send).toMatchObject(CANCELLED);
    expect((await markSlice(account.db, now(), owned)).size).toBe(0);
    const audit = await account.db.query<{ action: string; count: number }>(
      plain(
        `select action, count(*)::int as count from audit_entry where send_id = any($1::uuid[]) group by 1 order by 1`,
      ),
      [owned.map(({ sendId }) => sendId)],
    );
    expect(audit).toEqual([
      { action: 'attempt.gated', count: 5 },
      { action: 'send.cancel_requested', count: 1 },
      { action: 'send.cancelled', count: 4 },
    ]);
    // No workflow cares for them.
    const told = await account.db.query(
      plain(`select from outbox where aggregate = any(select 'send:' || unnest($1::text[]))`),
      [owned.map(({ sendId }) => sendId)],
    );
    expect(told).toEqual([]);

    // It was not handed over after all.
    await unmark(account.db, owned[0]!);
    expect(await leavePage(account.db, now(), page, OPEN, () => [])).toBe(true);
    expect((await sendsOf(account, id))[0]).toMatchObject(CANCELLED);
  });

  it('I7: whose attempt nobody makes any more when their page is done get workflows, where that may be', async () => {
    const { owned, page } = await underWay(3, 1);
    const told = () =>
      account.db.query<{ runs: number[] }>(
        plain(`select array_agg(run order by run) as runs from send where id = any($1::uuid[])`),
        [owned.map(({ sendId }) => sendId)],
      );
    expect(
      await leavePage(
        account.db,
        now(),
        page,
        { state: 'done', openFrom: null, mayHaveOrphans: true },
        () => [],
      ),
    ).toBe(true);
    expect(await told()).toEqual([{ runs: [1, 1, 1] }]);
  });

  it('ends what a lane left gated when it was paused before', async () => {
    const { id, page } = await underWay(3, 0);
    await change(id, 'pause');
    await leavePage(account.db, now(), page, OPEN, () => []);
    expect(await standingOf(id)).toEqual(['attempting', 'attempting', 'attempting']);
    await change(id, 'cancel');
    await endSends(id);
    expect(await standingOf(id)).toEqual(['cancelled', 'cancelled', 'cancelled']);
  });

  it('I2: what a killed worker had taken back from being handed over ends too; what it had not is lost', async () => {
    const { id, owned } = await underWay(3, 2);
    await change(id, 'cancel');
    await endSends(id);
    await unmark(account.db, owned[1]!);
    const lost = await takeBack(account, id, 0);
    expect(lost.map(({ sendId }) => sendId)).toEqual([owned[0]!.sendId]);
    expect(await standingOf(id)).toEqual(['attempting', 'cancelled', 'cancelled']);
  });

  it('I7: one that lost its worker and its workflow too gets another run, which finds no lane', async () => {
    const { id, owned } = await underWay(2, 1);
    await change(id, 'cancel');
    await endSends(id);
    await account.db.query(plain(`delete from outbox where aggregate = 'broadcast:' || $1`), [id]);
    expect(await readUnfinishedBroadcasts(account.db)).toContainEqual({ id, run: 1 });
    const restart = (run: number) => account.db.transaction((tx) => restartBroadcast(tx, now(), id, run));
    expect(await restart(1)).toBe(true);
    expect(await step(id, now(), 2)).toEqual({ kind: 'over', state: 'cancelled' });
    const lost = await takeBack(account, id, null);
    expect(lost.map(({ sendId }) => sendId)).toEqual([owned[0]!.sendId]);
    expect(await restart(2)).toBe(false);
  });
});

it('a pause is no part of the time that a broadcast took', async () => {
  const { listId } = await listOf(account, emails(4));
  const id = await readyBroadcast(account, listId);
  const at = (seconds: number) => new Date(began.getTime() + seconds * 1_000);
  const [{ began }] = (await account.db.query<{ began: Date }>(
    plain('select started_at as began from broadcast where id = $1'),
    [id],
  )) as [{ began: Date }];
  const pauses = [
    ['pause', 1],
    ['resume', 3_601],
    ['pause', 3_602],
    ['resume', 3_603],
  ] as const;
  for (const [command, seconds] of pauses) {
    await account.db.transaction((tx) => changeBroadcast(tx, ORIGIN, at(seconds), id, command));
  }
  await account.db.query(
    plain(`
      with b as (update broadcast set state = 'sent', finished_at = $2 where id = $1)
      insert into send (id, email_id, email_version, kind, prospect_id, address_id, recipient, recipient_domain, broadcast_id,
        message_id, state, outcome, run, attempt_count, created_at)
      select gen_random_uuid(), gen_random_uuid(), 1, 'marketing', p.id, p.address_id, p.email, 'example.net', $1, p.id::text,
        'final', 'delivered', 0, 1, now()
      from broadcast_recipient r join prospect p on p.id = r.prospect_id where r.broadcast_id = $1`),
    [id, at(3_605)],
  );
  // Four in 3,605 seconds less 3,601.
  expect((await readBroadcastReport(account.db, id))!.messagesPerSecond).toBe(1);
});

describe('the limit', () => {
  it('is shared by all who ask, and a turn far away is not taken', async () => {
    const { listId } = await listOf(account, emails(1));
    const id = await readyBroadcast(account, listId, { perMinute: 60 });
    const turns = await Promise.all(
      // Not a multiple of a turn: who asked a moment before the first was served would be refused the fourth by that moment.
      Array.from({ length: 5 }, () => takeTurn(account.db, id, 10_000, 35_000)),
    );
    const of = (which: string) =>
      turns.filter(({ kind }) => kind === which).map(({ milliseconds }) => milliseconds);
    const taken = of('taken').sort((a, b) => a - b);
    expect(taken).toHaveLength(4);
    // By a clock that goes on meanwhile.
    for (const [nth, wait] of taken.entries()) {
      expect(wait).toBeLessThanOrEqual(nth * 10_000 + 1);
      expect(wait).toBeGreaterThan(Math.max(-1, nth * 10_000 - 5_000));
    }
    // The fifth comes after 40 s, and is taken 35 s before.
    const [later] = of('later');
    expect(later).toBeLessThanOrEqual(5_001);
    expect(later).toBeGreaterThan(1_000);
  });
});
