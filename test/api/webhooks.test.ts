import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { configuredWebhooks, type PROVIDERS } from '../../adapters/webhooks/configured.ts';
import { plain } from '../../db/connection.ts';
import { applyInbound } from '../../db/queries/inbound.ts';
import { createTestAccount, type TestAccount, type TestSend } from '../support/account.ts';
import { testReader, testReturnPath } from '../support/inbound.ts';
import {
  createSendGrid,
  type FakeSns,
  MAILGUN_KEY,
  mailgunRequest,
  POSTMARK_CREDENTIALS,
  type ProviderRequest,
  postmarkRequest,
  startSns,
  TOPIC,
} from '../support/providers.ts';
import { type Answer, startApi, type TestApi, toAnswer } from './support.ts';

let account: TestAccount;
let api: TestApi;
let sns: FakeSns;
const sendGrid = createSendGrid();
let emailId: string;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount();
  sns = await startSns();
  api = await startApi({
    db: account.db,
    webhooks: configuredWebhooks(
      {
        sesTopicArns: [TOPIC],
        sendGridKey: sendGrid.publicKey,
        mailgunSigningKey: MAILGUN_KEY,
        postmarkCredentials: POSTMARK_CREDENTIALS,
      },
      (url) => sns.fetchText(url),
    ),
  });
  emailId = await account.email();
});
afterAll(async () => {
  await api.close();
  await account.close();
});
beforeEach(() => account.db.query(plain('truncate inbound, delivery_event')));

type Provider = (typeof PROVIDERS)[number];
type Sent = TestSend & { readonly messageId: string };

async function delivered(): Promise<Sent> {
  const send = await account.send(await account.prospect(`hook${++counter}@example.net`), { emailId });
  const [row] = await account.db.query<{ message_id: string }>(
    plain(`update send set state = 'final', outcome = 'delivered', first_attempt_at = now(), finished_at = now()
           where id = $1 returning message_id`),
    [send.sendId],
  );
  return { ...send, messageId: row!.message_id };
}

async function post(provider: Provider, { body, headers }: ProviderRequest): Promise<Answer> {
  return toAnswer(await api.app.request(`/webhooks/${provider}`, { method: 'POST', body, headers }));
}

/** What the relay does. */
async function applyAll(): Promise<void> {
  const rows = await account.db.query<{ id: string }>(
    plain(`select id from inbound where state = 'received'`),
  );
  for (const { id } of rows) await applyInbound(account.db, new Date(), testReader, id);
}

async function outcomeOf({ sendId }: Sent) {
  const [row] = await account.db.query(
    plain(`select s.outcome, p.bounced, p.email_opt_out as "optedOut" from send s join prospect p on p.id = s.prospect_id
           where s.id = $1`),
    [sendId],
  );
  return row!;
}

async function kept(): Promise<number> {
  const [row] = await account.db.query<{ n: number }>(plain('select count(*)::int as n from inbound'));
  return row!.n;
}

/** A request changed somewhere in its signed part. */
function tampered(request: ProviderRequest): ProviderRequest {
  return { ...request, body: request.body.replace('example.net', 'example.org') };
}

const ses = {
  mail: (send: Sent) => ({
    source: testReturnPath.of(send.sendId),
    destination: ['ada@example.net'],
    messageId: randomUUID(),
  }),
  bounce: (send: Sent, bounceType: string, bounceSubType: string, diagnosticCode?: string) => ({
    notificationType: 'Bounce',
    bounce: {
      bounceType,
      bounceSubType,
      bouncedRecipients: [{ emailAddress: 'ada@example.net', action: 'failed', diagnosticCode }],
    },
    mail: ses.mail(send),
  }),
};
const sendGridEvent = (send: Sent, event: string, more: object = {}) => ({
  event,
  email: 'ada@example.net',
  sg_event_id: randomUUID(),
  'smtp-id': send.messageId,
  ...more,
});
const mailgunEvent = (send: Sent, event: string, more: object = {}) => ({
  event,
  id: randomUUID(),
  recipient: 'ada@example.net',
  message: { headers: { 'message-id': send.messageId.slice(1, -1) } },
  ...more,
});
const postmarkRecord = (send: Sent, RecordType: string, more: object = {}) => ({
  RecordType,
  ID: ++counter,
  Email: 'ada@example.net',
  Metadata: { heed_send: send.sendId },
  ...more,
});

const subscriptionChange = (send: Sent, suppress: boolean, reason: string | null, origin: string) => ({
  ...postmarkRecord(send, 'SubscriptionChange'),
  Recipient: 'ada@example.net',
  Origin: origin,
  SuppressSending: suppress,
  SuppressionReason: reason,
});

const DEAD = { outcome: 'bounced', bounced: true, optedOut: false };
const GAVE_UP = { outcome: 'exhausted', bounced: false, optedOut: false };
const REJECTED = { outcome: 'rejected', bounced: false, optedOut: false };
const UNCHANGED = { outcome: 'delivered', bounced: false, optedOut: false };
const COMPLAINED = { outcome: 'delivered', bounced: false, optedOut: true };
const SAID_NO = { outcome: 'delivered', bounced: false, optedOut: true };

/** What each provider can say, and what becomes of the send. */
const SAYINGS: readonly [Provider, string, (send: Sent) => ProviderRequest, object][] = [
  ['ses', 'Permanent/General', (s) => sns.notification(ses.bounce(s, 'Permanent', 'General')), DEAD],
  ['ses', 'Permanent/NoEmail', (s) => sns.notification(ses.bounce(s, 'Permanent', 'NoEmail')), DEAD],
  ['ses', 'Permanent/Suppressed', (s) => sns.notification(ses.bounce(s, 'Permanent', 'Suppressed')), DEAD],
  [
    'ses',
    'Permanent/General with a reply that says user unknown',
    (s) => sns.notification(ses.bounce(s, 'Permanent', 'General', 'smtp; 550 5.1.1 user unknown')),
    DEAD,
  ],
  [
    'ses',
    'Permanent/General with a reply about the content',
    (s) =>
      sns.notification(
        ses.bounce(s, 'Permanent', 'General', 'smtp; 550 5.7.1 rejected due to content policy'),
      ),
    REJECTED,
  ],
  [
    'ses',
    'Permanent/OnAccountSuppressionList',
    (s) => sns.notification(ses.bounce(s, 'Permanent', 'OnAccountSuppressionList')),
    REJECTED,
  ],
  ['ses', 'Transient/General', (s) => sns.notification(ses.bounce(s, 'Transient', 'General')), GAVE_UP],
  [
    'ses',
    'Transient/General with words of an unknown user',
    (s) => sns.notification(ses.bounce(s, 'Transient', 'General', 'smtp; 550 5.1.1 user unknown')),
    GAVE_UP,
  ],
  [
    'ses',
    'Transient/MailboxFull',
    (s) => sns.notification(ses.bounce(s, 'Transient', 'MailboxFull')),
    GAVE_UP,
  ],
  [
    'ses',
    'Transient/ContentRejected',
    (s) => sns.notification(ses.bounce(s, 'Transient', 'ContentRejected')),
    REJECTED,
  ],
  ['ses', 'Undetermined', (s) => sns.notification(ses.bounce(s, 'Undetermined', 'Undetermined')), GAVE_UP],
  [
    'ses',
    'Complaint',
    (s) =>
      sns.notification({
        notificationType: 'Complaint',
        complaint: { complaintFeedbackType: 'abuse', complainedRecipients: [] },
        mail: ses.mail(s),
      }),
    COMPLAINED,
  ],
  [
    'ses',
    'Complaint of type not-spam',
    (s) =>
      sns.notification({
        notificationType: 'Complaint',
        complaint: { complaintFeedbackType: 'not-spam' },
        mail: ses.mail(s),
      }),
    UNCHANGED,
  ],
  [
    'ses',
    'a bounce of event publishing, known by the Message-ID, signed with version 1',
    (s) =>
      sns.notification(
        {
          ...ses.bounce(s, 'Permanent', 'General'),
          notificationType: undefined,
          eventType: 'Bounce',
          mail: { source: 'news@example.com', commonHeaders: { messageId: s.messageId } },
        },
        {},
        '1',
      ),
    DEAD,
  ],
  [
    'sendgrid',
    'bounce',
    (s) =>
      sendGrid.request([sendGridEvent(s, 'bounce', { type: 'bounce', reason: '550 5.1.1 user unknown' })]),
    DEAD,
  ],
  [
    'sendgrid',
    'bounce that is a block',
    (s) =>
      sendGrid.request([sendGridEvent(s, 'bounce', { type: 'blocked', reason: '550 5.1.1 user unknown' })]),
    GAVE_UP,
  ],
  [
    'sendgrid',
    'bounce without words',
    (s) => sendGrid.request([sendGridEvent(s, 'bounce', { type: 'bounce' })]),
    DEAD,
  ],
  [
    'sendgrid',
    'dropped, Bounced Address',
    (s) => sendGrid.request([sendGridEvent(s, 'dropped', { reason: 'Bounced Address' })]),
    DEAD,
  ],
  [
    'sendgrid',
    'dropped, Spam Content',
    (s) => sendGrid.request([sendGridEvent(s, 'dropped', { reason: 'Spam Content' })]),
    REJECTED,
  ],
  [
    'sendgrid',
    'deferred',
    (s) => sendGrid.request([sendGridEvent(s, 'deferred', { response: '452 4.2.2 full' })]),
    UNCHANGED,
  ],
  ['sendgrid', 'delivered', (s) => sendGrid.request([sendGridEvent(s, 'delivered')]), UNCHANGED],
  [
    'sendgrid',
    'spamreport, known by the unique argument',
    (s) => sendGrid.request([sendGridEvent(s, 'spamreport', { 'smtp-id': undefined, heed_send: s.sendId })]),
    COMPLAINED,
  ],
  ['sendgrid', 'unsubscribe', (s) => sendGrid.request([sendGridEvent(s, 'unsubscribe')]), SAID_NO],
  [
    'sendgrid',
    'group_unsubscribe, known by the unique argument',
    (s) =>
      sendGrid.request([
        sendGridEvent(s, 'group_unsubscribe', {
          'smtp-id': undefined,
          heed_send: s.sendId,
          asm_group_id: 10,
        }),
      ]),
    SAID_NO,
  ],
  ['mailgun', 'unsubscribed', (s) => mailgunRequest(mailgunEvent(s, 'unsubscribed')), SAID_NO],
  [
    'mailgun',
    'permanent failure',
    (s) =>
      mailgunRequest(
        mailgunEvent(s, 'failed', {
          severity: 'permanent',
          reason: 'bounce',
          'delivery-status': { code: 550, message: '5.1.1 user unknown' },
        }),
      ),
    DEAD,
  ],
  [
    'mailgun',
    'permanent failure, gave up',
    (s) =>
      mailgunRequest(
        mailgunEvent(s, 'failed', {
          severity: 'permanent',
          reason: 'old',
          'delivery-status': { code: 602, message: 'Too old' },
        }),
      ),
    GAVE_UP,
  ],
  [
    'mailgun',
    'permanent failure of the content',
    (s) =>
      mailgunRequest(
        mailgunEvent(s, 'failed', {
          severity: 'permanent',
          reason: 'bounce',
          'delivery-status': { code: 550, message: '5.7.1 Message rejected due to content policy' },
        }),
      ),
    REJECTED,
  ],
  [
    'mailgun',
    'permanent failure, known to be dead',
    (s) => mailgunRequest(mailgunEvent(s, 'failed', { severity: 'permanent', reason: 'suppress-bounce' })),
    DEAD,
  ],
  [
    'mailgun',
    'permanent failure, complained before',
    (s) => mailgunRequest(mailgunEvent(s, 'failed', { severity: 'permanent', reason: 'suppress-complaint' })),
    REJECTED,
  ],
  [
    'mailgun',
    'temporary failure',
    (s) =>
      mailgunRequest(
        mailgunEvent(s, 'failed', {
          severity: 'temporary',
          'delivery-status': { code: 452, message: '4.2.2 full' },
        }),
      ),
    UNCHANGED,
  ],
  ['mailgun', 'delivered', (s) => mailgunRequest(mailgunEvent(s, 'delivered')), UNCHANGED],
  [
    'mailgun',
    'complained, known by the return path',
    (s) => mailgunRequest({ event: 'complained', envelope: { sender: testReturnPath.of(s.sendId) } }),
    COMPLAINED,
  ],
  [
    'postmark',
    'HardBounce',
    (s) =>
      postmarkRequest(
        postmarkRecord(s, 'Bounce', { Type: 'HardBounce', Details: 'smtp;550 5.1.1 user unknown' }),
      ),
    DEAD,
  ],
  [
    'postmark',
    'HardBounce with a reply in bare words',
    (s) =>
      postmarkRequest(
        postmarkRecord(s, 'Bounce', { Type: 'HardBounce', Details: 'smtp;550 No such user here' }),
      ),
    DEAD,
  ],
  [
    'postmark',
    'BadEmailAddress',
    (s) => postmarkRequest(postmarkRecord(s, 'Bounce', { Type: 'BadEmailAddress' })),
    DEAD,
  ],
  [
    'postmark',
    'SoftBounce',
    (s) =>
      postmarkRequest(
        postmarkRecord(s, 'Bounce', { Type: 'SoftBounce', Details: 'smtp;550 5.1.1 user unknown' }),
      ),
    GAVE_UP,
  ],
  [
    'postmark',
    'Transient',
    (s) => postmarkRequest(postmarkRecord(s, 'Bounce', { Type: 'Transient' })),
    UNCHANGED,
  ],
  [
    'postmark',
    'AutoResponder',
    (s) => postmarkRequest(postmarkRecord(s, 'Bounce', { Type: 'AutoResponder' })),
    UNCHANGED,
  ],
  [
    'postmark',
    'Bounce of the type Unsubscribe',
    (s) => postmarkRequest(postmarkRecord(s, 'Bounce', { Type: 'Unsubscribe' })),
    SAID_NO,
  ],
  ['postmark', 'Blocked', (s) => postmarkRequest(postmarkRecord(s, 'Bounce', { Type: 'Blocked' })), REJECTED],
  ['postmark', 'SpamComplaint', (s) => postmarkRequest(postmarkRecord(s, 'SpamComplaint')), COMPLAINED],
  [
    'postmark',
    'SubscriptionChange, the recipient said no',
    (s) => postmarkRequest(subscriptionChange(s, true, 'ManualSuppression', 'Recipient')),
    SAID_NO,
  ],
  [
    'postmark',
    'SubscriptionChange, the recipient complained',
    (s) => postmarkRequest(subscriptionChange(s, true, 'SpamComplaint', 'Recipient')),
    COMPLAINED,
  ],
  [
    'postmark',
    'SubscriptionChange after a bounce, which is told with its words by itself',
    (s) => postmarkRequest(subscriptionChange(s, true, 'HardBounce', 'Recipient')),
    UNCHANGED,
  ],
  [
    'postmark',
    'SubscriptionChange by a person at Postmark',
    (s) => postmarkRequest(subscriptionChange(s, true, 'ManualSuppression', 'Customer')),
    UNCHANGED,
  ],
  [
    'postmark',
    'Delivery',
    (s) => postmarkRequest(postmarkRecord(s, 'Delivery', { Details: '250 ok' })),
    UNCHANGED,
  ],
];

describe('what a provider says', () => {
  it.each(SAYINGS)('I3 %s: %s', async (provider, _, request, after) => {
    const send = await delivered();
    const made = request(send);
    expect(await post(provider, made)).toMatchObject({ status: 200, body: { kept: 1, known: 0 } });
    await applyAll();
    expect(await outcomeOf(send)).toEqual(after);
    const [event] = await account.db.query(plain('select send_id, rule from delivery_event'));
    expect(event!.send_id).toBe(send.sendId);
    expect(event!.rule).toContain(provider);

    // The same again: it is known, and changes nothing.
    expect(await post(provider, made)).toMatchObject({ status: 200, body: { kept: 0, known: 1 } });
    await applyAll();
    expect(await kept()).toBe(1);
    expect(await outcomeOf(send)).toEqual(after);
  });

  it('a batch of SendGrid is kept event by event, and what is not about delivery is left out', async () => {
    const sends = await Promise.all(Array.from({ length: 30 }, () => delivered()));
    const events = sends.map((send) => sendGridEvent(send, 'bounce', { reason: '550 5.1.1 user unknown' }));
    const opens = sends.map((send) => sendGridEvent(send, 'open'));
    // Both come at once, in another order: neither waits for the other for ever, and each event is kept once.
    const answers = await Promise.all([
      post('sendgrid', sendGrid.request([...events, ...opens])),
      post('sendgrid', sendGrid.request(events.toReversed())),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(answers.reduce((sum, { body }) => sum + body.kept, 0)).toBe(30);
    await applyAll();
    for (const send of sends) expect(await outcomeOf(send)).toEqual(DEAD);
  });

  it('I6 a no by a link of the provider’s own is a no as any other: audit, waiting sends, the account’s scope', async () => {
    const listId = await account.list();
    const prospect = await account.prospect('hook-list@example.net');
    const send = await account.send(prospect, { emailId, listId });
    const waiting = await account.send(prospect, { emailId, listId });
    const say = () =>
      post(
        'sendgrid',
        sendGrid.request([{ event: 'unsubscribe', sg_event_id: randomUUID(), heed_send: send.sendId }]),
      );
    await account.setting({ one_click_scope: 'list' });
    await say();
    await applyAll();
    const entries = () =>
      account.db.query(
        plain(
          `select list_id, way, actor from suppression where address_id = $1 order by list_id nulls first`,
        ),
        [send.addressId],
      );
    expect(await entries()).toEqual([{ list_id: listId, way: 'unsubscribe_link', actor: 'recipient' }]);
    const [ended] = await account.db.query(plain('select state, outcome from send where id = $1'), [
      waiting.sendId,
    ]);
    expect(ended).toEqual({ state: 'final', outcome: 'suppressed' });
    const [audit] = await account.db.query(
      plain(
        `select way, actor, reason, send_id from audit_entry where action = 'suppression.added' and address_id = $1`,
      ),
      [send.addressId],
    );
    expect(audit).toEqual({
      way: 'unsubscribe_link',
      actor: 'recipient',
      reason: 'provider',
      send_id: send.sendId,
    });

    await account.setting({ one_click_scope: 'everything' });
    await say();
    await applyAll();
    expect(await entries()).toHaveLength(2);
    expect(await outcomeOf({ ...send, messageId: '' })).toMatchObject({ optedOut: true });
  });

  it('a no is not taken back by the provider', async () => {
    const send = await delivered();
    await post('postmark', postmarkRequest(subscriptionChange(send, true, 'ManualSuppression', 'Recipient')));
    await post('postmark', postmarkRequest(subscriptionChange(send, false, null, 'Customer')));
    await post('sendgrid', sendGrid.request([sendGridEvent(send, 'group_resubscribe')]));
    await applyAll();
    expect(await outcomeOf(send)).toEqual(SAID_NO);
  });

  it('about a send that is not ours is kept to be looked at', async () => {
    const send = await delivered();
    const elsewhere = { ...send, messageId: '<somebody@elsewhere.test>' };
    await post('sendgrid', sendGrid.request([sendGridEvent(elsewhere, 'bounce')]));
    await applyAll();
    const [event] = await account.db.query(plain('select result from delivery_event'));
    expect(event).toEqual({ result: 'unmatched' });
    expect(await outcomeOf(send)).toEqual(UNCHANGED);
  });
});

describe('what no provider said', () => {
  const hourAgo = (hours: number) => new Date(Date.now() - hours * 3_600_000);

  it.each<[Provider, string, (send: Sent) => ProviderRequest | Promise<ProviderRequest>]>([
    ['ses', 'changed on its way', (s) => tampered(sns.notification(ses.bounce(s, 'Permanent', 'General')))],
    [
      'ses',
      'signed by somebody else',
      async (s) => (await startSns()).notification(ses.bounce(s, 'Permanent', 'General')),
    ],
    [
      'ses',
      'of another topic',
      (s) => sns.notification(ses.bounce(s, 'Permanent', 'General'), { TopicArn: `${TOPIC}-other` }),
    ],
    ...[
      'https://sns.eu-west-1.amazonaws.com.evil.test/a.pem',
      'https://evil.test/sns.eu-west-1.amazonaws.com/a.pem',
      'https://sns.eu-west-1.amazonaws.com@evil.test/a.pem',
      'https://user@sns.eu-west-1.amazonaws.com/a.pem',
      'http://sns.eu-west-1.amazonaws.com/a.pem',
      'https://sns.us-east-1.amazonaws.com/a.pem',
      'https://sns.eu-west-1.amazonaws.com:8443/a.pem',
      'https://sns.eu-west-1.amazonaws.com/a.txt',
      'https://bucket.s3.eu-west-1.amazonaws.com/a.pem',
      'file:///etc/passwd',
      'not an address',
    ].map((SigningCertURL): [Provider, string, (send: Sent) => ProviderRequest] => [
      'ses',
      `with a certificate at ${SigningCertURL}`,
      (s) => sns.notification(ses.bounce(s, 'Permanent', 'General'), { SigningCertURL }),
    ]),
    [
      'ses',
      'confirmation at another host',
      () => sns.confirmation({ SubscribeURL: 'https://evil.test/?Action=ConfirmSubscription' }),
    ],
    ['ses', 'confirmation of another topic', () => sns.confirmation({ TopicArn: `${TOPIC}-other` })],
    ['sendgrid', 'changed on its way', (s) => tampered(sendGrid.request([sendGridEvent(s, 'bounce')]))],
    ['sendgrid', 'signed by somebody else', (s) => createSendGrid().request([sendGridEvent(s, 'bounce')])],
    ['sendgrid', 'too old', (s) => sendGrid.request([sendGridEvent(s, 'bounce')], hourAgo(26))],
    ['sendgrid', 'ahead of time', (s) => sendGrid.request([sendGridEvent(s, 'bounce')], hourAgo(-1))],
    [
      'sendgrid',
      'without a signature',
      (s) => ({ ...sendGrid.request([sendGridEvent(s, 'bounce')]), headers: {} }),
    ],
    [
      'mailgun',
      'signed with another key',
      (s) => mailgunRequest(mailgunEvent(s, 'failed', { severity: 'permanent' }), { key: 'other' }),
    ],
    [
      'mailgun',
      'too old',
      (s) => mailgunRequest(mailgunEvent(s, 'failed', { severity: 'permanent' }), { at: hourAgo(26) }),
    ],
    [
      'postmark',
      'with another password',
      (s) => postmarkRequest(postmarkRecord(s, 'Bounce', { Type: 'HardBounce' }), 'postmark:guess'),
    ],
    [
      'postmark',
      'without a password',
      (s) => ({ ...postmarkRequest(postmarkRecord(s, 'Bounce', { Type: 'HardBounce' })), headers: {} }),
    ],
  ])('%s: %s is refused and changes nothing', async (provider, _, request) => {
    const send = await delivered();
    sns.fetched.length = 0;
    const answer = await post(provider, await request(send));
    expect(answer).toMatchObject({ status: 403, body: { type: '/reference#problem-not-genuine' } });
    expect(await kept()).toBe(0);
    expect(await outcomeOf(send)).toEqual(UNCHANGED);
    // Never asks anybody but the topic's own host, and confirms nothing.
    for (const url of sns.fetched)
      expect(url).toMatch(/^https:\/\/sns\.eu-west-1\.amazonaws\.com\/[\w-]+\.pem$/);
  });

  it('mailgun: a token that was used is not honoured for another event', async () => {
    const [send, victim] = [await delivered(), await delivered()];
    const token = 'f'.repeat(50);
    const event = { severity: 'permanent', reason: 'suppress-bounce' };
    const first = mailgunRequest(mailgunEvent(send, 'failed', event), { token });
    expect(await post('mailgun', first)).toMatchObject({ status: 200 });
    const forged = {
      ...first,
      body: first.body.replace(send.messageId.slice(1, -1), victim.messageId.slice(1, -1)),
    };
    expect(await post('mailgun', forged)).toMatchObject({ status: 403 });
    await applyAll();
    expect(await outcomeOf(send)).toEqual(DEAD);
    expect(await outcomeOf(victim)).toEqual(UNCHANGED);
  });

  it('ses: a certificate that is not valid now is none', async () => {
    const expired = await startSns(-1);
    const webhooks = configuredWebhooks(
      { sesTopicArns: [TOPIC], sendGridKey: null, mailgunSigningKey: null, postmarkCredentials: null },
      (url) => expired.fetchText(url),
    );
    const { body, headers } = expired.notification(ses.bounce(await delivered(), 'Permanent', 'General'));
    const decision = await webhooks[0]!.accept(
      { header: (name) => headers[name], body: Buffer.from(body) },
      new Date(),
    );
    expect(decision).toMatchObject({ kind: 'refused' });
  });

  it.each<Provider>(['ses', 'sendgrid', 'mailgun', 'postmark'])(
    '%s: what is too large or no JSON',
    async (provider) => {
      const large = await post(provider, { body: 'x'.repeat(1024 * 1024 + 1), headers: {} });
      expect(large).toMatchObject({ status: 413 });
      for (const body of ['', 'null', '[]', '{', '"text"', '{"signature":{}}', '\0']) {
        expect([400, 403]).toContain((await post(provider, { body, headers: {} })).status);
      }
      expect(await kept()).toBe(0);
    },
  );
});

describe('subscription to a topic of SNS', () => {
  it('is confirmed at the host of the topic, once it is shown to be from SNS', async () => {
    sns.fetched.length = 0;
    expect(await post('ses', sns.confirmation())).toMatchObject({ status: 200, body: { kept: 0, known: 0 } });
    expect(sns.fetched.at(-1)).toMatch(
      /^https:\/\/sns\.eu-west-1\.amazonaws\.com\/\?Action=ConfirmSubscription/,
    );
  });

  it('what SES tells once when it is connected is kept, and is about nothing', async () => {
    for (const message of [
      { notificationType: 'AmazonSnsSubscriptionSucceeded', message: 'You have subscribed this topic.' },
      'Successfully validated SNS topic for Amazon SES event publishing.',
    ]) {
      const request = sns.notification(
        {},
        { Message: typeof message === 'string' ? message : JSON.stringify(message) },
      );
      expect(await post('ses', request)).toMatchObject({ status: 200, body: { kept: 1 } });
    }
    await applyAll();
    const states = await account.db.query(plain('select state from inbound'));
    expect(states).toEqual([{ state: 'applied' }, { state: 'applied' }]);
  });

  it('that cannot be confirmed now is to be tried again', async () => {
    const webhooks = configuredWebhooks(
      { sesTopicArns: [TOPIC], sendGridKey: null, mailgunSigningKey: null, postmarkCredentials: null },
      async () => {
        throw new Error('no route to host');
      },
    );
    const other = await startApi({ db: account.db, webhooks });
    const { body, headers } = sns.confirmation();
    const answer = await other.app.request('/webhooks/ses', { method: 'POST', body, headers });
    expect(answer.status).toBe(502);
    await other.close();
  });
});

it('a provider that is not configured has no webhook', async () => {
  const bare = await startApi();
  const answer = await bare.app.request('/webhooks/mailgun', { method: 'POST', body: '{}' });
  expect(answer.status).toBe(404);
  await bare.close();
});
