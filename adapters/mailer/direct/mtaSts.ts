import type { Resolver } from 'node:dns/promises';
import { parsePolicy, resolvePolicy, validateMx } from 'mailauth/lib/mta-sts.js';
import { fetchPolicyFile, type PolicyFileOptions } from './policyFile.ts';
import { isPublicAddress } from './publicAddress.ts';

/** What a domain asks of everybody who sends mail to it; only where it is to be enforced. */
export interface EnforcedPolicy {
  /** Whether a mail server is one of those that the domain names. */
  allows(host: string): boolean;
}

/** Looks policies up. Never throws: who has none that can be had is asked nothing (RFC 8461 section 5). */
export type FindPolicy = (domain: string) => Promise<EnforcedPolicy | null>;

export interface MtaStsOptions extends Pick<PolicyFileOptions, 'port' | 'certificateAuthorities'> {
  readonly resolver: Pick<Resolver, 'resolve' | 'resolve4' | 'resolve6'>;
  /** Lets policies stand at private addresses: inside a closed network. */
  readonly allowPrivateAddresses: boolean;
  /** Milliseconds of a clock that never goes back. */
  readonly clock: () => number;
}

/** The record is looked at as often as MX records are; a fetch that failed is not tried again sooner (section 3.3). */
const LOOKED_AT_FOR_MS = 300_000;
const MOST_DOMAINS = 50_000;

interface Known {
  /** Of the record that the policy was fetched for. */
  readonly id: string;
  readonly policy: ReturnType<typeof parsePolicy>;
  readonly expires: number;
}

interface Entry {
  readonly lookedAt: number;
  readonly known: Promise<Known | null>;
}

/**
 * MTA-STS (RFC 8461) for one process. A policy is kept for its own max_age, a year at the most, also when its record
 * or its file cannot be had any more: otherwise whoever keeps us from them could take the protection away.
 */
export function createMtaSts(options: MtaStsOptions): FindPolicy {
  const { clock } = options;
  const entries = new Map<string, Entry>();

  async function look(domain: string, before: Known | null): Promise<Known | null> {
    const unexpired = before !== null && before.expires > clock() ? before : null;
    try {
      const id = await resolvePolicy(domain, { strict: true, resolver: resolverOf(options) });
      if (id === false || id === unexpired?.id) return unexpired;
      const policy = parsePolicy(
        await fetchPolicyFile(domain, { ...options, addressesOf: (host) => addressesOf(options, host) }),
        { strict: true },
      );
      return { id, policy, expires: clock() + (policy.maxAge ?? 0) * 1_000 };
    } catch {
      return unexpired;
    }
  }

  return async (domain) => {
    const entry = entries.get(domain);
    let current = entry;
    if (current === undefined || clock() - current.lookedAt >= LOOKED_AT_FOR_MS) {
      const before = entry?.known ?? Promise.resolve(null);
      current = { lookedAt: clock(), known: before.then((known) => look(domain, known)) };
      entries.delete(domain);
      const oldest = entries.size >= MOST_DOMAINS ? entries.keys().next().value : undefined;
      if (oldest !== undefined) entries.delete(oldest);
      entries.set(domain, current);
    }
    const known = await current.known;
    if (known === null || known.expires <= clock() || known.policy.mode !== 'enforce') return null;
    return { allows: (host) => validateMx(host, known.policy).valid };
  };
}

function resolverOf({ resolver }: MtaStsOptions) {
  return (name: string, type: string) => resolver.resolve(name, type) as Promise<string[]>;
}

async function addressesOf(
  { resolver, allowPrivateAddresses }: MtaStsOptions,
  host: string,
): Promise<string[]> {
  const found = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  return found
    .flatMap((each) => (each.status === 'fulfilled' ? each.value : []))
    .filter((address) => allowPrivateAddresses || isPublicAddress(address));
}
