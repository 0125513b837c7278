import { Resolver } from 'node:dns/promises';
import type { MxRecord } from '../../../domain/mailExchangers.ts';

/** What of a DNS resolver is needed, as node:dns/promises has it. Failures are errors with a `code` of c-ares. */
export interface DnsResolver {
  resolveMx(domain: string): Promise<readonly MxRecord[]>;
  resolve4(host: string, options: { ttl: true }): Promise<readonly AddressRecord[]>;
  resolve6(host: string, options: { ttl: true }): Promise<readonly AddressRecord[]>;
}

export interface AddressRecord {
  readonly address: string;
  /** Seconds. */
  readonly ttl: number;
}

/** Most mail waits for an answer: two tries of 5 s, which c-ares lengthens by itself, are enough to be patient. */
const TIMEOUT_MS = 5_000;
const TRIES = 2;

/**
 * A resolver of its own, so that nothing else in the process is affected. It asks the name servers directly and reads
 * no /etc/hosts.
 *
 * @param servers `address` or `address:port`; those of the operating system when left out
 */
export function createDnsResolver(servers?: readonly string[]): Resolver {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
  if (servers !== undefined && servers.length > 0) resolver.setServers(servers);
  return resolver;
}

/** How a question ended. */
export type Answer<T> =
  | { readonly kind: 'records'; readonly records: readonly T[] }
  /** NXDOMAIN: there is no such name, of whatever type. */
  | { readonly kind: 'no_such_name' }
  /** The name is there, without records of this type. */
  | { readonly kind: 'no_records' }
  | { readonly kind: 'failed'; readonly code: string };

/** Bounds of what is kept, in seconds. */
const SHORTEST_TTL = 30;
const LONGEST_TTL = 3_600;
/** node:dns does not tell the TTL of MX records. */
const MX_TTL = 300;
const NEGATIVE_TTL = 60;
/** A failure is asked again soon, but not once for each message of a broadcast. */
const FAILURE_TTL = 10;
const MOST_ENTRIES = 50_000;

interface Entry {
  readonly answer: Promise<Answer<unknown>>;
  /** Infinity while the answer is awaited. */
  expires: number;
}

/** Answers kept for as long as they hold; one question is asked once, however many wait for it. */
export class DnsCache {
  readonly #resolver: DnsResolver;
  readonly #clock: () => number;
  readonly #entries = new Map<string, Entry>();

  /** @param clock milliseconds of a clock that never goes back */
  constructor(resolver: DnsResolver, clock: () => number) {
    this.#resolver = resolver;
    this.#clock = clock;
  }

  mx(domain: string): Promise<Answer<MxRecord>> {
    return this.#ask(
      `MX ${domain}`,
      () => this.#resolver.resolveMx(domain),
      () => MX_TTL,
    );
  }

  ipv4(host: string): Promise<Answer<AddressRecord>> {
    return this.#ask(`A ${host}`, () => this.#resolver.resolve4(host, { ttl: true }), lowestTtl);
  }

  ipv6(host: string): Promise<Answer<AddressRecord>> {
    return this.#ask(`AAAA ${host}`, () => this.#resolver.resolve6(host, { ttl: true }), lowestTtl);
  }

  #ask<T>(
    key: string,
    resolve: () => Promise<readonly T[]>,
    ttlOf: (records: readonly T[]) => number,
  ): Promise<Answer<T>> {
    const known = this.#entries.get(key);
    if (known !== undefined && known.expires > this.#clock()) return known.answer as Promise<Answer<T>>;
    this.#entries.delete(key);
    const oldest = this.#entries.size >= MOST_ENTRIES ? this.#entries.keys().next().value : undefined;
    if (oldest !== undefined) this.#entries.delete(oldest);
    const answer = resolve().then(answered, failed);
    const entry: Entry = { answer, expires: Number.POSITIVE_INFINITY };
    this.#entries.set(key, entry);
    void answer.then((said) => {
      const seconds = said.kind === 'records' ? ttlOf(said.records) : NEGATIVE_TTL;
      entry.expires = this.#clock() + 1_000 * (said.kind === 'failed' ? FAILURE_TTL : seconds);
    });
    return answer;
  }
}

function answered<T>(records: readonly T[]): Answer<T> {
  return records.length === 0 ? { kind: 'no_records' } : { kind: 'records', records };
}

function failed(error: NodeJS.ErrnoException): Answer<never> {
  switch (error.code) {
    case 'ENOTFOUND':
      return { kind: 'no_such_name' };
    case 'ENODATA':
      return { kind: 'no_records' };
    default:
      return { kind: 'failed', code: error.code ?? error.message };
  }
}

function lowestTtl(records: readonly AddressRecord[]): number {
  const lowest = Math.min(...records.map(({ ttl }) => ttl));
  return Math.min(Math.max(lowest, SHORTEST_TTL), LONGEST_TTL);
}
