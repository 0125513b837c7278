import { createHash } from 'node:crypto';
import { INBOUND_KEPT_OCTETS } from '../../domain/inbound.ts';

/** A message as it came in: its beginning, and how long all of it was. */
export interface CollectedMessage {
  /** Its first {@link INBOUND_KEPT_OCTETS}. */
  readonly content: Uint8Array;
  /** Octets of all of it. */
  readonly size: number;
}

/**
 * Takes a message in, whatever its length: keeps the beginning and counts the rest.
 *
 * @param maxOctets beyond these nothing more is counted, and `null` is returned at the end, for then it is too long
 */
export async function collectMessage(
  chunks: AsyncIterable<Uint8Array>,
  maxOctets: number,
): Promise<CollectedMessage | null> {
  const kept: Uint8Array[] = [];
  let keptOctets = 0;
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > maxOctets) return null;
    const room = INBOUND_KEPT_OCTETS - keptOctets;
    if (room <= 0) continue;
    const part = chunk.subarray(0, room);
    // A copy: a part of a large chunk would keep all of it in memory.
    kept.push(part.length === chunk.length ? chunk : Uint8Array.from(part));
    keptOctets += part.length;
  }
  return { content: Buffer.concat(kept), size };
}

/**
 * Key by which the same message is known when it comes again: its kept beginning, its length, and whom it came to. A
 * server that missed our answer sends it again octet for octet; a mailbox that is numbered anew shows it again.
 */
export function messageKey(message: CollectedMessage, recipients: readonly string[]): string {
  const hash = createHash('sha256').update(message.content).update(`\0${message.size}`);
  for (const address of recipients.map((each) => each.toLowerCase()).sort()) hash.update(`\0${address}`);
  return hash.digest('base64url');
}
