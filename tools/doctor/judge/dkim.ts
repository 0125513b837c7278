import type { KeyObject } from 'node:crypto';
import { keysFor } from '../../../adapters/dkim/signer.ts';
import { type Check, fail, type Looked, notLookedUp, ok, warn } from '../check.ts';
import { organizationalDomain } from './organizationalDomain.ts';
import { tagsOf } from './tags.ts';

/** Below this a signature does not count, RFC 8301 section 3.2. */
const FEWEST_BITS = 1_024;
/** What signers should have, ibid. */
const GOOD_BITS = 2_048;

/** The `p=` of a key in the forms that it may be published in (RFC 6376 section 3.6.1, RFC 8463 section 4). */
function publishedForms(key: KeyObject): string[] {
  if (key.asymmetricKeyType === 'ed25519') {
    return [Buffer.from(key.export({ format: 'jwk' }).x!, 'base64url').toString('base64')];
  }
  return (['spki', 'pkcs1'] as const).map((type) => key.export({ type, format: 'der' }).toString('base64'));
}

/**
 * The record of one key (RFC 6376 section 3.6.1).
 *
 * @param publicKey the public half of the key that we sign with
 */
export function judgeDkimKey(name: string, publicKey: KeyObject, texts: Looked<string>): Check {
  const subject = `DKIM ${name}`;
  if ('failure' in texts) return notLookedUp(subject, texts.failure);
  const type = publicKey.asymmetricKeyType;
  const publish = `Publish a TXT record of ${name}: "v=DKIM1; k=${type}; p=${publishedForms(publicKey)[0]}".`;
  const [text] = texts.records;
  if (text === undefined) return fail(subject, 'the key is not published', publish);
  if (texts.records.length > 1) {
    return fail(subject, 'there are several records', 'Leave one: receivers take any of them.');
  }
  const tags = tagsOf(text);
  if ((tags.get('v') ?? 'DKIM1') !== 'DKIM1')
    return fail(subject, `the record is of v=${tags.get('v')}`, publish);
  if (tags.get('p') === '') return fail(subject, 'the key was revoked (p= is empty)', publish);
  if (!publishedForms(publicKey).includes(tags.get('p') ?? '')) {
    return fail(subject, 'another key is published', `${publish} Or sign with the key that belongs to it.`);
  }
  if ((tags.get('k') ?? 'rsa') !== type) {
    return fail(subject, `the record says k=${tags.get('k') ?? 'rsa'}`, publish);
  }
  if (!allows(tags.get('h'), 'sha256')) {
    return fail(
      subject,
      `the record allows only h=${tags.get('h')}`,
      'Take h= out of the record: we sign with sha256.',
    );
  }
  if (!allows(tags.get('s'), 'email')) {
    return fail(subject, `the record is not for email (s=${tags.get('s')})`, 'Take s= out of the record.');
  }
  return judgeStrength(subject, publicKey, tags);
}

function judgeStrength(subject: string, publicKey: KeyObject, tags: ReadonlyMap<string, string>): Check {
  const bits = publicKey.asymmetricKeyDetails?.modulusLength;
  const renew = `Make a key of ${GOOD_BITS} bits (RFC 8301) under a new selector.`;
  if (bits !== undefined && bits < FEWEST_BITS) {
    return fail(subject, `the key has only ${bits} bits, so its signatures count for nothing`, renew);
  }
  if (tags.get('t')?.split(':').includes('y')) {
    const found = 'published for testing (t=y): its signatures count for nothing';
    return warn(subject, found, 'Take t=y out of the record.');
  }
  if (bits !== undefined && bits < GOOD_BITS) {
    return warn(subject, `published, but the key has only ${bits} bits`, renew);
  }
  return ok(subject, 'published, and the one that we sign with');
}

/** A list of what a record allows; left out, it allows everything. */
function allows(list: string | undefined, wanted: string): boolean {
  return list === undefined || list.split(':').some((each) => each === wanted || each === '*');
}

/** A key as far as it says whose mail it serves. */
interface KeyOfDomain {
  readonly domain: string;
  readonly type: string | undefined;
}

/**
 * Whether the keys serve mail from this domain: for DMARC the signing domain has to be the From domain, or, unless its
 * record asks for strict alignment, one of the same organizational domain (RFC 7489 section 3.1.1).
 */
export function judgeDkimKeys(
  fromDomain: string,
  keys: readonly KeyOfDomain[],
  { isDirect, strict }: { readonly isDirect: boolean; readonly strict: boolean },
): Check {
  const subject = `DKIM for mail from ${fromDomain}`;
  const make = `Make a key of ${fromDomain}, publish it and set HEED_DKIM_KEYS; docs/delivery.md tells how.`;
  if (keys.length === 0) {
    return isDirect
      ? fail(subject, 'messages are not signed', make)
      : warn(subject, 'Heed does not sign messages', `Make sure that the relay does; else: ${make}`);
  }
  const signing = keysFor(keys, fromDomain);
  const counted = signing.filter(({ domain }) =>
    strict ? domain === fromDomain : organizationalDomain(domain) === organizationalDomain(fromDomain),
  );
  if (counted.length === 0) {
    const found = strict
      ? 'no key is of this very domain, as its DMARC record asks (adkim=s)'
      : 'no key is of its domain';
    return fail(subject, found, make);
  }
  if (counted.every(({ type }) => type === 'ed25519')) {
    return warn(
      subject,
      'only Ed25519 keys',
      `Add an RSA key of ${GOOD_BITS} bits: many receivers do not verify Ed25519 yet.`,
    );
  }
  return ok(
    subject,
    `signed by ${signing.length} of ${keys.length} keys, of which ${counted.length} count for DMARC`,
  );
}
