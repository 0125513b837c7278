import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ConfigError, loadConfig } from '../../config/config.ts';

const complete = {
  HEED_DATABASE_URL: 'postgres://heed@127.0.0.1:5432/heed',
  HEED_TEMPORAL_ADDRESS: '127.0.0.1:7233',
  HEED_SMTP_URL: 'smtp://user:password@relay.example.com',
  HEED_MESSAGE_ID_DOMAIN: 'mail.example.com',
  HEED_ADDRESS_KEY: Buffer.alloc(32, 7).toString('base64'),
  HEED_TOKEN_KEYS: Buffer.alloc(32, 8).toString('base64'),
  HEED_PUBLIC_URL: 'https://mail.example.com',
};
const org = {
  HEED_SALESFORCE_LOGIN_URL: 'https://example.my.salesforce.com/',
  HEED_SALESFORCE_CLIENT_ID: 'heed',
};
const secret = { ...org, HEED_SALESFORCE_CLIENT_SECRET: 'hush' };
const load = (more: Record<string, string>) => loadConfig({ ...complete, ...more }).salesforce;

function problemOf(more: Record<string, string>): string {
  try {
    load(more);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return '';
}

describe('settings of the sync with Salesforce', () => {
  it('is off by itself', () => expect(load({})).toBeNull());

  it('takes client credentials, with a version, a reserve and times of its own', () => {
    expect(load(secret)).toEqual({
      loginUrl: 'https://example.my.salesforce.com',
      clientId: 'heed',
      credentials: { flow: 'client_credentials', clientSecret: 'hush' },
      apiVersion: '62.0',
      reservePercent: 20,
      changesSeconds: 60,
      fullAt: { hour: 2, minute: 30 },
    });
    expect(load({ ...secret, HEED_SALESFORCE_FULL_AT: '23:05' })!.fullAt).toEqual({ hour: 23, minute: 5 });
  });

  it('takes a key for the JWT bearer flow, whose audience is the login server', () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    const jwt = { ...org, HEED_SALESFORCE_PRIVATE_KEY: pem, HEED_SALESFORCE_USERNAME: 'heed@example.com' };
    expect(load(jwt)!.credentials).toMatchObject({
      flow: 'jwt_bearer',
      username: 'heed@example.com',
      audience: 'https://example.my.salesforce.com',
    });
    const audience = { HEED_SALESFORCE_AUDIENCE: 'https://test.salesforce.com' };
    expect(load({ ...jwt, ...audience })!.credentials).toMatchObject({
      audience: 'https://test.salesforce.com',
    });
    expect(problemOf({ ...org, HEED_SALESFORCE_PRIVATE_KEY: pem })).toMatch(/^HEED_SALESFORCE_USERNAME/);
  });

  it.each([
    [{ HEED_SALESFORCE_LOGIN_URL: 'https://login.salesforce.com' }, 'HEED_SALESFORCE_CLIENT_ID'],
    [org, 'HEED_SALESFORCE_CLIENT_SECRET'],
    [{ ...secret, HEED_SALESFORCE_LOGIN_URL: 'http://login.salesforce.com' }, 'HEED_SALESFORCE_LOGIN_URL'],
    [{ ...secret, HEED_SALESFORCE_API_VERSION: 'latest' }, 'HEED_SALESFORCE_API_VERSION'],
    [{ ...secret, HEED_SALESFORCE_FULL_AT: '24:00' }, 'HEED_SALESFORCE_FULL_AT'],
    [{ ...org, HEED_SALESFORCE_PRIVATE_KEY: '/does/not/exist' }, 'HEED_SALESFORCE_PRIVATE_KEY'],
  ])('names what is missing or wrong: %j', (more, name) => {
    expect(problemOf(more)).toMatch(new RegExp(`^${name}: `));
  });
});
