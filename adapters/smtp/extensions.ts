/** What a server offers in its reply to EHLO (RFC 5321 section 4.1.1.1). */
export interface Extensions {
  readonly pipelining: boolean;
  readonly startTls: boolean;
  readonly eightBitMime: boolean;
  readonly smtpUtf8: boolean;
  /** RFC 1870: `null` where SIZE is not offered; `limit` in octets, `null` for none stated. */
  readonly size: { readonly limit: number | null } | null;
  /** Names of SASL mechanisms in upper case (RFC 4954). */
  readonly auth: ReadonlySet<string>;
}

export const NO_EXTENSIONS: Extensions = {
  pipelining: false,
  startTls: false,
  eightBitMime: false,
  smtpUtf8: false,
  size: null,
  auth: new Set(),
};

/** Reads the lines of a reply to EHLO; the first one is the server's name. */
export function readExtensions(lines: readonly string[]): Extensions {
  const offered = new Map<string, string[]>();
  for (const line of lines.slice(1)) {
    // `AUTH=PLAIN` is how servers offered it before RFC 2554; some still do.
    const [keyword = '', ...parameters] = line
      .toUpperCase()
      .replace(/^AUTH=/, 'AUTH ')
      .split(/\s+/);
    offered.set(keyword, [...(offered.get(keyword) ?? []), ...parameters]);
  }
  const limit = Number(offered.get('SIZE')?.[0]);
  return {
    pipelining: offered.has('PIPELINING'),
    startTls: offered.has('STARTTLS'),
    eightBitMime: offered.has('8BITMIME'),
    smtpUtf8: offered.has('SMTPUTF8'),
    size: offered.has('SIZE') ? { limit: Number.isSafeInteger(limit) && limit > 0 ? limit : null } : null,
    auth: new Set(offered.get('AUTH')),
  };
}
