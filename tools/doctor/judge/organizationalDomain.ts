import { getDomain } from 'tldts';

/** The domain that a name was registered under, by the public suffix list with both its parts (RFC 7489 section 3.2). */
export function organizationalDomain(domain: string): string {
  return getDomain(domain, { allowPrivateDomains: true }) ?? domain;
}
