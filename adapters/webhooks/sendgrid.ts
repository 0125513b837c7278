import { createVerify, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import type { Finding } from '../../domain/inbound.ts';
import { enhancedCode, judgeFailure, type ProviderFinding, stated } from './judge.ts';
import { isTimely, parseJson, textOf, type Webhook, type WebhookDecision } from './webhook.ts';

/** SendGrid posts up to 768 KB; more events than any such batch has. */
const MOST_EVENTS = 10_000;
/** Events about deliveries, and no's; opens, clicks and the like are not kept. */
const KEPT = new Set([
  'bounce',
  'dropped',
  'delivered',
  'deferred',
  'spamreport',
  'unsubscribe',
  'group_unsubscribe',
]);
const Batch = z
  .array(z.looseObject({ event: z.string().max(100), sg_event_id: z.string().min(1).max(200) }))
  .max(MOST_EVENTS);

/**
 * The signed Event Webhook of Twilio SendGrid: ECDSA with SHA-256 over the timestamp and the body, octet for octet.
 * https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
 */
export function createSendGridWebhook(publicKey: KeyObject): Webhook {
  return {
    source: 'sendgrid',
    async accept({ header, body }, now): Promise<WebhookDecision> {
      const signature = header('x-twilio-email-event-webhook-signature') ?? '';
      const timestamp = header('x-twilio-email-event-webhook-timestamp') ?? '';
      const signed = createVerify('SHA256').update(timestamp, 'utf8').update(body);
      if (!signed.verify(publicKey, signature, 'base64')) {
        return { kind: 'refused', detail: 'The signature does not fit.' };
      }
      if (!isTimely(timestamp, now))
        return { kind: 'refused', detail: 'The request is too old, or ahead of time.' };
      const batch = Batch.safeParse(parseJson(textOf(body)));
      if (!batch.success) return { kind: 'malformed', detail: 'This is no list of SendGrid events.' };
      const items = batch.data
        .filter(({ event }) => KEPT.has(event))
        .map((event) => ({
          dedupeKey: event.sg_event_id,
          content: Buffer.from(JSON.stringify(event)),
          keyIsUsedOnce: false,
        }));
      return { kind: 'accepted', items };
    },
  };
}

const text = z.string().nullish();
const Event = z.object({
  event: z.string(),
  /** The Message-ID that the message was handed over with. */
  'smtp-id': text,
  /** The unique argument that Heed sets in the header X-SMTPAPI. */
  heed_send: text,
  reason: text,
  response: text,
  status: text,
  type: text,
});

/**
 * What one stored event says.
 * https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
 *
 * @throws where it is not of the documented form
 */
export function readSendGrid(content: Uint8Array): Finding[] {
  const event = Event.parse(JSON.parse(textOf(content)));
  return [
    {
      ...judge(event),
      sendIds: event.heed_send ? [event.heed_send] : [],
      messageIds: event['smtp-id'] ? [event['smtp-id']] : [],
    },
  ];
}

function judge({ event, reason, response, status, type }: z.infer<typeof Event>): ProviderFinding {
  const diagnostic = reason ?? response ?? null;
  switch (event) {
    case 'delivered':
      return stated('delivered', 'sendgrid delivered', { diagnostic, status: enhancedCode(status) });
    case 'deferred':
      return stated('none', 'sendgrid deferred', { diagnostic, status: enhancedCode(status) });
    case 'spamreport':
      return stated('complaint', 'sendgrid spamreport');
    // SendGrid's own link, from all mail or from one of its groups. Its groups are none of our lists.
    case 'unsubscribe':
    case 'group_unsubscribe':
      return stated('unsubscribe', `sendgrid ${event}`);
    case 'bounce': {
      const rule = `sendgrid bounce/${type ?? 'bounce'}`;
      const judged = judgeFailure({
        permanent: type !== 'blocked',
        diagnostic,
        status: status ?? null,
        rule,
      });
      // A block is about the message or about us, and SendGrid goes on sending to the address.
      return type === 'blocked' && judged.kind === 'hard_bounce' ? { ...judged, kind: 'gave_up' } : judged;
    }
    case 'dropped':
      return dropped(diagnostic);
    default:
      return stated('none', `sendgrid ${event}`);
  }
}

/** SendGrid did not try. Two of its reasons are an address that is known to be dead, or is none. */
function dropped(reason: string | null): ProviderFinding {
  const rule = `sendgrid dropped/${reason ?? 'no reason'}`;
  if (/^(?:Bounced Address|Invalid)$/i.test(reason?.trim() ?? '')) {
    return stated('hard_bounce', rule, { category: 'user_unknown', diagnostic: reason });
  }
  return stated('rejected', rule, { category: 'policy', diagnostic: reason });
}
