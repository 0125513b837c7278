import { createVerify, X509Certificate } from 'node:crypto';
import { z } from 'zod';

/** A message of Amazon SNS to an HTTPS endpoint. https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html */
export const SnsMessage = z.object({
  Type: z.enum(['Notification', 'SubscriptionConfirmation', 'UnsubscribeConfirmation']),
  MessageId: z.string().min(1).max(200),
  TopicArn: z.string().max(500),
  Message: z.string(),
  Subject: z.string().nullish(),
  Timestamp: z.string().max(100),
  SignatureVersion: z.enum(['1', '2']),
  Signature: z.string().max(2_000),
  SigningCertURL: z.string().max(1_000),
  SubscribeURL: z.string().max(4_000).optional(),
  Token: z.string().max(2_000).optional(),
});
export type SnsMessage = z.infer<typeof SnsMessage>;

/** Fetches a small text over HTTPS; follows no redirect. Rejects with whatever stood in the way. */
export type FetchText = (url: string) => Promise<string>;

const ARN = /^arn:(aws|aws-cn|aws-us-gov):sns:([a-z0-9-]{1,40}):\d{12}:[A-Za-z0-9_.-]{1,256}$/;

/** The host that certificates and confirmations of a topic come from, or `null` where this is no name of a topic. */
export function snsHostOf(topicArn: string): string | null {
  const [, partition, region] = ARN.exec(topicArn) ?? [];
  if (region === undefined) return null;
  return `sns.${region}.amazonaws.com${partition === 'aws-cn' ? '.cn' : ''}`;
}

/** Whether an address is HTTPS on exactly this host, on the usual port, without a user name. */
export function isOnHost(address: string, host: string): boolean {
  if (!URL.canParse(address)) return false;
  const url = new URL(address);
  return (
    url.protocol === 'https:' &&
    url.hostname === host &&
    url.port === '' &&
    url.username === '' &&
    url.password === ''
  );
}

/**
 * The text that SNS signed: certain fields in the order of their names, each name and value on a line.
 * https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
 */
export function snsStringToSign(message: SnsMessage): string {
  const names =
    message.Type === 'Notification'
      ? (['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type'] as const)
      : (['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type'] as const);
  return names
    .filter((name) => message[name] !== undefined && message[name] !== null)
    .map((name) => `${name}\n${message[name]}\n`)
    .join('');
}

const MOST_CERTIFICATES = 20;

/**
 * Verifies signatures of SNS: version 1 is RSA with SHA-1, version 2 with SHA-256. The certificate is taken only from the
 * topic's own host, which TLS proves, and kept, since every message names the same few.
 */
export function createSnsVerifier(fetchText: FetchText) {
  const kept = new Map<string, X509Certificate>();

  async function certificateAt(url: string): Promise<X509Certificate> {
    const known = kept.get(url);
    if (known !== undefined) return known;
    const certificate = new X509Certificate(await fetchText(url));
    if (kept.size >= MOST_CERTIFICATES) kept.delete(kept.keys().next().value!);
    kept.set(url, certificate);
    return certificate;
  }

  /**
   * @returns why the message is not SNS's, or `null` where it is
   * @throws where the certificate cannot be had now
   */
  return async function refusalOf(message: SnsMessage, host: string, now: Date): Promise<string | null> {
    const { SigningCertURL: url } = message;
    if (!isOnHost(url, host) || !new URL(url).pathname.endsWith('.pem')) {
      return `The certificate is not on ${host}.`;
    }
    const certificate = await certificateAt(url);
    if (now < certificate.validFromDate || now > certificate.validToDate) {
      kept.delete(url);
      return 'The certificate is not valid now.';
    }
    const verifier = createVerify(message.SignatureVersion === '1' ? 'RSA-SHA1' : 'RSA-SHA256');
    verifier.update(snsStringToSign(message), 'utf8');
    const genuine = verifier.verify(certificate.publicKey, message.Signature, 'base64');
    return genuine ? null : 'The signature does not fit.';
  };
}

const FETCH_MS = 10_000;
const MOST_OCTETS = 64 * 1024;

/** {@link FetchText} by the network. */
export const fetchText: FetchText = async (url) => {
  const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(FETCH_MS) });
  if (!answer.ok) throw new Error(`${new URL(url).host} answered ${answer.status}`);
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of answer.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > MOST_OCTETS) throw new Error(`${new URL(url).host} sent too much`);
  }
  return text;
};
