import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createReturnPath } from '../../../adapters/tokens/returnPath.ts';
import { createUnsubscribeTokens } from '../../../adapters/tokens/unsubscribeTokens.ts';
import { parseAddress } from '../../../domain/address.ts';

const key = (fill: number) => new Uint8Array(32).fill(fill);
const domain = 'bounce.example.com';
const returnPath = createReturnPath({ domain, keys: [key(1)] });
const sendId = '01890a5d-ac96-774b-bcce-b302099a8057';

describe('a return path', () => {
  it('comes back as the send that it was made for, whatever relays do to its letters', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.array(fc.boolean(), { minLength: 80, maxLength: 80 }), (id, raised) => {
        const address = returnPath.of(id);
        expect(returnPath.sendOf(address)).toBe(id);
        expect(returnPath.sendOf(address.toUpperCase())).toBe(id);
        const mixed = [...address].map((letter, at) => (raised[at] ? letter.toUpperCase() : letter)).join('');
        expect(returnPath.sendOf(mixed)).toBe(id);
      }),
    );
  });

  it('is an address like any other: lower case, letters and digits, at most 64 octets before the @', () => {
    const address = returnPath.of(sendId);
    expect(address).toMatch(/^b-[a-z2-7]{52}@bounce\.example\.com$/);
    expect(address.indexOf('@')).toBeLessThanOrEqual(64);
    expect(parseAddress(address)).toMatchObject({ given: address, domain });
  });

  it('is the same for every attempt, and differs between sends', () => {
    expect(returnPath.of(sendId)).toBe(returnPath.of(sendId));
    expect(returnPath.of(sendId)).not.toBe(returnPath.of('01890a5d-ac96-774b-bcce-b302099a8058'));
  });

  it('that was forged, cut off, lengthened or belongs to others is none', () => {
    const address = returnPath.of(sendId);
    const [localPart = ''] = address.split('@');
    const other = createReturnPath({ domain, keys: [key(2)] });
    const unsubscribe = createUnsubscribeTokens([key(1)]);
    for (const forged of [
      other.of(sendId),
      `b-${unsubscribe.issue('link', sendId)}@${domain}`,
      `b-${unsubscribe.issue('mail', sendId)}@${domain}`,
      `${localPart}@example.com`,
      `${localPart}@evil.${domain}`,
      localPart,
      `${localPart.slice(0, -1)}@${domain}`,
      `${localPart}a@${domain}`,
      `${localPart.slice(2)}@${domain}`,
      `x${address}`,
      `@${domain}`,
      '',
      `b-${'a'.repeat(10_000_000)}@${domain}`,
    ]) {
      expect(returnPath.sendOf(forged)).toBeNull();
    }
  });

  it('with any one letter changed is none', () => {
    const address = returnPath.of(sendId);
    for (let at = 2; at < address.indexOf('@'); at++) {
      const letter = address[at] === 'a' ? 'b' : 'a';
      expect(returnPath.sendOf(address.slice(0, at) + letter + address.slice(at + 1))).toBeNull();
    }
  });

  it('of whatever shape never throws', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => returnPath.sendOf(text) === null));
  });

  it('that an older key signed is still read; the first key signs', () => {
    const rotated = createReturnPath({ domain, keys: [key(9), key(1)] });
    expect(rotated.sendOf(returnPath.of(sendId))).toBe(sendId);
    expect(rotated.of(sendId)).toBe(createReturnPath({ domain, keys: [key(9)] }).of(sendId));
    expect(returnPath.sendOf(rotated.of(sendId))).toBeNull();
  });

  it('needs a key of 32 bytes', () => {
    expect(() => createReturnPath({ domain, keys: [] })).toThrow('no token key');
    expect(() => createReturnPath({ domain, keys: [new Uint8Array(31)] })).toThrow('32 bytes');
  });
});
