import { readToken, type TokenParts, writeToken } from './unsubscribeToken.ts';

/**
 * The return path of a send (VERP, variable envelope return path): reports about it come back to an address that
 * names it and that nobody else can make. 54 octets of local part, below the 64 of RFC 5321 section 4.5.3.1.1, in
 * letters and digits that survive relays which fold case.
 */

/** Tells these local parts from whatever else the return domain has. */
const PREFIX = 'b-';

/** What the tag is made over. No attempt is in it: a report is about the send, whichever attempt it was. */
export function returnPathContent(sendId: string): string {
  return `heed return path ${sendId}`;
}

export function writeReturnPath(parts: TokenParts, domain: string): string {
  return `${PREFIX}${writeToken(parts)}@${domain}`;
}

/**
 * Takes a return path apart, in whichever letter case. Never throws.
 *
 * @param domain the return domain, lower case
 * @returns `null` for what is none: of another domain, cut off, lengthened, of other letters
 */
export function readReturnPath(address: string, domain: string): TokenParts | null {
  // Looked at before anything is taken apart: nobody makes this work on megabytes.
  if (address.length > 64 + 1 + 253) return null;
  const at = address.lastIndexOf('@');
  const localPart = address.slice(0, at).toLowerCase();
  if (at === -1 || address.slice(at + 1).toLowerCase() !== domain || !localPart.startsWith(PREFIX))
    return null;
  return readToken(localPart.slice(PREFIX.length));
}
