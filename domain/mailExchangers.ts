/** A record of type MX (RFC 5321 section 5.1). */
export interface MxRecord {
  readonly exchange: string;
  /** The lowest is tried first. */
  readonly priority: number;
}

/** What a domain's MX records say about where its mail goes. */
export type MailExchangers =
  /** Host names, the first to try first. */
  | { readonly kind: 'hosts'; readonly hosts: readonly string[] }
  /** No records: the domain itself is its mail server (RFC 5321 section 5.1, "implicit MX"). */
  | { readonly kind: 'implicit' }
  /** Null MX: it accepts no mail at all (RFC 7505 section 3). */
  | { readonly kind: 'null' }
  /** We are its best mail server ourselves, or no record names a host. */
  | { readonly kind: 'none' };

/**
 * The hosts of MX records in the order in which to try them: by preference, equals in random order. Where one of them
 * is ourselves, it and all that are no better are left out, or mail would go round in circles (RFC 5321 section 5.1).
 *
 * @param ownNames names of ours, lower case
 * @param random from 0 to 1, like Math.random
 */
export function mailExchangers(
  records: readonly MxRecord[],
  ownNames: readonly string[],
  random: () => number,
): MailExchangers {
  if (records.length === 0) return { kind: 'implicit' };
  const named = records
    .map(({ exchange, priority }) => ({ host: exchange.toLowerCase().replace(/\.$/, ''), priority }))
    .filter(({ host }) => host !== '');
  // RFC 7505 section 3 allows no other record beside a null MX; where there is one, it is the one to believe.
  if (named.length === 0) return { kind: 'null' };
  const own = named.filter(({ host }) => ownNames.includes(host)).map(({ priority }) => priority);
  const better = named.filter(({ priority }) => priority < Math.min(...own));
  const ordered = better
    .map((each) => ({ ...each, chance: random() }))
    .sort((a, b) => a.priority - b.priority || a.chance - b.chance)
    .map(({ host }) => host);
  return ordered.length === 0 ? { kind: 'none' } : { kind: 'hosts', hosts: [...new Set(ordered)] };
}
