import type { AddressInfo } from 'node:net';
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server';
import { INBOUND_MAX_OCTETS } from '../../domain/inbound.ts';
import type { AcceptedAddresses } from './addresses.ts';
import { type CollectedMessage, collectMessage } from './collect.ts';

export interface InboundListenerOptions {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  /** Name that the server greets with, which its certificate is for. */
  readonly serverName: string;
  /** Certificate and key in PEM, for STARTTLS; `null`: it is not offered. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly limits: ListenerLimits;
  readonly addresses: AcceptedAddresses;
  /** Keeps a message with the recipients that it was accepted for. Resolves once it is durable (I7). */
  readonly store: (message: CollectedMessage, recipients: readonly string[]) => Promise<void>;
  readonly log: { warn(fields: object, message: string): void };
}

export interface ListenerLimits {
  readonly connections: number;
  readonly connectionsPerHost: number;
  /** Messages that one host may hand over in a minute. */
  readonly messagesPerMinute: number;
  readonly recipientsPerMessage: number;
}

export const LISTENER_LIMITS: ListenerLimits = {
  connections: 200,
  connectionsPerHost: 20,
  messagesPerMinute: 600,
  // RFC 5321 section 4.5.3.1.8: fewer than 100 may not be refused.
  recipientsPerMessage: 100,
};

export interface InboundListener {
  readonly port: number;
  /** Takes no more connections, and waits for messages under way. */
  close(): Promise<void>;
}

/** RFC 5321 section 4.5.3.2.7: a server waits 5 minutes for the next command. */
const IDLE_MS = 5 * 60_000;
const CLOSE_MS = 10_000;
/** Addresses asked for in vain, after which a client is told to go. */
const MOST_UNKNOWN = 20;

/**
 * An SMTP server for what comes back: it takes mail for signed return paths, for the abuse address and for the
 * unsubscribe mailbox, and for nobody else, so it relays nothing. A message is kept once whatever the number of its
 * recipients, and 250 is answered when it is durable (RFC 5321 section 6.1).
 */
export async function startInboundListener(options: InboundListenerOptions): Promise<InboundListener> {
  const { addresses, limits, log } = options;
  const hosts = new Hosts();
  /** Connections that were let in, by session. */
  const letIn = new Set<string>();
  const unknown = new WeakMap<SMTPServerSession, number>();

  const server = new SMTPServer({
    name: options.serverName,
    banner: 'Heed',
    disabledCommands: options.tls === null ? ['AUTH', 'STARTTLS'] : ['AUTH'],
    ...(options.tls !== null && { cert: options.tls.cert, key: options.tls.key }),
    disableReverseLookup: true,
    authOptional: true,
    size: INBOUND_MAX_OCTETS,
    maxClients: limits.connections,
    socketTimeout: IDLE_MS,
    closeTimeout: CLOSE_MS,
    onConnect({ id, remoteAddress }, callback) {
      if (hosts.connected(remoteAddress) >= limits.connectionsPerHost) {
        callback(reply(421, '4.3.2 Too many connections, try again later'));
        return;
      }
      letIn.add(id);
      hosts.connect(remoteAddress);
      callback();
    },
    onClose({ id, remoteAddress }) {
      if (letIn.delete(id)) hosts.disconnect(remoteAddress);
    },
    onMailFrom(_from, { remoteAddress }, callback) {
      const busy = hosts.messagesThisMinute(remoteAddress, Date.now()) >= limits.messagesPerMinute;
      callback(busy ? reply(451, '4.7.0 Too many messages, try again later') : null);
    },
    onRcptTo({ address }, session, callback) {
      if (session.envelope.rcptTo.length >= limits.recipientsPerMessage) {
        callback(reply(452, '4.5.3 Too many recipients'));
      } else if (isAccepted(address)) {
        callback();
      } else {
        const count = (unknown.get(session) ?? 0) + 1;
        unknown.set(session, count);
        // Whoever guesses addresses learns nothing, and is told to go.
        if (count > MOST_UNKNOWN) callback(reply(421, '4.7.0 Too many unknown recipients'));
        else callback(reply(550, '5.1.1 No such address here'));
      }
    },
    onData(stream, session, callback) {
      void receive(stream, session).then(
        (answer) => callback(answer instanceof Error ? answer : null, answer instanceof Error ? '' : answer),
        (error: Error) => {
          log.warn({ error: error.message }, 'a message that came in could not be kept');
          callback(reply(451, '4.3.0 Cannot be kept now, try again later'));
        },
      );
    },
  });

  function isAccepted(address: string): boolean {
    return (
      addresses.sendOfReturnAddress(address) !== null ||
      addresses.isUnsubscribeAddress(address) ||
      addresses.isAbuseAddress(address)
    );
  }

  async function receive(stream: SMTPServerDataStream, session: SMTPServerSession): Promise<string | Error> {
    hosts.count(session.remoteAddress, Date.now());
    const recipients = session.envelope.rcptTo.map(({ address }) => address);
    // Read to the end also where it is too long, so that the answer comes where the client expects it.
    const message = await collectMessage(stream, Number.POSITIVE_INFINITY);
    if (message === null || stream.sizeExceeded) return reply(552, '5.3.4 The message is too large');
    await options.store(message, recipients);
    return '2.0.0 Kept';
  }

  // What a client breaks off, or speaks TLS wrongly, is its own affair.
  server.on('error', (error: Error) => log.warn({ error: error.message }, 'an incoming connection failed'));
  await new Promise<void>((resolve, reject) => {
    server.server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.server.removeListener('error', reject);
      resolve();
    });
  });
  return {
    port: (server.server.address() as AddressInfo).port,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function reply(responseCode: number, message: string): Error {
  return Object.assign(new Error(message), { responseCode });
}

const MINUTE_MS = 60_000;

/** How busy each remote host is. Holds nothing of hosts that were silent for a minute. */
class Hosts {
  readonly #connected = new Map<string, number>();
  /** Messages of the running minute. */
  #counted = new Map<string, number>();
  #minute = 0;

  connected(host: string): number {
    return this.#connected.get(host) ?? 0;
  }

  connect(host: string): void {
    this.#connected.set(host, this.connected(host) + 1);
  }

  disconnect(host: string): void {
    const count = this.connected(host) - 1;
    if (count <= 0) this.#connected.delete(host);
    else this.#connected.set(host, count);
  }

  messagesThisMinute(host: string, now: number): number {
    return this.#current(now).get(host) ?? 0;
  }

  count(host: string, now: number): void {
    const counted = this.#current(now);
    counted.set(host, (counted.get(host) ?? 0) + 1);
  }

  #current(now: number): Map<string, number> {
    const minute = Math.floor(now / MINUTE_MS);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#counted = new Map();
    }
    return this.#counted;
  }
}
