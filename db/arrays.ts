/*
 * Arrays as parameters in PostgreSQL's binary form (`array_recv` in its arrayfuncs.c): how many dimensions, whether there
 * are nulls, the type of the elements, how many there are and the first index; then for each its length in octets, -1 for
 * null, and its octets. As text it looks at every character: of some hundred ids a statement, a tenth of all that a
 * broadcast costs it.
 */

/** Types by their numbers, of pg_type.dat. */
const UUID = 2950;
const INTEGER = 23;
const BIGINT = 20;
const TEXT = 25;
const HEADER_BYTES = 20;
const LENGTH_BYTES = 4;
const UUID_BYTES = 16;
/** Of a UTF-16 unit in UTF-8. */
const LONGEST_UNIT = 3;

/** @throws TypeError where one is no UUID */
export function uuidArray(values: readonly (string | null)[]): Buffer {
  return written(UUID, values, values.length * UUID_BYTES, writeUuid);
}

export function integerArray(values: readonly (number | null)[]): Buffer {
  return written(INTEGER, values, values.length * 4, (array, value, at) => array.writeInt32BE(value, at));
}

export function bigintArray(values: readonly (number | null)[]): Buffer {
  return written(BIGINT, values, values.length * 8, (array, value, at) =>
    array.writeBigInt64BE(BigInt(value), at),
  );
}

export function textArray(values: readonly (string | null)[]): Buffer {
  let most = 0;
  for (const value of values) if (value !== null) most += value.length * LONGEST_UNIT;
  return written(TEXT, values, most, (array, value, at) => at + array.write(value, at));
}

/**
 * @param most octets that the elements have at the most, without their lengths
 * @param write writes one element and says where it ends
 */
function written<T>(
  type: number,
  values: readonly (T | null)[],
  most: number,
  write: (array: Buffer, value: T, at: number) => number,
): Buffer {
  const array = Buffer.allocUnsafe(HEADER_BYTES + values.length * LENGTH_BYTES + most);
  array.writeInt32BE(1, 0);
  array.writeInt32BE(values.includes(null) ? 1 : 0, 4);
  array.writeInt32BE(type, 8);
  array.writeInt32BE(values.length, 12);
  array.writeInt32BE(1, 16);
  let at = HEADER_BYTES;
  for (const value of values) {
    const from = at + LENGTH_BYTES;
    const end = value === null ? from : write(array, value, from);
    array.writeInt32BE(value === null ? -1 : end - from, at);
    at = end;
  }
  return array.subarray(0, at);
}

const NO_DIGIT = 0xff;
/** Values of the hexadecimal digits by their character. */
const DIGITS = new Uint8Array(128).fill(NO_DIGIT);
for (let value = 0; value < 16; value += 1) {
  const digit = value.toString(16);
  DIGITS[digit.charCodeAt(0)] = value;
  DIGITS[digit.toUpperCase().charCodeAt(0)] = value;
}
/** Where the pairs of digits stand in a UUID. */
const PAIRS = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
const UUID_LENGTH = 36;

function writeUuid(array: Buffer, text: string, from: number): number {
  let seen = 0;
  for (let index = 0; index < UUID_BYTES; index += 1) {
    const pair = PAIRS[index]!;
    const high = DIGITS[text.charCodeAt(pair)] ?? NO_DIGIT;
    const low = DIGITS[text.charCodeAt(pair + 1)] ?? NO_DIGIT;
    seen |= high | low;
    array[from + index] = (high << 4) | low;
  }
  if (text.length !== UUID_LENGTH || seen > 15) throw new TypeError(`${text} is no UUID`);
  return from + UUID_BYTES;
}
