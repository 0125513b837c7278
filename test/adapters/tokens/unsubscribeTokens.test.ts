import { createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { describe, expect, test } from 'vitest';
import { createMac } from '../../../adapters/tokens/mac.ts';
import { createUnsubscribeTokens } from '../../../adapters/tokens/unsubscribeTokens.ts';
import { decodeBase32, encodeBase32 } from '../../../domain/base32.ts';
import { readToken } from '../../../domain/unsubscribeToken.ts';

const [KEY, OLD_KEY, LOST_KEY] = [1, 2, 3].map((fill) => new Uint8Array(32).fill(fill)) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
];
const tokens = createUnsubscribeTokens([KEY]);

describe('base32', () => {
  test.each([
    ['', ''],
    ['f', 'my'],
    ['fo', 'mzxq'],
    ['foo', 'mzxw6'],
    ['foob', 'mzxw6yq'],
    ['fooba', 'mzxw6ytb'],
    ['foobar', 'mzxw6ytboi'],
  ])('RFC 4648 section 10: %j is %j', (text, encoded) => {
    expect(encodeBase32(Buffer.from(text))).toBe(encoded);
    expect(Buffer.from(decodeBase32(encoded)!).toString()).toBe(text);
  });

  test('of every bytes, and only what encoding gives is decoded', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
        expect(decodeBase32(encodeBase32(bytes).toUpperCase())).toEqual(bytes);
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'abz27018=-A '), maxLength: 20 }), (text) => {
        const bytes = decodeBase32(text);
        if (bytes !== null) expect(encodeBase32(bytes)).toBe(text.toLowerCase());
      }),
      { numRuns: 2000 },
    );
  });
});

test('tags are the beginnings of HMAC-SHA256, whatever the key and the content', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 150 }),
      fc.string({ unit: 'grapheme', maxLength: 200 }),
      (key, content) => {
        const hmac = createHmac('sha256', key).update(content).digest();
        expect(Buffer.from(createMac(key)(content))).toEqual(hmac.subarray(0, 16));
      },
    ),
  );
});

describe('tokens', () => {
  test('are read for their purpose, in whichever letter case, and are the same every time', () => {
    const sendId = uuidv7();
    const token = tokens.issue('link', sendId);
    expect(token).toMatch(/^[a-z2-7]{52}$/);
    expect(tokens.issue('link', sendId)).toBe(token);
    expect(tokens.read('link', token)).toBe(sendId);
    expect(tokens.read('link', token.toUpperCase())).toBe(sendId);
    expect(tokens.read('mail', token)).toBeNull();
    expect(tokens.read('link', tokens.issue('mail', sendId))).toBeNull();
  });

  test('of an old key are read as long as it is kept; the first key signs', () => {
    const sendId = uuidv7();
    const old = createUnsubscribeTokens([OLD_KEY]).issue('link', sendId);
    const rotated = createUnsubscribeTokens([KEY, OLD_KEY]);
    expect(rotated.read('link', old)).toBe(sendId);
    expect(rotated.issue('link', sendId)).toBe(tokens.issue('link', sendId));
    expect(tokens.read('link', old)).toBeNull();
    expect(rotated.read('link', createUnsubscribeTokens([LOST_KEY]).issue('link', sendId))).toBeNull();
  });

  test('short keys and no keys are refused', () => {
    expect(() => createUnsubscribeTokens([])).toThrow('there is no token key');
    expect(() => createUnsubscribeTokens([KEY, randomBytes(31)])).toThrow('fewer than 32 bytes');
  });

  test('whatever is changed in a token, it is nobody’s: never a throw, never another send', () => {
    const sendIds = [uuidv7(), uuidv7()] as const;
    const issued = sendIds.map((id) => tokens.issue('link', id));
    const letter = fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz234567');
    const changed = fc.oneof(
      // One letter is another one.
      fc.tuple(fc.nat(51), letter).map(([at, to]) => issued[0]!.slice(0, at) + to + issued[0]!.slice(at + 1)),
      // The beginning of one token with the end of another.
      fc.nat(52).map((at) => issued[0]!.slice(0, at) + issued[1]!.slice(at)),
      // Cut off or lengthened.
      fc.nat(51).map((at) => issued[0]!.slice(0, at)),
      fc.string({ minLength: 1 }).map((more) => issued[0]! + more),
      // Made up.
      fc.array(letter, { minLength: 52, maxLength: 52 }).map((letters) => letters.join('')),
      fc.string({ unit: 'binary', maxLength: 100 }),
    );
    fc.assert(
      fc.property(changed, (text) => {
        const read = tokens.read('link', text);
        if (issued.includes(text)) expect(sendIds).toContain(read);
        else expect(read).toBeNull();
      }),
      { numRuns: 5000 },
    );
  });

  test('the letters beyond the last bit leave no second spelling of a token', () => {
    const token = tokens.issue('link', uuidv7());
    const spellings = [...'abcdefghijklmnopqrstuvwxyz234567'].filter(
      (letter) => readToken(token.slice(0, -1) + letter) !== null,
    );
    // The last letter holds one bit of the tag.
    expect(spellings).toEqual(['a', 'q']);
    expect(spellings.filter((letter) => tokens.read('link', token.slice(0, -1) + letter))).toHaveLength(1);
  });
});
