import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import fc from 'fast-check';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDkimSigner, type DkimKey } from '../../../adapters/dkim/signer.ts';
import { composeMessage } from '../../../adapters/mailer/compose.ts';
import { type DnsServer, startDnsServer } from '../../support/dnsServer.ts';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ed25519 = generateKeyPairSync('ed25519');
const other = generateKeyPairSync('ed25519');

const rsaKey: DkimKey = { domain: 'example.com', selector: 'r1', privateKey: rsa.privateKey };
const edKey: DkimKey = { domain: 'example.com', selector: 'e1', privateKey: ed25519.privateKey };
const otherKey: DkimKey = { domain: 'example.net', selector: 'o1', privateKey: other.privateKey };

/** RFC 6376 section 3.6.1 and RFC 8463 section 4. */
function recordOf(publicKey: KeyObject): string {
  if (publicKey.asymmetricKeyType === 'rsa') {
    return `v=DKIM1; k=rsa; p=${publicKey.export({ type: 'spki', format: 'der' }).toString('base64')}`;
  }
  return `v=DKIM1; k=ed25519; p=${Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url').toString('base64')}`;
}

let dns: DnsServer;
let resolver: Resolver;

beforeAll(async () => {
  dns = await startDnsServer({
    'r1._domainkey.example.com': { TXT: [recordOf(rsa.publicKey)] },
    'e1._domainkey.example.com': { TXT: [recordOf(ed25519.publicKey)] },
    'o1._domainkey.example.net': { TXT: [recordOf(other.publicKey)] },
  });
  resolver = new Resolver({ timeout: 1_000, tries: 2 });
  resolver.setServers([dns.address]);
});
afterAll(() => dns.stop());

/** Verified by others' code, with keys from the DNS server. */
async function verified(message: Uint8Array) {
  const { results } = await dkimVerify(Buffer.from(message), {
    resolver: (name, type) => resolver.resolve(name, type) as Promise<string[][]>,
  });
  return results.map(({ signingDomain, selector, status }) => ({
    key: `${selector}.${signingDomain}`,
    result: status.result,
  }));
}

const message = (changes: Partial<Parameters<typeof composeMessage>[0]> = {}) =>
  composeMessage({
    messageId: '<1@example.com>',
    date: new Date('2026-11-02T09:00:00Z'),
    from: { name: 'Example', address: 'news@example.com' },
    to: 'jane@example.org',
    subject: 'Hello',
    html: '<p>Hello</p>',
    text: 'Hello',
    headers: {
      'List-Unsubscribe': '<https://example.com/u/1>, <mailto:u@example.com?subject=unsubscribe>',
      'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click',
      'Feedback-ID': 'a:b:c:heed',
    },
    ...changes,
  });

const BOTH_PASS = [
  { key: 'r1.example.com', result: 'pass' },
  { key: 'e1.example.com', result: 'pass' },
];

/** The message with its signatures in front, given as octets or as a text of them: both are signed alike. */
async function signedBy(
  keys: readonly DkimKey[],
  message: Buffer,
  fromDomain = 'example.com',
): Promise<Buffer> {
  const signer = createDkimSigner(keys, () => 1_700_000_000_000);
  const fields = await signer.signaturesOf(message, fromDomain);
  expect(await signer.signaturesOf(message.toString('latin1'), fromDomain)).toBe(fields);
  return Buffer.concat([Buffer.from(fields, 'latin1'), message]);
}

describe('a signed message', () => {
  it('has a valid signature of every key: RSA and Ed25519', async () => {
    const signed = await signedBy([rsaKey, edKey], await message());
    expect(await verified(signed)).toEqual(BOTH_PASS);
    expect(signed.subarray(-10)).toEqual((await message()).subarray(-10));
  });

  it('is valid whatever its content', async () => {
    const content = fc.string({ unit: 'grapheme', maxLength: 300 });
    await fc.assert(
      fc.asyncProperty(content, content, content, async (subject, text, html) => {
        const line = subject.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, ' ');
        const signed = await signedBy([edKey], await message({ subject: line, text, html }));
        expect(await verified(signed)).toEqual([BOTH_PASS[1]]);
      }),
      { numRuns: 50 },
    );
  });

  it.each([
    ['no body', 'From: news@example.com\r\nSubject: x\r\n\r\n'],
    ['no body and no empty line', 'From: news@example.com\r\nSubject: x\r\n'],
    ['empty lines at the end', 'From: news@example.com\r\n\r\nHello\r\n\r\n\r\n'],
    ['no line end at the end', 'From: news@example.com\r\n\r\nHello'],
    ['spaces wherever they may be', 'From:  news@example.com \r\nSubject:\tx \t y\r\n\r\n a \t b \r\n\t\r\n'],
    ['folded fields', 'From: news@example.com\r\nSubject: a\r\n b\r\n\tc\r\n\r\nHello\r\n'],
    ['UTF-8 in its header', 'From: news@example.com\r\nTo: jörg@example.org\r\n\r\nGrüße\r\n'],
    ['two fields of one name', 'From: news@example.com\r\nList-Id: <1>\r\nList-Id: <2>\r\n\r\nHello\r\n'],
    ['an empty field', 'From: news@example.com\r\nSubject:\r\n\r\nHello\r\n'],
  ])('with %s is valid too', async (_, text) => {
    const signed = await signedBy([rsaKey, edKey], Buffer.from(text));
    expect(await verified(signed)).toEqual(BOTH_PASS);
  });

  it('has lines that no server has reason to break', async () => {
    const signed = await signedBy([rsaKey, edKey], await message());
    const signatures = signed.toString('latin1').split('\r\nContent-Type')[0]!.split('\r\nFrom')[0]!;
    for (const line of signatures.split('\r\n')) expect(line.length).toBeLessThanOrEqual(78);
  });

  it.each<[string, (text: string) => string]>([
    ['the subject', (text) => text.replace('Subject: Hello', 'Subject: Other')],
    ['the unsubscribe link', (text) => text.replace('example.com/u/1', 'example.com/u/2')],
    ['one-click', (text) => text.replace('One-Click', 'No-Click')],
    ['the Feedback-ID', (text) => text.replace('a:b:c', 'a:b:d')],
    ['the body', (text) => text.replace('<p>Hello', '<p>Bye')],
    ['a second From', (text) => `From: other@example.com\r\n${text}`],
    ['a second Subject', (text) => `Subject: Other\r\n${text}`],
    ['a Reply-To where there was none', (text) => `Reply-To: other@example.com\r\n${text}`],
  ])('is no longer valid when somebody changes or adds %s', async (_, change) => {
    const signed = await signedBy([rsaKey, edKey], await message());
    const changed = change(signed.toString('latin1'));
    expect(changed).not.toBe(signed.toString('latin1'));
    const results = await verified(Buffer.from(changed, 'latin1'));
    expect(results).toHaveLength(2);
    expect(results.every(({ result }) => result === 'fail' || result === 'neutral')).toBe(true);
  });
});

describe('keys', () => {
  const signers = async (keys: DkimKey[], fromDomain: string) =>
    (await verified(await signedBy(keys, await message(), fromDomain))).map(({ key }) => key);

  it('are those of the domain that the message is from, or of its parent', async () => {
    const keys = [rsaKey, otherKey];
    expect(await signers(keys, 'example.com')).toEqual(['r1.example.com']);
    expect(await signers(keys, 'news.example.com')).toEqual(['r1.example.com']);
    expect(await signers(keys, 'EXAMPLE.NET')).toEqual(['o1.example.net']);
    expect(await signers(keys, 'notexample.com')).toEqual(['r1.example.com', 'o1.example.net']);
  });

  it('are all of them where none is of that domain; none make no signature', async () => {
    expect(await signers([rsaKey, otherKey], 'example.org')).toEqual(['r1.example.com', 'o1.example.net']);
    expect(await createDkimSigner([]).signaturesOf(await message(), 'example.com')).toBe('');
  });
});
