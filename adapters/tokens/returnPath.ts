import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { readReturnPath, returnPathContent, writeReturnPath } from '../../domain/returnPath.ts';
import { TAG_BYTES } from '../../domain/unsubscribeToken.ts';

/** Makes and reads the return paths of sends: where reports about them come back to. */
export interface ReturnPath {
  /** The address for MAIL FROM; the same for all attempts of a send as long as the keys are the same. */
  of(sendId: string): string;
  /**
   * Never throws.
   *
   * @param address bare, in whichever letter case
   * @returns id of the send that the address was made for; `null` where it was not made here
   */
  sendOf(address: string): string | null;
}

/**
 * @param options.domain the return domain: its mail comes to Heed
 * @param options.keys at least 32 bytes each: the first one signs, all are accepted, so that a key can be replaced
 */
export function createReturnPath(options: {
  readonly domain: string;
  readonly keys: readonly Uint8Array[];
}): ReturnPath {
  const domain = options.domain.toLowerCase();
  const secrets = options.keys.map((key) => {
    if (key.length < 32) throw new RangeError('a token key has fewer than 32 bytes');
    return createSecretKey(key);
  });
  const [signing] = secrets;
  if (signing === undefined) throw new RangeError('there is no token key');
  return {
    of: (sendId) => writeReturnPath({ sendId, tag: tagOf(signing, sendId) }, domain),
    sendOf(address) {
      const parts = readReturnPath(address, domain);
      if (parts === null) return null;
      const { sendId, tag } = parts;
      const right = secrets.map((key) => timingSafeEqual(tagOf(key, sendId), tag)).includes(true);
      return right ? sendId : null;
    },
  };
}

function tagOf(key: KeyObject, sendId: string): Uint8Array {
  return createHmac('sha256', key).update(returnPathContent(sendId)).digest().subarray(0, TAG_BYTES);
}
