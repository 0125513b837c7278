import { encode as toBase64, wrap as wrapBase64 } from 'nodemailer/lib/base64';
import MailComposer from 'nodemailer/lib/mail-composer';
import type MimeNode from 'nodemailer/lib/mime-node';
import { encode as toQuotedPrintable, wrap as wrapQuotedPrintable } from 'nodemailer/lib/qp';

/** Everything that a message says; values are taken as they are, rendered before. */
export interface MessageToCompose {
  /** With angle brackets; the same for all attempts of a send (I2). */
  readonly messageId: string;
  readonly date: Date;
  readonly from: { readonly name: string | null; readonly address: string };
  /** The recipient's address as given. */
  readonly to: string;
  readonly replyTo?: string | null;
  readonly subject: string;
  readonly html: string | null;
  readonly text: string;
  /** Further headers by name. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Header fields that it begins with, each with its CRLF. */
  readonly firstFields?: string;
}

/**
 * Makes the message (RFC 5322, RFC 2045) with CRLF line ends, not dot-stuffed. It is 7-bit in lines of at most 998
 * octets whatever its content, so that no server on the way has reason to rewrite it; only an address whose local part
 * is not ASCII stands in the header as UTF-8 (RFC 6532), since nothing else can express it and such a recipient is
 * reached by SMTPUTF8 alone.
 */
export function composeMessage(message: MessageToCompose): Buffer {
  const text = (message.firstFields ?? '') + written(treeOf(message)).replace(/\r?\n/g, '\r\n');
  return Buffer.from(text.endsWith('\n') ? text : `${text}\r\n`);
}

/** The message as nodemailer's own streams would build it, too. */
export function treeOf(message: MessageToCompose): MimeNode {
  const composer = new MailComposer({
    messageId: message.messageId,
    date: message.date,
    from: { name: message.from.name ?? '', address: message.from.address },
    to: { name: '', address: message.to },
    ...(message.replyTo && { replyTo: { name: '', address: message.replyTo } }),
    subject: message.subject,
    text: withPlainLineEnds(message.text),
    ...(message.html !== null && { html: withPlainLineEnds(message.html) }),
    ...(message.headers && { headers: { ...message.headers } }),
    newline: 'windows',
    // Content is what it says; a value that looks like a path or link is never followed.
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return composer.compile();
}

/** At once: nodemailer's streams take a millisecond for a message of any size, since each step of theirs waits for the next. */
function written(part: MimeNode): string {
  const headers = part.buildHeaders();
  const within = part.childNodes.map((child) => `--${part.boundary}\r\n${written(child)}\r\n`);
  const end = part.childNodes.length > 0 ? `--${part.boundary}--\r\n` : '';
  return `${headers}\r\n\r\n${encoded(part)}${within.join('')}${end}`;
}

function encoded(part: MimeNode): string {
  const content = String(part.content ?? '');
  switch (part.getTransferEncoding()) {
    case 'quoted-printable':
      return wrapQuotedPrintable(toQuotedPrintable(content), 76);
    case 'base64':
      return wrapBase64(toBase64(content), 76);
    default:
      return content;
  }
}

/** Stray CRs would be line ends to some and content to others. */
function withPlainLineEnds(text: string): string {
  return text.toWellFormed().replace(/\r\n?/g, '\n');
}
