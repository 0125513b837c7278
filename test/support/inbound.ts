import { createTransport } from 'nodemailer';
import { createAcceptedAddresses } from '../../adapters/inbound/addresses.ts';
import type { ImapMailbox } from '../../adapters/inbound/imap.ts';
import { createInboundReader } from '../../adapters/inbound/read.ts';
import { createReturnPath } from '../../adapters/tokens/returnPath.ts';
import type { InboundReader } from '../../domain/inbound.ts';
import type { GreenMail } from './greenmail.ts';
import { testTokens } from './unsubscribing.ts';

/** For relays to which nothing comes in. */
export const readNothing: InboundReader = async () => ({ findings: [], unsubscribes: [] });

/** The mailbox that bounces come to on a test's GreenMail. */
export const BOUNCES = {
  account: 'bounces:secret@bounce.example.com',
  address: 'bounces@bounce.example.com',
};

/** GreenMail takes no null sender. */
export function deliverToGreenMail(greenMail: GreenMail, raw: string): Promise<string> {
  return deliver(greenMail.smtpPort, BOUNCES.address, raw, 'mailer-daemon@mx.example.net');
}

export function bounceMailbox(greenMail: GreenMail, doneMailbox: string | null = null): ImapMailbox {
  return {
    host: greenMail.host,
    port: greenMail.imapPort,
    tls: 'none',
    auth: { user: 'bounces', password: 'secret' },
    mailbox: 'INBOX',
    doneMailbox,
  };
}

/** Hands a raw message to an SMTP server of this machine, from the null sender unless told otherwise. @returns its reply */
export async function deliver(
  port: number,
  to: string | readonly string[],
  raw: string | Uint8Array,
  from = '',
): Promise<string> {
  const transport = createTransport({ host: '127.0.0.1', port, secure: false, ignoreTLS: true });
  try {
    const sent = await transport.sendMail({
      envelope: { from, to: [to].flat() as string[] },
      raw: typeof raw === 'string' ? raw : Buffer.from(raw),
    });
    return sent.response;
  } finally {
    transport.close();
  }
}

export const ABUSE = 'abuse@bounce.example.com';
export const UNSUBSCRIBE = 'unsubscribe@heed.test';
/** Return paths of a key that every test knows. */
export const testReturnPath = createReturnPath({
  domain: 'bounce.example.com',
  keys: [new Uint8Array(32).fill(3)],
});
export const testAddresses = createAcceptedAddresses({
  sendOfReturnAddress: (address) => testReturnPath.sendOf(address),
  sendOfUnsubscribeToken: (token) => testTokens.read('mail', token),
  unsubscribeMailbox: UNSUBSCRIBE,
  abuseMailbox: ABUSE,
});
export const testReader = createInboundReader(testAddresses);

/** A delivery status notification (RFC 3464) as Postfix sends it. */
export function dsn(report: {
  to?: string;
  recipient?: string;
  action?: string;
  status?: string;
  diagnostic?: string;
  /** Message-ID of the returned message. */
  messageId?: string;
}): string {
  const {
    to = 'bounces@bounce.example.com',
    recipient = 'ada@example.net',
    action = 'failed',
    status = '5.1.1',
    diagnostic = '550 5.1.1 <ada@example.net>: User unknown',
    messageId,
  } = report;
  return [
    'Return-Path: <>',
    'From: MAILER-DAEMON@mx.example.net (Mail Delivery System)',
    `To: ${to}`,
    'Subject: Undelivered Mail Returned to Sender',
    'Auto-Submitted: auto-replied',
    'MIME-Version: 1.0',
    'Content-Type: multipart/report; report-type=delivery-status; boundary="=b"',
    '',
    '--=b',
    'Content-Type: text/plain; charset=us-ascii',
    '',
    'This is the mail system at host mx.example.net.',
    '',
    '--=b',
    'Content-Type: message/delivery-status',
    '',
    'Reporting-MTA: dns; mx.example.net',
    '',
    `Final-Recipient: rfc822; ${recipient}`,
    `Action: ${action}`,
    `Status: ${status}`,
    `Diagnostic-Code: smtp; ${diagnostic}`,
    '',
    '--=b',
    'Content-Type: message/rfc822',
    '',
    'From: news@example.com',
    `To: ${recipient}`,
    'Subject: News',
    ...(messageId === undefined ? [] : [`Message-ID: ${messageId}`]),
    '',
    'Hello',
    '',
    '--=b--',
    '',
  ].join('\r\n');
}

/** A feedback report (RFC 5965). */
export function feedback(report: {
  to?: string;
  type?: string;
  messageId?: string;
  mailFrom?: string;
}): string {
  const { to = ABUSE, type = 'abuse', messageId, mailFrom } = report;
  return [
    'From: feedback@mailbox.example.net',
    `To: ${to}`,
    'Subject: FW: News',
    'MIME-Version: 1.0',
    'Content-Type: multipart/report; report-type=feedback-report; boundary="=b"',
    '',
    '--=b',
    'Content-Type: text/plain',
    '',
    'This is an email abuse report.',
    '',
    '--=b',
    'Content-Type: message/feedback-report',
    '',
    `Feedback-Type: ${type}`,
    'User-Agent: Example/1.0',
    'Version: 1',
    ...(mailFrom === undefined ? [] : [`Original-Mail-From: <${mailFrom}>`]),
    '',
    '--=b',
    'Content-Type: message/rfc822',
    '',
    'From: news@example.com',
    'Subject: News',
    ...(messageId === undefined ? [] : [`Message-ID: ${messageId}`]),
    '',
    'Hello',
    '',
    '--=b--',
    '',
  ].join('\r\n');
}
