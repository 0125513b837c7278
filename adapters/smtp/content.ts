const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const CRLF = Buffer.from('\r\n');

/** Content in the form in which DATA carries it, without the final dot. */
export interface WireContent {
  /**
   * Dot-stuffed (RFC 5321 section 4.5.2) and ending with CRLF. The very bytes given where nothing had to change; a text
   * has one character an octet.
   */
  readonly octets: Buffer | string;
  /** Message size in the sense of RFC 1870 section 3: with CRLFs, without the stuffed dots. */
  readonly size: number;
  readonly eightBit: boolean;
}

/** Content of which it is known that nothing has to be changed, of 7-bit characters. */
export function readyContent(content: string): WireContent {
  return { octets: content, size: content.length, eightBit: false };
}

/**
 * Prepares content with CRLF line ends for DATA in one pass over its bytes. A missing final CRLF is added.
 *
 * @returns `null` for a CR or LF on its own: it must not be sent (RFC 5321 section 2.3.8), for servers disagree on
 * whether it ends a line, and with it on where the message ends.
 */
export function wireContent(content: Uint8Array): (WireContent & { readonly octets: Buffer }) | null {
  const length = content.length;
  const dots: number[] = [];
  let seen = 0;
  let atLineStart = true;
  if (content[0] === DOT) dots.push(0);
  for (let index = 0; index < length; index++) {
    const octet = content[index]!;
    seen |= octet;
    atLineStart = false;
    if (octet > CR) continue;
    if (octet === LF) return null;
    if (octet !== CR) continue;
    index++;
    if (content[index] !== LF) return null;
    atLineStart = true;
    if (content[index + 1] === DOT) dots.push(index + 1);
  }
  const terminated = atLineStart && length > 0;
  const source = Buffer.from(content.buffer, content.byteOffset, length);
  const size = terminated ? length : length + CRLF.length;
  return {
    octets: terminated && dots.length === 0 ? source : stuffed(source, dots, size),
    size,
    eightBit: seen > 0x7f,
  };
}

function stuffed(source: Buffer, dots: readonly number[], size: number): Buffer {
  const target = Buffer.allocUnsafe(size + dots.length);
  let from = 0;
  let to = 0;
  for (const dot of dots) {
    to += source.copy(target, to, from, dot);
    target[to++] = DOT;
    from = dot;
  }
  to += source.copy(target, to, from);
  CRLF.copy(target, to);
  return target;
}
