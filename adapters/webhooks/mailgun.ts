import { createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import type { Finding } from '../../domain/inbound.ts';
import { enhancedCode, judgeFailure, type ProviderFinding, stated } from './judge.ts';
import { isTimely, parseJson, textOf, type Webhook, type WebhookDecision } from './webhook.ts';

const Request = z.object({
  signature: z.object({
    timestamp: z.union([z.string(), z.int().nonnegative()]).transform(String),
    token: z.string().min(1).max(200),
    signature: z.string().regex(/^[0-9a-f]{64}$/i),
  }),
  'event-data': z.looseObject({ event: z.string().max(100) }),
});
/** Events about deliveries, and no's; opens, clicks and the like are not kept. */
const KEPT = new Set(['failed', 'delivered', 'complained', 'rejected', 'unsubscribed']);

/**
 * Mailgun signs its timestamp and its token, but not the event: whoever saw one request could sign any other with it. So
 * a token is honoured once, with the event that it came with.
 * https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
 */
export function createMailgunWebhook(signingKey: string): Webhook {
  return {
    source: 'mailgun',
    async accept({ body }, now): Promise<WebhookDecision> {
      const parsed = Request.safeParse(parseJson(textOf(body)));
      if (!parsed.success) return { kind: 'malformed', detail: 'This is no webhook of Mailgun.' };
      const { timestamp, token, signature } = parsed.data.signature;
      const expected = createHmac('sha256', signingKey)
        .update(timestamp + token)
        .digest();
      if (!timingSafeEqual(expected, Buffer.from(signature, 'hex'))) {
        return { kind: 'refused', detail: 'The signature does not fit.' };
      }
      if (!isTimely(timestamp, now))
        return { kind: 'refused', detail: 'The request is too old, or ahead of time.' };
      if (!KEPT.has(parsed.data['event-data'].event)) return { kind: 'accepted', items: [] };
      return { kind: 'accepted', items: [{ dedupeKey: token, content: body, keyIsUsedOnce: true }] };
    },
  };
}

const text = z.string().nullish();
const Stored = z.object({
  'event-data': z.object({
    event: z.string(),
    severity: text,
    reason: text,
    'delivery-status': z
      .object({ code: z.number().nullish(), message: text, description: text, 'enhanced-code': text })
      .nullish(),
    envelope: z.object({ sender: text }).nullish(),
    message: z.object({ headers: z.object({ 'message-id': text }).nullish() }).nullish(),
    /** What Heed sets in the header X-Mailgun-Variables. */
    'user-variables': z.object({ heed_send: text }).nullish().catch(null),
  }),
});
type Event = z.infer<typeof Stored>['event-data'];

/**
 * What a stored request says.
 * https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure
 *
 * @param sendOfReturnAddress the send of a signed return path, or `null`
 * @throws where it is not of the documented form
 */
export function readMailgun(
  content: Uint8Array,
  sendOfReturnAddress: (address: string) => string | null,
): Finding[] {
  const event = Stored.parse(JSON.parse(textOf(content)))['event-data'];
  const sender = event.envelope?.sender;
  const messageId = event.message?.headers?.['message-id']?.replace(/^<|>$/g, '');
  const sendIds = [event['user-variables']?.heed_send, sender ? sendOfReturnAddress(sender) : null];
  return [
    {
      ...judge(event),
      sendIds: sendIds.filter((id) => typeof id === 'string'),
      messageIds: messageId ? [`<${messageId}>`] : [],
    },
  ];
}

function judge(event: Event): ProviderFinding {
  switch (event.event) {
    case 'delivered':
      return stated('delivered', 'mailgun delivered');
    case 'complained':
      return stated('complaint', 'mailgun complained');
    // Mailgun's own link, from the domain, a tag or a mailing list of its. These are none of our lists.
    case 'unsubscribed':
      return stated('unsubscribe', 'mailgun unsubscribed');
    case 'rejected':
      return stated('rejected', 'mailgun rejected', {
        category: 'content',
        diagnostic: event.reason ?? null,
      });
    case 'failed':
      return failed(event);
    default:
      return stated('none', `mailgun ${event.event}`);
  }
}

/**
 * A temporary failure is one that Mailgun goes on trying. `suppress-bounce` is an address that was found dead before; the
 * other lists of Mailgun do not make one dead, nor does it that Mailgun gave up in the end (`old`).
 * https://documentation.mailgun.com/docs/mailgun/user-manual/tracking-messages/track-failures
 */
function failed(event: Event): ProviderFinding {
  const status = event['delivery-status'];
  const code = status?.code ?? null;
  const enhanced = enhancedCode(status?.['enhanced-code']);
  const words = status?.message || status?.description || null;
  const replyCode = code !== null && code >= 400 && code < 560 ? Math.trunc(code) : null;
  const rule = `mailgun ${event.severity ?? 'failed'}/${event.reason ?? 'no reason'}`;
  if (event.severity !== 'permanent') {
    return stated('none', rule, { diagnostic: words, status: enhanced, replyCode });
  }
  if (event.reason === 'suppress-bounce') {
    return stated('hard_bounce', rule, { category: 'user_unknown', diagnostic: words });
  }
  if (event.reason?.startsWith('suppress-')) {
    return stated('rejected', rule, { category: 'policy', diagnostic: words });
  }
  const isCoded = words !== null && /^\s*[45]\d\d\b/.test(words);
  const diagnostic = replyCode === null || isCoded ? words : `${replyCode} ${words ?? ''}`.trim();
  const judged = judgeFailure({ permanent: event.reason !== 'old', diagnostic, status: enhanced, rule });
  return event.reason === 'old' && judged.kind === 'hard_bounce' ? { ...judged, kind: 'gave_up' } : judged;
}
