import { z } from 'zod';
import { statedBySes } from '../../domain/bounce/sesBounceType.ts';
import { isComplaint } from '../../domain/complaint.ts';
import type { Finding } from '../../domain/inbound.ts';
import { judgeFailure, KIND_OF_ACTION, type ProviderFinding, stated } from './judge.ts';
import { createSnsVerifier, type FetchText, isOnHost, SnsMessage, snsHostOf } from './sns.ts';
import { parseJson, textOf, type Webhook, type WebhookDecision } from './webhook.ts';

/**
 * Amazon SES, through Amazon SNS. A topic is confirmed only when it is one of those configured, and only by asking the
 * topic's own host. https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
 *
 * @param topicArns topics that may tell us something
 */
export function createSesWebhook(topicArns: readonly string[], fetchText: FetchText): Webhook {
  const refusalOf = createSnsVerifier(fetchText);
  return {
    source: 'ses',
    async accept({ body }, now): Promise<WebhookDecision> {
      const parsed = SnsMessage.safeParse(parseJson(textOf(body)));
      if (!parsed.success) return { kind: 'malformed', detail: 'This is no message of Amazon SNS.' };
      const message = parsed.data;
      const host = snsHostOf(message.TopicArn);
      if (host === null || !topicArns.includes(message.TopicArn)) {
        return { kind: 'refused', detail: 'The topic is not one of those configured.' };
      }
      try {
        const refusal = await refusalOf(message, host, now);
        if (refusal !== null) return { kind: 'refused', detail: refusal };
        if (message.Type === 'SubscriptionConfirmation') return await confirm(message, host);
      } catch (error) {
        return { kind: 'unavailable', detail: `Amazon SNS could not be asked: ${(error as Error).message}` };
      }
      if (message.Type === 'UnsubscribeConfirmation') return { kind: 'accepted', items: [] };
      return {
        kind: 'accepted',
        items: [{ dedupeKey: message.MessageId, content: body, keyIsUsedOnce: false }],
      };
    },
  };

  async function confirm({ SubscribeURL: url }: SnsMessage, host: string): Promise<WebhookDecision> {
    if (url === undefined || !isOnHost(url, host)) {
      return { kind: 'refused', detail: `The subscription is not confirmed on ${host}.` };
    }
    await fetchText(url);
    return { kind: 'accepted', items: [] };
  }
}

const text = z.string().nullish();
const Recipient = z.object({ emailAddress: text, status: text, diagnosticCode: text });
const Notification = z.object({
  /** `eventType` where event publishing is used instead of notifications. */
  notificationType: text,
  eventType: text,
  mail: z.object({
    /** Envelope MAIL FROM: our signed return path. */
    source: text,
    commonHeaders: z.object({ messageId: text }).nullish(),
    headers: z.array(z.object({ name: z.string(), value: z.string() })).nullish(),
  }),
  bounce: z
    .object({ bounceType: text, bounceSubType: text, bouncedRecipients: z.array(Recipient).max(500) })
    .nullish(),
  complaint: z.object({ complaintSubType: text, complaintFeedbackType: text }).nullish(),
  reject: z.object({ reason: text }).nullish(),
});

/**
 * What a stored request says.
 *
 * @param sendOfReturnAddress the send of a signed return path, or `null`
 * @throws where it is not of the documented form
 */
export function readSes(
  content: Uint8Array,
  sendOfReturnAddress: (address: string) => string | null,
): Finding[] {
  const { Message } = z.object({ Message: z.string() }).parse(JSON.parse(textOf(content)));
  const said = parseJson(Message);
  // What is told once when a topic is connected ("Successfully validated SNS topic …") is about no email.
  if (said === null || typeof said !== 'object' || !('mail' in said)) return [];
  const notification = Notification.parse(said);
  const { mail } = notification;
  const send = mail.source ? sendOfReturnAddress(mail.source) : null;
  const named = {
    sendIds: send === null ? [] : [send],
    messageIds: [
      mail.commonHeaders?.messageId,
      mail.headers?.find(({ name }) => name.toLowerCase() === 'message-id')?.value,
    ].filter((id) => typeof id === 'string'),
  };
  return findingsOf(notification).map((finding) => ({ ...finding, ...named }));
}

function findingsOf(notification: z.infer<typeof Notification>): ProviderFinding[] {
  const { bounce, complaint } = notification;
  switch (notification.notificationType ?? notification.eventType) {
    case 'Bounce':
      return (bounce?.bouncedRecipients ?? []).map((recipient) =>
        bounced(bounce?.bounceType ?? '', bounce?.bounceSubType ?? '', recipient),
      );
    case 'Complaint':
      return [complained(complaint?.complaintSubType ?? null, complaint?.complaintFeedbackType ?? null)];
    case 'Delivery':
      return [stated('delivered', 'ses Delivery')];
    case 'DeliveryDelay':
      return [stated('none', 'ses DeliveryDelay')];
    case 'Reject':
      return [
        stated('rejected', 'ses Reject', {
          category: 'content',
          diagnostic: notification.reject?.reason ?? null,
        }),
      ];
    default:
      return [];
  }
}

/** `General` and `NoEmail` of `Permanent` are dead addresses unless the reply says otherwise. */
function bounced(type: string, subType: string, recipient: z.infer<typeof Recipient>): ProviderFinding {
  const rule = `ses ${type}/${subType}`;
  const diagnostic = recipient.diagnosticCode ?? null;
  const said = statedBySes(type, subType);
  if (said !== null) {
    return stated(KIND_OF_ACTION[said.action], rule, { category: said.category, diagnostic });
  }
  if (type === 'Permanent') {
    return judgeFailure({ permanent: true, diagnostic, status: recipient.status ?? null, rule });
  }
  const judged = judgeFailure({ permanent: false, diagnostic, status: recipient.status ?? null, rule });
  // SES, which saw the whole conversation, does not call the address dead.
  return judged.kind === 'hard_bounce' ? { ...judged, kind: 'gave_up' } : judged;
}

/** Somebody on the account's list complained some time ago: SES did not send, and nobody complained now. */
function complained(subType: string | null, feedbackType: string | null): ProviderFinding {
  if (subType === 'OnAccountSuppressionList') {
    return stated('rejected', 'ses Complaint/OnAccountSuppressionList', { category: 'policy' });
  }
  const rule = `ses Complaint/${feedbackType ?? 'untyped'}`;
  return stated(isComplaint(feedbackType) ? 'complaint' : 'none', rule);
}
