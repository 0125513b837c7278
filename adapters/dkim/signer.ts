import { hash, type KeyObject, sign as signData } from 'node:crypto';
import { promisify } from 'node:util';
import { type HeaderField, relaxedBody, relaxedField, splitMessage } from './canonical.ts';

/** A key whose public half is published at `<selector>._domainkey.<domain>`. */
export interface DkimKey {
  readonly domain: string;
  readonly selector: string;
  /** RSA or Ed25519. */
  readonly privateKey: KeyObject;
}

/** Signs messages (RFC 6376, RFC 8463). */
export interface DkimSigner {
  /**
   * What is to stand in front of a message: a signature by every key of the domain that it is from, or of a parent of
   * it, so that one of them counts for DMARC (RFC 7489 section 3.1.1); by all keys where there is none of these.
   *
   * @param message with CRLF line ends; of a text each character is an octet
   * @param fromDomain domain of its From address
   * @returns whole fields, each with its CRLF
   */
  signaturesOf(message: Uint8Array | string, fromDomain: string): Promise<string>;
}

/** What a signature covers, where it is there. */
const SIGNED = [
  'from',
  'to',
  'reply-to',
  'subject',
  'date',
  'message-id',
  'mime-version',
  'content-type',
  'content-transfer-encoding',
  'list-id',
  'list-unsubscribe',
  'list-unsubscribe-post',
  'feedback-id',
];
/** Named once more than they are there, so that nobody adds another one under our signature (section 5.4.2). */
const OVERSIGNED = [
  'from',
  'to',
  'reply-to',
  'subject',
  'date',
  'message-id',
  'mime-version',
  'content-type',
];

const BASE64_LINES = /.{1,72}/g;
const signInThreadPool = promisify(signData);

/**
 * Written here since the library that we verify with (mailauth) cannot name a header field more often than it is there,
 * and parses keys and signs on the main thread for each message.
 *
 * @param clock time of the signature (`t=`), milliseconds of the epoch
 */
export function createDkimSigner(keys: readonly DkimKey[], clock: () => number = Date.now): DkimSigner {
  return {
    async signaturesOf(message, fromDomain) {
      if (keys.length === 0) return '';
      const text = typeof message === 'string' ? message : Buffer.from(message).toString('latin1');
      const { fields, body } = splitMessage(text);
      const bodyHash = hash('sha256', Buffer.from(relaxedBody(body), 'latin1'), 'base64');
      const signatures = await Promise.all(
        keysFor(keys, fromDomain).map((key) => signatureOf(key, fields, bodyHash, clock())),
      );
      return signatures.join('');
    },
  };
}

/** Those of these keys that sign mail from this domain. */
export function keysFor<Key extends Pick<DkimKey, 'domain'>>(
  keys: readonly Key[],
  fromDomain: string,
): readonly Key[] {
  const aligned = keys.filter(({ domain }) => `.${fromDomain}`.toLowerCase().endsWith(`.${domain}`));
  return aligned.length > 0 ? aligned : keys;
}

/** A whole header field, with its CRLF. */
async function signatureOf(
  { domain, selector, privateKey }: DkimKey,
  fields: readonly HeaderField[],
  bodyHash: string,
  now: number,
): Promise<string> {
  const covered = SIGNED.flatMap((name) => fieldsToSign(name, fields));
  const isRsa = privateKey.asymmetricKeyType === 'rsa';
  const raw = [
    `DKIM-Signature: v=1; a=${isRsa ? 'rsa' : 'ed25519'}-sha256; c=relaxed/relaxed;`,
    ` d=${domain}; s=${selector}; t=${Math.floor(now / 1_000)};`,
    ...foldedNames(covered.map(({ name }) => name)),
    ` bh=${bodyHash};`,
    ' b=',
  ].join('\r\n');
  const canonical = covered.flatMap(({ field }) => (field === null ? [] : [`${relaxedField(field)}\r\n`]));
  const data = Buffer.from(canonical.join('') + relaxedField({ name: 'dkim-signature', raw }), 'latin1');
  const signature = isRsa
    ? await signInThreadPool('sha256', data, privateKey)
    : // RFC 8463 section 3: what is signed is the hash.
      await signInThreadPool(null, hash('sha256', data, 'buffer'), privateKey);
  const lines = signature.toString('base64').match(BASE64_LINES)!;
  return `${raw}${lines.join('\r\n ')}\r\n`;
}

/** Fields of one name from the last to the first, as verifiers count them, and `null` for the one that is not there. */
function fieldsToSign(
  name: string,
  fields: readonly HeaderField[],
): { readonly name: string; readonly field: HeaderField | null }[] {
  const there = fields.filter((field) => field.name === name).reverse();
  const signed = there.map((field) => ({ name, field }));
  return OVERSIGNED.includes(name) ? [...signed, { name, field: null }] : signed;
}

/** The `h=` tag in lines of at most 78 octets. */
function foldedNames(names: readonly string[]): string[] {
  const lines: string[] = [];
  let line = ' h=';
  for (const [index, name] of names.entries()) {
    const next = index === names.length - 1 ? `${name};` : `${name}:`;
    if (line.length + next.length > 78) {
      lines.push(line);
      line = '  ';
    }
    line += next;
  }
  return [...lines, line];
}
