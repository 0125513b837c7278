import { describe, expect, it } from 'vitest';
import { messagesOf } from '../../../domain/bounce/message/mbox.ts';
import { readBounce } from '../../../domain/bounce/message/readBounce.ts';
import { type BounceReport, READ_LIMITS } from '../../../domain/bounce/message/report.ts';
import { deliveryStatus, feedback, notification, ORIGINAL, octets, report } from './messageSamples.ts';

const read = (message: string) => readBounce(octets(message));
async function readOne(message: string): Promise<BounceReport> {
  const reports = await read(message);
  expect(reports).toHaveLength(1);
  return reports[0]!;
}

const fields = (...lines: string[]) => lines.join('\n');
const JANE = 'Final-Recipient: rfc822; jane@example.net';

describe('delivery status notifications (RFC 3464)', () => {
  it('tells every recipient by its own fields', async () => {
    const reports = await read(
      deliveryStatus([
        fields(JANE, 'Action: failed', 'Status: 5.1.1', 'Diagnostic-Code: smtp; 550 5.1.1 User unknown'),
        fields(
          'Final-Recipient: rfc822; joe@example.org',
          'Action: failed',
          'Status: 5.2.2',
          'Remote-MTA: dns; mx.example.org (192.0.2.1)',
          'Diagnostic-Code: smtp; 552 5.2.2 Mailbox',
          '  full',
        ),
        fields('Final-Recipient: rfc822; ann@example.org', 'Action: delayed', 'Status: 4.4.1'),
        fields('Final-Recipient: rfc822; bob@example.org', 'Action: relayed', 'Status: 2.0.0'),
      ]),
    );
    expect(reports.map(({ n, recipient, kind, source }) => [n, recipient, kind, source])).toEqual([
      [1, 'jane@example.net', 'hard', 'dsn'],
      [2, 'joe@example.org', 'soft', 'dsn'],
      [3, 'ann@example.org', 'none', 'delay'],
      [4, 'bob@example.org', 'none', 'dsn'],
    ]);
    expect(reports[1]).toMatchObject({
      category: 'mailbox_full',
      status: '5.2.2',
      reply: 552,
      diagnostic: '552 5.2.2 Mailbox full',
      remoteMta: 'mx.example.org',
      reportedAction: 'failed',
    });
    for (const each of reports) {
      expect(each.originalMessageId).toBe('<m1@example.com>');
      expect(each.returnPathTokenCandidates).toContain('b.token123@return.example.com');
    }
  });

  it.each(['delivered', 'relayed', 'expanded'])('%s is no bounce', async (action) => {
    expect(await readOne(deliveryStatus([fields(JANE, `Action: ${action}`, 'Status: 2.0.0')]))).toMatchObject(
      {
        kind: 'none',
        action: 'none',
        category: null,
        source: 'dsn',
      },
    );
  });

  it('a delay is no bounce, whatever the diagnostic says', async () => {
    const message = deliveryStatus([
      fields(JANE, 'Action: delayed', 'Status: 4.1.1', 'Diagnostic-Code: smtp; 550 5.1.1 User unknown'),
    ]);
    expect(await readOne(message)).toMatchObject({
      kind: 'none',
      source: 'delay',
      recipient: 'jane@example.net',
    });
  });

  it.each([
    ['text over enhanced code', '5.1.1', 'smtp; 550 5.1.1 Mailbox is over quota', 'soft', 'mailbox_full'],
    ['text over status', '5.0.0', 'smtp; 550 5.1.1 No such user', 'hard', 'user_unknown'],
    ['enhanced code over reply code', '5.1.1', 'smtp; 550 see our help page', 'hard', 'user_unknown'],
    ['a temporary reply is never hard', '5.1.1', 'smtp; 450 4.1.1 User unknown', 'soft', 'user_unknown'],
    [
      'a listed sender is no dead address',
      '5.7.1',
      'smtp; 550 5.7.1 blocked using Spamhaus',
      'soft',
      'reputation',
    ],
    ['a status beside words that say nothing', '4.4.7', 'smtp; 451 see our help page', 'soft', 'expired'],
  ])('judges by %s', async (_, status, diagnostic, kind, category) => {
    const message = deliveryStatus([
      fields(JANE, 'Action: failed', `Status: ${status}`, `Diagnostic-Code: ${diagnostic}`),
    ]);
    expect(await readOne(message)).toMatchObject({ kind, category });
  });

  it('reads why from the words around a report that has no diagnostic', async () => {
    const words = [
      'The following address failed:',
      '',
      '<jane@example.net>: host mx.example.net[192.0.2.1] said: 550 5.1.1 No such',
      '    user here (in reply to RCPT TO command)',
    ].join('\n');
    const message = deliveryStatus([fields(JANE, 'Action: failed', 'Status: 5.0.0')], words);
    expect(await readOne(message)).toMatchObject({ kind: 'hard', status: '5.1.1', reply: 550 });
  });

  it('takes a user who is unknown only after DATA for a refusal of the message', async () => {
    const diagnostic = '550 Unknown user';
    const about = (stage: string) =>
      deliveryStatus(
        [fields(JANE, 'Action: failed', 'Status: 5.0.0', `Diagnostic-Code: smtp; ${diagnostic}`)],
        `<jane@example.net>: host mx.example.net said: ${diagnostic} (in reply to ${stage} command)`,
      );
    expect(await readOne(about('RCPT TO'))).toMatchObject({ kind: 'hard' });
    expect(await readOne(about('end of DATA'))).toMatchObject({ kind: 'soft' });
  });

  it('reads the stage from a transcript', async () => {
    const transcript = (verb: string) =>
      [
        '   ----- Transcript of session follows -----',
        '... while talking to mx.example.net.:',
        `>>> ${verb}`,
        '<<< 550 Unknown user',
        '550 <jane@example.net>... User unknown',
      ].join('\n');
    const about = (verb: string) =>
      deliveryStatus(
        [fields(JANE, 'Action: failed', 'Status: 5.0.0', 'Diagnostic-Code: SMTP; 550 Unknown user')],
        transcript(verb),
      );
    expect(await readOne(about('RCPT To:<jane@example.net>'))).toMatchObject({ kind: 'hard' });
    expect(await readOne(about('DATA'))).toMatchObject({ kind: 'soft' });
  });

  it('names the original recipient where the address was forwarded', async () => {
    const message = deliveryStatus([
      fields(
        'Original-Recipient: rfc822;jane@example.net',
        'Final-Recipient: rfc822; <jane.new@example.org>',
        'X-Actual-Recipient: rfc822; mailbox@store.example.org',
        'Action: failed',
        'Status: 5.1.1',
      ),
    ]);
    expect(await readOne(message)).toMatchObject({
      recipient: 'jane@example.net',
      originalRecipient: 'jane@example.net',
      finalRecipient: 'jane.new@example.org',
    });
  });

  it.each(['text/plain', 'application/octet-stream', 'text/delivery-status', 'message/delivery-status; x'])(
    'knows a report by its fields when it is sent as %s',
    async (type) => {
      const message = deliveryStatus([fields(JANE, 'Action: failed', 'Status: 5.1.1')], 'Sorry.', type);
      expect(await readOne(message)).toMatchObject({
        kind: 'hard',
        source: 'dsn',
        recipient: 'jane@example.net',
      });
    },
  );

  it('reads a report whose boundaries were lost', async () => {
    const message = notification(
      'MAILER-DAEMON@mx.example.net',
      'Returned mail',
      `It failed.\n\nReporting-MTA: dns; mx.example.net\n\n${JANE}\nAction: failed\nStatus: 5.1.1\n\n${ORIGINAL}`,
      { 'Content-Type': 'multipart/report; report-type=delivery-status; boundary="lost"' },
    );
    expect(await readOne(message)).toMatchObject({ kind: 'hard', recipient: 'jane@example.net' });
  });

  it('reads recipients that no blank line parts', async () => {
    const message = deliveryStatus([
      fields(
        JANE,
        'Action: failed',
        'Status: 5.1.1',
        'Final-Recipient: rfc822; joe@example.net',
        'Action: failed',
        'Status: 5.2.2',
      ),
    ]);
    expect((await read(message)).map(({ recipient, kind }) => [recipient, kind])).toEqual([
      ['jane@example.net', 'hard'],
      ['joe@example.net', 'soft'],
    ]);
  });

  it('reads internationalised reports (RFC 6533)', async () => {
    const message = deliveryStatus(
      [fields('Final-Recipient: utf-8; jos\\x{e9}@example.net', 'Action: failed', 'Status: 5.1.1')],
      'Nicht zugestellt.',
      'message/global-delivery-status; charset=utf-8',
    );
    expect(await readOne(message)).toMatchObject({ kind: 'hard', recipient: 'josé@example.net' });
  });

  it('reads a base64 report', async () => {
    const status = `Reporting-MTA: dns; mx.example.net\n\n${JANE}\nAction: failed\nStatus: 5.1.1\n`;
    const message = report('delivery-status', [
      'Content-Type: text/plain\n\nSorry.',
      `Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n${btoa(status)}`,
    ]);
    expect(await readOne(message)).toMatchObject({ kind: 'hard', recipient: 'jane@example.net' });
  });

  it('prefers the outermost report to one in the message that it returns', async () => {
    const inner = deliveryStatus([
      fields('Final-Recipient: rfc822; other@example.org', 'Action: failed', 'Status: 5.1.1'),
    ]);
    const message = report('delivery-status', [
      'Content-Type: text/plain\n\nNot delivered.',
      `Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\n${JANE}\nAction: failed\nStatus: 5.2.2`,
      `Content-Type: message/rfc822\n\n${inner.replaceAll('frontier', 'inner')}`,
    ]);
    expect(await readOne(message)).toMatchObject({ recipient: 'jane@example.net', kind: 'soft' });
  });

  it('finds a report that was passed on', async () => {
    const inner = deliveryStatus([fields(JANE, 'Action: failed', 'Status: 5.1.1')]).replaceAll(
      'frontier',
      'inner',
    );
    const message = notification(
      'colleague@example.com',
      'FW: this came back',
      `--outer\nContent-Type: text/plain\n\nSee below.\n--outer\nContent-Type: message/rfc822\n\n${inner}\n--outer--\n`,
      { 'Content-Type': 'multipart/mixed; boundary=outer' },
    );
    expect(await readOne(message)).toMatchObject({
      recipient: 'jane@example.net',
      kind: 'hard',
      source: 'dsn',
    });
  });
});

describe('bounces in words', () => {
  const DAEMON = 'Mail Delivery System <MAILER-DAEMON@mx.example.net>';
  const cases: [string, string, string, BounceReport['kind'], string][] = [
    [
      'qmail',
      'failure notice',
      `Hi. This is the qmail-send program at mx.example.net.\nI'm afraid I wasn't able to deliver your message to the following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n<jane@example.net>:\n192.0.2.1 does not like recipient.\nRemote host said: 550 No such user here\nGiving up on 192.0.2.1.\n\n--- Below this line is a copy of the message.\n\n${ORIGINAL}`,
      'hard',
      'user_unknown',
    ],
    [
      'qmail, full',
      'failure notice',
      `Hi. This is the qmail-send program.\n\n<jane@example.net>:\nThe users mailfolder is over the allowed quota (size). (#5.2.2)\n\n--- Below this line is a copy of the message.\n\n${ORIGINAL}`,
      'soft',
      'mailbox_full',
    ],
    [
      'Exim',
      'Mail delivery failed: returning message to sender',
      `This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n  jane@example.net\n    SMTP error from remote mail server after RCPT TO:<jane@example.net>:\n    host mx.example.net [192.0.2.1]: 550 Unknown user\n\n------ This is a copy of the message, including all the headers. ------\n\n${ORIGINAL}`,
      'hard',
      'user_unknown',
    ],
    [
      'Postfix',
      'Undelivered Mail Returned to Sender',
      `This is the mail system at host mx.example.net.\n\nI'm sorry to have to inform you that your message could not\nbe delivered to one or more recipients. It's attached below.\n\n                   The mail system\n\n<jane@example.net>: Host or domain name not found. Name service error for\n    name=example.net type=A: Host not found\n`,
      'hard',
      'host_unknown',
    ],
    [
      'Postfix, time-out',
      'Undelivered Mail Returned to Sender',
      `<jane@example.net>: connect to mx.example.net[192.0.2.1]:25: Connection timed out\n`,
      'soft',
      'network',
    ],
    [
      'sendmail',
      'Returned mail: see transcript for details',
      `The original message was received at Mon, 1 Jun 2026 09:00:00 GMT\nfrom out.example.com [192.0.2.9]\n\n   ----- The following addresses had permanent fatal errors -----\n<jane@example.net>\n    (reason: 550 5.1.1 <jane@example.net>... User unknown)\n\n   ----- Transcript of session follows -----\n... while talking to mx.example.net.:\n>>> RCPT To:<jane@example.net>\n<<< 550 5.1.1 <jane@example.net>... User unknown\n550 5.1.1 <jane@example.net>... User unknown\n\n   ----- Original message follows -----\n\n${ORIGINAL}`,
      'hard',
      'user_unknown',
    ],
    [
      'Courier',
      'NOTICE: mail delivery status.',
      `This is a delivery status notification from mx.example.net,\nrunning the Courier mail server.\n\n                           UNDELIVERABLE MAIL\n\nYour message to the following recipients cannot be delivered:\n\n<jane@example.net>:\n    mx.example.net [192.0.2.1]:\n>>> RCPT TO:<jane@example.net>\n<<< 550 User unknown.\n\n---------------------------------------------------------------------------\n`,
      'hard',
      'user_unknown',
    ],
    [
      'Exchange',
      'Undeliverable: Your mailbox is full of offers',
      `Your message\n\n  To:      jane@example.net\n  Subject: Your mailbox is full of offers\n  Sent:    Mon, 1 Jun 2026 09:00:00 +0000\n\ndid not reach the following recipient(s):\n\njane@example.net on Mon, 1 Jun 2026 09:00:05 +0000\n    The recipient name is not recognized\n`,
      'hard',
      'user_unknown',
    ],
    [
      'OpenSMTPD',
      'Delivery status notification: error',
      `    Hi!\n\n    This is the MAILER-DAEMON, please DO NOT REPLY to this email.\n\n    An error has occurred while attempting to deliver a message for\n    the following list of recipients:\n\njane@example.net: 550 5.1.1 <jane@example.net>: Recipient address rejected: User unknown\n\n    Below is a copy of the original message:\n\n${ORIGINAL}`,
      'hard',
      'user_unknown',
    ],
    [
      'a sentence',
      'Delivery failure',
      `Unable to deliver message to: <jane@example.net>\nDelivery failed for the following reason:\nServer mx.example.net[192.0.2.1] failed with: 552 5.2.2 Mailbox full\n`,
      'soft',
      'mailbox_full',
    ],
    [
      'labelled',
      'Message not delivered',
      `Your message could not be delivered.\n\nRecipient: jane@example.net\nReason:    550 5.7.1 Message rejected as spam\n`,
      'soft',
      'content',
    ],
    [
      'German',
      'Unzustellbar: Angebote',
      'Ihre Nachricht konnte nicht zugestellt werden an:\n\n  jane@example.net\n\nGrund: Das Postfach ist voll.\n',
      'soft',
      'mailbox_full',
    ],
    [
      'an own mailbox system without a reply',
      'DELIVERY FAILURE: User jane not listed in Domino Directory',
      'Your message\n\n  Subject: Offers\n\nwas not delivered to:\n\n  jane@example.net\n\nbecause:\n\n  User jane (jane@example.net) not listed in Domino Directory\n',
      'hard',
      'user_unknown',
    ],
  ];
  it.each(cases)('%s', async (_, subject, body, kind, category) => {
    const one = await readOne(notification(DAEMON, subject, body));
    expect(one).toMatchObject({ kind, category, recipient: 'jane@example.net', source: 'text' });
  });

  it('judges several recipients each by its own reason', async () => {
    const body = `Hi. This is the qmail-send program.\n\n<jane@example.net>:\n192.0.2.1 does not like recipient.\nRemote host said: 550 5.1.1 User unknown\n\n<joe@example.net>:\nRemote host said: 552 5.2.2 Mailbox full\n\n--- Below this line is a copy of the message.\n\n${ORIGINAL}`;
    const reports = await read(notification(DAEMON, 'failure notice', body));
    expect(reports.map(({ recipient, kind }) => [recipient, kind])).toEqual([
      ['jane@example.net', 'hard'],
      ['joe@example.net', 'soft'],
    ]);
  });

  it('never reads the returned message as the reason', async () => {
    const body = `A message could not be delivered.\n\n  jane@example.net\n\n------ This is a copy of your message. ------\n\n${ORIGINAL}`;
    expect(await readOne(notification(DAEMON, 'Delivery failed', body))).toMatchObject({
      kind: 'soft',
      category: 'other',
      originalMessageId: '<m1@example.com>',
    });
  });

  it('does not take suppositions for a reason', async () => {
    const body =
      'Your message could not be delivered to jane@example.net. The address may be misspelled, or it might not exist any longer. Please check that the mailbox exists.';
    expect(await readOne(notification(DAEMON, 'Delivery failed', body))).toMatchObject({ kind: 'soft' });
  });

  it('tells the address that was written to from the one that it was forwarded to', async () => {
    const body =
      '<jane@elsewhere.example.org> (expanded from <jane@example.net>): host mx.example.org said: 550 5.1.1 No such user (in reply to RCPT TO command)';
    expect(await readOne(notification(DAEMON, 'Undelivered Mail', body))).toMatchObject({
      recipient: 'jane@example.net',
      finalRecipient: 'jane@elsewhere.example.org',
      kind: 'hard',
    });
  });

  it('reads HTML, charsets and encodings', async () => {
    const html = notification(
      DAEMON,
      'Undeliverable',
      '<html><body><p>Your message was not delivered to <a href="mailto:jane@example.net">jane@example.net</a>.</p><p>550 5.1.1 User unknown</p></body></html>',
      { 'Content-Type': 'text/html; charset=utf-8' },
    );
    expect(await readOne(html)).toMatchObject({ kind: 'hard', recipient: 'jane@example.net' });
    const latin = notification(
      DAEMON,
      '=?iso-8859-1?Q?Unzustellbar?=',
      'Nicht zugestellt an=20jane@example.net: Empf=E4nger unbekannt',
      {
        'Content-Type': 'text/plain; charset=iso-8859-1',
        'Content-Transfer-Encoding': 'quoted-printable',
      },
    );
    expect(await readOne(latin)).toMatchObject({ kind: 'hard', recipient: 'jane@example.net' });
  });

  it('takes recipients from X-Failed-Recipients', async () => {
    const message = notification(DAEMON, 'Delivery Status Notification (Failure)', 'It did not work out.', {
      'Return-Path': '<>',
      'X-Failed-Recipients': 'jane@example.net, joe@example.net',
    });
    expect((await read(message)).map(({ recipient }) => recipient)).toEqual([
      'jane@example.net',
      'joe@example.net',
    ]);
  });
});

describe('feedback reports (RFC 5965)', () => {
  it('a complaint is no bounce and names its recipients', async () => {
    const message = feedback(
      'Feedback-Type: abuse\nUser-Agent: Loop/1.0\nVersion: 1\nOriginal-Rcpt-To: <jane@example.net>\nOriginal-Rcpt-To: joe@example.net',
    );
    expect(
      (await read(message)).map(({ recipient, kind, source, feedbackType }) => [
        recipient,
        kind,
        source,
        feedbackType,
      ]),
    ).toEqual([
      ['jane@example.net', 'none', 'feedback', 'abuse'],
      ['joe@example.net', 'none', 'feedback', 'abuse'],
    ]);
  });

  it('takes the recipient from the message where the report has none', async () => {
    expect(await readOne(feedback('Feedback-Type: abuse\nVersion: 1'))).toMatchObject({
      recipient: 'jane@example.net',
      originalMessageId: '<m1@example.com>',
    });
  });

  it('says nobody where the recipient is redacted', async () => {
    const message = feedback(
      'Feedback-Type: abuse\nVersion: 1\nOriginal-Rcpt-To: redacted@redacted.invalid',
    ).replace('To: jane@example.net', 'To: [redacted]');
    expect(await readOne(message)).toMatchObject({ recipient: null, kind: 'none', feedbackType: 'abuse' });
  });

  it('keeps the kinds of feedback apart', async () => {
    expect(await readOne(feedback('Feedback-Type: auth-failure\nVersion: 1'))).toMatchObject({
      feedbackType: 'auth-failure',
    });
  });
});

describe('what is no bounce', () => {
  const person = 'Jane <jane@example.net>';
  const away = 'I am out of the office. My mailbox is full; user unknown to me may call 550 5.1.1.';
  it.each<[string, string, Record<string, string>]>([
    ['Auto-Submitted', 'Re: Offers', { 'Auto-Submitted': 'auto-replied (vacation)' }],
    ['null return path and subject', 'Automatic reply: Offers', { 'Return-Path': '<>' }],
    ['X-Autoreply', 'Re: Offers', { 'X-Autoreply': 'yes' }],
    ['Precedence', 'Re: Offers', { Precedence: 'auto_reply' }],
    ['German', 'Abwesenheitsnotiz: Angebote', {}],
    ['French', 'Réponse automatique : Offres', {}],
    ['Spanish', 'Respuesta automática: Ofertas', {}],
    ['Turkish', 'Otomatik yanıt: Teklifler', {}],
    ['Czech', 'Automatická odpověď: Nabídky', {}],
    ['brackets', '[Auto-Reply] Offers', { 'Return-Path': '<>' }],
    ['Japanese', '=?utf-8?B?6Ieq5YuV5b+c562UOiBPZmZlcnM=?=', {}],
  ])('an automatic reply (%s)', async (_, subject, headers) => {
    expect(await readOne(notification(person, subject, away, headers))).toMatchObject({
      kind: 'none',
      source: 'auto_reply',
      recipient: 'jane@example.net',
    });
  });

  it('an automatic reply in the name of the mail system', async () => {
    const message = notification('MAILER-DAEMON (Jane)', 'Auto-reply: Offers', away);
    expect(await readOne(message)).toMatchObject({ kind: 'none', source: 'auto_reply' });
  });

  it('a read receipt (RFC 8098), even of a message deleted unread', async () => {
    const message = report(
      'disposition-notification',
      [
        'Content-Type: text/plain\n\nYour message was deleted without being read. It failed.',
        `Content-Type: message/disposition-notification\n\n${JANE}\nDisposition: automatic-action/MDN-sent-automatically; deleted`,
      ],
      'Not read: Offers',
    );
    expect(await readOne(message)).toMatchObject({
      kind: 'none',
      source: 'receipt',
      recipient: 'jane@example.net',
    });
  });

  it('a challenge', async () => {
    const body =
      'Your message has not been delivered yet: it is held until you confirm that you are a person. Click the link below to confirm: https://challenge.example.net/c/1';
    expect(await readOne(notification(person, 'Please confirm your message', body))).toMatchObject({
      kind: 'none',
      source: 'challenge',
    });
  });

  it.each([
    [
      'Warning: message delayed 24 hours',
      'A message that you sent has not yet been delivered to one or more of its recipients after more than 24 hours.\n\n  jane@example.net\n    450 4.1.1 User unknown\n\nNo action is required on your part. Delivery attempts will continue.',
    ],
    [
      'Delayed Mail (still being retried)',
      '<jane@example.net>: connect to mx.example.net: Connection timed out\n\nThe mail system will keep trying. You do not need to resend your message: it is delayed.',
    ],
    [
      'Delivery status notification: warning',
      'A message is delayed for more than 4 hours for the following\nlist of recipients:\n\njane@example.net: Connection timed out',
    ],
  ])('a notice of delay: %s', async (subject, body) => {
    const message = notification('MAILER-DAEMON@mx.example.net', subject, body);
    expect(await readOne(message)).toMatchObject({
      kind: 'none',
      source: 'delay',
      recipient: 'jane@example.net',
    });
  });

  it('a notice of success', async () => {
    const body =
      'Your message was successfully delivered to the following recipients:\n\n  jane@example.net\n';
    const message = notification(
      'MAILER-DAEMON@mx.example.net',
      'Delivery Status Notification (Success)',
      body,
    );
    expect(await readOne(message)).toMatchObject({ kind: 'none', recipient: 'jane@example.net' });
  });

  it('a delay that came to an end is a bounce', async () => {
    const body =
      '<jane@example.net>: delivery was delayed for 5 days. I have given up: this message has been in the queue too long.';
    const message = notification('MAILER-DAEMON@mx.example.net', 'Returned mail: delayed', body);
    expect(await readOne(message)).toMatchObject({ kind: 'soft', category: 'expired' });
  });

  const shop = 'Shop <news@shop.example>';
  const ours = { 'Return-Path': '<b.1@shop.example>' };
  it.each<[string, string, string, string, Record<string, string>]>([
    [
      'a newsletter about mail',
      shop,
      'Why mail bounces: mailbox full, delivery failed',
      'A message to jane@example.net could not be delivered: 550 5.1.1 User unknown.',
      { ...ours, 'List-Unsubscribe': '<https://shop.example/u>' },
    ],
    [
      'a parcel that was returned',
      shop,
      'Delivery failed: nobody was at home',
      'Your parcel could not be delivered. We return it to the sender.',
      ours,
    ],
    [
      'a receipt of a help desk',
      'Support <support@example.net>',
      '[#123] We received your request',
      'If your message could not be processed, or was rejected, please call us.',
      { 'Return-Path': '<>', 'Auto-Submitted': 'auto-generated' },
    ],
    [
      'an automatic answer in a language that no rule knows',
      person,
      'Szabadság: Offers',
      'I cannot be reached until Monday. Please write to office@example.net, mail to me is not delivered.',
      { 'Return-Path': '<>', 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' },
    ],
    [
      'an automatic answer that quotes the message',
      person,
      'Offers',
      `I cannot be reached; your message could not be forwarded.\n\n-----Original Message-----\n${ORIGINAL}`,
      { 'Return-Path': '<>', 'Auto-Submitted': 'auto-generated', 'In-Reply-To': '<m1@example.com>' },
    ],
    [
      'a person who writes about a bounce',
      person,
      'Re: Undelivered Mail Returned to Sender',
      'My mail to you came back, what is wrong?\n\n> <news@example.com>: 550 5.1.1 User unknown',
      {},
    ],
    ['an alarm', 'nagios@example.net', 'PROBLEM: mail failed', 'Delivery failed: connection refused', {}],
  ])('%s', async (_, from, subject, body, headers) => {
    expect(await readOne(notification(from, subject, body, headers))).toMatchObject({ kind: 'none' });
  });

  it('but a bounce that a person passes on is one', async () => {
    const body = `FYI\n\n<jane@example.net>: 550 5.1.1 User unknown\n\n----- Original message -----\n${ORIGINAL}`;
    const colleague = 'Sales <sales@example.com>';
    expect(
      await readOne(notification(colleague, 'Fwd: Undelivered Mail Returned to Sender', body, {})),
    ).toMatchObject({
      kind: 'hard',
      recipient: 'jane@example.net',
    });
  });

  it.each([
    ['an ordinary answer', 'Re: Offers', 'Thank you, I will call you. By the way, my old mailbox was full.'],
    ['nothing', '', ''],
  ])('%s is not understood', async (_, subject, body) => {
    const message = notification(person, subject, body, {});
    expect(await readOne(message)).toMatchObject({ kind: 'none', source: 'none', rule: 'not_understood' });
  });
});

describe('limits', () => {
  it('reads no more than the limit and says how much', async () => {
    const filler = 'x'.repeat(76).concat('\n').repeat(40_000);
    const message = octets(deliveryStatus([fields(JANE, 'Action: failed', 'Status: 5.1.1')]) + filler);
    const [one] = await readBounce(message, { limits: { ...READ_LIMITS, octets: 100_000 } });
    expect(one).toMatchObject({ kind: 'hard', octetsRead: 100_000, octets: message.length });
  });

  it('reports no more recipients than the limit', async () => {
    const many = Array.from({ length: 30 }, (_, index) =>
      fields(`Final-Recipient: rfc822; u${index}@example.net`, 'Action: failed', 'Status: 5.1.1'),
    );
    const reports = await readBounce(octets(deliveryStatus(many)), {
      limits: { ...READ_LIMITS, recipients: 10 },
    });
    expect(reports.map(({ n }) => n)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('values are single lines without control characters', async () => {
    const one = await readOne(
      deliveryStatus([
        fields(
          JANE,
          'Action: failed',
          'Status: 5.1.1',
          `Diagnostic-Code: smtp; 550 5.1.1 gone\r\n\tBcc: victim@example.org\u0000\u001b[31m\u2028${'z'.repeat(9000)}`,
        ),
      ]),
    );
    expect(one.diagnostic).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    expect(one.diagnostic!.length).toBeLessThanOrEqual(2000);
  });
});

describe('mbox files (RFC 4155)', () => {
  it('have several messages', async () => {
    const one = (address: string) =>
      `From MAILER-DAEMON Mon Jun  1 10:00:00 2026\n${deliveryStatus([fields(`Final-Recipient: rfc822; ${address}`, 'Action: failed', 'Status: 5.1.1')])}\n\n`;
    const messages = messagesOf(octets(one('jane@example.net') + one('joe@example.net')));
    const reports = await Promise.all(messages.map((message) => readBounce(message)));
    expect(reports.flat().map(({ recipient }) => recipient)).toEqual(['jane@example.net', 'joe@example.net']);
  });

  it('a message with a line that begins with From stays whole', () => {
    expect(messagesOf(octets('Subject: x\n\nFrom here on\n'))).toHaveLength(1);
  });
});
