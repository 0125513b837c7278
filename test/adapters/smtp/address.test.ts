import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { malformedMailbox, needsSmtpUtf8 } from '../../../adapters/smtp/address.ts';

describe('mailboxes in commands', () => {
  it.each([
    'person@example.com',
    "o'neil+tag=x/y@example.com",
    '"two words"@example.com',
    '"a\\"b<c>@d"@example.com',
    'person@[192.0.2.1]',
    'person@[IPv6:2001:db8::1]',
    'Jörg@example.com',
    '用户@例え.テスト',
  ])('takes %j', (mailbox) => {
    expect(malformedMailbox(mailbox)).toBeNull();
  });

  it.each([
    '',
    'person',
    '@example.com',
    'person@',
    'a@b@example.com',
    'per son@example.com',
    'person@exam ple.com',
    'person@example.com>',
    '<person@example.com',
    'person@example.com> SIZE=1',
    'person@example.com\r\nRCPT TO:<other@example.com>',
    'person@example.com\n',
    'per\0son@example.com',
    '"line\r\nend"@example.com',
    '"unclosed@example.com',
    '"closed"tail@example.com',
    '"escape\\"@example.com',
    'half\ud800@example.com',
    'no\u00a0break@example.com',
    'next\u0085line@example.com',
    `${'x'.repeat(250)}@example.com`,
  ])('refuses %j', (mailbox) => {
    expect(malformedMailbox(mailbox)).toEqual(expect.any(String));
  });

  it('lets no address become more than one argument of one line', () => {
    const nasty = fc.string({
      unit: fc.constantFrom('a', '@', '"', '\\', ' ', '<', '>', '\r', '\n', '\0', '.', 'é'),
      maxLength: 20,
    });
    fc.assert(
      fc.property(nasty, (mailbox) => {
        if (malformedMailbox(mailbox) !== null) return;
        expect(mailbox).not.toMatch(/[\r\n\0]/);
        const unquoted = mailbox.replace(/^"(?:[^"\\]|\\.)*"/, 'quoted');
        expect(unquoted).not.toMatch(/[<>\s"]/);
        expect(unquoted.split('@')).toHaveLength(2);
      }),
      { numRuns: 2000 },
    );
  });

  it('knows which addresses need SMTPUTF8', () => {
    expect(needsSmtpUtf8('person@example.com')).toBe(false);
    expect(needsSmtpUtf8('person@xn--bcher-kva.example')).toBe(false);
    expect(needsSmtpUtf8('jörg@example.com')).toBe(true);
    expect(needsSmtpUtf8('person@bücher.example')).toBe(true);
  });
});
