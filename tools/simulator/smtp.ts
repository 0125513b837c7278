import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server';
import type { Decision, Reply } from './behaviours.ts';
import { type Mailbox, messageIdOf } from './mailbox.ts';

export interface SmtpListener {
  readonly port: number;
  close(): Promise<void>;
}

const OK: Reply = { code: 250, text: '2.0.0 Kept by the mailbox simulator' };

/** Listens on the loopback address; port 0 takes a free one. */
export async function listenSmtp(port: number, mailbox: Mailbox): Promise<SmtpListener> {
  /** By the sender's port, to break connections as no SMTP library does on purpose. */
  const sockets = new Map<number, Socket>();
  const decisions = new WeakMap<SMTPServerSession, Map<string, Decision>>();

  const server = new SMTPServer({
    name: 'simulator.localhost',
    banner: 'Heed mailbox simulator',
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    authOptional: true,
    size: 50 * 1024 * 1024,
    socketTimeout: 10 * 60 * 1000,
    closeTimeout: 500,
    onMailFrom(_from, session, callback) {
      decisions.set(session, new Map());
      callback();
    },
    onRcptTo({ address }, session, callback) {
      const decision = mailbox.decide(address, Date.now());
      if (decision.kind === 'refuse' && decision.at === 'rcpt') {
        mailbox.record(address, { messageId: null, accepted: false, reply: lineOf(decision.reply) });
        callback(asError(decision.reply));
        return;
      }
      decisions.get(session)?.set(address, decision);
      callback();
    },
    onData(stream, session, callback) {
      void receive(stream, session, callback);
    },
  });

  async function receive(
    stream: SMTPServerDataStream,
    session: SMTPServerSession,
    callback: (error?: Error | null, message?: string) => void,
  ): Promise<void> {
    const recipients = session.envelope.rcptTo.map(({ address }) => address);
    const known = decisions.get(session);
    const decided = recipients.map(
      (address): Decision => known?.get(address) ?? { kind: 'accept', delayMs: 0 },
    );
    const breakConnection = () => sockets.get(session.remotePort)?.destroy();
    const record = (messageId: string | null, accepted: boolean, reply: Reply | null) => {
      for (const address of recipients) {
        mailbox.record(address, { messageId, accepted, reply: reply && lineOf(reply) });
      }
    };

    if (decided.some((decision) => decision.kind === 'drop' && decision.at === 'before')) {
      record(null, false, null);
      stream.once('data', breakConnection);
      return;
    }

    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    try {
      await once(stream, 'end');
    } catch {
      // The sender went away in the middle of the content: nothing was taken over.
      record(null, false, null);
      return;
    }
    const content = Buffer.concat(chunks);
    const messageId = messageIdOf(content);

    const refused = decided.find((decision) => decision.kind === 'refuse');
    if (refused) {
      record(messageId, false, refused.reply);
      callback(asError(refused.reply));
      return;
    }
    const from = session.envelope.mailFrom;
    mailbox.keep(from === false ? '' : from.address, recipients, content, messageId);
    if (decided.some((decision) => decision.kind === 'drop')) {
      record(messageId, true, null);
      breakConnection();
      return;
    }
    record(messageId, true, OK);
    const delayMs = Math.max(
      ...decided.map((decision) => (decision.kind === 'accept' ? decision.delayMs : 0)),
    );
    if (delayMs === 0) callback(null, OK.text);
    else setTimeout(callback, delayMs, null, OK.text).unref();
  }

  // Broken connections are this server's business.
  server.on('error', () => {});
  server.server.on('connection', (socket: Socket) => {
    const { remotePort } = socket;
    if (remotePort === undefined) return;
    sockets.set(remotePort, socket);
    socket.once('close', () => sockets.delete(remotePort));
  });
  const listening = server.listen(port, '127.0.0.1');
  await once(listening, 'listening');
  return {
    port: (listening.address() as AddressInfo).port,
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}

function lineOf(reply: Reply): string {
  return `${reply.code} ${reply.text}`;
}

function asError(reply: Reply): Error {
  return Object.assign(new Error(reply.text), { responseCode: reply.code });
}
