import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ConfigError, loadConfig } from '../../config/config.ts';
import { parseImapUrl } from '../../config/imapUrl.ts';

const complete = {
  HEED_DATABASE_URL: 'postgres://heed@127.0.0.1:5432/heed',
  HEED_TEMPORAL_ADDRESS: '127.0.0.1:7233',
  HEED_SMTP_URL: 'smtp://user:password@relay.example.com',
  HEED_MESSAGE_ID_DOMAIN: 'mail.example.com',
  HEED_ADDRESS_KEY: Buffer.alloc(32, 7).toString('base64'),
  HEED_TOKEN_KEYS: Buffer.alloc(32, 8).toString('base64'),
  HEED_PUBLIC_URL: 'https://mail.example.com',
};

function problemOf(more: Record<string, string>): string {
  try {
    loadConfig({ ...complete, ...more });
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return '';
}

describe('settings of the ways in', () => {
  it('none of them is on by itself', () => {
    expect(loadConfig(complete).inbound).toEqual({
      listener: null,
      abuseMailbox: null,
      imap: null,
      webhooks: { sesTopicArns: null, sendGridKey: null, mailgunSigningKey: null, postmarkCredentials: null },
    });
  });

  it.each([
    ['imaps://user:p%40ss@imap.example.com', { port: 993, tls: 'implicit', mailbox: 'INBOX' }],
    ['imaps://user:p%40ss@imap.example.com:9993/Bounces%2FNew', { port: 9993, mailbox: 'Bounces/New' }],
    ['imap://user:p%40ss@imap.example.com', { port: 143, tls: 'starttls' }],
    ['imap://user:p%40ss@127.0.0.1:3143/INBOX?tls=none', { port: 3143, tls: 'none' }],
  ])('%s', (url, expected) => {
    expect(parseImapUrl(url)).toMatchObject({ ...expected, auth: { user: 'user', password: 'p@ss' } });
  });

  it.each([
    'https://user:secret@imap.example.com',
    'imaps://imap.example.com',
    'imap://user:secret@imap.example.com?tls=none',
    'imaps://user:secret@imap.example.com?tls=starttls',
    'imap://user:secret@imap.example.com?ssl=yes',
  ])('%s is refused, and its password not shown', (url) => {
    const problem = problemOf({ HEED_IMAP_URL: url });
    expect(problem).toMatch(/^HEED_IMAP_URL: /);
    expect(problem).not.toContain('secret');
  });

  it('a certificate needs its key', () => {
    expect(problemOf({ HEED_INBOUND_PORT: '2525', HEED_INBOUND_CERTIFICATE: '/etc/heed/mx.pem' })).toMatch(
      /HEED_INBOUND_KEY/,
    );
  });

  it('keys and names of providers are looked at', () => {
    const spki = (type: 'ec' | 'rsa') => {
      const pair =
        type === 'ec'
          ? generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
          : generateKeyPairSync('rsa', { modulusLength: 2048 });
      return pair.publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
    };
    expect(problemOf({ HEED_SENDGRID_PUBLIC_KEY: spki('ec') })).toBe('');
    expect(problemOf({ HEED_SENDGRID_PUBLIC_KEY: spki('rsa') })).toMatch(/^HEED_SENDGRID_PUBLIC_KEY: /);
    expect(problemOf({ HEED_SENDGRID_PUBLIC_KEY: 'key' })).toMatch(/^HEED_SENDGRID_PUBLIC_KEY: /);
    expect(problemOf({ HEED_SES_TOPIC_ARNS: 'bounces' })).toMatch(/^HEED_SES_TOPIC_ARNS: /);
    expect(problemOf({ HEED_POSTMARK_CREDENTIALS: 'postmark:short' })).toMatch(
      /^HEED_POSTMARK_CREDENTIALS: /,
    );
  });
});
