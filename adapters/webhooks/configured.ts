import type { KeyObject } from 'node:crypto';
import { createMailgunWebhook } from './mailgun.ts';
import { createPostmarkWebhook } from './postmark.ts';
import { createSendGridWebhook } from './sendgrid.ts';
import { createSesWebhook } from './ses.ts';
import { type FetchText, fetchText } from './sns.ts';
import type { Webhook } from './webhook.ts';

/** Providers whose webhooks are understood. */
export const PROVIDERS = ['ses', 'sendgrid', 'mailgun', 'postmark'] as const;

/**
 * The webhooks that are configured; each of the others is `null`.
 *
 * @param fetch how certificates and confirmations are fetched, for tests without Amazon
 */
export function configuredWebhooks(
  settings: {
    readonly sesTopicArns: readonly string[] | null;
    readonly sendGridKey: KeyObject | null;
    readonly mailgunSigningKey: string | null;
    /** `user:password`. */
    readonly postmarkCredentials: string | null;
  },
  fetch: FetchText = fetchText,
): Webhook[] {
  const { sesTopicArns, sendGridKey, mailgunSigningKey, postmarkCredentials } = settings;
  return [
    sesTopicArns && createSesWebhook(sesTopicArns, fetch),
    sendGridKey && createSendGridWebhook(sendGridKey),
    mailgunSigningKey && createMailgunWebhook(mailgunSigningKey),
    postmarkCredentials && createPostmarkWebhook(postmarkCredentials),
  ].filter((webhook) => typeof webhook === 'object' && webhook !== null);
}
