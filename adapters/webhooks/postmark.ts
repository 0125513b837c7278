import { createHash, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import type { Finding } from '../../domain/inbound.ts';
import { judgeFailure, type ProviderFinding, stated } from './judge.ts';
import { parseJson, textOf, type Webhook, type WebhookDecision } from './webhook.ts';

const Request = z.looseObject({ RecordType: z.string().max(100) });
/** Events about deliveries, and no's; opens, clicks and the like are not kept. */
const KEPT = new Set(['Bounce', 'SpamComplaint', 'Delivery', 'SubscriptionChange']);

/**
 * Postmark signs nothing: it sends the user name and password that stand in the address of the webhook, over HTTPS.
 * https://postmarkapp.com/developer/webhooks/webhooks-overview
 *
 * @param credentials `user:password`
 */
export function createPostmarkWebhook(credentials: string): Webhook {
  const expected = digest(credentials);
  return {
    source: 'postmark',
    async accept({ header, body }): Promise<WebhookDecision> {
      const [, given] = /^Basic +([A-Za-z0-9+/]+=*)$/i.exec(header('authorization')?.trim() ?? '') ?? [];
      if (given === undefined || !timingSafeEqual(digest(Buffer.from(given, 'base64')), expected)) {
        return { kind: 'refused', detail: 'The user name or the password is not the one configured.' };
      }
      const parsed = Request.safeParse(parseJson(textOf(body)));
      if (!parsed.success) return { kind: 'malformed', detail: 'This is no webhook of Postmark.' };
      if (!KEPT.has(parsed.data.RecordType)) return { kind: 'accepted', items: [] };
      // Not every record has an id; a record that comes again is the same, octet for octet.
      const dedupeKey = digest(body).toString('base64url');
      return { kind: 'accepted', items: [{ dedupeKey, content: body, keyIsUsedOnce: false }] };
    },
  };
}

function digest(value: string | Uint8Array): Buffer {
  return createHash('sha256').update(value).digest();
}

const text = z.string().nullish();
const Stored = z.object({
  RecordType: z.string(),
  Type: text,
  Description: text,
  Details: text,
  SuppressSending: z.boolean().nullish(),
  SuppressionReason: text,
  Origin: text,
  /** What Heed sets in the header X-PM-Metadata-heed_send. Postmark's MessageID is its own. */
  Metadata: z.object({ heed_send: text }).nullish().catch(null),
});

/**
 * What a stored request says.
 *
 * @throws where it is not of the documented form
 */
export function readPostmark(content: Uint8Array): Finding[] {
  const record = Stored.parse(JSON.parse(textOf(content)));
  const sendId = record.Metadata?.heed_send;
  return [{ ...judge(record), sendIds: sendId ? [sendId] : [], messageIds: [] }];
}

function judge(record: z.infer<typeof Stored>): ProviderFinding {
  const { RecordType, Type, Description, Details } = record;
  if (RecordType === 'Delivery')
    return stated('delivered', 'postmark Delivery', { diagnostic: Details ?? null });
  if (RecordType === 'SpamComplaint') return stated('complaint', 'postmark SpamComplaint');
  if (RecordType === 'Bounce') return bounced(Type ?? '', Details || Description || null);
  if (RecordType === 'SubscriptionChange') return subscriptionChanged(record);
  return stated('none', `postmark ${RecordType}`);
}

/**
 * A no of the recipient counts, and a complaint. A bounce is told by its own record, with the words that it is weighed
 * by; what a person did at Postmark is no word of the recipient; and a no is taken back with us alone.
 * https://postmarkapp.com/developer/webhooks/subscription-change-webhook
 */
function subscriptionChanged({
  SuppressSending,
  SuppressionReason,
  Origin,
}: z.infer<typeof Stored>): ProviderFinding {
  if (SuppressSending !== true) return stated('none', 'postmark SubscriptionChange/reactivated');
  const rule = `postmark SubscriptionChange/${SuppressionReason ?? 'no reason'}/${Origin ?? 'unknown'}`;
  if (SuppressionReason === 'SpamComplaint') return stated('complaint', rule);
  const isNo = Origin === 'Recipient' && SuppressionReason !== 'HardBounce';
  return stated(isNo ? 'unsubscribe' : 'none', rule);
}

/**
 * Bounce types: https://postmarkapp.com/developer/api/bounce-api#bounce-types. `Transient` is a delay that Postmark goes
 * on with; automatic replies and the like are no bounces.
 */
function bounced(type: string, diagnostic: string | null): ProviderFinding {
  const rule = `postmark ${type || 'Bounce'}`;
  switch (type) {
    case 'HardBounce':
      return judgeFailure({ permanent: true, diagnostic, status: null, rule });
    case 'BadEmailAddress':
      return stated('hard_bounce', rule, { category: 'user_unknown', diagnostic });
    case 'SpamComplaint':
      return stated('complaint', rule);
    case 'Unsubscribe':
      return stated('unsubscribe', rule);
    case 'SoftBounce':
    case 'DnsError':
    case 'Unknown': {
      const judged = judgeFailure({ permanent: false, diagnostic, status: null, rule });
      return judged.kind === 'hard_bounce' ? { ...judged, kind: 'gave_up' } : judged;
    }
    case 'SpamNotification':
    case 'VirusNotification':
      return stated('rejected', rule, { category: 'content', diagnostic });
    case 'Blocked':
      return stated('rejected', rule, { category: 'reputation', faultOurs: true, diagnostic });
    case 'DMARCPolicy':
      return stated('rejected', rule, { category: 'authentication', faultOurs: true, diagnostic });
    case 'SMTPApiError':
    case 'TemplateRenderingFailed':
      return stated('rejected', rule, { category: 'protocol', faultOurs: true, diagnostic });
    case 'ManuallyDeactivated':
      return stated('rejected', rule, { category: 'policy', diagnostic });
    default:
      return stated('none', rule, { diagnostic });
  }
}
