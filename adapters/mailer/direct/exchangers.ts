import { type OpenResult, openSession } from '../../smtp/open.ts';
import type { SmtpServerOptions } from '../../smtp/options.ts';
import type { SmtpTimeouts } from '../../smtp/timeouts.ts';
import type { Server } from './routes.ts';

/**
 * - `opportunistic`: encrypted where the server offers it, with whatever certificate; in the clear where it does not,
 *   or where it offers it and then fails the handshake (RFC 7435).
 * - `encrypted`: never in the clear, with whatever certificate.
 * - `verified`: encrypted, with a certificate that is valid for the server's name.
 */
export type Protection = 'opportunistic' | 'encrypted' | 'verified';

export interface ExchangerOptions {
  readonly port: number;
  /** Our name in EHLO. */
  readonly clientName: string;
  readonly timeouts?: Partial<SmtpTimeouts>;
  /** Authorities in PEM beside which no others count, for servers inside a closed network. */
  readonly certificateAuthorities?: string;
}

/** A server whose handshake failed is spoken to in the clear for so long. */
const PLAIN_FOR_MS = 3_600_000;
/** A server that could not be reached is tried after the others for so long. */
const LAST_FOR_MS = 300_000;
/** Addresses tried for one connection, and the time after which no further one is. */
const MOST_TRIES = 6;
const NO_MORE_AFTER_MS = 30_000;
const MOST_REMEMBERED = 20_000;

/** Opens conversations with mail servers of a domain, and remembers for a while what was wrong with which. */
export class Exchangers {
  readonly #options: ExchangerOptions;
  readonly #clock: () => number;
  /** By address and port, until when. */
  readonly #plainUntil = new Map<string, number>();
  readonly #lastUntil = new Map<string, number>();

  /** @param clock milliseconds of a clock that never goes back */
  constructor(options: ExchangerOptions, clock: () => number) {
    this.#options = options;
    this.#clock = clock;
  }

  /**
   * Tries the servers in their order, those that failed lately last, until one takes mail from us. The failure told is
   * that of the last one that said something, or else of the last one.
   *
   * @param servers at least one
   */
  async open(servers: readonly Server[], protection: Protection, signal: AbortSignal): Promise<OpenResult> {
    const isLast = ({ address }: Server) => this.#holds(this.#lastUntil, address);
    const ordered = [...servers.filter((each) => !isLast(each)), ...servers.filter(isLast)];
    const startedAt = this.#clock();
    let failure: Extract<OpenResult, { opened: false }> | null = null;
    for (const server of ordered.slice(0, MOST_TRIES)) {
      const result = await this.#openOne(server, protection, signal);
      if (result.opened) {
        this.#lastUntil.delete(server.address);
        return result;
      }
      if (failure === null || failure.reply === null || result.reply !== null) failure = result;
      if (signal.aborted) break;
      remember(this.#lastUntil, server.address, this.#clock() + LAST_FOR_MS);
      if (this.#clock() - startedAt > NO_MORE_AFTER_MS) break;
    }
    return failure!;
  }

  async #openOne(server: Server, protection: Protection, signal: AbortSignal): Promise<OpenResult> {
    if (protection !== 'opportunistic') return openSession(this.#serverOptions(server, protection), signal);
    if (this.#holds(this.#plainUntil, server.address)) {
      return openSession(this.#serverOptions(server, 'none'), signal);
    }
    const result = await openSession(this.#serverOptions(server, protection), signal);
    if (result.opened || result.phase !== 'starttls' || signal.aborted) return result;
    remember(this.#plainUntil, server.address, this.#clock() + PLAIN_FOR_MS);
    return openSession(this.#serverOptions(server, 'none'), signal);
  }

  #serverOptions({ host, address }: Server, protection: Protection | 'none'): SmtpServerOptions {
    const { port, clientName, timeouts, certificateAuthorities } = this.#options;
    const verified = protection === 'verified';
    return {
      host,
      address,
      port,
      clientName,
      tls: protection === 'none' || protection === 'opportunistic' ? protection : 'required',
      ...(timeouts && { timeouts }),
      tlsOptions: {
        rejectUnauthorized: verified,
        ...(verified && certificateAuthorities !== undefined && { ca: certificateAuthorities }),
      },
    };
  }

  #holds(until: Map<string, number>, address: string): boolean {
    return (until.get(address) ?? Number.NEGATIVE_INFINITY) > this.#clock();
  }
}

function remember(map: Map<string, number>, address: string, until: number): void {
  map.delete(address);
  const oldest = map.size >= MOST_REMEMBERED ? map.keys().next().value : undefined;
  if (oldest !== undefined) map.delete(oldest);
  map.set(address, until);
}
