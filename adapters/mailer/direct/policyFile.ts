import { request } from 'node:https';
import type { LookupFunction } from 'node:net';

/** RFC 8461 section 3.3 suggests both bounds; mail waits for the answer, so that it is not a minute. */
const LONGEST_OCTETS = 64 * 1024;
const TIMEOUT_MS = 10_000;

export interface PolicyFileOptions {
  /** Addresses of a host, only those that we may connect to. */
  readonly addressesOf: (host: string) => Promise<readonly string[]>;
  /** 443, unless a test has its own. */
  readonly port?: number;
  /** Authorities in PEM beside which no others count, for servers inside a closed network. */
  readonly certificateAuthorities?: string;
}

/**
 * Fetches the policy of a domain from the one place where it may stand, by HTTPS with a certificate that is valid for
 * it; no redirect is followed (RFC 8461 section 3.3).
 *
 * @throws where it cannot be had
 */
export async function fetchPolicyFile(domain: string, options: PolicyFileOptions): Promise<string> {
  const host = `mta-sts.${domain}`;
  const [address] = await options.addressesOf(host);
  if (address === undefined) throw new Error(`${host} has no address to connect to`);
  const family = address.includes(':') ? 6 : 4;
  // The name is for the certificate; where it leads to was looked up already.
  const lookup: LookupFunction = (_, { all }, found) =>
    all ? found(null, [{ address, family }]) : found(null, address, family);
  const { port, certificateAuthorities: ca } = options;
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        host,
        path: '/.well-known/mta-sts.txt',
        lookup,
        // No connection of somebody else's is used again.
        agent: false,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...(port !== undefined && { port }),
        ...(ca !== undefined && { ca }),
      },
      (answer) => {
        const type = answer.headers['content-type']?.split(';')[0]?.trim().toLowerCase();
        if (answer.statusCode !== 200 || type !== 'text/plain') {
          asked.destroy(new Error(`${host} answered ${answer.statusCode} with ${type ?? 'no type'}`));
          return;
        }
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
          if (text.length > LONGEST_OCTETS) asked.destroy(new Error(`the policy of ${host} is too long`));
        });
        answer.on('end', () => resolve(text));
        answer.on('error', reject);
      },
    );
    asked.on('error', reject);
    asked.end();
  });
}
