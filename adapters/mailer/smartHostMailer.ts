import { openSession } from '../smtp/open.ts';
import { checkServerOptions, type SmtpServerOptions } from '../smtp/options.ts';
import { ConnectionPool, type Lease, type PoolOptions } from './connectionPool.ts';
import type { Mailer, ReadyConversation } from './mailer.ts';

type Tuning = 'probeAfterMilliseconds' | 'connectRetryMilliseconds';

export interface SmartHostOptions
  extends SmtpServerOptions,
    Omit<PoolOptions, Tuning>,
    Partial<Pick<PoolOptions, Tuning>> {
  readonly maxConnections: number;
}

/** Nobody shares the relay's connections. */
const OWN_PLACE = { proven() {}, free() {} };

/**
 * A mailer that hands all mail to one relay over a pool of connections.
 *
 * @throws RangeError for settings that cannot work.
 * @example
 * const mailer = createSmartHostMailer({
 *   host: 'smtp.example.com', port: 587, tls: 'required', auth: { user: 'heed', password }, clientName: 'heed.example.com',
 *   maxConnections: 10, maxMessagesPerConnection: 100, idleMilliseconds: 30_000,
 * });
 */
export function createSmartHostMailer(options: SmartHostOptions): Mailer {
  checkServerOptions(options);
  for (const name of ['maxConnections', 'maxMessagesPerConnection'] as const) {
    if (!(options[name] >= 1)) throw new RangeError(`${name} has to be at least 1.`);
  }
  const destination = `relay:${options.host}:${options.port}`;
  const source = {
    open: (signal: AbortSignal) => openSession(options, signal),
    limit: () => options.maxConnections,
    takePlace: () => OWN_PLACE,
    becameIdle() {},
  };
  const pool = new ConnectionPool(source, {
    probeAfterMilliseconds: 5_000,
    connectRetryMilliseconds: 1_000,
    ...options,
  });
  return {
    onlyDestination: destination,
    destinationOf: () => destination,
    async reserve(_recipientDomain, signal) {
      const acquired = await pool.acquire(signal);
      if ('lease' in acquired) return readyConversation(destination, acquired.lease);
      const { remoteHost, phase, reply, detail } = acquired.failure;
      return { ready: false, verdict: null, destination, remoteHost, phase, reply, detail };
    },
    close: () => pool.close(),
  };
}

function readyConversation(
  destination: string,
  { session, mostTransmissions, giveBack }: Lease,
): ReadyConversation {
  let transmissions = 0;
  let released = false;
  return {
    ready: true,
    destination,
    remoteHost: session.remoteHost,
    speaker: 'own_relay',
    async transmit(message, hooks) {
      if (released) throw new Error('The conversation was given back already.');
      transmissions++;
      return session.transmit(message, hooks);
    },
    async transmitAll(next) {
      if (released) throw new Error('The conversation was given back already.');
      const more = await session.transmitAll(() => {
        const queued = transmissions < mostTransmissions ? next() : null;
        if (queued !== null) transmissions++;
        return queued;
      });
      return more && transmissions < mostTransmissions;
    },
    release() {
      if (released) return;
      released = true;
      giveBack(transmissions);
    },
  };
}
