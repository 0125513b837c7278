import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createMtaSts, type FindPolicy } from '../../../adapters/mailer/direct/mtaSts.ts';
import { freePort } from '../../../tools/embedded/service.ts';
import { type DnsServer, startDnsServer } from '../../support/dnsServer.ts';
import type { ScriptedPeer, ScriptedSmtp } from '../../support/scriptedSmtp.ts';
import { selfSignedCertificate } from '../../support/selfSignedCertificate.ts';
import type { Answers } from '../smtp/dialogue.ts';
import { mailServerAt, type Neighbourhood, neighbourhood, reserveNone, sendTo } from './support.ts';

/*
 * MTA-STS (RFC 8461) with DNS, HTTPS and SMTP servers on loopback.
 */

const POLICY_HOST = 'mta-sts.example.org';
const RECORD = '_mta-sts.example.org';
const DAY_S = 86_400;

const policy = (mode: string, ...mx: string[]) =>
  ['version: STSv1', `mode: ${mode}`, ...mx.map((host) => `mx: ${host}`), `max_age: ${DAY_S}`, ''].join('\n');

interface Page {
  status: number;
  type: string;
  body: string;
  location?: string;
}

let dns: DnsServer;
let https: Server;
let authorities: string;
let otherAuthority: string;
let page: Page;
/** Paths that were asked for. */
let asked: string[] = [];
let now: number;
let find: FindPolicy;

beforeAll(async () => {
  const certificate = await selfSignedCertificate(POLICY_HOST);
  authorities = certificate.cert;
  otherAuthority = (await selfSignedCertificate(POLICY_HOST)).cert;
  dns = await startDnsServer({});
  https = createServer(certificate, (request, response) => {
    asked.push(`${request.headers.host} ${request.url}`);
    const { status, type, body, location } = page;
    response.writeHead(status, { 'content-type': type, ...(location && { location }) }).end(body);
  }).listen(0, '127.0.0.1');
  await once(https, 'listening');
});
afterAll(async () => {
  https.closeAllConnections();
  https.close();
  await dns.stop();
});
beforeEach(() => {
  now = 0;
  asked = [];
  page = { status: 200, type: 'text/plain; charset=utf-8', body: policy('enforce', 'mx1.example.org') };
  for (const name of Object.keys(dns.zone)) delete dns.zone[name];
  dns.zone[RECORD] = { TXT: ['v=STSv1; id=1;'] };
  dns.zone[POLICY_HOST] = { A: ['127.0.0.1'] };
  find = finder();
});

function finder(more: Partial<Parameters<typeof createMtaSts>[0]> = {}): FindPolicy {
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([dns.address]);
  return createMtaSts({
    resolver,
    allowPrivateAddresses: true,
    port: (https.address() as AddressInfo).port,
    certificateAuthorities: authorities,
    clock: () => now,
    ...more,
  });
}

describe('a policy', () => {
  it('to be enforced names the servers, also with a wildcard of one label', async () => {
    page.body = policy('enforce', 'mx1.example.org', '*.mail.example.net');
    const found = await find('example.org');
    const allowed = ['mx1.example.org', 'MX1.example.org', 'a.mail.example.net'];
    const others = [
      'mx2.example.org',
      'mail.example.net',
      'a.b.mail.example.net',
      'mx1.example.org.evil.test',
    ];
    expect([...allowed, ...others].map((host) => found!.allows(host))).toEqual([
      ...allowed.map(() => true),
      ...others.map(() => false),
    ]);
    expect(asked).toEqual([
      `${POLICY_HOST}:${(https.address() as AddressInfo).port} /.well-known/mta-sts.txt`,
    ]);
  });

  it.each(['testing', 'none'])('of mode %s asks nothing', async (mode) => {
    page.body = policy(mode, 'mx1.example.org');
    expect(await find('example.org')).toBeNull();
  });

  it('of a domain without a record is not fetched', async () => {
    delete dns.zone[RECORD];
    expect(await find('example.org')).toBeNull();
    expect(asked).toEqual([]);
  });

  it.each<[string, () => void]>([
    [
      'at an address where something else was moved to',
      () => Object.assign(page, { status: 301, location: '/x' }),
    ],
    ['that is not there', () => Object.assign(page, { status: 404 })],
    ['of another type', () => Object.assign(page, { type: 'text/html' })],
    [
      'that is too long',
      () => Object.assign(page, { body: policy('enforce', 'mx1.example.org') + 'x'.repeat(70_000) }),
    ],
    ['of another version', () => Object.assign(page, { body: page.body.replace('STSv1', 'STSv2') })],
    ['without an age', () => Object.assign(page, { body: page.body.replace(/max_age.*/, '') })],
    [
      'with two records',
      () => Object.assign(dns.zone, { [RECORD]: { TXT: ['v=STSv1; id=1', 'v=STSv1; id=2'] } }),
    ],
    [
      'with a malformed record',
      () => Object.assign(dns.zone, { [RECORD]: { TXT: ['v=STSv1; id=not-an-id;'] } }),
    ],
    ['with name servers that fail', () => Object.assign(dns.zone, { [RECORD]: { fails: 'SERVFAIL' } })],
    ['whose host has no address', () => Object.assign(dns.zone, { [POLICY_HOST]: {} })],
    ['whose host does not answer', () => Object.assign(dns.zone, { [POLICY_HOST]: { A: ['127.0.0.99'] } })],
  ])('%s counts as none, and nothing is thrown', async (_, spoil) => {
    spoil();
    expect(await find('example.org')).toBeNull();
  });

  it('behind a certificate that nobody vouches for, or of another name, counts as none', async () => {
    expect(await finder({ certificateAuthorities: otherAuthority })('example.org')).toBeNull();
    dns.zone['_mta-sts.example.net'] = { TXT: ['v=STSv1; id=1;'] };
    dns.zone['mta-sts.example.net'] = { A: ['127.0.0.1'] };
    expect(await find('example.net')).toBeNull();
    expect(asked).toEqual([]);
  });

  it('is never looked for inside our own network, unless told so', async () => {
    expect(await finder({ allowPrivateAddresses: false })('example.org')).toBeNull();
    expect(asked).toEqual([]);
  });
});

describe('a policy that is known', () => {
  it('is fetched once, however many ask, and again when its record says that it is another one', async () => {
    await Promise.all(Array.from({ length: 5 }, () => find('example.org')));
    now += 600_000;
    expect((await find('example.org'))!.allows('mx1.example.org')).toBe(true);
    expect(asked).toHaveLength(1);

    page.body = policy('enforce', 'mx2.example.org');
    dns.zone[RECORD] = { TXT: ['v=STSv1; id=2;'] };
    now += 600_000;
    const found = await find('example.org');
    expect([found!.allows('mx1.example.org'), found!.allows('mx2.example.org')]).toEqual([false, true]);
    expect(asked).toHaveLength(2);
  });

  it.each<[string, () => void]>([
    ['its record is gone', () => delete dns.zone[RECORD]],
    ['its name servers fail', () => Object.assign(dns.zone, { [RECORD]: { fails: 'SERVFAIL' } })],
    [
      'a new one cannot be fetched',
      () => {
        dns.zone[RECORD] = { TXT: ['v=STSv1; id=2;'] };
        page.status = 500;
      },
    ],
  ])('holds to the end of its age though %s', async (_, spoil) => {
    await find('example.org');
    spoil();
    now = DAY_S * 1_000 - 1;
    expect(await find('example.org')).not.toBeNull();
    now = DAY_S * 1_000 + 400_000;
    expect(await find('example.org')).toBeNull();
  });

  it('is taken back by one that is not to be enforced any more', async () => {
    await find('example.org');
    page.body = policy('none');
    dns.zone[RECORD] = { TXT: ['v=STSv1; id=2;'] };
    now += 600_000;
    expect(await find('example.org')).toBeNull();
  });
});

describe('mail to a domain with a policy', () => {
  const running: ScriptedSmtp[] = [];
  let around: Neighbourhood | undefined;
  afterEach(async () => {
    await Promise.all(running.splice(0).map((server) => server.stop()));
    await around?.close();
    around = undefined;
  });

  /** Mail servers mx1 and mx2 of example.org, at 127.0.0.1 and 127.0.0.2. */
  async function start(answers: readonly Answers[], trusted: string) {
    const port = await freePort();
    const servers: ScriptedSmtp[] = [];
    for (const [index, each] of answers.entries()) {
      servers.push(await mailServerAt(`127.0.0.${index + 1}`, port, each));
    }
    running.push(...servers);
    const zone = {
      'example.org': {
        MX: answers.map((_, index) => [index, `mx${index + 1}.example.org`] as const),
      },
      ...Object.fromEntries(
        answers.map((_, index) => [`mx${index + 1}.example.org`, { A: [`127.0.0.${index + 1}`] }]),
      ),
    };
    around = await neighbourhood(port, zone, { findPolicy: find, certificateAuthorities: trusted });
    return { mailer: around.mailer, servers };
  }

  const withTls = (certificate: { key: string; cert: string }): Answers => ({
    starttls: (peer: ScriptedPeer) => {
      peer.send('220 2.0.0 go ahead\r\n');
      peer.startTls(certificate);
    },
  });

  const failsHandshake: Answers = {
    starttls: (peer) => {
      peer.send('220 2.0.0 go ahead\r\n');
      peer.reset();
    },
  };

  it('goes to the servers that it names alone, encrypted and verified', async () => {
    const certificate = await selfSignedCertificate('mx2.example.org');
    page.body = policy('enforce', 'mx2.example.org');
    const { mailer, servers } = await start([{}, withTls(certificate)], certificate.cert);
    expect(await sendTo(mailer, 'example.org')).toMatchObject({ kind: 'accepted' });
    expect(servers[0]!.peers).toHaveLength(0);
    expect(servers[1]!.peers[0]!.received).toMatch(/STARTTLS/);
  });

  it.each<[string, (certificate: { key: string; cert: string }) => Answers]>([
    ['offers no encryption', () => ({ ehlo: '250-mail.test\r\n250 8BITMIME\r\n' })],
    ['fails the handshake', () => failsHandshake],
    ['refuses STARTTLS', () => ({ starttls: '454 4.7.0 not now\r\n' })],
    ['has a certificate of another name', (certificate) => withTls(certificate)],
  ])('is not given to a server that %s: it waits, and nothing is said in the clear', async (_, answers) => {
    const certificate = await selfSignedCertificate('elsewhere.example.net');
    const { mailer, servers } = await start([answers(certificate)], certificate.cert);
    expect(await reserveNone(mailer, 'example.org')).toMatchObject({
      phase: 'starttls',
      verdict: { action: 'soft' },
    });
    for (const peer of servers[0]!.peers) expect(peer.received).not.toContain('MAIL FROM');
  });

  it('waits where no server is one that it names: nobody is spoken to', async () => {
    page.body = policy('enforce', 'mx9.example.org');
    const { mailer, servers } = await start([{}], authorities);
    expect(await reserveNone(mailer, 'example.org')).toMatchObject({
      verdict: { action: 'soft', category: 'policy', fault: 'recipient', rule: 'sts_mismatch' },
    });
    expect(servers[0]!.peers).toHaveLength(0);
  });

  it.each(['testing', 'none'])('of mode %s goes as to any other domain', async (mode) => {
    page.body = policy(mode, 'mx9.example.org');
    const { mailer } = await start([{ ehlo: '250-mail.test\r\n250 8BITMIME\r\n' }], authorities);
    expect(await sendTo(mailer, 'example.org')).toMatchObject({ kind: 'accepted' });
  });

  it('does not protect, nor keep up, a domain with the same servers and no policy', async () => {
    page.body = policy('enforce', 'mx9.example.org');
    const { mailer } = await start([{ ehlo: '250-mail.test\r\n250 8BITMIME\r\n' }], authorities);
    around!.dns.zone['example.com'] = { MX: [[0, 'mx1.example.org']] };
    await reserveNone(mailer, 'example.org');
    expect(await sendTo(mailer, 'example.com')).toMatchObject({ kind: 'accepted' });
  });
});
