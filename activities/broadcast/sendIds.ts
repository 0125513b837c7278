import { randomFillSync } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';

const BYTES_AN_ID = 16;
const IDS_A_DRAW = 512;

const random = new Uint8Array(BYTES_AN_ID * IDS_A_DRAW);
let used = random.length;

/** A new id of a send. Random bits are drawn for hundreds of them: a draw for each was a tenth of what composing costs. */
export function newSendId(): string {
  if (used === random.length) {
    randomFillSync(random);
    used = 0;
  }
  used += BYTES_AN_ID;
  return uuidv7({ random: random.subarray(used - BYTES_AN_ID, used) });
}
