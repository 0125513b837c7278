import { hash } from 'node:crypto';
import { TAG_BYTES } from '../../domain/unsubscribeToken.ts';

/** Of SHA-256. */
const BLOCK_BYTES = 64;
const LEAST_KEY_BYTES = 32;

/** The tag that proves a content to be ours. */
export type Mac = (content: string) => Uint8Array;

/**
 * Tags by the first bytes of HMAC-SHA256 (RFC 2104 section 2), written as its two hashes: every message has one or two,
 * and an object of `createHmac` for each costs three times as much.
 *
 * @param key at least 32 bytes, else it throws a `RangeError`
 */
export function createMac(key: Uint8Array): Mac {
  if (key.length < LEAST_KEY_BYTES) throw new RangeError('a token key has fewer than 32 bytes');
  const padded = Buffer.alloc(BLOCK_BYTES);
  padded.set(key.length > BLOCK_BYTES ? hash('sha256', key, 'buffer') : key);
  const inner = xored(padded, 0x36);
  const outer = xored(padded, 0x5c);
  return (content) => {
    const message = Buffer.from(content).toString('latin1');
    return Buffer.from(sha256(outer + sha256(inner + message)), 'latin1').subarray(0, TAG_BYTES);
  };
}

/** Texts of one character an octet: a digest in memory of its own costs twice as much. */
function sha256(octets: string): string {
  return hash('sha256', Buffer.from(octets, 'latin1'), 'binary');
}

function xored(octets: Uint8Array, pad: number): string {
  return Buffer.from(octets.map((octet) => octet ^ pad)).toString('latin1');
}
