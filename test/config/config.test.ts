import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ConfigError, loadConfig, loadEmbeddedConfig } from '../../config/config.ts';
import { configurationPage } from '../../config/document.ts';

const complete = {
  HEED_DATABASE_URL: 'postgres://heed@127.0.0.1:5432/heed',
  HEED_TEMPORAL_ADDRESS: '127.0.0.1:7233',
  HEED_SMTP_URL: 'smtp://user:p%40ss@relay.example.com',
  HEED_MESSAGE_ID_DOMAIN: 'mail.example.com',
  HEED_ADDRESS_KEY: Buffer.alloc(32, 7).toString('base64'),
  HEED_TOKEN_KEYS: `${Buffer.alloc(32, 8).toString('base64')}, ${Buffer.alloc(40, 9).toString('base64')}`,
  HEED_PUBLIC_URL: 'https://mail.example.com/',
};

function messageOf(load: () => unknown): string {
  try {
    load();
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('no ConfigError was thrown');
}

describe('settings of the API and the worker', () => {
  test('required ones alone are enough; a smart host defaults to STARTTLS on the submission port', () => {
    const config = loadConfig(complete);
    expect(config.smtp.relay).toEqual({
      host: 'relay.example.com',
      port: 587,
      tls: 'required',
      auth: { user: 'user', password: 'p@ss' },
    });
    expect(config.api).toEqual({ host: '127.0.0.1', port: 8080, maxImportBytes: 256 * 1024 * 1024 });
    expect(config.addressKey).toHaveLength(32);
    expect(config.tokenKeys.map((key) => key.length)).toEqual([32, 40]);
    expect(config.publicUrl).toBe('https://mail.example.com');
    expect(config.unsubscribeMailbox).toBeNull();
  });

  test.each(['https://mail.example.com', 'http://127.0.0.1:8080', 'http://localhost', 'http://[::1]:8080/x'])(
    'recipients may be sent to %s',
    (HEED_PUBLIC_URL) => {
      expect(loadConfig({ ...complete, HEED_PUBLIC_URL }).publicUrl).toBe(HEED_PUBLIC_URL);
    },
  );

  test.each([
    'http://mail.example.com',
    'http://127.0.0.1.example.com',
    'http://localhost.example.com/',
    'https://user@mail.example.com',
    'https://mail.example.com/?a=b',
    'ftp://mail.example.com',
  ])('recipients may not be sent to %s', (HEED_PUBLIC_URL) => {
    expect(messageOf(() => loadConfig({ ...complete, HEED_PUBLIC_URL }))).toMatch(/^HEED_PUBLIC_URL: must /);
  });

  test('one bad key among the token keys is refused, and none of them is shown', () => {
    const good = Buffer.alloc(32, 8).toString('base64');
    const message = messageOf(() => loadConfig({ ...complete, HEED_TOKEN_KEYS: `${good},short` }));
    expect(message).toMatch(/^HEED_TOKEN_KEYS: must be keys of at least 32 bytes/);
    expect(message).not.toContain(good);
    expect(message).not.toContain('short');
  });

  test('every missing or wrong one is named on a line of its own, all at once', () => {
    const { HEED_DATABASE_URL: _, ...rest } = complete;
    const lines = messageOf(() =>
      loadConfig({ ...rest, HEED_API_PORT: '70000', HEED_LOG_LEVEL: 'loud' }),
    ).split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(/^HEED_DATABASE_URL: is required and not set/);
    expect(lines[1]).toMatch(/^HEED_API_PORT: must be a port number from 1 to 65535, not "70000"$/);
    expect(lines[2]).toMatch(/^HEED_LOG_LEVEL: must be fatal.*not "loud"$/);
  });

  test('set to nothing counts as not set', () => {
    expect(loadConfig({ ...complete, HEED_API_PORT: '', HEED_TEMPORAL_UI_URL: ' ' }).api.port).toBe(8080);
    expect(messageOf(() => loadConfig({ ...complete, HEED_SMTP_URL: '' }))).toMatch(
      /^HEED_SMTP_URL: is required/,
    );
  });

  test('a misspelled name is not silently ignored', () => {
    expect(messageOf(() => loadConfig({ ...complete, HEED_API_PROT: '1' }))).toMatch(
      /^HEED_API_PROT: there is no such/,
    );
  });

  test.each([
    ['smtp://user:hunter2@relay.example.com?tls=none', 'without a guarantee of encryption'],
    ['smtp://user:hunter2@relay.example.com?tls=opportunistic', 'without a guarantee of encryption'],
    ['smtp://user@relay.example.com', 'both a user and a password'],
    ['smtps://user:hunter2@relay.example.com?tls=none', 'tls= has no meaning'],
    ['smtp://user:hunter2@relay.example.com?tls=maybe', 'tls=none, tls=opportunistic or tls=required'],
    ['smtp://user:hunter2@relay.example.com?pool=1', 'unknown part pool='],
    ['http://user:hunter2@relay.example.com', 'must be smtp://'],
    ['relay.example.com:25', 'must be smtp://'],
  ])('smart host %s is refused, and the message does not tell the password', (url, reason) => {
    const message = messageOf(() => loadConfig({ ...complete, HEED_SMTP_URL: url }));
    expect(message).toContain(reason);
    expect(message).toMatch(/^HEED_SMTP_URL: /);
    expect(message).not.toContain('hunter2');
  });

  test('a password may go unencrypted to this machine only', () => {
    expect(
      loadConfig({ ...complete, HEED_SMTP_URL: 'smtp://u:p@127.0.0.1:2525?tls=none' }).smtp.relay?.tls,
    ).toBe('none');
  });

  test('direct delivery needs no smart host, and has limits of its own', () => {
    const { HEED_SMTP_URL: _, ...rest } = complete;
    const config = loadConfig({ ...rest, HEED_DELIVERY: 'direct', HEED_DIRECT_CONNECTIONS: '3' });
    expect(config.smtp.relay).toBeNull();
    expect(config.direct).toEqual({
      maxConnections: 100,
      perDestination: { connections: 3, messagesPerMinute: 600 },
      tls: 'opportunistic',
      ipVersions: [4, 6],
      port: 25,
      allowPrivateAddresses: false,
    });
    expect(loadConfig(complete).direct).toBeNull();
  });

  test.each([
    ['HEED_DELIVERY', 'pigeon', 'must be relay or direct'],
    ['HEED_DIRECT_TLS', 'none', 'must be opportunistic, encrypted or verified'],
    ['HEED_DIRECT_IP_VERSIONS', '4,5', 'must be 4,6 or 6,4 or 4 or 6'],
    ['HEED_DNS_SERVERS', '192.0.2.53,dns.example.com', 'must be IP addresses'],
    ['HEED_DNS_SERVERS', '192.0.2.53:dns', 'must be IP addresses'],
    ['HEED_DKIM_KEYS', 's1=secret', 'must be <selector>._domainkey.<domain>=<file or PEM>'],
    ['HEED_DATABASE_POOL_SIZE', '1', 'must be a whole number from 10 to 500'],
  ])('%s=%s is refused', (name, value, problem) => {
    const message = messageOf(() => loadConfig({ ...complete, [name]: value }));
    expect(message).toContain(`${name}: ${problem}`);
    expect(message).not.toContain('secret');
  });

  test('DNS servers may have ports', () => {
    const servers = '192.0.2.53, 192.0.2.53:5353,[2001:db8::53]:53,2001:db8::53';
    expect(loadConfig({ ...complete, HEED_DNS_SERVERS: servers }).dnsServers).toEqual([
      '192.0.2.53',
      '192.0.2.53:5353',
      '[2001:db8::53]:53',
      '2001:db8::53',
    ]);
  });

  test.each(['c2hvcnQ=', 'not base64 at all, but long enough to be 32 bytes'])(
    'address key %s is refused',
    (key) => {
      expect(messageOf(() => loadConfig({ ...complete, HEED_ADDRESS_KEY: key }))).toBe(
        'HEED_ADDRESS_KEY: must be at least 32 bytes in base64: openssl rand -base64 32',
      );
    },
  );
});

describe('settings of the embedded services', () => {
  test('nothing is required, and nothing counts as configured', () => {
    const config = loadEmbeddedConfig({});
    expect(Object.values(config.configured)).toEqual(Object.values(config.configured).map(() => null));
    expect(config.temporalNamespace).toBe('heed');
  });

  test('a wrong setting of the services stops the start too', () => {
    expect(messageOf(() => loadEmbeddedConfig({ HEED_SMTP_URL: 'nonsense' }))).toMatch(
      /^HEED_SMTP_URL: must be smtp/,
    );
  });

  test('the cache follows XDG_CACHE_HOME', () => {
    const XDG_CACHE_HOME = '/var/cache/me';
    expect(loadEmbeddedConfig({ XDG_CACHE_HOME }).cacheDir).toBe('/var/cache/me/heed');
    expect(loadConfig({ ...complete, XDG_CACHE_HOME }).cacheDir).toBe('/var/cache/me/heed');
  });
});

test('docs/configuration.md says what the code reads (npm run docs:config writes it)', () => {
  expect(readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')).toBe(
    configurationPage(),
  );
});
