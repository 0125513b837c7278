import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';

/** What the server says to a recipient: nothing to accept, else the reply, e.g. `452 4.2.2 mailbox full`. */
export type Answer = string | null;

type Decide = (recipient: string, nth: number) => Answer | Promise<Answer>;

/** A mail server in this process (written by others: smtp-server) whose answers a test decides. */
export interface MailServer {
  readonly port: number;
  /** Decides what RCPT TO is answered, from now on, at once or later; `nth` counts the tries of this address from 1. */
  answer(decide: Decide): void;
  /** Recipients whose message was accepted, in order. */
  readonly accepted: string[];
  /** Whole messages, in the same order. */
  readonly messages: string[];
  /** What MAIL FROM was for each, in the same order. */
  readonly senders: string[];
  /** How often each recipient was tried. */
  readonly tries: Map<string, number>;
  close(): Promise<void>;
}

export async function startMailServer(): Promise<MailServer> {
  let decide: Decide = () => null;
  const accepted: string[] = [];
  const messages: string[] = [];
  const senders: string[] = [];
  const tries = new Map<string, number>();
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS', 'AUTH'],
    onRcptTo({ address }, _session, done) {
      const nth = (tries.get(address) ?? 0) + 1;
      tries.set(address, nth);
      void Promise.resolve(decide(address, nth)).then((answer) => {
        if (answer === null) return done();
        const [, code, text] = /^(\d{3}) (.*)$/s.exec(answer)!;
        done(Object.assign(new Error(text), { responseCode: Number(code) }));
      });
    },
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        for (const { address } of session.envelope.rcptTo) accepted.push(address);
        senders.push(session.envelope.mailFrom ? session.envelope.mailFrom.address : '');
        messages.push(Buffer.concat(chunks).toString('latin1'));
        done();
      });
    },
  });
  server.on('error', () => {}); // a client that leaves in mid-conversation
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  return {
    port: (server.server.address() as AddressInfo).port,
    answer(next) {
      decide = next;
    },
    accepted,
    messages,
    senders,
    tries,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
