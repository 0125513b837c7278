/** Characters of a value that are kept: more than any reply text has. */
const LONGEST_VALUE = 2000;

/**
 * A value from outside as one safe line: no control, format or line-breaking characters, no lone surrogates, no
 * repeated spaces, at most `longest` characters. `null` where nothing is left.
 */
export function oneLine(value: string | null | undefined, longest = LONGEST_VALUE): string | null {
  if (!value) return null;
  const line = value
    .slice(0, longest * 4)
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .trim()
    .slice(0, longest)
    .toWellFormed();
  return line === '' ? null : line;
}

/**
 * Decodes octets without ever failing: UTF-8 where they are that, else as ISO 8859-1, which takes every octet.
 */
export function decodeLeniently(octets: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(octets);
  } catch {
    return new TextDecoder('latin1').decode(octets);
  }
}
