import { createTransport } from 'nodemailer';
import type { ImapMailbox } from '../../adapters/inbound/imap.ts';
import type { InboundReader } from '../../domain/inbound.ts';
import type { GreenMail } from './greenmail.ts';

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
