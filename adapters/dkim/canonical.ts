/**
 * Canonical forms of RFC 6376 section 3.4 (relaxed/relaxed) and the header fields of a message. Texts are latin1:
 * one character an octet.
 */

export interface HeaderField {
  /** Lower case. */
  readonly name: string;
  /** As it stands in the message, folded, without its last CRLF. */
  readonly raw: string;
}

/** Takes a message with CRLF line ends apart at its first empty line. */
export function splitMessage(message: string): { readonly fields: HeaderField[]; readonly body: string } {
  const end = message.startsWith('\r\n') ? 0 : message.indexOf('\r\n\r\n') + 2;
  const header = end === 1 ? message : message.slice(0, end);
  const lines = header.split(/\r\n(?![ \t])/).filter((line) => line !== '');
  return {
    fields: lines.map((raw) => ({ name: raw.split(':', 1)[0]!.trim().toLowerCase(), raw })),
    body: end === 1 ? '' : message.slice(end + 2),
  };
}

/** Section 3.4.2, without the last CRLF. */
export function relaxedField({ name, raw }: HeaderField): string {
  const value = raw
    .slice(raw.indexOf(':') + 1)
    .replace(/\r\n/g, '')
    .replace(/[ \t]+/g, ' ');
  return `${name}:${value.replace(/^ | $/g, '')}`;
}

/** Section 3.4.4. */
export function relaxedBody(body: string): string {
  // Nearly every body of ours is in that form already: one look at it is a tenth of taking it apart.
  if (
    body.endsWith('\r\n') &&
    !body.endsWith('\r\n\r\n') &&
    body !== '\r\n' &&
    !/[ \t]{2}|\t|[ \t]\r\n/.test(body)
  ) {
    return body;
  }
  const lines = body.split('\r\n').map((line) => line.replace(/[ \t]+/g, ' ').replace(/ $/, ''));
  while (lines.at(-1) === '') lines.pop();
  return lines.length === 0 ? '' : `${lines.join('\r\n')}\r\n`;
}
