/** Messages for tests, in the structure that RFCs and the providers' documentation describe. */

const RETURN_PATH = 'b.token123@return.example.com';

/** The message that was sent: its own text would be misread as a reason wherever it is taken for one. */
export const ORIGINAL = [
  `Return-Path: <${RETURN_PATH}>`,
  'Received: from out.example.com by mx.example.net; Mon, 1 Jun 2026 09:00:00 +0000',
  'From: News <news@example.com>',
  'To: jane@example.net',
  'Subject: Your mailbox is full of offers',
  'Message-ID: <m1@example.com>',
  '',
  '550 5.1.1 <jane@example.net>: User unknown. Over quota.',
].join('\n');

/** A message with the header that mail systems give to notifications. */
export function notification(
  from: string,
  subject: string,
  body: string,
  headers: Readonly<Record<string, string>> = { 'Return-Path': '<>' },
): string {
  const all = {
    From: from,
    To: RETURN_PATH,
    Subject: subject,
    Date: 'Mon, 1 Jun 2026 10:00:00 +0000',
    'Message-ID': '<notification@mx.example.net>',
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
  return [...lines, '', body].join('\n');
}

/** A multipart/report (RFC 3462) of parts with their own headers. */
export function report(
  type: string,
  parts: readonly string[],
  subject = 'Undelivered Mail Returned to Sender',
) {
  const body = parts.map((part) => `--frontier\n${part}\n`).join('');
  return notification(
    'MAILER-DAEMON@mx.example.net (Mail Delivery System)',
    subject,
    `${body}--frontier--\n`,
    {
      'Return-Path': '<>',
      'MIME-Version': '1.0',
      'Content-Type': `multipart/report; report-type=${type}; boundary="frontier"`,
    },
  );
}

/** A delivery status notification (RFC 3464) about recipients, each given by its fields. */
export function deliveryStatus(
  recipients: readonly string[],
  words = 'This is the mail system. Your message could not be delivered.',
  contentType = 'message/delivery-status',
): string {
  return report('delivery-status', [
    `Content-Type: text/plain; charset=utf-8\n\n${words}`,
    `Content-Type: ${contentType}\n\nReporting-MTA: dns; mx.example.net\n\n${recipients.join('\n\n')}\n`,
    `Content-Type: message/rfc822\n\n${ORIGINAL}`,
  ]);
}

/** A feedback report (RFC 5965). */
export function feedback(fields: string): string {
  return report(
    'feedback-report',
    [
      'Content-Type: text/plain\n\nThis is an email abuse report. User unknown, 550 5.1.1, mailbox full.',
      `Content-Type: message/feedback-report\n\n${fields}\n`,
      `Content-Type: message/rfc822\n\n${ORIGINAL}`,
    ],
    'FW: Your mailbox is full of offers',
  );
}

export const octets = (message: string): Uint8Array => new TextEncoder().encode(message);
