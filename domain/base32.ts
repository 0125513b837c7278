const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';
/** What ten bits become. */
const PAIRS = Array.from({ length: 1024 }, (_, bits) => `${ALPHABET[bits >> 5]}${ALPHABET[bits & 31]}`);

/** Base32 of RFC 4648 section 6 in lower case, without padding: it survives what folds letters to one case. */
export function encodeBase32(bytes: Uint8Array): string {
  let text = '';
  let held = 0;
  let bits = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    if (bits >= 10) {
      bits -= 10;
      text += PAIRS[held >> bits]!;
      held &= (1 << bits) - 1;
    }
  }
  if (bits === 0) return text;
  const pair = PAIRS[held << (10 - bits)]!;
  return text + (bits > 5 ? pair : pair[0]);
}

/**
 * The bytes of {@link encodeBase32}, in whichever letter case.
 *
 * @returns `null` for every text that `encodeBase32` makes of no bytes
 */
export function decodeBase32(text: string): Uint8Array | null {
  if (!/^[a-z2-7]*$/i.test(text)) return null;
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8));
  let held = 0;
  let bits = 0;
  let length = 0;
  for (const letter of text.toLowerCase()) {
    held = (held << 5) | ALPHABET.indexOf(letter);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[length] = held >> bits;
      length += 1;
      held &= (1 << bits) - 1;
    }
  }
  // Bits left over are padding: fewer than a digit's, and zero, else two texts would mean the same bytes.
  return bits < 5 && held === 0 ? bytes : null;
}
