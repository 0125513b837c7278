import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { changeBroadcast } from '../../db/queries/broadcasts.ts';
import { archiveEmail, changeEmail, lockEmail } from '../../db/queries/emails.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { deleteProspect } from '../../db/queries/prospects.ts';
import { addDomainSuppression, addSuppressions } from '../../db/queries/suppressions.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { listOf, listWith } from '../support/broadcasting.ts';
import { startApi, type TestApi } from './support.ts';

let account: TestAccount;
let api: TestApi;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount();
  api = await startApi({}, account);
});
afterAll(async () => {
  await api?.close();
  await account?.close();
});

const addresses = (count: number) => {
  counter += 1;
  return Array.from({ length: count }, (_, index) => `p${index}@api${counter}.example.net`);
};
const create = (body: object, key: string = randomUUID()) =>
  api.call('POST', '/broadcasts', body, { 'Idempotency-Key': key });

async function draft(count = 3, more: object = {}) {
  const { listId, prospectIds } = await listOf(account, addresses(count));
  const emailId = await account.email();
  const { body } = await create({ name: 'News', emailId, listIds: [listId], ...more });
  return { id: body.id as string, listId, prospectIds, emailId };
}

/** Makes a new version of the email. */
async function changeText(emailId: string, text: string): Promise<void> {
  await account.db.transaction(async (tx) => {
    const email = (await lockEmail(tx, emailId))!;
    await changeEmail(tx, new Date(), email, { text });
  });
}

describe('creating', () => {
  it('makes a draft; the same key and request answer the same broadcast, another request is refused', async () => {
    const { listId } = await listOf(account, addresses(1));
    const request = { name: 'News', emailId: await account.email(), listIds: [listId] };
    const first = await create(request, 'the-key');
    expect(first).toMatchObject({
      status: 201,
      body: { state: 'draft', recipients: 0, perMinute: null, workflow: null },
    });
    expect(await create(request, 'the-key')).toMatchObject({ status: 200, body: { id: first.body.id } });
    expect(await create({ ...request, name: 'Other' }, 'the-key')).toMatchObject({ status: 422 });
    expect(await api.call('GET', `/broadcasts/${first.body.id}`)).toMatchObject({
      status: 200,
      body: { name: 'News', listIds: [listId] },
    });
    const page = await api.call('GET', '/broadcasts?state=draft&limit=1');
    expect(page.body.items).toMatchObject([{ id: first.body.id }]);
  });

  it.each([
    [{ listIds: undefined }, '/listIds'],
    [{ criteria: { all: [] } }, '/listIds'],
    [{ listIds: [randomUUID()] }, '/listIds/0'],
    [{ excludeListIds: [randomUUID()] }, '/excludeListIds/0'],
    [{ emailId: randomUUID() }, '/emailId'],
    [{ perMinute: 0 }, '/perMinute'],
    [{ listIds: undefined, criteria: { field: 'nothing', operator: 'equals', value: 1 } }, '/criteria/field'],
  ])('names the field that is wrong: %j', async (wrong, field) => {
    const { listId } = await listOf(account, addresses(1));
    const emailId = await account.email();
    const { status, body } = await create({ name: 'News', emailId, listIds: [listId], ...wrong });
    expect([400, 422]).toContain(status);
    expect(body.errors).toMatchObject([{ in: 'body', field }]);
  });

  it('without a key it is refused', async () => {
    expect(await api.call('POST', '/broadcasts', { name: 'News' })).toMatchObject({ status: 400 });
  });
});

describe('previewing', () => {
  it('counts people once, who is blocked and why, duplicates, and the time', async () => {
    const { db } = account;
    const { listId, prospectIds } = await listOf(account, addresses(20));
    const second = await listWith(account, prospectIds.slice(5, 15));
    const excluded = await listWith(account, prospectIds.slice(19));
    const rows = await db.query<{ id: string; address_id: string }>(
      plain('select id, address_id from prospect where id = any($1::uuid[])'),
      [prospectIds],
    );
    const addressOf = (index: number) => rows.find(({ id }) => id === prospectIds[index])!.address_id;
    const now = new Date();
    await db.transaction(async (tx) => {
      await setFlags(tx, ORIGIN, now, prospectIds[0]!, { emailOptOut: true });
    });
    await db.transaction(async (tx) => {
      await setFlags(tx, ORIGIN, now, prospectIds[1]!, { bounced: true, emailOptOut: true });
    });
    await db.transaction(async (tx) => {
      await addSuppressions(tx, ORIGIN, now, [
        { addressId: addressOf(2), reason: 'complaint' },
        { addressId: addressOf(3), reason: 'manual' },
        // In one list only: gone, for that list is the only one.
        { addressId: addressOf(4), reason: 'opt_out', listId },
        // In both, unsubscribed from one: still reached through the other.
        { addressId: addressOf(6), reason: 'opt_out', listId },
        { addressId: addressOf(7), reason: 'opt_out', listId },
        { addressId: addressOf(7), reason: 'opt_out', listId: second },
      ]);
    });
    const emailId = await account.email();
    const { body: made } = await create({
      name: 'News',
      emailId,
      listIds: [listId, second],
      excludeListIds: [excluded],
      perMinute: 60,
    });
    const { status, body } = await api.call('POST', `/broadcasts/${made.id}/preview`);
    expect(status).toBe(200);
    expect(body).toEqual({
      recipients: 19,
      duplicatesRemoved: 10,
      blocked: 6,
      blockedBecause: [
        { because: 'opt_out', count: 2 },
        { because: 'bounced', count: 1 },
        { because: 'complaint', count: 1 },
        { because: 'manual', count: 1 },
        { because: 'list_opt_out', count: 2 },
      ],
      messagesPerSecond: 1,
      seconds: 13,
      templateProblems: [],
    });
    await db.transaction((tx) => addDomainSuppression(tx, ORIGIN, now, `api${counter}.example.net`, null));
    const again = await api.call('POST', `/broadcasts/${made.id}/preview`);
    expect(again.body).toMatchObject({
      blocked: 19,
      blockedBecause: expect.arrayContaining([{ because: 'domain', count: 19 }]),
    });
  });

  it('finds what is wrong with the templates, which also keeps it from being started', async () => {
    const { id, emailId } = await draft();
    await account.db.query(
      plain(`update email_version set text = 'Hello {{ prospect.nobody_knows }}' where email_id = $1`),
      [emailId],
    );
    const { body } = await api.call('POST', `/broadcasts/${id}/preview`);
    expect(body.templateProblems).toMatchObject([{ field: 'text', line: 1 }]);
    expect(await api.call('POST', `/broadcasts/${id}/start`, {})).toMatchObject({ status: 422 });
  });
});

describe('sending', () => {
  it('a test goes to a colleague and counts for nothing', async () => {
    const { id, prospectIds } = await draft();
    const sent = await api.call('POST', `/broadcasts/${id}/test`, {
      to: 'colleague@example.org',
      prospectId: prospectIds[0],
    });
    expect(sent).toMatchObject({ status: 201, body: { test: true, recipient: 'colleague@example.org' } });
    const { body } = await api.call('GET', `/broadcasts/${id}/report`);
    expect(body).toMatchObject({ recipients: 0, notReached: 0, isFinal: false });
  });

  it('once it is started, preview and test are of the version that it sends', async () => {
    const { id, prospectIds, emailId } = await draft();
    const test = () =>
      api.call('POST', `/broadcasts/${id}/test`, { to: 'colleague@example.org', prospectId: prospectIds[0] });
    await changeText(emailId, 'Hello {{ prospect.first_name }}');
    expect((await test()).body).toMatchObject({ emailVersion: 2 });
    const startAt = new Date(Date.now() + 3_600_000).toISOString();
    await api.call('POST', `/broadcasts/${id}/start`, { startAt });
    await changeText(emailId, 'Hello {{ prospect.nobody_knows }}');
    expect((await test()).body).toMatchObject({ emailVersion: 2 });
    const { body } = await api.call('POST', `/broadcasts/${id}/preview`);
    expect(body.templateProblems).toEqual([]);
  });

  it('is started now or at a time, paused, resumed and cancelled; what does not fit is refused', async () => {
    const { id } = await draft();
    const startAt = new Date(Date.now() + 3_600_000).toISOString();
    const command = (name: string, body: object = {}) => api.call('POST', `/broadcasts/${id}/${name}`, body);
    expect(await command('pause')).toMatchObject({ status: 409 });
    expect(await command('start', { startAt })).toMatchObject({
      status: 200,
      body: { state: 'scheduled', startAt, emailVersion: 1, workflow: { id: `broadcast:${id}` } },
    });
    expect(await command('start')).toMatchObject({ status: 409 });
    expect(await command('pause', { reason: 'a mistake in it' })).toMatchObject({
      body: { state: 'paused' },
    });
    expect(await command('resume')).toMatchObject({ body: { state: 'scheduled' } });
    expect(await command('cancel')).toMatchObject({ body: { state: 'cancelled' } });
    expect(await command('cancel')).toMatchObject({ status: 409 });
    const now = await draft();
    expect(await api.call('POST', `/broadcasts/${now.id}/start`)).toMatchObject({
      status: 200,
      body: { state: 'sending' },
    });
    expect(await api.call('POST', `/broadcasts/${randomUUID()}/start`, {})).toMatchObject({ status: 404 });
  });

  it('a start that lies long past is refused, for nobody means it; one that has just passed is now', async () => {
    const { id } = await draft();
    const start = (minutesAgo: number) =>
      api.call('POST', `/broadcasts/${id}/start`, {
        startAt: new Date(Date.now() - minutesAgo * 60_000).toISOString(),
      });
    expect(await start(6)).toMatchObject({
      status: 422,
      body: { errors: [{ in: 'body', field: '/startAt' }] },
    });
    expect(await api.call('GET', `/broadcasts/${id}`)).toMatchObject({ body: { state: 'draft' } });
    expect(await start(4)).toMatchObject({ status: 200, body: { state: 'sending' } });
  });

  it('a refusal tells the state that it was refused for, not the one that was before', async () => {
    const { id } = await draft();
    const asked = await account.db.transaction(async (tx) => {
      await changeBroadcast(tx, ORIGIN, new Date(), id, 'start');
      const answer = api.call('POST', `/broadcasts/${id}/start`);
      // It reads the draft, and waits for the lock.
      await delay(300);
      return { answer };
    });
    expect(await asked.answer).toMatchObject({
      status: 409,
      body: { detail: 'The broadcast is sending.' },
    });
  });

  describe('changing', () => {
    const change = (id: string, body: object) => api.call('PATCH', `/broadcasts/${id}`, body);
    const later = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString();

    it('of a draft everything can be changed, and what is left out stays', async () => {
      const { id, listId, emailId } = await draft(3, { perMinute: 60 });
      const other = await account.email();
      const excluded = await listWith(account, []);
      expect(await change(id, { name: 'December news', emailId: other })).toMatchObject({
        status: 200,
        body: { state: 'draft', name: 'December news', emailId: other, listIds: [listId], perMinute: 60 },
      });
      expect(await change(id, { excludeListIds: [excluded], perMinute: null })).toMatchObject({
        body: { name: 'December news', listIds: [listId], excludeListIds: [excluded], perMinute: null },
      });
      const criteria = { field: 'country', operator: 'equals', value: 'FR' };
      expect(await change(id, { criteria })).toMatchObject({
        body: { listIds: null, criteria, excludeListIds: [excluded] },
      });
      expect(await change(id, { listIds: [listId], excludeListIds: [] })).toMatchObject({
        body: { listIds: [listId], criteria: null, excludeListIds: [], emailId: other },
      });
      expect(emailId).not.toBe(other);
    });

    it.each([
      [{}, ''],
      [{ reason: 'nothing' }, ''],
      [{ name: ' ' }, '/name'],
      [{ perMinute: 0 }, '/perMinute'],
      [{ emailId: randomUUID() }, '/emailId'],
      [{ listIds: [] }, '/listIds'],
      [{ listIds: [randomUUID()] }, '/listIds/0'],
      [{ excludeListIds: [randomUUID()] }, '/excludeListIds/0'],
      [{ listIds: [randomUUID()], criteria: { all: [] } }, '/listIds'],
      [{ criteria: { field: 'nothing', operator: 'equals', value: 1 } }, '/criteria/field'],
      [{ startAt: '2020-01-01T00:00:00Z' }, '/startAt'],
      [{ state: 'sent' }, '/state'],
    ])('names the field that is wrong, and changes nothing: %j', async (wrong, field) => {
      const { id } = await draft();
      const { body: before } = await api.call('GET', `/broadcasts/${id}`);
      const { status, body } = await change(id, wrong);
      expect([400, 422]).toContain(status);
      expect(body.errors[0]).toMatchObject({ in: 'body', field });
      expect(await api.call('GET', `/broadcasts/${id}`)).toMatchObject({ body: before });
    });

    it('one that waits for its time gets another one, which its workflow is told and the audit trail keeps', async () => {
      const { id } = await draft();
      await api.call('POST', `/broadcasts/${id}/start`, { startAt: later(1) });
      const startAt = later(48);
      expect(await change(id, { startAt, perMinute: 600, reason: 'after the holidays' })).toMatchObject({
        status: 200,
        body: { state: 'scheduled', startAt, perMinute: 600 },
      });
      const told = await account.db.query(
        plain(`select message from outbox where aggregate = 'broadcast:' || $1 order by id`),
        [id],
      );
      expect(told).toMatchObject([
        { message: { type: 'startBroadcast' } },
        { message: { type: 'wakeBroadcast', broadcastId: id, run: 1 } },
      ]);
      const entries = await account.db.query(
        plain(`select reason, after from audit_entry where subject = $1 and action = 'broadcast.changed'`),
        [id],
      );
      expect(entries).toEqual([{ reason: 'after the holidays', after: { perMinute: 600, startAt } }]);
      await api.call('POST', `/broadcasts/${id}/pause`);
      expect(await change(id, { startAt: later(3) })).toMatchObject({
        status: 200,
        body: { state: 'paused' },
      });
    });

    it('one that is under way gets another limit; what is decided already stays, and what is over does too', async () => {
      const { id, emailId, listId } = await draft();
      expect(await change(id, { startAt: later(1) })).toMatchObject({
        status: 409,
        body: {
          detail: 'The broadcast is draft: startAt cannot be changed, it is given when it is started.',
        },
      });
      await api.call('POST', `/broadcasts/${id}/start`);
      expect(await change(id, { perMinute: 30 })).toMatchObject({ status: 200, body: { perMinute: 30 } });
      for (const wrong of [{ emailId }, { listIds: [listId] }, { startAt: later(1) }]) {
        const { status, body } = await change(id, { perMinute: 1, ...wrong });
        expect(status).toBe(409);
        expect(body.detail).toContain('The broadcast is sending');
      }
      expect(await api.call('GET', `/broadcasts/${id}`)).toMatchObject({ body: { perMinute: 30 } });
      await api.call('POST', `/broadcasts/${id}/cancel`);
      expect(await change(id, { name: 'Other' })).toMatchObject({ status: 409 });
      expect(await change(randomUUID(), { name: 'Other' })).toMatchObject({ status: 404 });
    });
  });

  it('tells who has no send of it, and why', async () => {
    const { id, prospectIds } = await draft(6);
    const { db } = account;
    await db.query(
      plain(`insert into broadcast_recipient (broadcast_id, prospect_id) select $1, unnest($2::uuid[])`),
      [id, prospectIds],
    );
    const [sent, sameAddress, gone] = prospectIds as [string, string, string];
    await db.query(
      plain(`
        insert into send (id, email_id, email_version, kind, prospect_id, address_id, recipient, recipient_domain, broadcast_id,
          message_id, state, outcome, run, attempt_count, created_at)
        select gen_random_uuid(), gen_random_uuid(), 1, 'marketing', $2, p.address_id, p.email, 'example.net', $1, p.id::text,
          'final', 'delivered', 0, 1, now()
        from prospect p where id = $3`),
      // It was the address of the one when it was sent, and is that of the other since.
      [id, sent, sameAddress],
    );
    await db.transaction((tx) => deleteProspect(tx, ORIGIN, new Date(), gone, null));
    const all = async () => {
      const found: { prospectId: string; email: string | null; because: string }[] = [];
      for (let cursor = ''; ; ) {
        const { status, body } = await api.call('GET', `/broadcasts/${id}/not-reached?limit=2${cursor}`);
        expect(status).toBe(200);
        found.push(...body.items);
        if (body.nextCursor === null) return found;
        cursor = `&cursor=${body.nextCursor}`;
      }
    };
    const found = await all();
    expect(found.map((one) => one.prospectId)).toEqual(prospectIds.filter((one) => one !== sent).sort());
    const because = Object.fromEntries(found.map((one) => [one.prospectId, one.because]));
    expect(because).toMatchObject({ [sameAddress]: 'address_had_copy', [gone]: 'prospect_gone' });
    expect(Object.values(because).filter((one) => one === 'not_yet')).toHaveLength(3);
    expect(found.find((one) => one.prospectId === gone)!.email).toBeNull();
    await api.call('POST', `/broadcasts/${id}/cancel`);
    expect((await all()).filter((one) => one.because === 'cancelled')).toHaveLength(3);
    expect(await api.call('GET', `/broadcasts/${randomUUID()}/not-reached`)).toMatchObject({ status: 404 });
  });

  it('a test of an archived email is refused without naming a field that it does not have', async () => {
    const { id, prospectIds, emailId } = await draft();
    await account.db.transaction((tx) => archiveEmail(tx, new Date(), emailId));
    const { status, body } = await api.call('POST', `/broadcasts/${id}/test`, {
      to: 'colleague@example.org',
      prospectId: prospectIds[0],
    });
    expect(status).toBe(422);
    expect(body.detail).toContain('archived');
    expect(body.errors).toBeUndefined();
  });

  it('its report and its recipients say what became of everybody', async () => {
    const { id, prospectIds } = await draft(4);
    await account.db.query(
      plain(`
        with b as (update broadcast set recipients = 4, state = 'sent' where id = $1)
        insert into send (id, email_id, email_version, kind, prospect_id, address_id, recipient, recipient_domain, broadcast_id,
          message_id, schedule_seconds, state, outcome, outcome_reason, run, attempt_count, created_at)
        select gen_random_uuid(), gen_random_uuid(), 1, 'marketing', p.id, p.address_id, p.email, 'example.net', $1, p.id::text, '[0]',
          case n when 1 then 'waiting' else 'final' end, (array[null, 'delivered', 'suppressed'])[n],
          case n when 3 then 'prospect:opt_out address:opt_out' end, 1, 1, now()
        from unnest($2::uuid[]) with ordinality as g(id, n) join prospect p on p.id = g.id`),
      [id, prospectIds.slice(0, 3)],
    );
    const { body } = await api.call('GET', `/broadcasts/${id}/report`);
    expect(body).toMatchObject({
      state: 'sent',
      isFinal: false,
      recipients: 4,
      notReached: 1,
      waiting: 1,
      outcomes: { delivered: 1, suppressed: 1, bounced: 0 },
      refusedBecause: [
        { cause: 'address:opt_out', count: 1 },
        { cause: 'prospect:opt_out', count: 1 },
      ],
      gateWindowMs: null,
    });
    const found: string[] = [];
    for (let cursor = ''; ; ) {
      const page = await api.call('GET', `/broadcasts/${id}/recipients?limit=2${cursor}`);
      found.push(...page.body.items.map((send: { prospectId: string }) => send.prospectId));
      if (page.body.nextCursor === null) break;
      cursor = `&cursor=${page.body.nextCursor}`;
    }
    expect(found.sort()).toEqual(prospectIds.slice(0, 3).sort());
    const delivered = await api.call('GET', `/broadcasts/${id}/recipients?outcome=delivered`);
    expect(delivered.body.items).toMatchObject([{ prospectId: prospectIds[1] }]);
  });
});
