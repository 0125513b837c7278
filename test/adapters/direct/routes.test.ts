import { Resolver } from 'node:dns/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { createDnsResolver, DnsCache } from '../../../adapters/mailer/direct/dns.ts';
import { isPublicAddress } from '../../../adapters/mailer/direct/publicAddress.ts';
import { type Route, type RouteOptions, Routes } from '../../../adapters/mailer/direct/routes.ts';
import { freePort } from '../../../tools/embedded/service.ts';
import { type DnsServer, startDnsServer, type Zone } from '../../support/dnsServer.ts';

let dns: DnsServer | undefined;

afterEach(async () => {
  await dns?.stop();
  dns = undefined;
});

/** Node's own resolver, less patient than in production. */
function resolverAt(address: string): Resolver {
  const resolver = new Resolver({ timeout: 300, tries: 2 });
  resolver.setServers([address]);
  return resolver;
}

async function routes(zone: Zone, more: Partial<RouteOptions> = {}): Promise<Routes> {
  dns = await startDnsServer(zone);
  const options: RouteOptions = {
    resolver: resolverAt(dns.address),
    ipVersions: [4, 6],
    ownNames: ['heed.test'],
    ownAddresses: ['93.184.215.99'],
    allowPrivateAddresses: false,
    ...more,
  };
  return new Routes(options, () => performance.now());
}

const find = async (zone: Zone, more?: Partial<RouteOptions>) =>
  (await routes(zone, more)).find('example.org');

const addressesOf = (route: Route) => (route.found ? route.servers.map(({ address }) => address) : route);

const HOSTS: Zone = {
  'mx1.example.org': { A: ['93.184.215.1'], AAAA: ['2606:2800::1'] },
  'mx2.example.org': { A: ['93.184.215.2'] },
  'mx3.example.org': { A: ['93.184.215.3'] },
};

describe('the servers of a domain', () => {
  it('are tried by preference, each with all its addresses', async () => {
    const route = await find({
      ...HOSTS,
      'example.org': {
        MX: [
          [20, 'mx2.example.org'],
          [10, 'MX1.example.org'],
        ],
      },
    });
    expect(route).toMatchObject({
      found: true,
      servers: [
        { host: 'mx1.example.org', address: '93.184.215.1' },
        { host: 'mx1.example.org', address: '2606:2800::1' },
        { host: 'mx2.example.org', address: '93.184.215.2' },
      ],
    });
  });

  it('of equal preference come in another order now and then, and are the same destination', async () => {
    const found = await routes({
      ...HOSTS,
      'example.org': {
        MX: [
          [10, 'mx1.example.org'],
          [10, 'mx2.example.org'],
          [10, 'mx3.example.org'],
        ],
      },
    });
    const orders = new Set<string>();
    const keys = new Set<string>();
    for (let count = 0; count < 100; count++) {
      const route = await found.find('example.org');
      orders.add(String(addressesOf(route)));
      if (route.found) keys.add(route.key);
    }
    expect(orders.size).toBeGreaterThan(1);
    expect(keys.size).toBe(1);
  });

  it('are the domain itself where it has no MX records (RFC 5321 section 5.1)', async () => {
    const route = await find({ 'example.org': { A: ['93.184.215.7'], AAAA: ['2606:2800::7'] } });
    expect(addressesOf(route)).toEqual(['93.184.215.7', '2606:2800::7']);
  });

  it('are not the domain itself where it has MX records that lead nowhere', async () => {
    const route = await find({
      'example.org': { A: ['93.184.215.7'], MX: [[10, 'gone.example.org']] },
    });
    expect(route).toMatchObject({ found: false, verdict: { action: 'soft', rule: 'no_mail_host' } });
  });

  it('are found through an alias of the domain, and of the host', async () => {
    const route = await find({
      'example.org': { CNAME: 'hosted.example.net' },
      'hosted.example.net': { MX: [[10, 'mail.example.net']] },
      'mail.example.net': { CNAME: 'mx2.example.org' },
      ...HOSTS,
    });
    expect(addressesOf(route)).toEqual(['93.184.215.2']);
  });

  it('use the protocols that are asked for alone', async () => {
    const zone = { ...HOSTS, 'example.org': { MX: [[10, 'mx1.example.org']] } } satisfies Zone;
    expect(addressesOf(await find(zone, { ipVersions: [6] }))).toEqual(['2606:2800::1']);
    await dns?.stop();
    expect(addressesOf(await find(zone, { ipVersions: [6, 4] }))).toEqual(['2606:2800::1', '93.184.215.1']);
  });

  it('are those with an address, where the name servers of others fail', async () => {
    const route = await find({
      ...HOSTS,
      'broken.example.org': { fails: 'SERVFAIL' },
      'example.org': {
        MX: [
          [10, 'broken.example.org'],
          [20, 'gone.example.org'],
          [30, 'mx2.example.org'],
        ],
      },
    });
    expect(addressesOf(route)).toEqual(['93.184.215.2']);
  });

  it('are only those better than ourselves, so that mail goes round in no circle', async () => {
    const route = await find({
      ...HOSTS,
      'example.org': {
        MX: [
          [10, 'mx1.example.org'],
          [20, 'Heed.Test'],
          [20, 'mx2.example.org'],
          [30, 'mx3.example.org'],
        ],
      },
    });
    expect(addressesOf(route)).toEqual(['93.184.215.1', '2606:2800::1']);
  });

  it('are never this machine or one of a private network, wherever a record points', async () => {
    const route = await find({
      'example.org': {
        MX: [
          [10, 'inside.example.org'],
          [20, 'ourselves.example.org'],
          [30, 'outside.example.org'],
        ],
      },
      'inside.example.org': { A: ['127.0.0.1', '10.1.2.3', '169.254.169.254'], AAAA: ['::1', 'fd00::1'] },
      'ourselves.example.org': { A: ['93.184.215.99'] },
      'outside.example.org': { A: ['93.184.215.3'] },
    });
    expect(addressesOf(route)).toEqual(['93.184.215.3']);
  });
});

describe('a domain without a server to speak to', () => {
  it.each<[string, Zone, string, string, string]>([
    ['does not exist', {}, 'hard', 'host_unknown', 'domain_unknown'],
    [
      'accepts no mail',
      { 'example.org': { MX: [[0, '']], A: ['93.184.215.7'] } },
      'hard',
      'no_mail_accepted',
      'null_mx',
    ],
    ['has no addresses', { 'example.org': { TXT: ['x'] } }, 'soft', 'host_unknown', 'no_mail_host'],
    [
      'has name servers that fail',
      { 'example.org': { fails: 'SERVFAIL' } },
      'soft',
      'network',
      'name_servers_failed',
    ],
    [
      'has name servers that refuse',
      { 'example.org': { fails: 'REFUSED' } },
      'soft',
      'network',
      'name_servers_failed',
    ],
    [
      'has name servers that say nothing',
      { 'example.org': { fails: 'silence' } },
      'soft',
      'network',
      'name_servers_failed',
    ],
    [
      'has MX records to hosts whose name servers fail',
      { 'example.org': { MX: [[10, 'mx.example.org']] }, 'mx.example.org': { fails: 'SERVFAIL' } },
      'soft',
      'network',
      'name_servers_failed',
    ],
    [
      'has MX records to private addresses only',
      { 'example.org': { MX: [[10, 'mx.example.org']] }, 'mx.example.org': { A: ['127.0.0.1'] } },
      'soft',
      'host_unknown',
      'private_address',
    ],
    [
      'is our own',
      { 'example.org': { MX: [[10, 'heed.test']] } },
      'soft',
      'host_unknown',
      'mail_for_ourselves',
    ],
  ])('because it %s', async (_, zone, action, category, rule) => {
    expect(await find(zone)).toMatchObject({
      found: false,
      verdict: { action, category, rule, fault: 'recipient' },
    });
  });

  it('is not taken for unknown by one question alone: NXDOMAIN to MX, yet it has an address', async () => {
    const route = await find({ 'example.org': { A: ['93.184.215.7'], deniedTypes: ['MX'] } });
    expect(addressesOf(route)).toEqual(['93.184.215.7']);
  });

  it('is no fault of the domain where our own resolver is down', async () => {
    const route = await find({}, { resolver: createDnsResolver([`127.0.0.1:${await freePort()}`]) });
    expect(route).toMatchObject({ found: false, verdict: { action: 'soft', fault: 'ours' } });
  });
});

describe('answers', () => {
  it('are asked for once, however many wait, and kept for their TTL within bounds', async () => {
    let now = 0;
    dns = await startDnsServer({
      'mx.example.org': { A: ['93.184.215.1'], ttl: 120 },
      short: { A: ['1.1.1.1'], ttl: 0 },
    });
    const cache = new DnsCache(createDnsResolver([dns.address]), () => now);
    const asked = (what: string) => dns?.asked.get(what);
    await Promise.all(Array.from({ length: 20 }, () => cache.ipv4('mx.example.org')));
    expect(asked('A mx.example.org')).toBe(1);
    now = 119_000;
    await cache.ipv4('mx.example.org');
    expect(asked('A mx.example.org')).toBe(1);
    now = 121_000;
    await cache.ipv4('mx.example.org');
    expect(asked('A mx.example.org')).toBe(2);
    await cache.ipv4('short');
    now += 29_000;
    await cache.ipv4('short');
    expect(asked('A short')).toBe(1);
  });

  it('that something is not there are kept too, failures only shortly', async () => {
    let now = 0;
    dns = await startDnsServer({ 'broken.test': { fails: 'SERVFAIL' } });
    const cache = new DnsCache(createDnsResolver([dns.address]), () => now);
    const asks = async (domain: string) => {
      const before = dns?.asked.get(`MX ${domain}`) ?? 0;
      await cache.mx(domain);
      return (dns?.asked.get(`MX ${domain}`) ?? 0) > before;
    };
    expect([await asks('gone.test'), await asks('broken.test')]).toEqual([true, true]);
    now = 9_000;
    expect([await asks('gone.test'), await asks('broken.test')]).toEqual([false, false]);
    now = 11_000;
    expect([await asks('gone.test'), await asks('broken.test')]).toEqual([false, true]);
    now = 61_000;
    expect(await asks('gone.test')).toBe(true);
  });
});

it.each([
  ['127.0.0.1', false],
  ['0.0.0.0', false],
  ['10.0.0.1', false],
  ['172.31.255.255', false],
  ['172.32.0.1', true],
  ['192.168.1.1', false],
  ['100.64.0.1', false],
  ['169.254.169.254', false],
  ['224.0.0.1', false],
  ['255.255.255.255', false],
  ['8.8.8.8', true],
  ['::1', false],
  ['::', false],
  ['::ffff:127.0.0.1', false],
  ['::ffff:8.8.8.8', true],
  ['fe80::1', false],
  ['fd12::1', false],
  ['2002:7f00:1::', false],
  ['2606:4700::1111', true],
])('%s is an address on the internet: %s', (address, expected) => {
  expect(isPublicAddress(address)).toBe(expected);
});
