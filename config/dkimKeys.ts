import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** A key that mail is signed with, by the name that its public half is published under. */
export interface DkimKey {
  readonly domain: string;
  readonly selector: string;
  readonly privateKey: KeyObject;
}

const FORM = 'must be <selector>._domainkey.<domain>=<file or PEM>, several separated by semicolons';
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const NAME = new RegExp(`^(${LABEL}(?:\\.${LABEL})*)\\._domainkey\\.(${LABEL}(?:\\.${LABEL})+)$`, 'i');
/** RFC 8301 section 3.2: verifiers ignore shorter ones. */
const SHORTEST_RSA = 1024;

/** Reads HEED_DKIM_KEYS. Returns what is wrong with it as a sentence that repeats no key. */
export function parseDkimKeys(value: string): readonly DkimKey[] | string {
  const keys: DkimKey[] = [];
  for (const entry of value.split(';')) {
    if (entry.trim() === '') continue;
    const separator = entry.indexOf('=');
    const name = NAME.exec(entry.slice(0, separator).trim());
    if (separator === -1 || name === null) return FORM;
    const [record, selector = '', domain = ''] = name;
    const privateKey = readKey(entry.slice(separator + 1).trim());
    if (typeof privateKey === 'string') return `${record}: ${privateKey}`;
    keys.push({ selector: selector.toLowerCase(), domain: domain.toLowerCase(), privateKey });
  }
  const names = keys.map(({ selector, domain }) => `${selector}.${domain}`);
  if (new Set(names).size < names.length) return 'names a selector twice';
  return keys.length === 0 ? FORM : keys;
}

function readKey(given: string): KeyObject | string {
  let pem = given.replaceAll('\\n', '\n');
  if (!given.startsWith('-----BEGIN')) {
    try {
      pem = readFileSync(given, 'utf8');
    } catch (error) {
      return `the file cannot be read (${(error as NodeJS.ErrnoException).code})`;
    }
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    return 'this is no private key in PEM without a password';
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type !== 'rsa' && type !== 'ed25519') return `must be an RSA or Ed25519 key, not ${type}`;
  if (type === 'rsa' && (details?.modulusLength ?? 0) < SHORTEST_RSA) {
    return `an RSA key has to have ${SHORTEST_RSA} bits, better 2048; this one has ${details?.modulusLength}`;
  }
  return key;
}
