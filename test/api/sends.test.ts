import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { plain } from '../../db/connection.ts';
import { applyDeliveryEvent } from '../../db/queries/deliveryEvents.ts';
import { gate } from '../../db/queries/gate.ts';
import { startApi, type TestApi } from './support.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

let count = 0;
const prospect = async () =>
  (await api.call('POST', '/prospects', { email: `reader${++count}@example.com`, firstName: 'Ada' })).body;
const email = async (fields: object = {}) => {
  const answer = await api.call('POST', '/emails', {
    name: 'News',
    kind: 'marketing',
    subject: 'Dear {{ prospect.first_name | default: "reader" }}',
    fromAddress: 'news@example.com',
    html: '<p>Hello {{ prospect.first_name }}</p>',
    ...fields,
  });
  expect(answer.status).toBe(201);
  return answer.body;
};
const newSend = async () => {
  const [to, content] = [await prospect(), await email()];
  const answer = await api.call(
    'POST',
    '/sends',
    { prospectId: to.id, emailId: content.id },
    { 'idempotency-key': `key-${++count}` },
  );
  expect(answer.status).toBe(201);
  return answer.body;
};
const setUnknown = (id: string) =>
  api.db.query(
    plain(
      `update send set state = 'final', outcome = 'unknown', attempt_count = 1, finished_at = now() where id = $1`,
    ),
    [id],
  );
const outboxOf = async (sendId: string) =>
  (
    await api.db.query<{ message: { type: string; run: number } }>(
      plain('select message from outbox where aggregate = $1 order by id'),
      [`send:${sendId}`],
    )
  ).map((row) => row.message);

describe('emails', () => {
  test('each change is a new version under If-Match; the kind stays', async () => {
    const { id } = await email();
    const path = `/emails/${id}`;
    expect((await api.call('PATCH', path, { subject: 'B' })).status).toBe(428);
    const changed = await api.call('PATCH', path, { subject: 'B' }, { 'if-match': '"1"' });
    expect(changed.body).toMatchObject({
      subject: 'B',
      version: 2,
      html: '<p>Hello {{ prospect.first_name }}</p>',
    });
    expect(changed.headers.get('etag')).toBe('"2"');
    expect((await api.call('PATCH', path, { subject: 'C' }, { 'if-match': '"1"' })).status).toBe(412);
    expect((await api.call('PATCH', path, { kind: 'transactional' }, { 'if-match': '"2"' })).status).toBe(
      400,
    );
    expect((await api.call('DELETE', path)).status).toBe(204);
    expect((await api.call('GET', path)).body.archivedAt).not.toBeNull();
    expect((await api.call('PATCH', path, { subject: 'D' }, { 'if-match': '"2"' })).status).toBe(409);
    expect(
      (await api.call('GET', '/emails?limit=200')).body.items.some((one: { id: string }) => one.id === id),
    ).toBe(false);
  });

  test('templates that cannot be rendered are refused by field, line and column', async () => {
    const wrong = await api.call('POST', '/emails', {
      name: 'Wrong',
      kind: 'marketing',
      subject: 'Dear {{ prospect.nickname }}',
      fromAddress: 'news@example',
      html: 'Hi {% if %}',
    });
    expect(wrong.body.errors).toMatchObject([{ field: '/fromAddress' }]);
    const templates = await api.call('POST', '/emails', {
      name: 'Wrong',
      kind: 'marketing',
      subject: 'Dear {{ prospect.nickname }}',
      fromAddress: 'news@example.com',
      html: 'Hi\n{{ oops',
    });
    expect(templates.status).toBe(400);
    expect(templates.body.errors.map((error: { field: string }) => error.field)).toEqual([
      '/subject',
      '/html',
    ]);
    const header = await api.call('POST', '/emails', {
      name: 'Wrong',
      kind: 'marketing',
      subject: 'A\r\nBcc: all@example.com',
      fromAddress: 'news@example.com',
      text: 'x',
    });
    expect(header.body.errors).toMatchObject([{ field: '/subject' }]);
    const empty = await api.call('POST', '/emails', {
      name: 'E',
      kind: 'marketing',
      subject: 'S',
      fromAddress: 'news@example.com',
    });
    expect(empty.body.errors).toMatchObject([{ field: '/html' }]);
  });

  test('a preview shows what the prospect would get, escaped', async () => {
    const { id } = await email();
    const to = (await api.call('POST', '/prospects', { email: 'html@example.com', firstName: '<b>Ada' }))
      .body;
    const { body } = await api.call('POST', `/emails/${id}/preview`, { prospectId: to.id });
    expect(body).toMatchObject({
      problems: [],
      rendered: {
        subject: 'Dear <b>Ada',
        html: expect.stringMatching(
          /^<p>Hello &lt;b&gt;Ada<\/p>.*<a href="https:\/\/heed\.test\/u\/preview">/s,
        ),
        text: 'Hello <b>Ada\n\nUnsubscribe [https://heed.test/u/preview]',
      },
    });
  });

  test('a test goes to the colleague, not to the prospect', async () => {
    const [{ id }, to] = [await email(), await prospect()];
    const body = { to: 'colleague@example.net', prospectId: to.id };
    const made = await api.call('POST', `/emails/${id}/test`, body, { 'idempotency-key': 'test-1' });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ test: true, recipient: 'colleague@example.net', prospectId: to.id });
    const again = await api.call('POST', `/emails/${id}/test`, body, { 'idempotency-key': 'test-1' });
    expect([again.status, again.body.id]).toEqual([200, made.body.id]);
    const timeline = await api.call('GET', `/prospects/${to.id}/timeline`);
    expect(timeline.body.items.some((event: { type: string }) => event.type === 'send')).toBe(false);
  });
});

describe('sends', () => {
  test('I2: the same key and body answer the same send, also at once; another body is refused', async () => {
    const [to, content] = [await prospect(), await email()];
    const body = { prospectId: to.id, emailId: content.id };
    const headers = { 'idempotency-key': 'once' };
    const answers = await Promise.all([1, 2, 3, 4].map(() => api.call('POST', '/sends', body, headers)));
    expect(answers.map((one) => one.status).sort()).toEqual([200, 200, 200, 201]);
    expect(new Set(answers.map((one) => one.body.id)).size).toBe(1);
    expect(answers[0]!.headers.get('location')).toBe(`/sends/${answers[0]!.body.id}`);
    expect(await outboxOf(answers[0]!.body.id)).toEqual([
      { type: 'startSend', sendId: answers[0]!.body.id, run: 1, recipientDomain: 'example.com' },
    ]);
    const other = await api.call('POST', '/sends', { ...body, prospectId: (await prospect()).id }, headers);
    expect(other.status).toBe(422);
    expect(other.body.errors).toMatchObject([{ in: 'header', field: 'Idempotency-Key' }]);
    const missing = await api.call('POST', '/sends', body);
    expect(missing.body.errors).toEqual([
      { in: 'header', field: 'Idempotency-Key', message: 'Is required.' },
    ]);
  });

  test('what does not exist is named, and nothing is made', async () => {
    const nobody = '019a0c5e-0000-7000-8000-000000000000';
    const [to, content] = [await prospect(), await email()];
    const tries = [
      [{ prospectId: nobody, emailId: content.id }, '/prospectId'],
      [{ prospectId: to.id, emailId: nobody }, '/emailId'],
      [{ prospectId: to.id, emailId: content.id, listId: nobody }, '/listId'],
    ] as const;
    for (const [body, field] of tries) {
      const answer = await api.call('POST', '/sends', body, { 'idempotency-key': `no-${field}` });
      expect(answer.status).toBe(422);
      expect(answer.body.errors).toMatchObject([{ in: 'body', field }]);
    }
    expect((await api.call('GET', `/sends?emailId=${content.id}`)).body.items).toEqual([]);
  });

  test('one send with its timeline and its workflow in the Temporal UI', async () => {
    const { id } = await newSend();
    await api.db.query(
      plain(`insert into attempt (send_id, number, epoch, state, trigger, outcome, category, reply_code, enhanced_code,
          reply_text, remote_host, rule, gated_at, finished_at, next_attempt_at)
        values ($1, 1, 1, 'finished', 'schedule', 'soft_bounce', 'mailbox_full', 452, '4.2.2', 'Mailbox full',
          'mx.example.com', 'enhanced code x.2.2', '2026-11-23T09:30:00Z', '2026-11-23T09:30:01Z', '2026-11-23T09:35:00Z')`),
      [id],
    );
    await api.db.query(
      plain(
        `update send set state = 'waiting', attempt_count = 1, next_attempt_at = '2026-11-23T09:35:00Z' where id = $1`,
      ),
      [id],
    );
    const { body } = await api.call('GET', `/sends/${id}`);
    expect(body).toMatchObject({
      state: 'waiting',
      nextAttemptAt: '2026-11-23T09:35:00.000Z',
      workflow: { id: `emailSend:${id}`, url: expect.stringContaining(id) },
      timeline: [
        {
          number: 1,
          trigger: 'schedule',
          outcome: 'soft_bounce',
          category: 'mailbox_full',
          replyCode: 452,
          enhancedCode: '4.2.2',
          replyText: 'Mailbox full',
          remoteHost: 'mx.example.com',
          rule: 'enhanced code x.2.2',
          nextAttemptAt: '2026-11-23T09:35:00.000Z',
        },
      ],
    });
  });

  test('retry now tells the workflow; cancel ends a waiting send at once; both only once it makes sense', async () => {
    const { id } = await newSend();
    const retried = await api.call('POST', `/sends/${id}/retry`, { reason: 'Mailbox emptied' });
    expect(retried.status).toBe(202);
    expect((await outboxOf(id)).map((message) => message.type)).toEqual(['startSend', 'retrySend']);
    const cancelled = await api.call('POST', `/sends/${id}/cancel`);
    expect([cancelled.status, cancelled.body.state, cancelled.body.outcome]).toEqual([
      200,
      'final',
      'cancelled',
    ]);
    expect((await outboxOf(id)).at(-1)).toMatchObject({ type: 'endSend' });
    expect((await api.call('POST', `/sends/${id}/cancel`)).status).toBe(409);
    expect((await api.call('POST', `/sends/${id}/retry`)).status).toBe(409);
    expect((await api.call('POST', '/sends/019a0c5e-0000-7000-8000-000000000000/retry')).status).toBe(404);
  });

  test('cancelling while an attempt is in the air is accepted, not done', async () => {
    const { id } = await newSend();
    await api.db.query(plain(`update send set state = 'attempting' where id = $1`), [id]);
    const answer = await api.call('POST', `/sends/${id}/cancel`, { reason: 'Wrong content' });
    expect(answer.status).toBe(202);
    expect(answer.body).toMatchObject({ state: 'attempting', cancelRequestedAt: expect.any(String) });
  });

  test('I2: an unknown send is listed and settled by a person, delivered or sent again as its next run', async () => {
    const [one, two] = [await newSend(), await newSend()];
    expect((await api.call('POST', `/sends/${one.id}/settle`, { as: 'delivered', reason: 'x' })).status).toBe(
      409,
    );
    await setUnknown(one.id);
    await setUnknown(two.id);
    const listed = await api.call('GET', '/sends?outcome=unknown');
    expect(listed.body.items.map((send: { id: string }) => send.id)).toEqual([two.id, one.id]);
    const delivered = await api.call('POST', `/sends/${one.id}/settle`, {
      as: 'delivered',
      reason: 'They answered it',
    });
    expect(delivered.body).toMatchObject({ state: 'final', outcome: 'delivered' });
    const resent = await api.call('POST', `/sends/${two.id}/settle`, { as: 'resend', reason: 'Lost' });
    expect(resent.body).toMatchObject({
      state: 'queued',
      outcome: null,
      messageId: two.messageId,
      workflow: { id: `emailSend:${two.id}:2` },
    });
    const audit = await api.call('GET', `/audit?sendId=${one.id}&action=send.settled`);
    expect(audit.body.items).toMatchObject([{ reason: 'They answered it', actor: 'admin' }]);
  });

  test('I5: a fault of ours is told of a send that ended by it, not once it was delivered or goes on', async () => {
    const lost = async () => {
      const { id } = await newSend();
      await setUnknown(id);
      await api.db.query(plain('update send set fault_ours = true where id = $1'), [id]);
      return id;
    };
    const faultOf = async (id: string) => (await api.call('GET', `/sends/${id}`)).body.faultOurs;
    const [settled, reported, resent] = [await lost(), await lost(), await lost()];
    expect(await faultOf(settled)).toBe(true);
    await api.call('POST', `/sends/${settled}/settle`, { as: 'delivered', reason: 'He has it.' });
    await api.db.transaction((tx) =>
      applyDeliveryEvent(tx, new Date(), {
        sendId: reported,
        kind: 'delivered',
        category: null,
        faultOurs: false,
      }),
    );
    await api.call('POST', `/sends/${resent}/settle`, { as: 'resend', reason: 'Lost' });
    expect(await Promise.all([settled, reported, resent].map(faultOf))).toEqual([false, false, false]);
    await api.call('POST', `/sends/${resent}/cancel`, { reason: 'No longer needed' });
    expect(await faultOf(resent)).toBe(false);
  });

  test('settling many by filter touches only unknown sends that match', async () => {
    const sends = [await newSend(), await newSend(), await newSend()];
    for (const { id } of sends.slice(0, 2)) await setUnknown(id);
    const byDomain = { as: 'delivered', reason: 'x', filter: { recipientDomain: 'elsewhere.example' } };
    expect((await api.call('POST', '/sends/settle', byDomain)).body.settled).toBe(0);
    const settled = await api.call('POST', '/sends/settle', {
      as: 'delivered',
      reason: 'The relay says so',
      filter: { recipientDomain: 'example.com' },
    });
    expect(settled.body).toEqual({ settled: 2, notUnknown: 0, notFound: 0, more: false });
    expect((await api.call('GET', `/sends/${sends[2]!.id}`)).body.state).toBe('queued');
    const byId = await api.call('POST', '/sends/settle', {
      as: 'resend',
      reason: 'x',
      sendIds: [sends[0]!.id, '019a0c5e-0000-7000-8000-000000000000'],
    });
    expect(byId.body).toEqual({ settled: 0, notUnknown: 1, notFound: 1, more: false });
    const both = await api.call('POST', '/sends/settle', {
      as: 'resend',
      reason: 'x',
      sendIds: [sends[0]!.id],
      filter: {},
    });
    expect(both.status).toBe(400);
  });
});

test('settling many goes page by page to the end, and says when there is more than one request takes', async () => {
  const { id, prospectId, emailId } = await newSend();
  const copies = plain(`
    insert into send (id, email_id, email_version, kind, prospect_id, address_id, recipient, recipient_domain, message_id,
      schedule_seconds, state, outcome, created_at, finished_at)
    select gen_random_uuid(), email_id, email_version, kind, prospect_id, address_id, recipient, 'many.example.com',
      message_id, schedule_seconds, 'final', 'unknown', created_at, now() from send, generate_series(1, 5150) where id = $1`);
  await api.db.query(copies, [id]);
  const body = {
    as: 'delivered',
    reason: 'The relay says so',
    filter: { emailId, recipientDomain: 'many.example.com' },
  };
  const first = await api.call('POST', '/sends/settle', body);
  expect(first.body).toEqual({ settled: 5000, notUnknown: 0, notFound: 0, more: true });
  const second = await api.call('POST', '/sends/settle', body);
  expect(second.body).toEqual({ settled: 150, notUnknown: 0, notFound: 0, more: false });
  const left = await api.call('GET', `/sends?outcome=unknown&prospectId=${prospectId}`);
  expect(left.body.items).toEqual([]);
});

test('the timeline of a prospect has everything once, newest first, page by page', async () => {
  const [to, content] = [await prospect(), await email()];
  const sent = await api.call(
    'POST',
    '/sends',
    { prospectId: to.id, emailId: content.id },
    { 'idempotency-key': 'timeline' },
  );
  const at = sent.body.createdAt;
  // All in one millisecond, so that only the order within it tells them apart.
  for (const number of [1, 2, 3]) {
    await api.db.query(
      plain(`insert into attempt (send_id, number, epoch, state, trigger, outcome, gated_at, finished_at)
        values ($1, $2, 1, 'finished', 'schedule', 'soft_bounce', $3, $3)`),
      [sent.body.id, number, at],
    );
  }
  await api.call('PATCH', `/prospects/${to.id}/flags`, { emailOptOut: true, reason: 'By phone' });
  await api.call('POST', '/suppressions', { email: to.email, note: 'Also by hand' });

  const whole = (await api.call('GET', `/prospects/${to.id}/timeline?limit=200`)).body.items;
  const paged = [];
  let cursor = '';
  do {
    const { status, body } = await api.call('GET', `/prospects/${to.id}/timeline?limit=1${cursor}`);
    expect(status).toBe(200);
    paged.push(...body.items);
    cursor = body.nextCursor === null ? '' : `&cursor=${body.nextCursor}`;
  } while (cursor !== '');
  expect(paged).toEqual(whole);
  const kinds = whole.map(
    (event: { type: string; entry?: { action: string }; attempt?: { number: number } }) =>
      event.entry?.action ?? (event.attempt ? `attempt ${event.attempt.number}` : event.type),
  );
  expect(kinds).toEqual([
    'suppression.added',
    'send.refused',
    'flag.changed',
    'suppression.added',
    'attempt 3',
    'attempt 2',
    'attempt 1',
    'send',
    'prospect.created',
  ]);
  expect((await api.call('GET', '/prospects/019a0c5e-0000-7000-8000-000000000000/timeline')).status).toBe(
    404,
  );
});

test('I6: the audit trail is searched by person, address, send, action, way and time', async () => {
  const to = await prospect();
  await api.call('PATCH', `/prospects/${to.id}/flags`, { bounced: true, reason: 'Reported' });
  const byEmail = await api.call('GET', `/audit?email=${to.email}&action=suppression.added`);
  expect(byEmail.body.items).toMatchObject([{ addressId: to.addressId, subject: 'bounced', way: 'api' }]);
  expect((await api.call('GET', '/audit?email=never@met.example')).body.items).toEqual([]);
  const first = await api.call('GET', '/audit?limit=1');
  const second = await api.call('GET', `/audit?limit=1&cursor=${first.body.nextCursor}`);
  expect(second.body.items[0].id).toBeLessThan(first.body.items[0].id);
  expect((await api.call('GET', '/audit?to=1999-12-31T23:59:59Z')).body.items).toEqual([]);
  expect((await api.call('GET', '/audit?from=yesterday')).body.errors).toMatchObject([{ field: 'from' }]);
  expect((await api.call('GET', '/audit?way=complaint')).body.items).toEqual([]);
});

describe('marketing email that is paused', () => {
  test('a send says what it waits for, and the switch being taken back wakes it', async () => {
    const { id, prospectId } = await newSend();
    expect((await api.call('PATCH', '/settings', { marketingPaused: true })).status).toBe(200);
    const [row] = await api.db.query<{ address_id: string; recipient_domain: string }>(
      plain('select address_id, recipient_domain from send where id = $1'),
      [id],
    );
    const decision = await gate(api.db, {
      sendId: id,
      run: 1,
      prospectId,
      addressId: row!.address_id,
      recipientDomain: row!.recipient_domain,
      trigger: 'schedule',
      now: new Date(),
    });
    expect(decision).toMatchObject({ kind: 'held' });
    expect((await api.call('GET', `/sends/${id}`)).body).toMatchObject({
      state: 'held',
      heldReason: 'marketing_paused',
      nextAttemptAt: null,
      attemptCount: 0,
      timeline: [],
    });
    expect((await api.call('GET', '/sends?state=held')).body.items).toMatchObject([{ id }]);
    // Nothing hurries it, and it can be cancelled all the same.
    expect((await api.call('POST', `/sends/${id}/retry`)).status).toBe(202);
    expect((await api.call('PATCH', '/settings', { marketingPaused: false })).status).toBe(200);
    const [entry] = await api.db.query(
      plain(`select message from outbox where aggregate = 'setting' order by id desc limit 1`),
    );
    expect(entry).toEqual({ message: { type: 'wakeHeldBack' } });
    expect((await api.call('POST', `/sends/${id}/cancel`)).body).toMatchObject({
      state: 'final',
      outcome: 'cancelled',
      heldReason: null,
    });
  });
});
