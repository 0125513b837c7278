import type { Verdict } from './verdict.ts';

/**
 * Why there was no conversation with any mail server of a domain, and what that means. Hard is only what the domain
 * itself says: everything else may be mended by somebody within five days.
 */
const REASONS = {
  /** NXDOMAIN (RFC 2308). */
  domain_unknown: { action: 'hard', category: 'host_unknown', fault: 'recipient' },
  /** RFC 7505. */
  null_mx: { action: 'hard', category: 'no_mail_accepted', fault: 'recipient' },
  /** The domain is there, but neither it nor any host of its MX records has an address. */
  no_mail_host: { action: 'soft', category: 'host_unknown', fault: 'recipient' },
  /** Its best mail server is ourselves. */
  mail_for_ourselves: { action: 'soft', category: 'host_unknown', fault: 'recipient' },
  /** All its mail servers have addresses that nobody can reach from outside: 127.0.0.1, 10.0.0.1 and the like. */
  private_address: { action: 'soft', category: 'host_unknown', fault: 'recipient' },
  /** Its name servers failed or did not answer in time. */
  name_servers_failed: { action: 'soft', category: 'network', fault: 'recipient' },
  /** The resolver that we ask cannot be reached. */
  own_resolver_failed: { action: 'soft', category: 'network', fault: 'ours' },
  connection_failed: { action: 'soft', category: 'network', fault: 'recipient' },
  /** Encryption is required, by us or by the domain's own policy (RFC 8461), and could not be had. */
  tls_failed: { action: 'soft', category: 'protocol', fault: 'recipient' },
  /** None of its mail servers is one that its own policy names (RFC 8461 section 4.1). */
  sts_mismatch: { action: 'soft', category: 'policy', fault: 'recipient' },
} as const satisfies Record<string, Omit<Verdict, 'rule' | 'retryAfterSeconds'>>;

export type UnreachableReason = keyof typeof REASONS;

/** The verdict on mail to a domain whose servers could not be spoken to; its rule is the reason. */
export function unreachable(reason: UnreachableReason): Verdict {
  return { ...REASONS[reason], rule: reason, retryAfterSeconds: null };
}
