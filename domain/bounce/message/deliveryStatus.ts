import { addressInField } from './addresses.ts';
import { type Fields, fieldGroups, first } from './fields.ts';
import { type Evidence, judge } from './judge.ts';
import type { Message } from './mime.ts';
import type { Notice } from './notice.ts';
import { domainOf, evidenceAbout, type Prose, phaseOfReply, proseOf } from './prose.ts';
import { type RecipientReport, unjudged } from './report.ts';
import { decodeLeniently, oneLine } from './text.ts';
import { failedRecipients } from './textBounce.ts';

const STATUS_TYPE = /^(?:message|text)\/(?:global-)?delivery-status$/;
const STATUS_FIELDS = /^[ \t]{0,3}(?:reporting-mta|final-recipient|original-recipient)[ \t]*:/im;
const RECIPIENT_FIELDS =
  /^[ \t]{0,3}(?:final-recipient|original-recipient|x-actual-recipient|action)[ \t]*:/im;
/** Octets of one part that are searched for a report. */
const STATUS_OCTETS = 1024 * 1024;
const RECIPIENT_NAMES = ['final-recipient', 'original-recipient', 'x-actual-recipient'];

/**
 * What a delivery status notification says (RFC 3464; RFC 6533 where addresses are internationalised), one entry a
 * recipient, or `null` where the message carries no such report. The report is known by its fields as well as by its
 * content type: some systems send it as text, or within the text.
 */
export function readDeliveryStatus(
  message: Message,
  notice: Notice,
  mostRecipients: number,
): RecipientReport[] | null {
  for (const groups of reportsIn(message, notice)) {
    const recipients = recipientGroups(groups);
    if (recipients.length === 0) continue;
    const words = withoutReport(notice);
    const prose = proseOf(words);
    const reports = recipients
      .slice(0, mostRecipients)
      .map((fields) => readRecipient(fields, groups[0]!, prose));
    if (reports.length > 1 || reports[0]!.recipient !== null) return reports;
    const named = failedRecipients(message, words, message.headers.get('x-failed-recipients') ?? []);
    return [{ ...reports[0]!, recipient: named[0] ?? null }];
  }
  return null;
}

/** The words before a report that stands in the same text. */
function withoutReport(notice: Notice): Notice {
  const start = notice.lines.findIndex((line) => STATUS_FIELDS.test(line));
  return start === -1 ? notice : { ...notice, lines: notice.lines.slice(0, start) };
}

function* reportsIn(message: Message, notice: Notice): Generator<Fields[]> {
  for (const { type, octets } of message.parts) {
    if (/^(?:image|audio|video|font)\/|^message\/(?:rfc822|global|partial|feedback-report)$/.test(type))
      continue;
    const text = decodeLeniently(octets.subarray(0, STATUS_OCTETS));
    if (STATUS_TYPE.test(type) || (STATUS_FIELDS.test(text) && RECIPIENT_FIELDS.test(text))) {
      yield fieldGroups(text);
    }
  }
  const text = notice.lines.join('\n');
  if (STATUS_FIELDS.test(text) && RECIPIENT_FIELDS.test(text)) yield fieldGroups(text);
}

/**
 * Per-recipient groups. Some systems leave out the blank line between two of them, others put one in the middle: a
 * field that cannot come twice begins the next, and a group without recipient goes on with the one before.
 */
function recipientGroups(groups: readonly Fields[]): Fields[] {
  const result: Map<string, readonly string[]>[] = [];
  for (const group of groups.flatMap(splitAtRepetition)) {
    const before = result.at(-1);
    const about = RECIPIENT_NAMES.some((name) => group.has(name));
    const isStatus = ['action', 'status', 'diagnostic-code'].some((name) => group.has(name));
    if (!about && before && isStatus && !before.has('action') && !before.has('status')) {
      for (const [name, values] of group) if (!before.has(name)) before.set(name, values);
    } else if (about || (isStatus && before === undefined)) {
      result.push(new Map(group));
    }
  }
  // A group before the recipients' with a status of its own is about the whole message.
  const named = result.filter((group) => RECIPIENT_NAMES.some((name) => group.has(name)));
  return named.length > 0 ? named : result.slice(0, 1);
}

function splitAtRepetition(group: Fields): Fields[] {
  const count = Math.max(...['final-recipient', 'action'].map((name) => group.get(name)?.length ?? 0));
  if (count < 2) return [group];
  return Array.from({ length: count }, (_, index) => {
    const one = new Map<string, readonly string[]>();
    for (const [name, values] of group) {
      const value = values.length === count ? values[index] : index === 0 ? values[0] : undefined;
      if (value !== undefined) one.set(name, [value]);
    }
    return one;
  });
}

function readRecipient(fields: Fields, perMessage: Fields, prose: Prose): RecipientReport {
  const finalRecipient =
    addressInField(first(fields, 'final-recipient')) ?? addressInField(first(fields, 'x-actual-recipient'));
  const originalRecipient = addressInField(first(fields, 'original-recipient'));
  const reportedAction = /^[a-z]+/.exec(first(fields, 'action')?.toLowerCase() ?? '')?.[0] ?? null;
  const status =
    /(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])/.exec(first(fields, 'status') ?? '')?.[0] ?? null;
  const diagnostic = first(fields, 'diagnostic-code', 'x-diagnostic-code') ?? null;
  const known = {
    recipient: originalRecipient ?? finalRecipient,
    finalRecipient,
    originalRecipient,
    reportedAction,
    status,
    diagnostic: oneLine(diagnostic),
    remoteMta: oneLine(
      first(fields, 'remote-mta')
        ?.replace(/^[A-Za-z0-9-]+\s*;\s*/, '')
        .replace(/\s*\(.*$/, ''),
      255,
    ),
  };
  if (isDelivered(reportedAction, status)) {
    return { ...unjudged('delivered', 'dsn'), ...known, reply: replyOf(diagnostic) };
  }
  if (isDelay(reportedAction)) {
    return { ...unjudged('delivery still being tried', 'delay'), ...known, reply: replyOf(diagnostic) };
  }
  const addresses = [finalRecipient, originalRecipient].filter((address) => address !== null);
  const comment = /^\S+\s+\(?(.*?)\)?$/.exec(first(fields, 'status') ?? '')?.[1] ?? null;
  const judgement = judge(
    evidenceOf(diagnostic, comment, addresses, prose),
    status,
    domainOf(finalRecipient ?? known.recipient),
  );
  return {
    ...unjudged(judgement.rule, 'dsn'),
    ...known,
    ...judgement,
    diagnostic: judgement.diagnostic ?? known.diagnostic,
    remoteMta: known.remoteMta ?? remoteMtaOf(perMessage),
  };
}

/** What the report says, then what the notification around it does. */
function* evidenceOf(
  diagnostic: string | null,
  comment: string | null,
  addresses: readonly string[],
  prose: Prose,
): Generator<Evidence> {
  if (diagnostic !== null) {
    yield { text: untyped(diagnostic), phase: phaseOfReply(prose, diagnostic, addresses), quoted: true };
  }
  if (comment) yield { text: comment, phase: null, quoted: true };
  yield* evidenceAbout(prose, addresses);
}

/** RFC 3464 section 2.3.3; `deliverable` is Postfix's answer to a test of an address. */
function isDelivered(action: string | null, status: string | null): boolean {
  if (action === null) return status?.startsWith('2.') ?? false;
  return /^(?:delivered|relayed|expanded|deliverable|success\w*)$/.test(action);
}

function isDelay(action: string | null): boolean {
  return action !== null && /^(?:delay|defer)/.test(action);
}

function replyOf(diagnostic: string | null): number | null {
  const code = /(?<![\d.])([245]\d\d)(?=[ -]|$)/.exec(untyped(diagnostic ?? ''))?.[1];
  return code === undefined ? null : Number(code);
}

function untyped(diagnostic: string): string {
  return diagnostic.replace(/^\s*[A-Za-z][A-Za-z0-9-]{0,30}\s*;\s*/, '');
}

function remoteMtaOf(perMessage: Fields): string | null {
  return oneLine(first(perMessage, 'remote-mta')?.replace(/^[A-Za-z0-9-]+\s*;\s*/, ''), 255);
}
