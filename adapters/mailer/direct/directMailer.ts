import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { classifyReply } from '../../../domain/bounce/classifyReply.ts';
import { unreachable } from '../../../domain/bounce/unreachable.ts';
import type { SmtpPhase, SmtpReply, Verdict } from '../../../domain/bounce/verdict.ts';
import {
  afterAccepted,
  type Pace,
  type PaceLimits,
  slower,
  startingPace,
  takeReturn,
  takeTurn,
} from '../../../domain/pace.ts';
import type { OpenFailure } from '../../smtp/open.ts';
import { DEFAULT_TIMEOUTS } from '../../smtp/timeouts.ts';
import { ConnectionPool, type Lease } from '../connectionPool.ts';
import type { Mailer, NoConversation, ReadyConversation, Transmission } from '../mailer.ts';
import { type ExchangerOptions, Exchangers, type Protection } from './exchangers.ts';
import type { EnforcedPolicy, FindPolicy } from './mtaSts.ts';
import { Places } from './places.ts';
import { type Route, type RouteOptions, Routes, type Server } from './routes.ts';

export interface DirectOptions extends RouteOptions, ExchangerOptions {
  readonly protection: Protection;
  /** What domains ask of those who send to them; it is asked beside `protection`. */
  readonly findPolicy: FindPolicy;
  /** Most connections of this process at a time, to all destinations together. */
  readonly maxConnections: number;
  /** Limits towards one destination, which is all domains that have the same mail servers. */
  readonly perDestination: PaceLimits;
  readonly maxMessagesPerConnection: number;
  readonly idleMilliseconds: number;
  /** Most who wait for one destination at a time; further ones are told that it is busy. */
  readonly maxWaiting: number;
}

type FoundRoute = Extract<Route, { found: true }>;

/** What all mail to the same mail servers shares. */
interface Destination {
  readonly pool: ConnectionPool;
  /** As they were last looked up. */
  servers: readonly Server[];
  pace: Pace;
  waiting: number;
}

/** After a failure nobody waits for another one so soon; further mail for these servers gets the same answer. */
const FAILURE_HOLDS_MS = 30_000;
const PROBE_AFTER_MS = 5_000;
/** Who would have to wait longer for a turn is told to come back. */
const LONGEST_TURN_MS = 10_000;
/** Destinations remembered with their pace; those that nothing goes to are forgotten first. */
const MOST_DESTINATIONS = 10_000;

/** Patience with servers that we know nothing of: they answer soon, or the next one is asked. */
const TIMEOUTS = { ...DEFAULT_TIMEOUTS, connect: 15_000, greeting: 60_000, ehlo: 60_000 };

/**
 * A mailer that delivers to the mail servers of each recipient's own domain (RFC 5321 section 5.1). Messages for one
 * destination share its connections, its pace slows down when its servers ask for that, and no destination can take
 * what the others need.
 *
 * @throws RangeError for limits that cannot work.
 */
export function createDirectMailer(options: DirectOptions): Mailer {
  return new DirectMailer(options);
}

class DirectMailer implements Mailer {
  readonly onlyDestination = null;
  readonly #options: DirectOptions;
  readonly #clock = () => performance.now();
  readonly #routes: Routes;
  readonly #exchangers: Exchangers;
  readonly #places: Places;
  readonly #destinations = new Map<string, Destination>();
  readonly #closing = new AbortController();

  constructor(options: DirectOptions) {
    const { perDestination } = options;
    const atLeastOne = {
      maxConnections: options.maxConnections,
      maxMessagesPerConnection: options.maxMessagesPerConnection,
      maxWaiting: options.maxWaiting,
      'perDestination.connections': perDestination.connections,
      'perDestination.messagesPerMinute': perDestination.messagesPerMinute,
    };
    for (const [name, value] of Object.entries(atLeastOne)) {
      if (!(value >= 1)) throw new RangeError(`${name} has to be at least 1.`);
    }
    this.#options = options;
    this.#routes = new Routes(options, this.#clock);
    this.#exchangers = new Exchangers(
      { ...options, timeouts: { ...TIMEOUTS, ...options.timeouts } },
      this.#clock,
    );
    this.#places = new Places(options.maxConnections, () => this.#pools());
  }

  destinationOf(recipientDomain: string): string {
    return `mx:${recipientDomain}`;
  }

  async reserve(recipientDomain: string, given: AbortSignal): Promise<ReadyConversation | NoConversation> {
    const signal = AbortSignal.any([given, this.#closing.signal]);
    signal.throwIfAborted();
    const [found, policy] = await orAborted(
      Promise.all([this.#routes.find(recipientDomain), this.#options.findPolicy(recipientDomain)]),
      signal,
    );
    if (!found.found) return this.#none(recipientDomain, found.verdict, found.detail);
    const route = policy === null ? found : this.#allowed(found, policy);
    if (route === null) {
      const detail = `no mail server of ${recipientDomain} is one that its MTA-STS policy names`;
      return this.#none(recipientDomain, unreachable('sts_mismatch'), detail);
    }
    const destination = this.#destinationFor(route, policy === null ? this.#options.protection : 'verified');
    if (destination.waiting >= this.#options.maxWaiting) return this.#busy(recipientDomain, destination, 0);

    destination.waiting++;
    try {
      const turn = takeTurn(destination.pace, this.#clock());
      if (turn.wait > LONGEST_TURN_MS) return this.#busy(recipientDomain, destination, turn.wait);
      destination.pace = turn.taken;
      if (turn.wait > 0) await orAborted(sleep(turn.wait, undefined, { ref: false }), signal);
      const acquired = await destination.pool.acquire(signal);
      return 'lease' in acquired
        ? this.#ready(recipientDomain, destination, acquired.lease)
        : this.#failed(recipientDomain, acquired.failure);
    } finally {
      destination.waiting--;
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('The mailer is closed.'));
    await Promise.all([...this.#pools()].map((pool) => pool.close()));
  }

  *#pools(): Iterable<ConnectionPool> {
    for (const { pool } of this.#destinations.values()) yield pool;
  }

  /** Only the servers that the policy names, as a destination of their own; `null` where there are none. */
  #allowed({ servers }: FoundRoute, policy: EnforcedPolicy): FoundRoute | null {
    const allowed = servers.filter(({ host }) => policy.allows(host));
    if (allowed.length === 0) return null;
    const hosts = [...new Set(allowed.map(({ host }) => host))].sort();
    return { found: true, key: `verified ${hosts.join(',')}`, servers: allowed };
  }

  #destinationFor(route: FoundRoute, protection: Protection): Destination {
    const known = this.#destinations.get(route.key);
    // The order of the map tells which one was used the longest time ago.
    if (known !== undefined) this.#destinations.delete(route.key);
    else if (this.#destinations.size >= MOST_DESTINATIONS) this.#forgetUnused();
    const destination = known ?? this.#newDestination(route.servers, protection);
    destination.servers = route.servers;
    this.#destinations.set(route.key, destination);
    return destination;
  }

  #newDestination(servers: readonly Server[], protection: Protection): Destination {
    const { perDestination, maxMessagesPerConnection, idleMilliseconds } = this.#options;
    const destination: Destination = {
      servers,
      pace: startingPace(perDestination, this.#clock()),
      waiting: 0,
      pool: new ConnectionPool(
        {
          open: async (signal) => {
            const result = await this.#exchangers.open(destination.servers, protection, signal);
            if (!result.opened && isTooMuch(result.phase, result.reply)) this.#slowDown(destination);
            return result;
          },
          limit: () => destination.pace.connections,
          takePlace: (suspect) => this.#places.take(destination.pool, suspect),
          becameIdle: () => this.#places.makeRoom(),
        },
        {
          maxMessagesPerConnection,
          idleMilliseconds,
          probeAfterMilliseconds: PROBE_AFTER_MS,
          connectRetryMilliseconds: FAILURE_HOLDS_MS,
        },
      ),
    };
    return destination;
  }

  #forgetUnused(): void {
    for (const [key, { pool, waiting }] of this.#destinations) {
      if (!pool.unused || waiting > 0) continue;
      this.#destinations.delete(key);
      return;
    }
  }

  #ready(
    domain: string,
    destination: Destination,
    { session, mostTransmissions, giveBack }: Lease,
  ): ReadyConversation {
    const limits = this.#options.perDestination;
    let transmissions = 0;
    let released = false;
    const learnFrom = (end: Transmission) => {
      if (end.kind === 'accepted') destination.pace = afterAccepted(destination.pace, this.#clock(), limits);
      else if (isComplaint(end)) this.#slowDown(destination);
    };
    return {
      ready: true,
      destination: this.destinationOf(domain),
      remoteHost: session.remoteHost,
      speaker: 'exchanger',
      transmit: async (message, hooks) => {
        if (released) throw new Error('The conversation was given back already.');
        transmissions++;
        const end = await session.transmit(message, hooks);
        learnFrom(end);
        return end;
      },
      transmitAll: async (next) => {
        if (released) throw new Error('The conversation was given back already.');
        let mayGoOn = true;
        const more = await session.transmitAll(() => {
          // The conversation came with the turn of its first message.
          const turn = transmissions === 0 ? null : takeTurn(destination.pace, this.#clock());
          mayGoOn = transmissions < mostTransmissions && (turn === null || turn.wait === 0);
          const queued = mayGoOn ? next() : null;
          if (queued === null) return null;
          if (turn !== null) destination.pace = turn.taken;
          transmissions++;
          return {
            message: queued.message,
            beginBefore: queued.beginBefore,
            begun: (at) => queued.begun(at),
            ended(end) {
              learnFrom(end);
              queued.ended(end);
            },
          };
        });
        return more && mayGoOn;
      },
      release() {
        if (released) return;
        released = true;
        giveBack(transmissions);
      },
    };
  }

  #slowDown(destination: Destination): void {
    destination.pace = slower(destination.pace, this.#clock(), this.#options.perDestination);
  }

  #failed(domain: string, { phase, reply, detail, remoteHost }: OpenFailure): NoConversation {
    const verdict =
      reply === null
        ? unreachable(phase === 'starttls' ? 'tls_failed' : 'connection_failed')
        : classifyReply({ reply, phase, recipientDomain: domain, speaker: 'exchanger' });
    return { ...this.#none(domain, verdict, detail), phase, reply, remoteHost };
  }

  #none(domain: string, verdict: Verdict, detail: string): NoConversation {
    const destination = this.destinationOf(domain);
    return { ready: false, verdict, destination, remoteHost: domain, phase: 'connect', reply: null, detail };
  }

  #busy(domain: string, destination: Destination, atLeast: number): NoConversation {
    const { wait, taken } = takeReturn(destination.pace, this.#clock(), atLeast);
    destination.pace = taken;
    const detail = 'as much mail as it takes at a time is on its way to this destination';
    return {
      ready: false,
      verdict: null,
      busyMilliseconds: Math.ceil(wait),
      destination: this.destinationOf(domain),
      remoteHost: domain,
      phase: 'connect',
      reply: null,
      detail,
    };
  }
}

/** Whether a server says that it is too much at once: 421, 4.7.x or its words for a rate limit. Greylisting is not. */
function isTooMuch(phase: SmtpPhase, reply: SmtpReply | null): boolean {
  if (reply === null || reply.code >= 500) return false;
  const { category } = classifyReply({ reply, phase, speaker: 'exchanger' });
  if (category === 'greylisting') return false;
  return category === 'rate_limit' || reply.code === 421 || (reply.enhancedCode?.startsWith('4.7.') ?? false);
}

function isComplaint(end: Transmission): boolean {
  if (end.kind === 'refused') return isTooMuch(end.phase, end.reply);
  return end.kind === 'not_begun' && end.why === 'conversation_over' && isTooMuch('mail', end.reply);
}

/** Settles with the promise, or rejects with the signal's reason once that aborts. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
