const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const SUFFIX = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ012345';

/**
 * The `n`-th record id of a key prefix, in its 18-character form: 15 case-sensitive characters, and three that tell the
 * letter case of five each, so that the whole can be compared without regard to it.
 *
 * Source: SOAP API Developer Guide, "ID Field Type" (field_types.htm).
 */
export function recordId(prefix: string, n: number): string {
  let rest = n;
  let body = '';
  for (let place = 0; place < 9; place += 1) {
    body = DIGITS[rest % 62] + body;
    rest = Math.floor(rest / 62);
  }
  return withSuffix(`${prefix}5g0${body}`);
}

/** The 18-character form of an id of 15 or 18 characters; `null` where it is neither. */
export function fullId(id: string): string | null {
  return /^[0-9A-Za-z]{15}(?:[A-Z0-5]{3})?$/.test(id) ? withSuffix(id.slice(0, 15)) : null;
}

function withSuffix(id: string): string {
  const suffix = [0, 5, 10].map((start) => {
    const bits = [...id.slice(start, start + 5)].map((letter, index) =>
      /[A-Z]/.test(letter) ? 1 << index : 0,
    );
    return SUFFIX[bits.reduce((sum, bit) => sum + bit, 0)];
  });
  return id + suffix.join('');
}
