import { timingSafeEqual } from 'node:crypto';
import { readReturnPath, returnPathContent, writeReturnPath } from '../../domain/returnPath.ts';
import { createMac } from './mac.ts';

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
  const macs = options.keys.map(createMac);
  const [signing] = macs;
  if (signing === undefined) throw new RangeError('there is no token key');
  return {
    of: (sendId) => writeReturnPath({ sendId, tag: signing(returnPathContent(sendId)) }, domain),
    sendOf(address) {
      const parts = readReturnPath(address, domain);
      if (parts === null) return null;
      const { sendId, tag } = parts;
      const content = returnPathContent(sendId);
      const right = macs.map((mac) => timingSafeEqual(mac(content), tag)).includes(true);
      return right ? sendId : null;
    },
  };
}
