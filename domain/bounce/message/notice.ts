import { addressesIn, distinct } from './addresses.ts';
import { type Fields, fieldGroups, fieldIn, first } from './fields.ts';
import type { Message } from './mime.ts';
import { decodeLeniently, oneLine } from './text.ts';

/** The notification proper, told apart from the message that it returns: nothing of that is ever read as a reason. */
export interface Notice {
  readonly lines: readonly string[];
  /** Header fields of the returned message; empty where it was not returned. */
  readonly original: Fields;
}

const MOST_LINES = 3000;
const LONGEST_LINE = 2000;
/** Octets of a returned message that are read for its header. */
const ORIGINAL_OCTETS = 64 * 1024;

/**
 * Lines that announce the returned message in English, German, French, Spanish, Italian, Portuguese and Japanese:
 * a rule of dashes with such words in it, or a short line that ends there.
 */
const ANNOUNCED =
  /(?:original|unsent|undelivered|returned|rejected|received|your|failed|bounced|urspr(?:ü|u)ngliche\w*|d'origine|originale?|元の|オリジナル).{0,40}(?:message|mail|e-?mail|nachricht|mensaje|messaggio|mensagem|メッセージ|メール)|(?:message|mail|e-?mail|nachricht)\b.{0,20}\b(?:headers?|text|body|source|follows|begins|kopf\w*|content)|(?:copy|text|headers?|body|kopie|part|beginning|start)\b.{0,12}\b(?:of|der|du|de|del|della|ihrer)\b.{0,20}\b(?:message|mail|e-?mail|nachricht|mensaje|messaggio|mensagem)|below this line|message d'origine|mensaje original|messaggio originale|mensagem original/i;
const RULE_OF_DASHES = /^\s*\|?(?:[-=_*#~+]\s?){2,}/;
const FOLLOWS =
  /(?:headers?|message|mail|text|copy|body|lines?)\b.{0,60}\b(?:follows?|following|below|attached|is appended)\b.{0,12}$|^\s*(?:the )?(?:original|undelivered|unsent|returned|rejected) (?:message|mail|e-?mail)(?: (?:headers?|text|source|body|content|details))*\W{0,4}$|^\s*(?:header|message headers|returned content)\W{0,4}$/i;
/** Fields that only a whole message has. */
const OF_TRANSPORT = /^(?:received|return-path|delivered-to|mime-version|dkim-signature|x-mailer)$/;
const OF_MESSAGE =
  /^(?:received|return-path|delivered-to|mime-version|dkim-signature|x-[\w-]+|content-[\w-]+|from|to|cc|subject|date|message-id|reply-to|sender|in-reply-to|references|user-agent|list-[\w-]+|authentication-results|arc-[\w-]+|importance|thread-[\w-]+|precedence|errors-to|organization)$/;
/** A report's own fields, which stand in blocks too. */
const OF_REPORT =
  /^(?:reporting-mta|final-recipient|original-recipient|action|status|remote-mta|diagnostic-code|arrival-date|last-attempt-date|x-actual-recipient|will-retry-until)$/;

/** Tells the notification of a message from the returned one, whether that is a part or in the same text. */
export function noticeOf(message: Message): Notice {
  const all = message.text
    .split(/\r\n|\n|\r/, MOST_LINES)
    .map((line) => line.slice(0, LONGEST_LINE).replaceAll('\u00a0', ' '));
  const { lines, removed } = withoutOriginal(all);
  const attached = message.parts.find(({ type }) =>
    /^(?:message\/(?:rfc822|global|partial)|text\/rfc822-headers?|message\/(?:rfc822-|global-)headers?)$/.test(
      type,
    ),
  );
  const original = attached
    ? (fieldGroups(decodeLeniently(attached.octets.subarray(0, ORIGINAL_OCTETS)))[0] ?? new Map())
    : headersIn(removed);
  return { lines, original };
}

/** Cuts the returned message off, and takes header blocks out that are quoted within the notification. */
function withoutOriginal(all: readonly string[]): { lines: string[]; removed: string[] } {
  const lines: string[] = [];
  const removed: string[] = [];
  let index = 0;
  while (index < all.length) {
    const line = all[index]!;
    if (isAnnouncement(line) && lines.some((each) => /\p{L}/u.test(each))) {
      const next = all.slice(index + 1, index + 6).find((each) => each.trim() !== '');
      if (RULE_OF_DASHES.test(line) || next === undefined || startsHeader(next)) {
        removed.push(...all.slice(index + 1));
        break;
      }
    }
    const block = headerBlockAt(all, index);
    if (block === null) {
      lines.push(line);
      index++;
      continue;
    }
    if (block.isWholeMessage) {
      removed.push(...all.slice(index));
      break;
    }
    removed.push(...all.slice(index, block.end));
    index = block.end;
  }
  return { lines, removed };
}

function isAnnouncement(line: string): boolean {
  const flat = line.trim();
  if (flat === '' || flat.length > 160) return false;
  // What was received, and when, is the beginning of sendmail's notification, not of the message.
  if (/\bwas received\b|\bfollowing address|\btranscript\b|\brecipients?\b/i.test(flat)) return false;
  return (RULE_OF_DASHES.test(flat) && ANNOUNCED.test(flat)) || FOLLOWS.test(flat);
}

function startsHeader(line: string): boolean {
  const field = fieldIn(line.replace(/^[\s>|]{1,8}/, ''));
  return (field !== null && OF_MESSAGE.test(field.name)) || /^\s*[>|]?\s*From \S+@/.test(line);
}

/** A block of lines that are a message's header, from `start`; quoted ones (`> From:`) too. */
function headerBlockAt(
  all: readonly string[],
  start: number,
): { end: number; isWholeMessage: boolean } | null {
  if (!startsHeader(all[start]!)) return null;
  const names = new Set<string>();
  let index = start;
  for (; index < all.length && index < start + 400; index++) {
    const line = all[index]!;
    if (line.trim() === '') break;
    const field = fieldIn(line.replace(/^[\s>|]{0,8}/, ''));
    if (field && OF_REPORT.test(field.name)) return null;
    if (field && OF_MESSAGE.test(field.name)) names.add(field.name);
    else if (!/^[\s>]/.test(line) && index > start) break;
  }
  const known = [...names].filter((name) => !name.startsWith('x-'));
  if (known.length < 3) return null;
  return { end: index, isWholeMessage: known.some((name) => OF_TRANSPORT.test(name)) };
}

/** The header fields among lines, as they stand or quoted. */
function headersIn(lines: readonly string[]): Fields {
  const text = lines
    .slice(0, 600)
    .map((line) => line.replace(/^\s{0,4}[>|] ?/, ''))
    .join('\n');
  return (
    fieldGroups(text).find((group) =>
      ['from', 'to', 'message-id', 'subject'].some((name) => group.has(name)),
    ) ?? new Map()
  );
}

/** The returned message's Message-ID, or what the notification answers to. */
export function originalMessageId(message: Message, original: Fields): string | null {
  const value =
    first(original, 'message-id') ??
    first(message.headers, 'in-reply-to', 'x-original-message-id', 'references');
  const ids = oneLine(value, 4000)?.match(/<[^<>\s]{1,990}>/g);
  return ids?.at(-1) ?? null;
}

/** Addresses that the returned message was sent to. */
export function originalTo(original: Fields): string[] {
  const values = ['x-envelope-to', 'envelope-to', 'delivered-to', 'to', 'cc'].flatMap(
    (name) => original.get(name)?.slice(0, 5) ?? [],
  );
  return distinct(values.flatMap((value) => addressesIn(value).map(({ address }) => address))).slice(0, 20);
}

/** Addresses of those who sent the returned message and who get the notification: never the ones that failed. */
export function senders(message: Message, notice: Notice): string[] {
  const values = [
    ...['from', 'sender', 'return-path', 'reply-to', 'x-envelope-from', 'errors-to'].flatMap(
      (name) => notice.original.get(name)?.slice(0, 5) ?? [],
    ),
    ...['from', 'to', 'delivered-to', 'return-path', 'envelope-to', 'reply-to'].flatMap(
      (name) => message.headers.get(name)?.slice(0, 5) ?? [],
    ),
  ];
  return distinct(values.flatMap((value) => addressesIn(value).map(({ address }) => address)));
}
