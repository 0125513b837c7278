import { convert } from 'html-to-text';
import PostalMime, { decodeWords, type Email } from 'postal-mime';
import { addressesIn, distinct } from './addresses.ts';
import { type Fields, fieldGroups } from './fields.ts';
import { decodeLeniently } from './text.ts';

/** A message taken apart, as far as the rules look at it. */
export interface Message {
  /** Header fields, decoded (RFC 2047), names in lower case. */
  readonly headers: Fields;
  /** Content-Type of the whole, in lower case, with its parameters. */
  readonly contentType: string;
  /** What a person reads: the plain text, or the HTML as text where there is no plain one. */
  readonly text: string;
  readonly parts: readonly Part[];
}

/** A part that is not read by a person as the text of the message, in the order of the message. */
export interface Part {
  /** In lower case, without parameters. */
  readonly type: string;
  readonly octets: Uint8Array;
}

/** Levels of multipart; a report has two or three. */
const DEEPEST = 30;
/** Octets of headers of all parts, the returned message's left out. */
const MOST_HEADERS = 256 * 1024;
/** Characters of text and of HTML that are looked at: a notice is a few thousand. */
const LONGEST_TEXT = 128 * 1024;
const LONGEST_HTML = 192 * 1024;
/** Fewer letters than this in the plain text say nothing, and the HTML is read in its place. */
const LEAST_LETTERS = 20;

/** Takes a message apart. Never throws: what no MIME parser understands is read as plain text. */
export async function parseMessage(octets: Uint8Array): Promise<Message> {
  try {
    const message = fromEmail(
      await PostalMime.parse(octets, {
        forceRfc822Attachments: true,
        maxNestingDepth: DEEPEST,
        maxHeadersSize: MOST_HEADERS,
      }),
    );
    // A multipart message whose boundaries were lost on its way has nothing but a body.
    if (message.text.trim() !== '') return message;
    const text = message.parts.find(({ type }) => /^text(?:$|\/plain|\s)/.test(type));
    if (text) return { ...message, text: decodeLeniently(text.octets.subarray(0, LONGEST_TEXT)) };
    return message.parts.length === 0 ? { ...message, text: asPlainText(octets).text } : message;
  } catch {
    return asPlainText(octets);
  }
}

function fromEmail(email: Email): Message {
  const headers = new Map<string, string[]>();
  for (const { key, value } of email.headers) {
    const values = headers.get(key) ?? [];
    values.push(decodeWords(value.slice(0, 16_000)));
    headers.set(key, values);
  }
  const parts = email.attachments.map(({ mimeType, content }) => ({
    type: mimeType,
    octets: typeof content === 'string' ? new TextEncoder().encode(content) : new Uint8Array(content),
  }));
  return {
    headers,
    contentType: (headers.get('content-type')?.[0] ?? '').toLowerCase(),
    text: readableText(email.text ?? '', email.html ?? ''),
    parts,
  };
}

function readableText(plain: string, html: string): string {
  if (html === '' || (plain.match(/\p{L}/gu)?.length ?? 0) >= LEAST_LETTERS)
    return plain.slice(0, LONGEST_TEXT);
  return `${plain}\n${htmlAsText(html.slice(0, LONGEST_HTML))}`.slice(0, LONGEST_TEXT);
}

function htmlAsText(html: string): string {
  const text = convert(html, {
    wordwrap: false,
    limits: { maxDepth: 100, maxInputLength: LONGEST_HTML },
    selectors: [
      { selector: 'a', options: { ignoreHref: true } },
      { selector: 'img', format: 'skip' },
      { selector: 'td', format: 'block' },
      { selector: 'th', format: 'block' },
    ],
  });
  return text.replaceAll('\u00a0', ' ');
}

/** The header as far as it can be told, and all the rest as text. */
function asPlainText(octets: Uint8Array): Message {
  const whole = decodeLeniently(octets.subarray(0, 2 * LONGEST_TEXT));
  const end = /\r?\n\r?\n/.exec(whole)?.index ?? whole.length;
  const headers = fieldGroups(whole.slice(0, Math.min(end, MOST_HEADERS)))[0] ?? new Map();
  return { headers, contentType: '', text: whole.slice(end, end + LONGEST_TEXT), parts: [] };
}

/** Header fields that tell whom a message was delivered to. */
const DELIVERED_TO = [
  'delivered-to',
  'x-original-to',
  'envelope-to',
  'x-envelope-to',
  'x-rcpt-to',
  'original-recipient',
  'to',
  'return-path',
];

/** Addresses that the message itself was delivered to, the ones that servers noted before the ones that authors did. */
export function deliveredTo(headers: Fields): string[] {
  const values = DELIVERED_TO.flatMap((name) => headers.get(name) ?? []);
  return distinct(values.flatMap((value) => addressesIn(value).map(({ address }) => address))).slice(0, 50);
}
