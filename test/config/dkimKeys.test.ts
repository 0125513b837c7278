import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parseDkimKeys } from '../../config/dkimKeys.ts';

const folder = mkdtempSync(join(tmpdir(), 'heed-dkim-'));
afterAll(() => rmSync(folder, { recursive: true }));

const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }) as string;
const rsa = pem(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
const ed25519 = pem(generateKeyPairSync('ed25519').privateKey);
const file = join(folder, 'rsa.pem');
writeFileSync(file, rsa);

describe('HEED_DKIM_KEYS', () => {
  test('takes several keys, from files and inline, also with \\n for line ends', () => {
    const keys = parseDkimKeys(
      `s1._domainkey.Example.com=${file}; s2._domainkey.example.com=${ed25519};\nS3.eu._domainkey.mail.example.com=${ed25519.replaceAll('\n', '\\n')}`,
    );
    if (typeof keys === 'string') throw new Error(keys);
    expect(keys.map(({ selector, domain }) => [selector, domain])).toEqual([
      ['s1', 'example.com'],
      ['s2', 'example.com'],
      ['s3.eu', 'mail.example.com'],
    ]);
    expect(keys.map(({ privateKey }) => privateKey.asymmetricKeyType)).toEqual(['rsa', 'ed25519', 'ed25519']);
  });

  test.each([
    ['', 'must be <selector>'],
    ['s1=key.pem', 'must be <selector>'],
    [`example.com=${file}`, 'must be <selector>'],
    [`s1._domainkey.example.com=${file};s1._domainkey.example.com=${file}`, 'twice'],
    [
      's1._domainkey.example.com=/nowhere/key.pem',
      's1._domainkey.example.com: the file cannot be read (ENOENT)',
    ],
    [
      's1._domainkey.example.com=-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----',
      'no private key',
    ],
    [
      `s1._domainkey.example.com=${pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)}`,
      'must be an RSA or Ed25519 key, not ec',
    ],
    [
      `s1._domainkey.example.com=${pem(generateKeyPairSync('rsa', { modulusLength: 768 }).privateKey)}`,
      'this one has 768',
    ],
  ])('says what is wrong with %.60s, and never repeats a key', (value, problem) => {
    const answer = parseDkimKeys(value);
    expect(answer).toContain(problem);
    expect(answer).not.toContain('BEGIN');
  });
});
