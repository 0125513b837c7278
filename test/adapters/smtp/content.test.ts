import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { wireContent } from '../../../adapters/smtp/content.ts';

/** What a receiver makes of it, RFC 5321 section 4.5.2. */
function unstuffed(octets: Buffer): string {
  return octets.toString('latin1').replace(/^\./, '').replaceAll('\r\n.', '\r\n');
}

describe('content for DATA', () => {
  it('is the very same bytes where nothing has to change', () => {
    const content = Buffer.from('Subject: x\r\n\r\na.b\r\n');
    const wire = wireContent(content)!;
    expect(wire.octets.buffer).toBe(content.buffer);
    expect(wire).toMatchObject({ size: content.length, eightBit: false });
  });

  it.each([
    ['.\r\n', '..\r\n'],
    ['..\r\n', '...\r\n'],
    ['a\r\n.\r\nb\r\n', 'a\r\n..\r\nb\r\n'],
    ['a\r\n.b', 'a\r\n..b\r\n'],
    ['', '\r\n'],
    ['a', 'a\r\n'],
    ['a.\r\n', 'a.\r\n'],
  ])('makes %j into %j', (content, expected) => {
    expect(wireContent(Buffer.from(content))!.octets.toString()).toBe(expected);
  });

  it.each(['a\nb\r\n', 'a\rb\r\n', 'a\r', '\n', 'a\r\r\n', 'a\r\n\n', '\n.\n', '\r\n\n.\r\n'])(
    'refuses %j, whose line ends servers read differently',
    (content) => {
      expect(wireContent(Buffer.from(content))).toBeNull();
    },
  );

  it('counts the size without stuffed dots and sees octets above 127', () => {
    expect(wireContent(Buffer.from('.\r\n.ü'))).toMatchObject({ size: 8, eightBit: true });
  });

  it('can be undone by the receiver, and shows the final dot to nobody', () => {
    const piece = fc.constantFrom('.', '..', '\r\n', 'a', '\r\n.\r\n', '\xff', ' ');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
        const content = pieces.join('');
        const { octets, size } = wireContent(Buffer.from(content, 'latin1'))!;
        expect(unstuffed(octets)).toBe(content.endsWith('\r\n') ? content : `${content}\r\n`);
        expect(size).toBe(unstuffed(octets).length);
        expect(`\r\n${octets.toString('latin1')}`.includes('\r\n.\r\n')).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  it('takes a view into a larger buffer for what it shows', () => {
    const whole = new Uint8Array(Buffer.from('XX.a\r\nYY'));
    expect(wireContent(whole.subarray(2, 6))!.octets.toString()).toBe('..a\r\n');
  });
});
