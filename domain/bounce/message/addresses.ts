import { oneLine } from './text.ts';

/** RFC 5321 section 4.5.3.1: 64 octets, an at sign and 255 octets. */
const LONGEST_ADDRESS = 320;
/** Controls and invisible characters end a word as spaces do. */
const SPACE = '\\s\\p{Cc}\\p{Cf}\\p{Cs}';
const LOCAL_PART = `(?:"[^"${SPACE}@<>]{1,64}"|[^${SPACE}<>()[\\]{},;:"'\\\\|@]{1,200})`;
const DOMAIN = '[\\p{L}\\p{N}](?:[\\p{L}\\p{N}_-]{0,62}\\.?){1,40}';
/** The lookbehind makes a long word without an at sign cost one attempt, not one for each of its characters. */
const IN_TEXT = new RegExp(`(?<![^${SPACE}<>()[\\]{},;:"'|=/])${LOCAL_PART}@${DOMAIN}`, 'gu');

/** An address in a text and where it stands. */
export interface FoundAddress {
  readonly address: string;
  readonly index: number;
  readonly end: number;
}

/** Every email address in a line of text, in its order; `mailto:` links and full stops around them left out. */
export function addressesIn(line: string): FoundAddress[] {
  if (!line.includes('@')) return [];
  const found: FoundAddress[] = [];
  for (const match of line.matchAll(IN_TEXT)) {
    const address = match[0].replace(/^mailto:/i, '').replace(/[.\-_]+$/, '');
    if (!/@.*\p{L}|@\d+\.\d+/u.test(address) || address.length > LONGEST_ADDRESS) continue;
    found.push({ address, index: match.index, end: match.index + match[0].length });
  }
  return found;
}

/**
 * The address in a field such as Final-Recipient: `rfc822; <jane@example.com>` (RFC 3464 section 2.3), without address
 * type, angle brackets, comment and source route; `\x{e9}` as RFC 6533 section 3 has it. `null` where there is none.
 */
export function addressInField(value: string | undefined): string | null {
  const line = oneLine(value, 4 * LONGEST_ADDRESS);
  if (line === null) return null;
  const untyped = line.replace(/^[A-Za-z0-9-]{1,20}\s*;\s*/, '');
  const bracketed = /<([^<>]*)>/.exec(untyped)?.[1] ?? untyped;
  const unrouted = bracketed.replace(/^(?:@[^@:,\s]+,?){1,10}:/, '');
  const bare = unrouted
    .replace(/^(?:mailto|smtp):/i, '')
    .replace(/\\x\{([0-9a-f]{1,6})\}/gi, (whole, hex: string) => {
      const point = Number.parseInt(hex, 16);
      return point > 0x20 && point <= 0x10ffff ? String.fromCodePoint(point) : whole;
    });
  const address = oneLine(/^"[^"]{1,64}"@\S+|[^\s<>,;()]+@[^\s<>,;()]+/.exec(bare)?.[0], LONGEST_ADDRESS);
  return address === null ? null : address.replace(/[.:]+$/, '');
}

/** Whether two addresses are one, as far as a report can be trusted to keep their letter case. */
export function sameAddress(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

/** Addresses without repetition, the first spelling of each. */
export function distinct(addresses: readonly string[]): string[] {
  const seen = new Map<string, string>();
  for (const address of addresses) {
    const key = address.toLowerCase();
    if (!seen.has(key)) seen.set(key, address);
  }
  return [...seen.values()];
}
