import { type UnreachableReason, unreachable } from '../../../domain/bounce/unreachable.ts';
import type { Verdict } from '../../../domain/bounce/verdict.ts';
import { type MxRecord, mailExchangers } from '../../../domain/mailExchangers.ts';
import { type Answer, DnsCache, type DnsResolver } from './dns.ts';
import { isPublicAddress } from './publicAddress.ts';

/** One address of one mail server of a domain. */
export interface Server {
  readonly host: string;
  readonly address: string;
}

export type Route =
  | {
      readonly found: true;
      /** The same for all domains that have the same mail servers. */
      readonly key: string;
      /** The first to try first; equals in an order made anew for each route. */
      readonly servers: readonly Server[];
    }
  | { readonly found: false; readonly verdict: Verdict; readonly detail: string };

export interface RouteOptions {
  readonly resolver: DnsResolver;
  /** Internet protocols to use, the preferred one first. */
  readonly ipVersions: readonly (4 | 6)[];
  /** Names under which we are a mail server ourselves, lower case. */
  readonly ownNames: readonly string[];
  /** Addresses of this machine. */
  readonly ownAddresses: readonly string[];
  /** Lets servers have private addresses, this machine's included: inside a closed network. */
  readonly allowPrivateAddresses: boolean;
}

/** Servers beyond these are not looked up: nobody needs them, and some domains list hundreds. */
const MOST_HOSTS = 10;

/** Finds the mail servers of domains (RFC 5321 section 5.1). */
export class Routes {
  readonly #options: RouteOptions;
  readonly #dns: DnsCache;

  constructor(options: RouteOptions, clock: () => number) {
    this.#options = options;
    this.#dns = new DnsCache(options.resolver, clock);
  }

  async find(domain: string): Promise<Route> {
    const mx = await this.#dns.mx(domain);
    switch (mx.kind) {
      case 'records':
        return this.#throughHosts(domain, mx.records);
      case 'no_records':
        return this.#throughHosts(domain, []);
      case 'no_such_name':
        return this.#confirmUnknown(domain);
      case 'failed':
        return failure(domain, mx.code, `MX records of ${domain}`);
    }
  }

  /**
   * Some name servers say NXDOMAIN of a name that they merely have no MX records for. An address is dead for good by
   * this, so both questions have to agree.
   */
  async #confirmUnknown(domain: string): Promise<Route> {
    const address = await this.#dns.ipv4(domain);
    if (address.kind === 'no_such_name') return none('domain_unknown', `${domain} does not exist (NXDOMAIN)`);
    if (address.kind === 'failed') return failure(domain, address.code, `addresses of ${domain}`);
    return this.#throughHosts(domain, []);
  }

  async #throughHosts(domain: string, records: readonly MxRecord[]): Promise<Route> {
    const exchangers = mailExchangers(records, this.#options.ownNames, Math.random);
    switch (exchangers.kind) {
      case 'null':
        return none('null_mx', `${domain} accepts no mail (null MX)`);
      case 'none':
        return none('mail_for_ourselves', `the best mail server of ${domain} is this one`);
      case 'implicit':
        return this.#toServers(domain, [domain], `A ${domain}`);
      case 'hosts': {
        const key = records.map(({ exchange, priority }) => `${priority} ${exchange.toLowerCase()}`);
        return this.#toServers(domain, exchangers.hosts.slice(0, MOST_HOSTS), key.sort().join(','));
      }
    }
  }

  async #toServers(domain: string, hosts: readonly string[], key: string): Promise<Route> {
    const found = await Promise.all(hosts.map((host) => this.#addressesOf(host)));
    const servers = found.flatMap(({ addresses }, index) =>
      addresses.map((address) => ({ host: hosts[index]!, address })),
    );
    const reachable = servers.filter(({ address }) => this.#mayConnectTo(address));
    if (reachable.length > 0) return { found: true, key, servers: reachable };
    if (servers.length > 0) {
      const named = servers.map(({ host, address }) => `${host} [${address}]`).join(', ');
      return none('private_address', `no mail server of ${domain} has a public address: ${named}`);
    }
    const code = found.map(({ failure }) => failure).find((each) => each !== null);
    if (code != null) return failure(domain, code, `addresses of ${hosts.join(', ')}`);
    return none('no_mail_host', `no mail server of ${domain} has an address: ${hosts.join(', ')}`);
  }

  async #addressesOf(host: string): Promise<{ addresses: string[]; failure: string | null }> {
    const answers = await Promise.all(
      this.#options.ipVersions.map((version) =>
        version === 4 ? this.#dns.ipv4(host) : this.#dns.ipv6(host),
      ),
    );
    return {
      addresses: answers.flatMap((answer) => recordsOf(answer).map(({ address }) => address)),
      failure: answers.map((answer) => (answer.kind === 'failed' ? answer.code : null)).find(Boolean) ?? null,
    };
  }

  #mayConnectTo(address: string): boolean {
    if (this.#options.allowPrivateAddresses) return true;
    return isPublicAddress(address) && !this.#options.ownAddresses.includes(address);
  }
}

function recordsOf<T>(answer: Answer<T>): readonly T[] {
  return answer.kind === 'records' ? answer.records : [];
}

/** The code of c-ares that says that the resolver we ask could not be reached; anything else is the domain's. */
const RESOLVER_UNREACHABLE = 'ECONNREFUSED';

function failure(domain: string, code: string, what: string): Route {
  const reason = code === RESOLVER_UNREACHABLE ? 'own_resolver_failed' : 'name_servers_failed';
  return none(reason, `the ${what} cannot be had, so that mail to ${domain} waits: DNS said ${code}`);
}

function none(reason: UnreachableReason, detail: string): Route {
  return { found: false, verdict: unreachable(reason), detail };
}
