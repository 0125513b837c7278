import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { inboxApp } from './inbox.ts';
import { type AttemptRecord, Mailbox, type MailboxOptions, type StoredMessage } from './mailbox.ts';
import { listenSmtp } from './smtp.ts';

export interface SimulatorOptions extends MailboxOptions {
  /** Default 0: a free one. */
  readonly smtpPort?: number;
  /** Default 0: a free one. */
  readonly httpPort?: number;
}

/** A mailbox simulator that listens on the loopback address. */
export interface Simulator {
  readonly smtpPort: number;
  readonly httpPort: number;
  /** For HEED_SMTP_URL. */
  readonly smtpUrl: string;
  /** Of the inbox page. */
  readonly inboxUrl: string;
  /** Oldest first. */
  messages(): readonly StoredMessage[];
  /** Oldest first. */
  attempts(): readonly AttemptRecord[];
  /** As DELETE /messages. */
  clear(): void;
  close(): Promise<void>;
}

/**
 * Starts SMTP and the inbox page.
 * @throws the system's error (`code` EADDRINUSE) when a port is taken.
 */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const mailbox = new Mailbox(options);
  const smtp = await listenSmtp(options.smtpPort ?? 0, mailbox);
  const http = serve({ fetch: inboxApp(mailbox).fetch, port: options.httpPort ?? 0, hostname: '127.0.0.1' });
  await once(http, 'listening').catch(async (error) => {
    await smtp.close();
    throw error;
  });
  const httpPort = (http.address() as AddressInfo).port;
  return {
    smtpPort: smtp.port,
    httpPort,
    smtpUrl: `smtp://127.0.0.1:${smtp.port}?tls=none`,
    inboxUrl: `http://127.0.0.1:${httpPort}/`,
    messages: () => mailbox.messages,
    attempts: () => mailbox.attempts,
    clear: () => mailbox.clear(),
    async close() {
      if ('closeAllConnections' in http) http.closeAllConnections();
      await Promise.all([smtp.close(), new Promise((resolve) => http.close(resolve))]);
      mailbox.close();
    },
  };
}
