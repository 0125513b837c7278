import { timingSafeEqual } from 'node:crypto';
import {
  readToken,
  signedContent,
  TAG_BYTES,
  type TokenPurpose,
  writeToken,
} from '../../domain/unsubscribeToken.ts';
import { createMac } from './mac.ts';

/** Makes and reads the tokens of unsubscribe links and of unsubscribing by mail. They never expire. */
export interface UnsubscribeTokens {
  /** The same send and purpose give the same token as long as the keys are the same: every attempt is the same message. */
  issue(purpose: TokenPurpose, sendId: string): string;
  /**
   * Never throws, and does the same work whatever it is given.
   *
   * @returns id of the send that the token was made for; `null` where it was not made here for this purpose
   */
  read(purpose: TokenPurpose, token: string): string | null;
}

const NO_TAG = new Uint8Array(TAG_BYTES);
const NO_SEND = '00000000-0000-0000-0000-000000000000';

/** @param keys at least 32 bytes each: the first one signs, all are accepted, so that a key can be replaced */
export function createUnsubscribeTokens(keys: readonly Uint8Array[]): UnsubscribeTokens {
  const macs = keys.map(createMac);
  const [signing] = macs;
  if (signing === undefined) throw new RangeError('there is no token key');
  return {
    issue: (purpose, sendId) => writeToken({ sendId, tag: signing(signedContent(purpose, sendId)) }),
    read(purpose, token) {
      const parts = readToken(token);
      const sendId = parts?.sendId ?? NO_SEND;
      const tag = parts?.tag ?? NO_TAG;
      const content = signedContent(purpose, sendId);
      const right = macs.map((mac) => timingSafeEqual(mac(content), tag)).includes(true);
      return parts !== null && right ? sendId : null;
    },
  };
}
