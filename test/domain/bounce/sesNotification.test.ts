import { describe, expect, it } from 'vitest';
import { readBounce } from '../../../domain/bounce/message/readBounce.ts';
import { octets } from './messageSamples.ts';

const JANE = 'jane@example.net';
const RETURN_PATH = 'b.token123@return.example.com';

/** A notification of Amazon SES as Amazon SNS sends it to an email address. */
function notification(about: object, write: (json: string) => string = (json) => json): string {
  const mail = {
    source: RETURN_PATH,
    messageId: '0102',
    destination: [JANE],
    headers: [{ name: 'Subject', value: 'Your mailbox is full of offers: user unknown, 550 5.1.1' }],
    commonHeaders: { messageId: '<m1@example.com>', to: [JANE] },
  };
  return [
    'From: AWS Notifications <no-reply@sns.amazonaws.com>',
    'To: bounces@example.com',
    'Subject: AWS Notification Message',
    'Content-Type: text/plain; charset=UTF-8',
    '',
    write(JSON.stringify({ ...about, mail })),
    '',
    '--',
    'If you wish to stop receiving notifications from this topic, please visit https://sns.example/unsubscribe',
  ].join('\r\n');
}

function bounce(bounceType: string, bounceSubType: string, recipient: object = {}): object {
  return {
    notificationType: 'Bounce',
    bounce: { bounceType, bounceSubType, bouncedRecipients: [{ emailAddress: JANE, ...recipient }] },
  };
}

const read = (message: string) => readBounce(octets(message));
const UNKNOWN = { action: 'failed', status: '5.1.1', diagnosticCode: 'smtp; 550 5.1.1 user unknown' };

describe('notifications of Amazon SES by mail', () => {
  it.each<[string, object, object]>([
    [
      'a dead address',
      bounce('Permanent', 'General', UNKNOWN),
      { kind: 'hard', status: '5.1.1', reply: 550 },
    ],
    ['a dead address without a reply', bounce('Permanent', 'NoEmail'), { kind: 'hard' }],
    [
      'a reply that would be doubtful',
      bounce('Permanent', 'General', { diagnosticCode: 'smtp; 550 No such user here' }),
      { kind: 'hard', category: 'user_unknown' },
    ],
    ['an address that was dead before', bounce('Permanent', 'Suppressed'), { kind: 'hard' }],
    [
      "the account's own list",
      bounce('Permanent', 'OnAccountSuppressionList', UNKNOWN),
      { kind: 'soft', action: 'rejected', category: 'policy' },
    ],
    [
      'a full mailbox',
      bounce('Transient', 'MailboxFull', { status: '5.2.2', diagnosticCode: 'smtp; 552 5.2.2 mailbox full' }),
      { kind: 'soft', category: 'mailbox_full', status: '5.2.2' },
    ],
    ['words of an unknown user, not permanent', bounce('Transient', 'General', UNKNOWN), { kind: 'soft' }],
    [
      'a complaint',
      {
        notificationType: 'Complaint',
        complaint: { complainedRecipients: [{ emailAddress: JANE }], complaintFeedbackType: 'abuse' },
      },
      { kind: 'none', source: 'feedback', feedbackType: 'abuse' },
    ],
    [
      'a delivery',
      { eventType: 'Delivery', delivery: { recipients: [JANE], smtpResponse: '250 2.6.0 OK' } },
      { kind: 'none', source: 'dsn', reportedAction: 'delivered' },
    ],
    [
      'a delay',
      {
        eventType: 'DeliveryDelay',
        deliveryDelay: { delayedRecipients: [{ emailAddress: JANE, diagnosticCode: 'smtp; 450 5.1.1' }] },
      },
      { kind: 'none', source: 'delay' },
    ],
  ])('%s', async (_, about, expected) => {
    const reports = await read(notification(about));
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatchObject({
      recipient: JANE,
      originalMessageId: '<m1@example.com>',
      ...expected,
    });
    expect(reports[0]!.returnPathTokenCandidates).toContain(RETURN_PATH);
  });

  it('are read where long lines were folded, and where the whole of SNS was passed on', async () => {
    const folded = (json: string) => `${json.slice(0, 100)}!\r\n ${json.slice(100)}`;
    const whole = (json: string) => JSON.stringify({ Type: 'Notification', Message: json });
    for (const write of [folded, whole]) {
      expect(await read(notification(bounce('Permanent', 'General', UNKNOWN), write))).toMatchObject([
        { kind: 'hard', recipient: JANE },
      ]);
    }
  });

  it('of any other form are no bounce and break nothing', async () => {
    const forms: object[] = [
      { notificationType: 'Bounce' },
      { notificationType: 'Bounce', bounce: { bouncedRecipients: 'all' } },
      { notificationType: 'Bounce', bounce: { bouncedRecipients: [] } },
      { notificationType: 'Complaint', complaint: null },
      { notificationType: 'Delivery' },
      { notificationType: 7 },
    ];
    for (const form of forms) expect(await read(notification(form))).toMatchObject([{ kind: 'none' }]);
    for (const write of [
      (json: string) => json.slice(0, -9),
      (json: string) => `{${'['.repeat(60_000)}${json}`,
    ]) {
      expect(await read(notification(bounce('Permanent', 'General', UNKNOWN), write))).toMatchObject([
        { kind: 'none' },
      ]);
    }
  });
});
