import { addressInField, distinct } from './addresses.ts';
import { type Fields, fieldGroups, first } from './fields.ts';
import type { Message } from './mime.ts';
import { type Notice, originalTo } from './notice.ts';
import { type RecipientReport, unjudged } from './report.ts';
import { decodeLeniently, oneLine } from './text.ts';

/** Fields in which a report names the recipient; the X- fields are those of mailbox providers' own formats. */
const RECIPIENT = ['original-rcpt-to', 'removal-recipient', 'redacted-address', 'x-original-rcpt-to'];
/** Recipients that are looked at; a report has one, rarely a few. */
const MOST_RECIPIENTS = 1000;
const ADDRESS_HIDDEN =
  /^(?:redacted|x+|\*+|\[.*\]|removed|hidden|undisclosed)(?:@|$)|@(?:redacted|hidden|removed)\b/i;
const WITHOUT_REPORT =
  /\b(?:complaint (?:about|on|from|report)|abuse report|spam (?:complaint|report)|(?:email )?feedback (?:report|loop)|abuse complaint)\b/i;

/**
 * What a feedback report says (RFC 5965; authentication failures, RFC 6591; opt-out, RFC 6650), one entry a recipient,
 * or `null` where the message is none. A complaint is no bounce: `kind` is `none`. Many providers redact the
 * recipient, then it is `null` and only a signed token tells whom it is about.
 */
export function readFeedback(message: Message, notice: Notice): RecipientReport[] | null {
  const fields = reportFields(message, notice);
  if (fields === null) return withoutReport(message, notice);
  const feedbackType = oneLine(first(fields, 'feedback-type'), 50)?.toLowerCase() ?? null;
  const named = distinct(
    RECIPIENT.flatMap((name) => fields.get(name) ?? [])
      .flatMap((value) => value.split(',', MOST_RECIPIENTS))
      .slice(0, MOST_RECIPIENTS)
      .map((value) => addressInField(value))
      .filter((address) => address !== null && !ADDRESS_HIDDEN.test(address)) as string[],
  );
  return reports(named.length > 0 ? named : fromOriginal(notice), feedbackType, 'feedback report', fields);
}

/** Envelope senders of the message that a feedback report is about (RFC 5965 section 3.2); none where it is none. */
export function originalMailFrom(message: Message, notice: Notice): string[] {
  const named = reportFields(message, notice)?.get('original-mail-from') ?? [];
  return named.map((value) => addressInField(value)).filter((address) => address !== null);
}

function reportFields(message: Message, notice: Notice): Fields | null {
  for (const { type, octets } of message.parts) {
    if (type === 'message/rfc822') continue;
    const text = decodeLeniently(octets.subarray(0, 256 * 1024));
    if (type === 'message/feedback-report' || /^feedback-type[ \t]*:/im.test(text.slice(0, 4096))) {
      return merged(fieldGroups(text));
    }
  }
  const text = notice.lines.join('\n');
  const isReport =
    /^feedback-type[ \t]*:/im.test(text) && /^(?:user-agent|version|original-[\w-]+)[ \t]*:/im.test(text);
  return isReport ? merged(fieldGroups(text)) : null;
}

function merged(groups: readonly Fields[]): Fields {
  const all = new Map<string, string[]>();
  for (const group of groups) {
    for (const [name, values] of group) all.set(name, [...(all.get(name) ?? []), ...values]);
  }
  return all;
}

/** A provider's complaint with the message but without a report, as older feedback loops send. */
function withoutReport(message: Message, notice: Notice): RecipientReport[] | null {
  const own = first(notice.original, 'x-hmxmroriginalrecipient');
  const says = WITHOUT_REPORT.test(first(message.headers, 'subject') ?? '');
  const isReturned = message.parts.some(
    ({ type }) => type === 'message/rfc822' || type === 'text/rfc822-headers',
  );
  if (own === undefined && !(says && isReturned)) return null;
  const address = addressInField(own);
  return reports(
    address ? [address] : fromOriginal(notice),
    'abuse',
    'complaint without a report',
    new Map(),
  );
}

function fromOriginal({ original }: Notice): string[] {
  return originalTo(original)
    .filter((address) => !ADDRESS_HIDDEN.test(address))
    .slice(0, 1);
}

function reports(
  addresses: string[],
  feedbackType: string | null,
  rule: string,
  fields: Fields,
): RecipientReport[] {
  const recipients: (string | null)[] = addresses.length > 0 ? addresses : [null];
  const remoteMta = oneLine(first(fields, 'reporting-mta')?.replace(/^[A-Za-z0-9-]+\s*;\s*/, ''), 255);
  return recipients.map((recipient) => ({
    ...unjudged(rule, 'feedback'),
    recipient,
    originalRecipient: recipient,
    feedbackType,
    remoteMta,
  }));
}
