import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Check, Looked } from '../../tools/doctor/check.ts';
import { judgeClock } from '../../tools/doctor/judge/clock.ts';
import { judgeRelay, judgeWayOut } from '../../tools/doctor/judge/conversation.ts';
import { judgeDkimKey, judgeDkimKeys } from '../../tools/doctor/judge/dkim.ts';
import { asksForStrictDkim, judgeDmarc } from '../../tools/doctor/judge/dmarc.ts';
import { judgeEhloName, judgeReverse } from '../../tools/doctor/judge/hostNames.ts';
import { judgeReturnTrial, type ReturnTrial } from '../../tools/doctor/judge/returnDomain.ts';
import { judgeSpf, judgeSpfOfRelay } from '../../tools/doctor/judge/spf.ts';
import { judgeCertificate, judgeTls, type TlsTrial } from '../../tools/doctor/judge/tls.ts';

/*
 * Every judgement once: the status, and what the reader is told to do. What is in order has nothing to do.
 */

const NAME = 'mail.example.com';
const DNS_SILENT = { failure: 'ETIMEOUT' };
const NONE = { records: [] };
const records = <T>(...found: T[]): Looked<T> => ({ records: found });

function expectCheck(check: Check, status: Check['status'], fix: RegExp | null, found = /./): void {
  expect(check.status).toBe(status);
  expect(check.found).toMatch(found);
  if (fix === null) expect(check.fix).toBeNull();
  else expect(check.fix).toMatch(fix);
}

describe('EHLO name', () => {
  it.each([
    ['with an address', NAME, records('192.0.2.7'), 'ok', null],
    ['without an address', NAME, NONE, 'fail', /Publish an A record for mail\.example\.com/],
    ['that is one label', 'localhost', records('127.0.0.1'), 'fail', /Set HEED_EHLO_NAME/],
    ['that is an address literal', '[192.0.2.7]', NONE, 'fail', /Set HEED_EHLO_NAME/],
    ['that DNS is silent about', NAME, DNS_SILENT, 'warn', /name servers/],
  ] as const)('%s', (_, name, addresses, status, fix) => {
    expectCheck(judgeEhloName(name, addresses), status, fix);
  });
});

describe('PTR', () => {
  const back = (name: string, ...addresses: string[]) => ({ name, addresses });
  it.each([
    ['that is confirmed', records(back(NAME, '192.0.2.7')), 'ok', null],
    ['that is one of several', records(back('x.example', '192.0.2.7'), back(NAME, '192.0.2.7')), 'ok', null],
    ['that is not there', NONE, 'fail', /set its PTR record to mail\.example\.com/],
    ['whose name is elsewhere', records(back(NAME, '192.0.2.8')), 'fail', /A or AAAA record/],
    [
      'of another name',
      records(back('host7.example', '192.0.2.7')),
      'warn',
      /HEED_EHLO_NAME to host7\.example/,
    ],
    ['that DNS is silent about', DNS_SILENT, 'warn', /name servers/],
  ] as const)('%s', (_, names, status, fix) => {
    expectCheck(judgeReverse('192.0.2.7', NAME, names), status, fix);
  });

  it('letter case of our name makes no difference', () => {
    const names = records(back(NAME, '192.0.2.7'));
    expectCheck(judgeReverse('192.0.2.7', 'Mail.Example.COM', names), 'ok', null);
  });
});

describe('SPF', () => {
  it.each([
    ['pass', 'v=spf1 ip4:192.0.2.7 -all', 'ok', null],
    ['pass', 'v=spf1 +all', 'warn', /-all or ~all/],
    ['pass', 'v=spf1 all', 'warn', /-all or ~all/],
    ['none', null, 'fail', /Publish a TXT record of example\.com: "v=spf1 ip4:192\.0\.2\.7 -all"/],
    ['fail', 'v=spf1 -all', 'fail', /Add ip4:192\.0\.2\.7/],
    ['softfail', 'v=spf1 ~all', 'fail', /Add ip4:192\.0\.2\.7/],
    ['neutral', 'v=spf1 ?all', 'fail', /Add ip4:192\.0\.2\.7/],
    ['permerror', 'v=spf1 include:a.test', 'fail', /at most 10 lookups/],
    ['temperror', null, 'warn', /name servers/],
  ] as const)('%s of %s', (result, record, status, fix) => {
    const check = judgeSpf('example.com', '192.0.2.7', { result, record, comment: null });
    expectCheck(check, status, fix);
  });

  it('an address of IPv6 is named as such', () => {
    const check = judgeSpf('example.com', '2001:db8::7', { result: 'none', record: null, comment: null });
    expectCheck(check, 'fail', /"v=spf1 ip6:2001:db8::7 -all"/);
  });

  it.each([
    ['a record', records('v=spf1 include:relay.example -all'), 'ok', null],
    ['none', records('v=verification'), 'fail', /that the owner of relay\.example names/],
    ['two', records('v=spf1 -all', 'v=spf1 ~all'), 'fail', /one/],
    ['one for everybody', records('v=spf1 +all'), 'warn', /-all or ~all/],
    ['silence', DNS_SILENT, 'warn', /name servers/],
  ] as const)('with a relay: %s', (_, texts, status, fix) => {
    expectCheck(judgeSpfOfRelay('example.com', 'relay.example', texts), status, fix);
  });
});

describe('DKIM key', () => {
  const rsa = (modulusLength: number) => generateKeyPairSync('rsa', { modulusLength }).publicKey;
  const good = rsa(2048);
  const short = rsa(1024);
  const tooShort = rsa(768);
  const ed25519 = generateKeyPairSync('ed25519').publicKey;
  const spki = (key: KeyObject) => key.export({ type: 'spki', format: 'der' }).toString('base64');
  const pkcs1 = good.export({ type: 'pkcs1', format: 'der' }).toString('base64');
  const raw = Buffer.from(ed25519.export({ format: 'jwk' }).x!, 'base64url').toString('base64');

  it.each([
    ['as RFC 6376 has it', good, `v=DKIM1; k=rsa; p=${spki(good)}`, 'ok', null],
    ['in the bare form', good, `p=${pkcs1}`, 'ok', null],
    ['with spaces in the key', good, `v=DKIM1;p=${spki(good).replace(/(.{60})/g, '$1 ')}`, 'ok', null],
    ['Ed25519', ed25519, `v=DKIM1; k=ed25519; p=${raw}`, 'ok', null],
    ['with what it allows', good, `v=DKIM1; h=sha1:sha256; s=*; p=${spki(good)}`, 'ok', null],
    ['of another key', good, `v=DKIM1; p=${spki(short)}`, 'fail', /Publish a TXT record.* Or sign with/],
    ['revoked', good, 'v=DKIM1; p=', 'fail', /Publish a TXT record of s1\._domainkey\.example\.com/],
    ['of another version', good, `v=DKIM2; p=${spki(good)}`, 'fail', /v=DKIM1/],
    ['without its type', ed25519, `v=DKIM1; p=${raw}`, 'fail', /k=ed25519/],
    ['for another hash', good, `v=DKIM1; h=sha1; p=${spki(good)}`, 'fail', /Take h= out/],
    ['for another service', good, `v=DKIM1; s=tlsrpt; p=${spki(good)}`, 'fail', /Take s= out/],
    ['for testing', good, `v=DKIM1; t=y:s; p=${spki(good)}`, 'warn', /Take t=y out/],
    ['of 1024 bits', short, `v=DKIM1; p=${spki(short)}`, 'warn', /2048 bits/],
    ['of 768 bits', tooShort, `v=DKIM1; p=${spki(tooShort)}`, 'fail', /2048 bits/],
  ] as const)('published %s', (_, key, text, status, fix) => {
    expectCheck(judgeDkimKey('s1._domainkey.example.com', key, records(text)), status, fix);
  });

  it('that is not published, or twice, or that DNS is silent about', () => {
    const judge = (texts: Looked<string>) => judgeDkimKey('s1._domainkey.example.com', good, texts);
    expectCheck(judge(NONE), 'fail', new RegExp(`"v=DKIM1; k=rsa; p=${spki(good).slice(0, 20)}`));
    expectCheck(judge(records('v=DKIM1; p=a', 'v=DKIM1; p=b')), 'fail', /Leave one/);
    expectCheck(judge(DNS_SILENT), 'warn', /name servers/);
  });
});

describe('DKIM keys for a From domain', () => {
  const DIRECT = { isDirect: true, strict: false };
  it.each([
    ['of the domain', ['example.com'], DIRECT, 'ok', null],
    ['of a domain below it', ['mail.example.com'], DIRECT, 'ok', null],
    [
      'of a domain below it, where alignment is strict',
      ['mail.example.com'],
      { isDirect: true, strict: true },
      'fail',
      /Make a key of example\.com/,
    ],
    [
      'of the very domain, where alignment is strict',
      ['example.com'],
      { isDirect: true, strict: true },
      'ok',
      null,
    ],
    ['of another domain', ['example.net'], DIRECT, 'fail', /Make a key of example\.com/],
    ['none, delivering directly', [], DIRECT, 'fail', /HEED_DKIM_KEYS/],
    [
      'none, through a relay',
      [],
      { isDirect: false, strict: false },
      'warn',
      /Make sure that the relay does/,
    ],
  ] as const)('%s', (_, domains, options, status, fix) => {
    const keys = domains.map((domain) => ({ domain, type: 'rsa' }));
    expectCheck(judgeDkimKeys('example.com', keys, options), status, fix);
  });

  it('two customers of one hosting provider are of different organizations', () => {
    const keys = [{ domain: 'one.github.io', type: 'rsa' }];
    expectCheck(judgeDkimKeys('two.github.io', keys, DIRECT), 'fail', /Make a key of two\.github\.io/);
  });

  it('a key that signs nothing from this domain does not count, though it is of its organization', () => {
    const keys = [
      { domain: 'example.com', type: 'ed25519' },
      { domain: 'mail.example.com', type: 'rsa' },
    ];
    expectCheck(judgeDkimKeys('example.com', keys, DIRECT), 'warn', /Add an RSA key/);
  });

  it('Ed25519 alone is not enough for every receiver', () => {
    const keys = [{ domain: 'example.com', type: 'ed25519' }];
    expectCheck(judgeDkimKeys('example.com', keys, DIRECT), 'warn', /Add an RSA key/);
  });
});

describe('DMARC', () => {
  const of = (texts: Looked<string>, at = '_dmarc.example.com', domain = 'example.com') => ({
    domain,
    at,
    texts,
  });
  it.each([
    ['a record', of(records('v=DMARC1; p=none; rua=mailto:d@example.com')), 'ok', null, /p=none/],
    ['none', of(records('v=other')), 'fail', /_dmarc\.example\.com: "v=DMARC1; p=none/, /no record/],
    ['two', of(records('v=DMARC1; p=none', 'v=DMARC1; p=reject')), 'fail', /Leave one/, /several/],
    [
      'one without a policy',
      of(records('v=DMARC1; rua=mailto:d@example.com')),
      'fail',
      /p=none/,
      /no policy/,
    ],
    ['one that is misspelt', of(records('v=DMARC1; p=rejct')), 'fail', /p=reject/, /no policy/],
    [
      'that of the organization, for the domains below it',
      of(records('v=DMARC1; p=none; sp=reject'), '_dmarc.example.com', 'news.example.com'),
      'ok',
      null,
      /sp=reject, at _dmarc\.example\.com/,
    ],
    ['silence', of(DNS_SILENT), 'warn', /name servers/, /ETIMEOUT/],
  ] as const)('%s', (_, found, status, fix, text) => {
    expectCheck(judgeDmarc(found), status, fix, text);
  });

  it('tells whether it asks for strict alignment', () => {
    expect(asksForStrictDkim(of(records('v=DMARC1; p=none; adkim=s')))).toBe(true);
    expect(asksForStrictDkim(of(records('v=DMARC1; p=none; adkim=r')))).toBe(false);
    expect(asksForStrictDkim(of(NONE))).toBe(false);
    expect(asksForStrictDkim(of(DNS_SILENT))).toBe(false);
  });
});

describe('return domain', () => {
  it.each([
    ['taken', 'ok', null],
    ['refused', 'fail', /same HEED_TOKEN_KEYS/],
    ['deferred', 'warn', /Try again/],
    ['unreachable', 'warn', /Open port 25/],
  ] as const)('%s', (outcome: ReturnTrial['outcome'], status, fix) => {
    const check = judgeReturnTrial('bounce.example.com', { server: NAME, outcome, detail: '550 no' });
    expectCheck(check, status, fix, /mail\.example\.com/);
  });

  it.each([
    ['verified', 'ok', null],
    ['encrypted', 'warn', /name in the MX record/],
    ['none', 'warn', /HEED_INBOUND_CERTIFICATE/],
  ] as const)('TLS %s', (protection: TlsTrial['protection'], status, fix) => {
    expectCheck(judgeTls({ server: NAME, protection, detail: 'it does not fit' }), status, fix);
  });
});

describe('certificate', () => {
  const NOW = new Date('2026-03-02T10:00:00Z');
  const inDays = (days: number) => new Date(NOW.getTime() + days * 86_400_000);
  const facts = { matchesName: true, matchesKey: true, validTo: inDays(60) };
  it.each([
    ['good', facts, 'ok', null],
    ['that runs out soon', { ...facts, validTo: inDays(5) }, 'warn', /Renew it/],
    ['that ran out', { ...facts, validTo: inDays(-1) }, 'fail', /Renew it/],
    ['of another name', { ...facts, matchesName: false }, 'warn', /made for mail\.example\.com/],
    ['of another key', { ...facts, matchesKey: false }, 'fail', /Set HEED_INBOUND_KEY/],
    ['that cannot be read', 'ENOENT', 'fail', /HEED_INBOUND_CERTIFICATE/],
  ] as const)('%s', (_, found, status, fix) => {
    expectCheck(judgeCertificate(NAME, found, NOW), status, fix);
  });
});

describe('ways out', () => {
  it.each([
    ['connect', 'fail', /port 25/],
    ['DNS', 'warn', /--probe/],
    ['starttls', 'warn', /HEED_DIRECT_TLS/],
    ['greeting', 'warn', /blocklist/],
  ] as const)('to a mail server, ended in %s', (phase, status, fix) => {
    expectCheck(judgeWayOut('example.net', { phase, detail: 'it says no' }), status, fix);
  });

  it.each([
    ['connect', /host and port of HEED_SMTP_URL/],
    ['starttls', /tls= of HEED_SMTP_URL/],
    ['auth', /user and password/],
    ['greeting', /owner of the server/],
  ] as const)('to the relay, ended in %s', (phase, fix) => {
    expectCheck(judgeRelay('relay.example:587', { phase, detail: 'it says no' }), 'fail', fix);
  });

  it('are in order where a conversation came about', () => {
    expectCheck(judgeWayOut('example.net', null), 'ok', null);
    expectCheck(judgeRelay('relay.example:587', null), 'ok', null);
  });
});

describe('clock', () => {
  it.each([
    [1_400, 'ok', null],
    [-29_000, 'ok', null],
    [31_000, 'warn', /NTP/],
    [-299_000, 'warn', /NTP/],
    [301_000, 'fail', /NTP/],
    ['there is no way', 'warn', /--clock/],
  ] as const)('%s', (ahead, status, fix) => {
    expectCheck(judgeClock(ahead), status, fix);
  });
});
