import { Buffer } from 'node:buffer';
import { decodeBase32, encodeBase32 } from './base32.ts';

/**
 * What a token lets its holder do. `link`: whatever the page offers, taking an opt-out back included. `mail`: to
 * unsubscribe and nothing else, since a message that quotes it goes through many hands.
 */
export const TOKEN_PURPOSES = ['link', 'mail'] as const;
export type TokenPurpose = (typeof TOKEN_PURPOSES)[number];

/** Bytes of the tag: half of an HMAC-SHA256, 128 bits that cannot be guessed. */
export const TAG_BYTES = 16;
const ID_BYTES = 16;

/** A token taken apart; whether its tag is right is asked of whoever has the keys. */
export interface TokenParts {
  readonly sendId: string;
  readonly tag: Uint8Array;
}

/**
 * What the tag is made over. The send stands for the person, the address and the list, so a token can do nothing to
 * anybody else; no time is in it, since a no must be heard whenever it is said.
 */
export function signedContent(purpose: TokenPurpose, sendId: string): string {
  return `heed unsubscribe ${purpose} ${sendId}`;
}

/** 52 letters and digits: the send's id, which tells nothing of the person, and the tag. */
export function writeToken({ sendId, tag }: TokenParts): string {
  const bytes = Buffer.allocUnsafe(ID_BYTES + TAG_BYTES);
  bytes.write(sendId.replaceAll('-', ''), 'hex');
  bytes.set(tag.subarray(0, TAG_BYTES), ID_BYTES);
  return encodeBase32(bytes);
}

/** Takes a token apart. Never throws. @returns `null` for what is none: cut off, lengthened, of other letters */
export function readToken(text: string): TokenParts | null {
  // Looked at before anything is decoded: nobody makes this work on megabytes.
  if (text.length !== 52) return null;
  const bytes = decodeBase32(text);
  if (bytes === null) return null;
  const digits = [...bytes.subarray(0, ID_BYTES)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const sendId = digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return { sendId, tag: bytes.subarray(ID_BYTES) };
}

/** Subject of the message that unsubscribes by mail (RFC 2369 section 3.2). */
export function subjectOf(token: string): string {
  return `unsubscribe ${token}`;
}

/** What may be the token in the subject of such a message, whatever a mail program put around it. */
export function tokenOfSubject(subject: string): string | null {
  return /(?<![a-z0-9])[a-z2-7]{52}(?![a-z0-9])/i.exec(subject)?.[0] ?? null;
}
