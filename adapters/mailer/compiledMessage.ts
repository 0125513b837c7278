import { encode as toQuotedPrintable, wrap as wrapQuotedPrintable } from 'nodemailer/lib/qp';
import { remembering } from './remembering.ts';
import {
  type EmailTemplates,
  headerLine,
  LONGEST_NAME,
  LONGEST_SUBJECT,
  type MergeValues,
} from './render.ts';
import { type Slot, type SlottedTemplate, slotsOf } from './templateSlots.ts';
import { TextBuilder } from './textBuilder.ts';
import { withHtmlLink, withTextLink } from './unsubscribeFooter.ts';

/*
 * A message of which all that is the same for everybody is made once. Bodies are quoted-printable, with soft line breaks
 * (RFC 2045 section 6.7) around each slot: so what stands before and behind it is encoded for good, however long the value.
 */

const SOFT_BREAK = '=\r\n';
/** It cannot occur in quoted-printable text, where a digit or a line end follows every `=`. */
const BOUNDARY = '=_heed';
/** A local part and a domain that need neither quoting nor another form. */
const PLAIN_ADDRESS = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,255}$/;
/** A value whose characters stand as they are in quoted-printable, and how many of them on a line of their own. */
const PLAIN_VALUE = /^[\x20-\x3c\x3e-\x7e]*$/;
const PLAIN_LINE = /.{1,70}/g;
const FIRST_DOT = /^\./m;
const FIRST_DOTS = /^\./gm;
const PLAIN_HEADER = /^[\x20-\x7e]{0,60}$/;
/** Bytes of an encoded-word's text: 60 characters in base64 (RFC 2047 section 2). */
const WORD_BYTES = 45;

/** What of a message is its recipient's. */
export interface MessageOfRecipient {
  /** Header fields that it begins with, each with its CRLF. */
  readonly firstFields: string;
  readonly messageId: string;
  readonly date: Date;
  readonly to: string;
  readonly values: MergeValues;
  readonly unsubscribeUrl: string | null;
  /** Further headers by name, ASCII. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface CompiledMessage {
  /** @returns the message, of 7-bit characters and ready for the wire; `null` where it has to be composed the plain way */
  write(message: MessageOfRecipient): string | null;
}

/**
 * Compiles an email.
 *
 * @param hasLink whether HTML and text are to have an unsubscribe link, by themselves or below
 * @returns `null` where it has tags, no text of its own, or anything else that is decided for each recipient
 */
export function compileMessage(
  email: EmailTemplates & { readonly fromAddress: string; readonly replyTo: string | null },
  hasLink: boolean,
): CompiledMessage | null {
  const { fromAddress, replyTo } = email;
  if (email.text === null) return null;
  if (!PLAIN_ADDRESS.test(fromAddress) || (replyTo !== null && !PLAIN_ADDRESS.test(replyTo))) return null;
  const subject = slotsOf('subject', email.subject);
  const fromName = email.fromName === null ? NOTHING : slotsOf('fromName', email.fromName);
  const text = bodyOf('text', email.text, hasLink);
  const html = email.html === null ? undefined : bodyOf('html', email.html, hasLink);
  if (subject === null || fromName === null || text === null || html === null) return null;

  const reply = replyTo === null ? '' : `Reply-To: ${mailbox(replyTo)}\r\n`;
  const address = mailbox(fromAddress);
  const fromOf = remembering((written: string) => {
    const name = headerLine(written, LONGEST_NAME);
    return name === '' ? address : `${phrase(name)} <${address}>`;
  });
  const subjectOf = remembering((written: string) => unstructured(headerLine(written, LONGEST_SUBJECT)));
  const dateOf = remembering((milliseconds: number) =>
    new Date(milliseconds).toUTCString().replace('GMT', '+0000'),
  );
  const writeBodies = bodiesOf(text, html);
  return {
    write({ firstFields, messageId, date, to, values, unsubscribeUrl, headers }) {
      if (!PLAIN_ADDRESS.test(to)) return null;
      const message = new TextBuilder();
      message.add(firstFields);
      message.add(`From: ${fromOf(written(fromName, values, unsubscribeUrl))}\r\n`);
      message.add(`To: ${mailbox(to)}\r\n${reply}`);
      message.add(`Subject: ${subjectOf(written(subject, values, unsubscribeUrl))}\r\n`);
      message.add(`Message-ID: ${messageId}\r\nDate: ${dateOf(date.getTime())}\r\n`);
      for (const [header, value] of Object.entries(headers)) {
        message.add(`${header}: ${value.replaceAll(', ', ',\r\n ')}\r\n`);
      }
      return writeBodies(message, values, unsubscribeUrl) ? message.end() : null;
    },
  };
}

const NOTHING: SlottedTemplate = { texts: [''], slots: [] };

/** Encoded with its soft line breaks; `null` where half of a line end may be at its edge. */
type EncodedSlot = (values: MergeValues, unsubscribeUrl: string | null) => string | null;
type Body = { readonly encoded: readonly string[]; readonly slots: readonly EncodedSlot[] };

/** Static texts as they stand in the message, with the link below where the template has none. */
function bodyOf(part: 'html' | 'text', source: string, hasLink: boolean): Body | null {
  const parsed = slotsOf(part, source);
  if (parsed === null) return null;
  const linked = hasLink ? withLink(part, parsed) : parsed;
  // A CR at the edge of a slot may be half of a line end.
  if (linked === null || linked.texts.some((text) => text.endsWith('\r'))) return null;
  const encoded = linked.texts.map((text) => quotedPrintable(text.toWellFormed().replace(/\r\n?/g, '\n')));
  return { slots: linked.slots.map(encodedSlot), encoded };
}

function encodedSlot(slot: Slot): EncodedSlot {
  const encodedOf = (value: string) =>
    value.includes('\r') ? null : `${SOFT_BREAK}${encodedValue(value)}${SOFT_BREAK}`;
  // Names and places repeat, the link does not.
  const encode = slot.isUnsubscribeUrl ? encodedOf : remembering(encodedOf);
  return (values, url) => encode(slot.render(values, url));
}

/**
 * The same template with the link that every recipient gets. Values cannot hold what would decide about it otherwise: in
 * HTML they are escaped, and the link is told by the static text in front of it.
 */
function withLink(part: 'html' | 'text', { texts, slots }: SlottedTemplate): SlottedTemplate | null {
  const url = 'https://link.invalid/a3f1c2';
  const marks = slots.map((slot, index) => (slot.isUnsubscribeUrl ? url : `\ue000${index}\ue001`));
  if (texts.some((text) => text.includes(url) || /[\ue000\ue001]/.test(text))) return null;
  const joined = texts.map((text, index) => text + (marks[index] ?? '')).join('');
  const isWritten = slots.some((slot) => slot.isUnsubscribeUrl);
  // The link comes below the text, whose end is trimmed: that may be a value's.
  const endsWithValue = part === 'text' && !isWritten && texts.at(-1)!.trim() === '';
  if (endsWithValue && slots.length === 0) return null;
  const isToldByText = (slot: Slot, index: number) => !slot.isUnsubscribeUrl || texts[index]!.includes('<');
  if (part === 'html' && !slots.every(isToldByText)) return null;
  const slotAt = (index: number) =>
    endsWithValue && index === slots.length - 1 ? trimmed(slots[index]!) : slots[index]!;
  const linked = part === 'html' ? withHtmlLink(joined, url) : withTextLink(joined, url);
  const pieces = linked.split(/(https:\/\/link\.invalid\/a3f1c2|\ue000\d+\ue001)/);
  return {
    texts: pieces.filter((_, index) => index % 2 === 0),
    slots: pieces
      .filter((_, index) => index % 2 === 1)
      .map((mark) => (mark === url ? LINK[part] : slotAt(Number(mark.slice(1, -1))))),
  };
}

/** A value at the end of a text; where nothing of it is left, what stands before it would have to be trimmed. */
function trimmed(slot: Slot): Slot {
  return {
    isUnsubscribeUrl: false,
    render(values, unsubscribeUrl) {
      const value = slot.render(values, unsubscribeUrl).trimEnd();
      if (value === '') throw new Error('the text has another end');
      return value;
    },
  };
}

/** The link; an address of ours has nothing that is escaped but `&`. */
const LINK: Readonly<Record<'html' | 'text', Slot>> = {
  html: { isUnsubscribeUrl: true, render: (_, url) => url!.replaceAll('&', '&amp;') },
  text: { isUnsubscribeUrl: true, render: (_, url) => url! },
};

/** Adds everything from the MIME headers on; false where a message has to be composed the plain way. */
type WriteBodies = (message: TextBuilder, values: MergeValues, unsubscribeUrl: string | null) => boolean;

function bodiesOf(text: Body, html: Body | undefined): WriteBodies {
  const partOf = (type: string) =>
    `Content-Type: text/${type}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n`;
  if (html === undefined) {
    const head = `MIME-Version: 1.0\r\n${partOf('plain')}`;
    return (message, values, url) => {
      message.add(head);
      const isWritten = writeBody(message, text, values, url);
      message.add('\r\n');
      return isWritten;
    };
  }
  const head = `MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary="${BOUNDARY}"\r\n\r\n--${BOUNDARY}\r\n${partOf('plain')}`;
  const between = `\r\n--${BOUNDARY}\r\n${partOf('html')}`;
  const end = `\r\n--${BOUNDARY}--\r\n`;
  return (message, values, url) => {
    message.add(head);
    if (!writeBody(message, text, values, url)) return false;
    message.add(between);
    const isWritten = writeBody(message, html, values, url);
    message.add(end);
    return isWritten;
  };
}

function writeBody(
  message: TextBuilder,
  { encoded, slots }: Body,
  values: MergeValues,
  unsubscribeUrl: string | null,
): boolean {
  message.add(encoded[0]!);
  for (let index = 0; index < slots.length; index += 1) {
    const value = slots[index]!(values, unsubscribeUrl);
    if (value === null) return false;
    message.add(value);
    message.add(encoded[index + 1]!);
  }
  return true;
}

function encodedValue(value: string): string {
  if (!PLAIN_VALUE.test(value)) return quotedPrintable(value);
  const lines = value.length <= 70 ? value : value.match(PLAIN_LINE)!.join(SOFT_BREAK);
  return FIRST_DOT.test(lines) ? quotedPrintable(value) : lines;
}

function written(template: SlottedTemplate, values: MergeValues, unsubscribeUrl: string | null): string {
  const { texts, slots } = template;
  let text = texts[0]!;
  for (let index = 0; index < slots.length; index += 1) {
    text += slots[index]!.render(values, unsubscribeUrl) + texts[index + 1]!;
  }
  return text;
}

/** Two octets short of the 76 that a line may have: a dot at its beginning is written as `=2E`, so that none is stuffed. */
function quotedPrintable(text: string): string {
  return wrapQuotedPrintable(toQuotedPrintable(text), 74)
    .replace(/\r?\n/g, '\r\n')
    .replace(FIRST_DOTS, '=2E');
}

/** The domain in lower case, as mail programs write it. */
function mailbox(address: string): string {
  const at = address.lastIndexOf('@');
  return address.slice(0, at) + address.slice(at).toLowerCase();
}

/** A display name (RFC 5322 section 3.4). */
function phrase(name: string): string {
  return PLAIN_HEADER.test(name) && !name.includes('=?')
    ? `"${name.replace(/["\\]/g, '\\$&')}"`
    : encodedWords(name);
}

function unstructured(text: string): string {
  return PLAIN_HEADER.test(text) && !text.includes('=?') ? text : encodedWords(text);
}

/** RFC 2047, in words that end at whole characters. */
function encodedWords(text: string): string {
  const words: string[] = [];
  let word = '';
  for (const character of text) {
    if (Buffer.byteLength(word + character) > WORD_BYTES) {
      words.push(word);
      word = '';
    }
    word += character;
  }
  words.push(word);
  return words.map((one) => `=?UTF-8?B?${Buffer.from(one).toString('base64')}?=`).join('\r\n ');
}
