import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type InboundListener,
  LISTENER_LIMITS,
  startInboundListener,
} from '../../adapters/inbound/listener.ts';
import { childEnvironment } from '../../config/config.ts';
import { freePort } from '../../tools/embedded/service.ts';
import { type DnsServer, startDnsServer, type Zone } from '../support/dnsServer.ts';
import { testAddresses } from '../support/inbound.ts';
import { type ScriptedSmtp, startScriptedSmtp } from '../support/scriptedSmtp.ts';
import { selfSignedCertificate } from '../support/selfSignedCertificate.ts';

/*
 * The command as it is run, against DNS, SMTP and HTTP servers on loopback: a set-up that is in order, and then each
 * fault by itself.
 */

const PROGRAM = join(import.meta.dirname, '../../tools/doctor.ts');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const published = rsa.publicKey.export({ type: 'spki', format: 'der' }).toString('base64');

const GOOD: Zone = {
  'mx.example.com': { A: ['127.0.0.1'] },
  '1.0.0.127.in-addr.arpa': { PTR: ['mx.example.com'] },
  'bounce.example.com': { MX: [[10, 'mx.example.com']], TXT: ['v=spf1 ip4:127.0.0.1 -all'] },
  's1._domainkey.example.com': { TXT: [`v=DKIM1; k=rsa; p=${published}`] },
  '_dmarc.example.com': { TXT: ['v=DMARC1; p=none'] },
  // Somebody else, whose server has the address of ours.
  'elsewhere.test': { MX: [[10, 'mx.elsewhere.test']] },
  'mx.elsewhere.test': { A: ['127.0.0.1'] },
};

let folder: string;
let dns: DnsServer;
let listener: InboundListener;
let clock: Server;
let settings: Record<string, string>;
let goodArguments: string[];
/** How far the server of the clock is behind, in milliseconds. */
let behind = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'heed-doctor-'));
  const certificate = await selfSignedCertificate('mx.example.com');
  for (const [name, pem] of [
    ['cert.pem', certificate.cert],
    ['key.pem', certificate.key],
    ['other.pem', (await selfSignedCertificate('mx.example.com')).key],
  ] as const) {
    writeFileSync(join(folder, name), pem);
  }
  dns = await startDnsServer({});
  // The very server that takes Heed's reports, with the keys of the tests.
  listener = await startInboundListener({
    host: '127.0.0.1',
    port: 0,
    serverName: 'mx.example.com',
    tls: certificate,
    limits: LISTENER_LIMITS,
    addresses: testAddresses,
    store: async () => expect.unreachable('the doctor sends nothing'),
    log: { warn: () => {} },
  });
  clock = createServer((_, response) => {
    response.setHeader('date', new Date(Date.now() - behind).toUTCString()).end();
  }).listen(0, '127.0.0.1');
  await once(clock, 'listening');
  settings = {
    HEED_DELIVERY: 'direct',
    HEED_DIRECT_PORT: String(listener.port),
    HEED_DNS_SERVERS: dns.address,
    HEED_MESSAGE_ID_DOMAIN: 'example.com',
    HEED_EHLO_NAME: 'mx.example.com',
    HEED_DKIM_KEYS: `s1._domainkey.example.com=${rsa.privateKey.export({ type: 'pkcs8', format: 'pem' })}`,
    HEED_RETURN_DOMAIN: 'bounce.example.com',
    HEED_TOKEN_KEYS: Buffer.alloc(32, 3).toString('base64'),
    HEED_INBOUND_PORT: String(listener.port),
    HEED_INBOUND_CERTIFICATE: join(folder, 'cert.pem'),
    HEED_INBOUND_KEY: join(folder, 'key.pem'),
    NODE_EXTRA_CA_CERTS: join(folder, 'cert.pem'),
  };
  const { port } = clock.address() as AddressInfo;
  goodArguments = [
    '--address',
    '127.0.0.1',
    '--probe',
    'elsewhere.test',
    '--clock',
    `http://127.0.0.1:${port}`,
  ];
});
afterAll(async () => {
  await Promise.all([dns?.stop(), listener?.close()]);
  clock?.closeAllConnections();
  clock?.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  behind = 0;
  for (const name of Object.keys(dns.zone)) delete dns.zone[name];
  Object.assign(dns.zone, GOOD);
});

function doctor(args: readonly string[], changes: Record<string, string> = {}) {
  return new Promise<{ status: number; stdout: string; stderr: string }>((resolve) => {
    const env = childEnvironment({ ...settings, ...changes });
    execFile(process.execPath, [PROGRAM, ...args], { env }, (error, stdout, stderr) =>
      resolve({ status: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

interface Report {
  readonly ok: boolean;
  readonly checks: readonly { subject: string; status: string; found: string; fix: string | null }[];
}

/** What is not in order, as `status subject`, with what is said to be done. */
async function faults(changes: Record<string, string> = {}, args: readonly string[] = []) {
  const { status, stdout, stderr } = await doctor([...goodArguments, ...args, '--json'], changes);
  expect(stderr).toBe('');
  const report = JSON.parse(stdout) as Report;
  expect(report.ok).toBe(!report.checks.some((check) => check.status === 'fail'));
  expect(status).toBe(report.ok ? 0 : 1);
  const wrong = report.checks.filter((check) => check.status !== 'ok');
  return Object.fromEntries(wrong.map((check) => [`${check.status} ${check.subject}`, check.fix]));
}

it('a set-up that is in order: all is well, in the order in which things are mended, and nothing is sent', async () => {
  const { status, stdout } = await doctor(goodArguments);
  expect(stdout.split('\n').map((line) => line.replace(/: .*/, ''))).toEqual([
    'ok    Way out, to elsewhere.test',
    'ok    EHLO name mx.example.com',
    'ok    PTR of 127.0.0.1',
    'ok    SPF of bounce.example.com for 127.0.0.1',
    'ok    DKIM for mail from example.com',
    'ok    DKIM s1._domainkey.example.com',
    'ok    DMARC of example.com',
    'ok    Return domain bounce.example.com',
    'ok    TLS of mx.example.com [127.0.0.1]',
    'ok    Certificate of mx.example.com',
    'ok    Clock',
    '',
    '11 ok, 0 to look at, 0 to fix',
    '',
  ]);
  expect(status).toBe(0);
});

describe('one fault in DNS is found, and nothing else is called wrong', () => {
  it.each<[what: string, change: Zone, fault: string, fix: RegExp]>([
    [
      'no SPF record',
      { 'bounce.example.com': { MX: [[10, 'mx.example.com']] } },
      'fail SPF of bounce.example.com for 127.0.0.1',
      /Publish a TXT record of bounce\.example\.com: "v=spf1 ip4:127\.0\.0\.1 -all"/,
    ],
    [
      'an SPF record without our address',
      { 'bounce.example.com': { MX: [[10, 'mx.example.com']], TXT: ['v=spf1 ip4:192.0.2.1 ~all'] } },
      'fail SPF of bounce.example.com for 127.0.0.1',
      /Add ip4:127\.0\.0\.1/,
    ],
    [
      'an SPF record with three names that are not there',
      {
        'bounce.example.com': {
          MX: [[10, 'mx.example.com']],
          TXT: ['v=spf1 a:a.nowhere.test a:b.nowhere.test a:c.nowhere.test ip4:127.0.0.1 -all'],
        },
      },
      'fail SPF of bounce.example.com for 127.0.0.1',
      /at most 2 of them/,
    ],
    [
      'another DKIM key',
      { 's1._domainkey.example.com': { TXT: [`v=DKIM1; p=${published.replace(/.{8}$/, 'AQIDAQAB')}`] } },
      'fail DKIM s1._domainkey.example.com',
      /Publish a TXT record/,
    ],
    [
      'no DKIM record',
      { 's1._domainkey.example.com': { fails: 'NXDOMAIN' } },
      'fail DKIM s1._domainkey.example.com',
      /Publish a TXT record/,
    ],
    [
      'no DMARC record',
      { '_dmarc.example.com': { fails: 'NXDOMAIN' } },
      'fail DMARC of example.com',
      /Publish a TXT record of _dmarc/,
    ],
    [
      'no PTR record',
      { '1.0.0.127.in-addr.arpa': { fails: 'NXDOMAIN' } },
      'fail PTR of 127.0.0.1',
      /set its PTR record/,
    ],
    [
      'a PTR record that leads elsewhere',
      { '1.0.0.127.in-addr.arpa': { PTR: ['other.test'] }, 'other.test': { A: ['192.0.2.1'] } },
      'fail PTR of 127.0.0.1',
      /set its PTR record/,
    ],
    [
      'a PTR record of another name',
      { '1.0.0.127.in-addr.arpa': { PTR: ['other.test'] }, 'other.test': { A: ['127.0.0.1'] } },
      'warn PTR of 127.0.0.1',
      /Set HEED_EHLO_NAME to other\.test/,
    ],
    [
      'a return domain without a server',
      { 'bounce.example.com': { TXT: ['v=spf1 ip4:127.0.0.1 -all'] } },
      'fail Return domain bounce.example.com',
      /Publish an MX record/,
    ],
    [
      'name servers that fail',
      { '_dmarc.example.com': { fails: 'SERVFAIL' } },
      'warn DMARC of example.com',
      /name servers/,
    ],
    [
      'nobody at the probe',
      { 'mx.elsewhere.test': { A: ['127.0.0.9'] } },
      'fail Way out, to elsewhere.test',
      /port 25/,
    ],
    [
      'no such probe',
      { 'elsewhere.test': { fails: 'NXDOMAIN' } },
      'warn Way out, to elsewhere.test',
      /--probe/,
    ],
  ])('%s', async (_, change, fault, fix) => {
    Object.assign(dns.zone, change);
    expect(await faults()).toEqual({ [fault]: expect.stringMatching(fix) });
  });

  it('an EHLO name without an address: the PTR record and the return domain hang on it', async () => {
    dns.zone['mx.example.com'] = {};
    const found = await faults();
    expect(found).toMatchObject({
      'fail EHLO name mx.example.com': expect.stringMatching(/Publish an A record/),
    });
    expect(Object.keys(found)).toEqual([
      'fail EHLO name mx.example.com',
      'fail PTR of 127.0.0.1',
      'fail Return domain bounce.example.com',
    ]);
  });
});

describe('one fault of our own', () => {
  it('other token keys than those of the server that takes reports', async () => {
    expect(await faults({ HEED_TOKEN_KEYS: Buffer.alloc(32, 9).toString('base64') })).toEqual({
      'fail Return domain bounce.example.com': expect.stringMatching(/same HEED_TOKEN_KEYS/),
    });
  });

  it('no token keys: what was not tried is not called good', async () => {
    expect(await faults({ HEED_TOKEN_KEYS: '' })).toEqual({
      'warn Return domain bounce.example.com': expect.stringMatching(/HEED_TOKEN_KEYS/),
    });
  });

  it('a certificate by an authority that nobody knows', async () => {
    expect(await faults({ NODE_EXTRA_CA_CERTS: '' })).toEqual({
      'warn TLS of mx.example.com [127.0.0.1]': expect.stringMatching(/by an authority that others know/),
    });
  });

  it('a certificate that does not belong to its key, or is not there', async () => {
    expect(await faults({ HEED_INBOUND_KEY: join(folder, 'other.pem') })).toEqual({
      'fail Certificate of mx.example.com': expect.stringMatching(/Set HEED_INBOUND_KEY/),
    });
    expect(await faults({ HEED_INBOUND_CERTIFICATE: join(folder, 'none.pem') })).toEqual({
      'fail Certificate of mx.example.com': expect.stringMatching(/HEED_INBOUND_CERTIFICATE/),
    });
  });

  it('mail from a domain that has no key, and no DMARC record', async () => {
    expect(await faults({}, ['--from', 'news@example.net'])).toEqual({
      'fail DKIM for mail from example.net': expect.stringMatching(/Make a key of example\.net/),
      'fail DMARC of example.net': expect.stringMatching(/_dmarc\.example\.net/),
    });
  });

  it('mail from a domain below, whose organization has the DMARC record', async () => {
    expect(await faults({}, ['--from', 'news.example.com'])).toEqual({});
    dns.zone['_dmarc.example.com'] = { TXT: ['v=DMARC1; p=reject; adkim=s'] };
    expect(await faults({}, ['--from', 'news.example.com'])).toEqual({
      'fail DKIM for mail from news.example.com': expect.stringMatching(/Make a key of news\.example\.com/),
    });
  });

  it('a clock that is ahead', async () => {
    behind = 3_600_000;
    expect(await faults()).toEqual({ 'fail Clock': expect.stringMatching(/NTP/) });
  });
});

describe('servers that are no help', () => {
  let server: ScriptedSmtp | null = null;
  const play = async (script: Parameters<typeof startScriptedSmtp>[0]) => {
    server = await startScriptedSmtp(script, listener.port, '127.0.0.2');
  };
  const stop = async () => {
    await server?.stop();
    server = null;
  };

  it('one that refuses us by name points to a blocklist', async () => {
    dns.zone['mx.elsewhere.test'] = { A: ['127.0.0.2'] };
    await play(async (peer) => {
      peer.send('554 5.7.1 Service unavailable; client host blocked\r\n');
      await peer.ended();
    });
    try {
      expect(await faults()).toEqual({
        'warn Way out, to elsewhere.test': expect.stringMatching(/blocklist/),
      });
    } finally {
      await stop();
    }
  });

  it('one for the return domain that offers no STARTTLS and takes nothing now', async () => {
    dns.zone['bounce.example.com'] = { MX: [[10, 'back.example.com']], TXT: ['v=spf1 ip4:127.0.0.1 -all'] };
    dns.zone['back.example.com'] = { A: ['127.0.0.2'] };
    await play(async (peer) => {
      peer.send('220 back.example.com\r\n');
      for (let line = await peer.line(); line !== null; line = await peer.line()) {
        peer.send(line.startsWith('RCPT') ? '451 4.3.0 later\r\n' : '250 ok\r\n');
      }
    });
    try {
      expect(await faults()).toEqual({
        'warn Return domain bounce.example.com': expect.stringMatching(/Try again/),
        'warn TLS of back.example.com [127.0.0.2]': expect.stringMatching(/STARTTLS/),
      });
    } finally {
      await stop();
    }
  });
});

describe('through a relay', () => {
  const relayed = (port: number): Record<string, string> => ({
    HEED_DELIVERY: 'relay',
    HEED_SMTP_URL: `smtp://127.0.0.1:${port}?tls=none`,
    HEED_RETURN_DOMAIN: '',
    HEED_DKIM_KEYS: '',
  });

  it('the relay is greeted; its addresses are its owner’s to know', async () => {
    dns.zone['example.com'] = { TXT: ['v=spf1 include:relay.test -all'] };
    expect(await faults(relayed(listener.port))).toEqual({
      'warn DKIM for mail from example.com': expect.stringMatching(/Make sure that the relay does/),
      'warn Return domain': expect.stringMatching(/Set HEED_RETURN_DOMAIN/),
    });
  });

  it('a relay that is not there', async () => {
    dns.zone['example.com'] = { TXT: ['v=spf1 include:relay.test -all'] };
    const port = await freePort();
    expect(await faults(relayed(port))).toMatchObject({
      [`fail Smart host 127.0.0.1:${port}`]: expect.stringMatching(/host and port of HEED_SMTP_URL/),
    });
  });
});

describe('exit status', () => {
  it('2 for wrong arguments, with how to use it', async () => {
    for (const args of [
      ['--adress', '127.0.0.1'],
      ['--address', 'mx.example.com'],
      ['--from', 'a b'],
      ['--probe', ''],
    ]) {
      const { status, stderr, stdout } = await doctor(args);
      expect({ args, status, stdout }).toEqual({ args, status: 2, stdout: '' });
      expect(stderr).toContain('Usage: npm run -s doctor');
    }
  });

  it('78 for settings that Heed would not start with', async () => {
    const { status, stderr } = await doctor(goodArguments, { HEED_DELIVERY: 'relay', HEED_SMTP_URL: '' });
    expect(status).toBe(78);
    expect(stderr).toMatch(/^HEED_SMTP_URL: is required/);
  });
});
