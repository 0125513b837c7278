import type { OutgoingMessage, TransmissionHooks } from '../../../adapters/mailer/mailer.ts';
import { openSession } from '../../../adapters/smtp/open.ts';
import type { SmtpServerOptions } from '../../../adapters/smtp/options.ts';
import type { SmtpSession } from '../../../adapters/smtp/session.ts';
import type { SmtpPhase } from '../../../domain/bounce/verdict.ts';
import type { ScriptedPeer } from '../../support/scriptedSmtp.ts';

/** Something that only the content has, to look for in what a server received. */
export const CONTENT_MARK = 'the-content-itself';

export const message: OutgoingMessage = {
  from: 'sender@example.com',
  to: 'person@example.org',
  content: Buffer.from(`Subject: x\r\n\r\n${CONTENT_MARK}\r\n`),
};

/** Content that no socket buffer swallows whole. */
export const largeMessage: OutgoingMessage = {
  ...message,
  content: Buffer.from(`Subject: x\r\n\r\n${`${CONTENT_MARK}\r\n`.repeat(800_000)}`),
};

export const willing: TransmissionHooks = { mayBegin: () => true, beforeHandOver: async () => true };

/** What an honest server answers; a script may put other things in their places. */
const HONEST: Readonly<Partial<Record<SmtpPhase, string>>> = {
  greeting: '220 mail.test ESMTP\r\n',
  ehlo: '250-mail.test\r\n250-8BITMIME\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n',
  auth: '235 2.7.0 welcome\r\n',
  mail: '250 2.1.0 ok\r\n',
  rcpt: '250 2.1.5 ok\r\n',
  data: '354 go on\r\n',
  final: '250 2.0.0 queued\r\n',
  quit: '221 bye\r\n',
};

export type Answers = Partial<Record<SmtpPhase, string | ((peer: ScriptedPeer) => void | Promise<void>)>>;

/**
 * Plays an SMTP server in order, with other answers at some phases. An answer may be a function, which does what it
 * likes with the connection; after it the server goes on reading commands.
 */
export async function playServer(peer: ScriptedPeer, answers: Answers = {}): Promise<void> {
  const answer = async (phase: SmtpPhase) => {
    const given = answers[phase] ?? HONEST[phase] ?? '';
    if (typeof given === 'string') peer.send(given);
    else await given(peer);
  };
  await answer('greeting');
  for (;;) {
    const line = await peer.line();
    if (line === null) return;
    const verb = /^(AUTH|EHLO|HELO|STARTTLS|MAIL|RCPT|DATA|QUIT)/.exec(line)?.[1];
    if (verb === undefined) peer.send('250 ok\r\n');
    else await answer((verb === 'HELO' ? 'ehlo' : verb.toLowerCase()) as SmtpPhase);
    if (verb === 'DATA' && answers.message !== undefined) await answer('message');
    if (verb === 'DATA' && (answers.data === undefined || answers.data === HONEST.data)) {
      if ((await peer.content()) === null) return;
      await answer('final');
    }
  }
}

export function serverOptions(port: number, more: Partial<SmtpServerOptions> = {}): SmtpServerOptions {
  return { host: '127.0.0.1', port, tls: 'none', clientName: 'heed.test', ...more };
}

/** Opens a session that the test needs in order to go on. */
export async function mustOpen(options: SmtpServerOptions): Promise<SmtpSession> {
  const result = await openSession(options);
  if (!result.opened) throw new Error(`${result.phase}: ${result.detail}`);
  return result.session;
}
