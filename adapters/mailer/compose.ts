import MailComposer from 'nodemailer/lib/mail-composer';

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
}

/**
 * Makes the message (RFC 5322, RFC 2045) with CRLF line ends, not dot-stuffed. It is 7-bit in lines of at most 998
 * octets whatever its content, so that no server on the way has reason to rewrite it; only an address whose local part
 * is not ASCII stands in the header as UTF-8 (RFC 6532), since nothing else can express it and such a recipient is
 * reached by SMTPUTF8 alone.
 */
export async function composeMessage(message: MessageToCompose): Promise<Buffer> {
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
  return composer.compile().build();
}

/** Stray CRs would be line ends to some and content to others. */
function withPlainLineEnds(text: string): string {
  return text.toWellFormed().replace(/\r\n?/g, '\n');
}
