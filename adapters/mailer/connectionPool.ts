import type { OpenFailure, OpenResult } from '../smtp/open.ts';
import type { SmtpSession } from '../smtp/session.ts';

/** Leave to have one connection, from the attempt to make it until it is gone. */
export interface Place {
  /** The connection came about. */
  proven(): void;
  free(): void;
}

/** Where a pool's connections come from. */
export interface ConnectionSource {
  /** Makes one that is ready for MAIL FROM. */
  open(signal: AbortSignal): Promise<OpenResult>;
  /** Most connections at a time; asked each time, since it may change. */
  limit(): number;
  /**
   * Takes a place among the connections that several pools share, or returns `null`; then {@link ConnectionPool.serve}
   * is called when one may be had.
   *
   * @param suspect the last attempt to connect failed
   */
  takePlace(suspect: boolean): Place | null;
  /** Told when a connection has nothing to do; somebody else may need its place. */
  becameIdle(): void;
}

export interface PoolOptions {
  /** After this many transmissions a connection is ended: some servers limit them, and load spreads anew. */
  readonly maxMessagesPerConnection: number;
  /** An idle connection is ended after this long; below the server's own limit, which is 5 minutes or more. */
  readonly idleMilliseconds: number;
  /** A connection that was idle for longer is asked with NOOP before it is used again. */
  readonly probeAfterMilliseconds: number;
  /** After a failure to connect none is made for this long. */
  readonly connectRetryMilliseconds: number;
}

/** A session lent to one holder. */
export interface Lease {
  readonly session: SmtpSession;
  /** So many more the connection may have. */
  readonly mostTransmissions: number;
  /** Gives it back; `transmissions` is how many the holder made. Exactly once. */
  giveBack(transmissions: number): void;
}

export type Acquired = { readonly lease: Lease } | { readonly failure: OpenFailure };

interface Waiter {
  settle(acquired: Acquired): void;
  fail(error: Error): void;
}

interface Idle {
  readonly session: SmtpSession;
  /** By the monotonic clock, in milliseconds. */
  readonly since: number;
  readonly timer: NodeJS.Timeout;
}

/**
 * Connections to one destination, lent to one holder each in the order of asking. Connections are made as waiters need
 * them, the first one alone. When one cannot be made and none is left, everybody who waits is told so by that one
 * failure; while others live, the server merely allows no more of them and the waiters wait for these.
 */
export class ConnectionPool {
  readonly #source: ConnectionSource;
  readonly #options: PoolOptions;
  readonly #waiters: Waiter[] = [];
  /** The one used last is taken first, so that surplus connections grow old. */
  readonly #idle: Idle[] = [];
  readonly #transmissions = new WeakMap<SmtpSession, number>();
  /** Connections in the server's eyes: from the attempt to connect until the socket is gone. */
  #connections = 0;
  #connecting = 0;
  /** Sessions that will serve a waiter or become idle soon: connecting, resetting, probed. */
  #coming = 0;
  #lent = 0;
  #failure: OpenFailure | null = null;
  #retryAt = 0;
  #retryTimer: NodeJS.Timeout | null = null;
  readonly #opening = new AbortController();
  readonly #closed = Promise.withResolvers<void>();
  #closing = false;

  constructor(source: ConnectionSource, options: PoolOptions) {
    this.#source = source;
    this.#options = options;
  }

  /** Nobody waits and nothing is open: the pool can be forgotten. */
  get unused(): boolean {
    return this.#waiters.length === 0 && this.#connections === 0 && this.#lent === 0;
  }

  /** Since when the connection that is idle for the longest is so, by the monotonic clock; `null` where none is. */
  get idleSince(): number | null {
    return this.#idle[0]?.since ?? null;
  }

  /** Ends the connection that is idle for the longest, in favour of somebody else's. */
  shedIdle(): void {
    const idle = this.#idle.shift();
    if (idle === undefined) return;
    clearTimeout(idle.timer);
    void idle.session.quit();
  }

  /** Waits for a session; rejects with the reason of `signal` when that aborts, or when the pool is closed. */
  acquire(signal: AbortSignal): Promise<Acquired> {
    return new Promise((resolve, reject) => {
      if (this.#closing) throw closedError();
      signal.throwIfAborted();
      const abort = () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(signal.reason);
      };
      const waiter: Waiter = {
        settle(acquired) {
          signal.removeEventListener('abort', abort);
          resolve(acquired);
        },
        fail(error) {
          signal.removeEventListener('abort', abort);
          reject(error);
        },
      };
      signal.addEventListener('abort', abort, { once: true });
      this.#waiters.push(waiter);
      this.serve();
    });
  }

  /** Turns waiters away, ends idle connections with QUIT, and resolves when the lent ones are back and ended. */
  close(): Promise<void> {
    this.#closing = true;
    this.#opening.abort();
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    for (const waiter of this.#waiters.splice(0)) waiter.fail(closedError());
    for (const idle of this.#idle.splice(0)) {
      clearTimeout(idle.timer);
      void idle.session.quit();
    }
    this.#settleClose();
    return this.#closed.promise;
  }

  /** Gives waiters what there is and makes as many connections as they need and may have. */
  serve(): void {
    while (this.#waiters.length > this.#coming) {
      const idle = this.#idle.pop();
      if (idle !== undefined) {
        this.#wake(idle);
        continue;
      }
      const place = this.#mayConnect() ? this.#source.takePlace(this.#failure !== null) : null;
      if (place === null) break;
      void this.#connect(place);
    }
    // Nothing is there and nothing comes: the last failure still stands.
    if (this.#connections === 0 && this.#failure !== null && performance.now() < this.#retryAt) {
      for (const waiter of this.#waiters.splice(0)) waiter.settle({ failure: this.#failure });
    }
  }

  #mayConnect(): boolean {
    if (this.#connections >= this.#source.limit() || this.#closing) return false;
    // As long as none is open, and after a failure, a single attempt finds out whether the server takes mail from us.
    if (this.#connections === this.#connecting || this.#failure !== null) {
      return this.#connecting === 0 && (this.#failure === null || performance.now() >= this.#retryAt);
    }
    return true;
  }

  async #connect(place: Place): Promise<void> {
    this.#connections++;
    this.#connecting++;
    this.#coming++;
    const result = await this.#source.open(this.#opening.signal);
    this.#connecting--;
    this.#coming--;
    if (result.opened) {
      this.#failure = null;
      place.proven();
      result.session.onEnd(() => this.#forget(result.session, place));
      this.#offer(result.session);
    } else {
      this.#connections--;
      this.#failure = result;
      this.#retryLater();
      place.free();
    }
    this.serve();
    this.#settleClose();
  }

  /** Waiters who could not be told of a failure, because other connections live, get another try. */
  #retryLater(): void {
    const { connectRetryMilliseconds } = this.#options;
    this.#retryAt = performance.now() + connectRetryMilliseconds;
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    if (!this.#closing)
      this.#retryTimer = setTimeout(() => this.serve(), connectRetryMilliseconds + 1).unref();
  }

  #wake({ session, since, timer }: Idle): void {
    clearTimeout(timer);
    if (!session.usable) session.destroy('the server spoke out of turn');
    else if (performance.now() - since <= this.#options.probeAfterMilliseconds) this.#offer(session);
    else void this.#prepare(session, session.probe());
  }

  /** Offers the session when its preparation went well. */
  async #prepare(session: SmtpSession, ready: Promise<boolean>): Promise<void> {
    this.#coming++;
    const prepared = await ready;
    this.#coming--;
    if (prepared) this.#offer(session);
    else this.serve();
  }

  /** To the first waiter, or to the idle ones. */
  #offer(session: SmtpSession): void {
    if (this.#closing) {
      void session.quit();
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      this.#lent++;
      waiter.settle({
        lease: {
          session,
          mostTransmissions: this.#options.maxMessagesPerConnection - (this.#transmissions.get(session) ?? 0),
          giveBack: (transmissions) => this.#takeBack(session, transmissions),
        },
      });
      return;
    }
    const timer = setTimeout(() => {
      this.#removeIdle(session);
      void session.quit();
    }, this.#options.idleMilliseconds).unref();
    this.#idle.push({ session, since: performance.now(), timer });
    this.#source.becameIdle();
  }

  #takeBack(session: SmtpSession, transmissions: number): void {
    this.#lent--;
    const total = (this.#transmissions.get(session) ?? 0) + transmissions;
    this.#transmissions.set(session, total);
    if (!session.usable) session.destroy('given back in the midst of a conversation');
    else if (this.#isToEnd(total)) void session.quit();
    else if (session.unfinished) void this.#prepare(session, session.reset());
    else this.#offer(session);
    this.serve();
    this.#settleClose();
  }

  #isToEnd(transmissions: number): boolean {
    if (this.#closing || transmissions >= this.#options.maxMessagesPerConnection) return true;
    return this.#connections > this.#source.limit();
  }

  #forget(session: SmtpSession, place: Place): void {
    this.#connections--;
    this.#removeIdle(session);
    place.free();
    this.serve();
    this.#settleClose();
  }

  #removeIdle(session: SmtpSession): void {
    const index = this.#idle.findIndex((idle) => idle.session === session);
    if (index !== -1) clearTimeout(this.#idle.splice(index, 1)[0]!.timer);
  }

  #settleClose(): void {
    if (this.#closing && this.#connections === 0 && this.#lent === 0) this.#closed.resolve();
  }
}

function closedError(): Error {
  return new Error('The mailer is closed.');
}
