import { statedBySes } from '../sesBounceType.ts';
import { addressInField } from './addresses.ts';
import type { Fields } from './fields.ts';
import { judge } from './judge.ts';
import type { Message } from './mime.ts';
import { domainOf } from './prose.ts';
import { type RecipientReport, unjudged } from './report.ts';
import { oneLine } from './text.ts';

/** What a notification of Amazon SES says, and of which message. */
export interface SesNotification {
  readonly recipients: readonly RecipientReport[];
  /** Of the message that it is about: `message-id`, and `return-path`, the envelope sender. */
  readonly original: Fields;
}

/** Longer lines are folded with an exclamation mark, as mail of Amazon SNS is. */
const FOLD = /!\r?\n ?/g;

/**
 * A notification of Amazon SES that Amazon SNS sent by mail, where a topic has an email address for a subscriber: JSON
 * in the text, before a line `--`. `null` where the message is none.
 * https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
 */
export function readSesNotification(message: Message, mostRecipients: number): SesNotification | null {
  const said = notificationIn(message.text);
  if (said === null) return null;
  const mail = object(said['mail']);
  if (mail === null) return null;
  const recipients = recipientsOf(said, mostRecipients);
  if (recipients === null) return null;
  return { recipients, original: originalOf(mail) };
}

type Json = Readonly<Record<string, unknown>>;

function notificationIn(text: string): Json | null {
  const start = /^\s*\{/.exec(text);
  if (start === null || !/"(?:notification|event)Type|"Message"/.test(text.slice(0, 4000))) return null;
  const json = text.split(/\r?\n--[ \t]*\r?\n/, 1)[0]!.replace(FOLD, '');
  const said = parsed(json);
  // The whole envelope of SNS, where it was passed on as it is.
  const inner = string(said?.['Message']);
  return inner === null ? said : parsed(inner);
}

function recipientsOf(said: Json, most: number): RecipientReport[] | null {
  switch (string(said['notificationType']) ?? string(said['eventType'])) {
    case 'Bounce': {
      const bounce = object(said['bounce']);
      if (bounce === null) return null;
      return objects(bounce['bouncedRecipients'], most).map((each) => bounced(bounce, each));
    }
    case 'Complaint': {
      const complaint = object(said['complaint']);
      if (complaint === null) return null;
      return objects(complaint['complainedRecipients'], most).map((each) => complained(complaint, each));
    }
    case 'Delivery': {
      const delivery = object(said['delivery']);
      return list(delivery?.['recipients'], most).map((each) => ({
        ...named('delivered', 'dsn', each),
        reportedAction: 'delivered',
        diagnostic: oneLine(string(delivery?.['smtpResponse'])),
      }));
    }
    case 'DeliveryDelay': {
      const delay = object(said['deliveryDelay']);
      return objects(delay?.['delayedRecipients'], most).map((each) => ({
        ...named('delivery still being tried', 'delay', each['emailAddress']),
        diagnostic: oneLine(string(each['diagnosticCode'])),
      }));
    }
    default:
      return null;
  }
}

/** What SES calls the bounce, else the reply, else whether it is permanent; a bounce that SES does not call permanent is never a dead address. */
function bounced(bounce: Json, recipient: Json): RecipientReport {
  const type = string(bounce['bounceType']) ?? '';
  const subType = string(bounce['bounceSubType']) ?? '';
  const report = named(`Amazon SES ${type}/${subType}`, 'dsn', recipient['emailAddress']);
  const status = /^[245]\.\d{1,3}\.\d{1,3}$/.exec(string(recipient['status']) ?? '')?.[0] ?? null;
  const diagnostic = string(recipient['diagnosticCode']);
  const evidence = diagnostic === null ? [] : [{ text: diagnostic, phase: null, quoted: true }];
  const judgement = judge(evidence, status, domainOf(report.recipient), type === 'Permanent');
  const all = { ...report, ...judgement, reportedAction: 'failed' };
  const said = statedBySes(type, subType);
  if (said !== null) {
    const kind = said.action === 'hard' ? 'hard' : 'soft';
    return { ...all, ...said, kind, fault: 'recipient', rule: report.rule };
  }
  if (type === 'Permanent' && judgement.rule === 'no rule') {
    return { ...all, kind: 'hard', action: 'hard', category: 'user_unknown', rule: report.rule };
  }
  if (type !== 'Permanent' && judgement.kind === 'hard') return { ...all, kind: 'soft', action: 'soft' };
  return all;
}

/** Somebody on the account's list complained some time ago: SES did not send, and nobody complained now. */
function complained(complaint: Json, recipient: Json): RecipientReport {
  const address = recipient['emailAddress'];
  if (string(complaint['complaintSubType']) === 'OnAccountSuppressionList') {
    const report = named('Amazon SES Complaint/OnAccountSuppressionList', 'dsn', address);
    return { ...report, kind: 'soft', action: 'rejected', category: 'policy', fault: 'recipient' };
  }
  const type = oneLine(string(complaint['complaintFeedbackType']), 50)?.toLowerCase() ?? null;
  return { ...named('complaint of Amazon SES', 'feedback', address), feedbackType: type };
}

function named(rule: string, source: RecipientReport['source'], address: unknown): RecipientReport {
  const recipient = addressInField(string(address) ?? undefined);
  return {
    ...unjudged(oneLine(rule, 100) ?? source, source),
    recipient,
    finalRecipient: recipient,
  };
}

function originalOf(mail: Json): Fields {
  const messageId =
    string(object(mail['commonHeaders'])?.['messageId']) ??
    string(
      objects(mail['headers'], 500).find((each) => /^message-id$/i.test(string(each['name']) ?? ''))?.[
        'value'
      ],
    );
  const source = string(mail['source']);
  const fields = new Map<string, string[]>();
  if (messageId !== null) fields.set('message-id', [messageId]);
  if (source !== null) fields.set('return-path', [source]);
  return fields;
}

function parsed(json: string): Json | null {
  try {
    return object(JSON.parse(json));
  } catch {
    return null;
  }
}

function object(value: unknown): Json | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : null;
}

function string(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function list(value: unknown, most: number): readonly unknown[] {
  return Array.isArray(value) ? value.slice(0, most) : [];
}

function objects(value: unknown, most: number): Json[] {
  return list(value, most)
    .map((each) => object(each))
    .filter((each) => each !== null);
}
