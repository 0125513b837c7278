import { addressesIn, addressInField, distinct, sameAddress } from './addresses.ts';
import { first } from './fields.ts';
import { type Evidence, judge } from './judge.ts';
import type { Message } from './mime.ts';
import { type Notice, originalTo, senders } from './notice.ts';
import { domainOf, evidenceAbout, type Prose, proseOf, quotesReply, startsWithAddress } from './prose.ts';
import { type RecipientReport, unjudged } from './report.ts';

/** Who writes bounces: RFC 5321 section 4.5.5 gives them a null return path, and most come from these names. */
const MAIL_SYSTEM =
  /\b(?:mailer[-_.]?daemon|post[-_ ]?master|mail(?:er)? (?:delivery|administrator|system|router)|delivery (?:sub)?system|system administrator|mdaemon|(?:mail|message) delivery|mail[-_]?(?:deliver(?:y|er)|robot|server))\b/i;

/** RFC 2369 and RFC 2919. */
const LIST_HEADERS = ['list-unsubscribe', 'list-id'];

/** Subjects of bounces, in the languages that mail systems write them in. */
export const FAILURE_SUBJECT =
  /undeliver|non[- ]?deliver|not (?:be )?deliver|could ?n[o']t (?:be )?(?:deliver|sen[dt])|deliver(?:y|ing)?\b.{0,30}\b(?:fail|problem|error|status|report|notif|unsuccess|impossible)|(?:fail|error|problem|unable)\w*\b.{0,30}\b(?:deliver|notice|send|mail|message)|return(?:ed|ing)\b.{0,30}\b(?:mail|message|sender)|(?:mail|message)\b.{0,20}\b(?:fail|return|reject|refus|block|bounce|undeliver)|\b(?:bounce|rejected|user unknown|not (?:a )?(?:list )?member)\b|unzustellbar|nicht (?:zugestellt|zustellbar)|zustell\w* .{0,20}fehl|fehlgeschlagen|non (?:remis|délivr|distribu|consegn|recapit)|échec|erreur|mancata consegna|no (?:se )?(?:pudo|ha podido|entreg)|error .{0,20}entrega|não (?:foi )?(?:entreg|pôde)|falha|не ?доставлен|недоставлен|エラー|配信|不達|退信|投递失败/i;

/** What a notification says when a message was not delivered, in words. */
const FAILURE_TEXT =
  /(?:could|can|was|were|has|have|had|is|did|do|does|been|wasn|couldn)(?: ?not|n't|'t)\b[^.]{0,60}\b(?:deliver|sen[dt]|reach|accept|process|post|transmit|forward|complet|receiv|exist|found|find)|\bunable to (?:deliver|send|reach|relay|process|contact)|\bundeliver|\bnon[- ]?deliver|\bdeliver\w*\b[^.]{0,80}\b(?:fail|unsuccessful|aborted|impossible|rejected)|\bfail\w*\b[^.]{0,60}\b(?:deliver|recipient|address|send|mail|message)|\breturn(?:ed|ing) to (?:the )?sender|\bpermanent\w* (?:fatal )?(?:delivery )?(?:error|failure)|\b(?:given|giving|gave) up\b|\berrors? (?:\w+ )?(?:deliver|while)|\b(?:rejected|refused|blocked|bounced)\b|\bnot a (?:list )?member\b|\bunknown (?:user|recipient|address)|\b(?:user|recipient|address|mailbox)\b[^.]{0,30}\bunknown\b|\bno such (?:user|recipient|mailbox)|\b(?:quota|mailbox (?:is )?full)\b|nicht (?:zugestellt|zustellbar|ausgeliefert)|unzustellbar|(?:pas|non) (?:pu )?(?:être )?(?:remis|délivr|distribu|consegn|recapit)|no (?:se )?(?:pudo|ha podido|puede)|não (?:foi|pôde|pode)|не (?:было |был )?доставлен|届け|配信(?:でき|不能|されま)|送信できま|無法|无法|失败/i;

const LABELLED =
  /^\s*(?:[*•-]\s*)?(?:(?:the )?(?:failed|final|original|intended|invalid|bad|unknown|failing|affected|message|e-?mail|destination|envelope)[ -])*(?:recipients?|your (?:message|mail|e-?mail) to|(?:failed|delivered|delivery|deliver|undeliverable) to|rcpt(?: to)?|address(?:es)?|e-?mail|users?|mailbox|empf(?:ä|ae)nger|destinataires?|destinatari[oa]s?|宛先|受信者|получатель)(?:\(s\))?(?: (?:address|list|name|e-?mail))?\s*[:=：]\s*/i;

/**
 * Reads a bounce that has no report: `null` where the message is no bounce.
 *
 * Recipients are taken from X-Failed-Recipients, from labelled lines (`Recipient: a@b`), lines that begin with an
 * address, lines that quote a reply about one, sentences about a failure, and last from the returned message; addresses
 * of the sender and of the mail system never.
 */
export function readTextBounce(
  message: Message,
  notice: Notice,
  mostRecipients: number,
): RecipientReport[] | null {
  const subject = first(message.headers, 'subject') ?? '';
  const failedHeader = message.headers.get('x-failed-recipients') ?? [];
  const named = failedRecipients(message, notice, failedHeader);
  if (!isBounce(message, notice, named.length > 0)) return null;
  const recipients = named.slice(0, mostRecipients);
  const prose = proseOf(notice);
  if (recipients.length === 0) return [readOne(null, notice, prose, subject)];
  return recipients.map((recipient) => readOne(recipient, notice, prose, subject));
}

/** A person answers to a message, or passes it on. */
const ANSWERS = /^\s*(?:re|aw|sv|antw|fwd?|wg|tr|rv)\s*:/i;

/** Programs that answer for a person say what they answer to, or that nothing is to answer them. */
function isReply({ headers }: Message): boolean {
  return headers.has('in-reply-to') || headers.has('x-auto-response-suppress');
}

function showsWhatCameBack({ original, lines }: Notice): boolean {
  return original.size > 0 || lines.some(quotesReply);
}

/**
 * Whether a message without a report is a bounce. The name of a mail system and words of failure are enough. An empty
 * return path alone belongs to every automatic message, and words of failure in a subject to every parcel that was
 * returned: these need to say who was not reached, the first with what came back, or each the other. What is sent to lists is none, nor is what a person
 * writes about one, unless the message came back with it.
 */
function isBounce(message: Message, notice: Notice, namesRecipient: boolean): boolean {
  const subject = first(message.headers, 'subject') ?? '';
  const saysSo = FAILURE_SUBJECT.test(subject);
  if (message.headers.has('x-failed-recipients')) return true;
  if (!(saysSo || tellsOfFailure(notice))) return false;
  if (isFromMailSystem(message)) return true;
  if (hasNullReturnPath(message)) {
    return saysSo || (namesRecipient && !isReply(message) && showsWhatCameBack(notice));
  }
  if (!(saysSo && namesRecipient)) return false;
  if (LIST_HEADERS.some((name) => message.headers.has(name))) return false;
  return !ANSWERS.test(subject) || notice.original.size > 0;
}

/** Whether a notification quotes a refusal or tells of a failure in words. */
export function tellsOfFailure({ lines }: Notice): boolean {
  return lines.some(quotesReply) || FAILURE_TEXT.test(lines.join('\n').slice(0, 50_000));
}

export function isFromMailSystem(message: Message): boolean {
  return MAIL_SYSTEM.test(
    `${first(message.headers, 'from') ?? ''} ${first(message.headers, 'sender') ?? ''}`,
  );
}

/** RFC 5321 section 4.5.5: notifications have `MAIL FROM:<>`. */
export function hasNullReturnPath(message: Message): boolean {
  return message.headers.get('return-path')?.some((value) => /^<?\s*>?$/.test(value.trim())) ?? false;
}

function readOne(recipient: string | null, notice: Notice, prose: Prose, subject: string): RecipientReport {
  const forwarded = recipient === null ? null : forwardedFrom(notice, recipient);
  const judgement = judge(withSubject(prose, recipient, subject), null, domainOf(recipient));
  return {
    ...unjudged(judgement.rule, 'text'),
    ...judgement,
    recipient: forwarded ?? recipient,
    finalRecipient: recipient,
    originalRecipient: forwarded,
  };
}

/** The subject speaks last, and only where no reply does: it may be about another recipient. */
function* withSubject(prose: Prose, recipient: string | null, subject: string): Generator<Evidence> {
  let isQuoted = false;
  for (const evidence of evidenceAbout(prose, recipient === null ? [] : [recipient])) {
    isQuoted ||= evidence.quoted;
    yield evidence;
  }
  if (!isQuoted) yield { text: subject, phase: null, quoted: false };
}

/** `<b@c> (expanded from <a@b>)` of Postfix, `(generated from a@b)` of Exim. */
function forwardedFrom({ lines }: Notice, recipient: string): string | null {
  for (const [index, line] of lines.entries()) {
    if (!line.toLowerCase().includes(recipient.toLowerCase())) continue;
    const text = `${line} ${lines[index + 1] ?? ''}`;
    const match =
      /\b(?:expanded|generated|forwarded|redirected|derived) from:?\s*<?([^\s<>()]+@[^\s<>()]+)/i.exec(text);
    const address = addressInField(match?.[1]);
    if (address !== null && !sameAddress(address, recipient)) return address;
  }
  return null;
}

/** The recipients that failed, as the words of a notification name them; `failedHeader`: values of X-Failed-Recipients. */
export function failedRecipients(
  message: Message,
  notice: Notice,
  failedHeader: readonly string[],
): string[] {
  const own = senders(message, notice);
  const found = (values: readonly string[]) =>
    distinct(values.flatMap((value) => addressesIn(value.slice(0, 20_000)).map(({ address }) => address)));
  const others = (addresses: readonly string[]) =>
    addresses.filter((address) => !own.some((each) => sameAddress(each, address)) && !isMailSystems(address));
  const named = found(failedHeader);
  if (named.length > 0) return named;
  for (const family of FAMILIES) {
    const addresses = others(found(family(notice.lines)));
    if (addresses.length > 0) return addresses;
  }
  if (isReport(notice)) return [];
  const returned = others(originalTo(notice.original)).slice(0, 1);
  if (returned.length > 0) return returned;
  // Who mailed himself, or whose mail system writes the recipient where the sender belongs.
  const fromSystem = found(message.headers.get('from') ?? []);
  for (const family of FAMILIES) {
    const addresses = found(family(notice.lines)).filter(
      (address) => !fromSystem.some((each) => sameAddress(each, address)),
    );
    if (addresses.length > 0) return addresses;
  }
  return [];
}

/** A bounce that passes a report on without a word about whom it is: the report tells. */
function isReport({ original }: Notice): boolean {
  return /multipart\/report/i.test(first(original, 'content-type') ?? '');
}

function isMailSystems(address: string): boolean {
  return /^(?:mailer-?daemon|postmaster|abuse|support|help(?:desk)?)@/i.test(address);
}

/** Lines that name failed recipients, the most explicit way first. */
const FAMILIES: readonly ((lines: readonly string[]) => string[])[] = [
  (lines) => [...afterLabel(lines), ...atLineStart(lines)],
  (lines) => lines.filter((line) => quotesReply(line) || /^\s*>>>\s*RCPT\b/i.test(line)),
  (lines) => failureSentences(lines),
];

function afterLabel(lines: readonly string[]): string[] {
  return lines.flatMap((line, index) => {
    const label = LABELLED.exec(line)?.[0];
    if (label === undefined) return [];
    const rest = line.slice(label.length);
    return rest.trim() === '' ? [lines[index + 1] ?? ''] : [rest];
  });
}

/** `<a@b>:` of qmail and Postfix, an indented address of Exim, `a@b on 1/2/2020` of Exchange: alone or before a reason. */
function atLineStart(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    if (!startsWithAddress(line)) return [];
    const found = addressesIn(line)[0]!;
    const rest = line.slice(found.end);
    // A sentence that begins with an address goes on with a word; a list entry with punctuation, a reason or nothing.
    return /^[\s>"'\])]*(?:$|[:;,.|(<[-]|\.\.\.|on (?:\w{3,9},? )?\d|\d{3}\b|\s{2,})/.test(rest)
      ? [found.address]
      : [];
  });
}

/** Addresses in a sentence that tells of a failure, or in what follows its colon. */
function failureSentences(lines: readonly string[]): string[] {
  return lines.flatMap((line, index) => {
    const sentence = `${lines[index - 1] ?? ''} ${line}`;
    if (!FAILURE_TEXT.test(sentence) || addressesIn(line).length === 0) return [];
    return addressesIn(line).map(({ address }) => address);
  });
}
