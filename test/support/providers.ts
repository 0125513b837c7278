import {
  createHmac,
  createPrivateKey,
  createSign,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  randomUUID,
} from 'node:crypto';
import { generate } from 'selfsigned';
import { snsStringToSign } from '../../adapters/webhooks/sns.ts';

/** A request as a provider makes it. */
export interface ProviderRequest {
  readonly body: string;
  readonly headers: Record<string, string>;
}

export const TOPIC = 'arn:aws:sns:eu-west-1:123456789012:heed-bounces';
const HOST = 'https://sns.eu-west-1.amazonaws.com';

/** Stands in for Amazon SNS: its key, the certificate on its host, and who confirmed what. */
export interface FakeSns {
  /** What Heed fetched. */
  readonly fetched: string[];
  fetchText(url: string): Promise<string>;
  notification(message: object, changes?: Record<string, unknown>, version?: '1' | '2'): ProviderRequest;
  confirmation(changes?: Record<string, unknown>): ProviderRequest;
}

/** @param days how long the certificate is valid; negative: it was */
export async function startSns(days = 30): Promise<FakeSns> {
  const from = new Date(Date.now() - 60 * 86_400_000);
  const { private: key, cert } = await generate([{ name: 'commonName', value: 'sns.amazonaws.com' }], {
    keyType: 'rsa',
    algorithm: 'sha256',
    notBeforeDate: from,
    notAfterDate: new Date(Date.now() + days * 86_400_000),
  });
  const signing = createPrivateKey(key);
  const fetched: string[] = [];
  const request = (message: Record<string, unknown>, changes: Record<string, unknown>): ProviderRequest => {
    const whole = { ...message, ...changes } as never;
    const algorithm =
      (whole as { SignatureVersion: string }).SignatureVersion === '1' ? 'RSA-SHA1' : 'RSA-SHA256';
    const Signature = createSign(algorithm).update(snsStringToSign(whole), 'utf8').sign(signing, 'base64');
    return {
      body: JSON.stringify({ ...(whole as object), Signature, ...('Signature' in changes ? changes : {}) }),
      headers: { 'content-type': 'text/plain; charset=UTF-8' },
    };
  };
  const common = () => ({
    MessageId: randomUUID(),
    TopicArn: TOPIC,
    Timestamp: new Date().toISOString(),
    SignatureVersion: '2',
    SigningCertURL: `${HOST}/SimpleNotificationService-0123456789abcdef.pem`,
  });
  return {
    fetched,
    async fetchText(url) {
      fetched.push(url);
      if (url.endsWith('.pem')) return cert;
      return '<ConfirmSubscriptionResponse/>';
    },
    notification: (message, changes = {}, version = '2') =>
      request(
        { ...common(), Type: 'Notification', Message: JSON.stringify(message), SignatureVersion: version },
        changes,
      ),
    confirmation: (changes = {}) =>
      request(
        {
          ...common(),
          Type: 'SubscriptionConfirmation',
          Message: 'You have chosen to subscribe to the topic.',
          Token: 'abcdef',
          SubscribeURL: `${HOST}/?Action=ConfirmSubscription&TopicArn=${TOPIC}&Token=abcdef`,
        },
        changes,
      ),
  };
}

/** Signs as SendGrid does. */
export function createSendGrid(): {
  readonly publicKey: KeyObject;
  request(events: unknown, at?: Date): ProviderRequest;
} {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  return {
    publicKey,
    request(events, at = new Date()) {
      const body = JSON.stringify(events);
      const timestamp = String(Math.floor(at.getTime() / 1000));
      return {
        body,
        headers: {
          'content-type': 'application/json',
          'x-twilio-email-event-webhook-signature': createSign('SHA256')
            .update(timestamp + body)
            .sign(privateKey, 'base64'),
          'x-twilio-email-event-webhook-timestamp': timestamp,
        },
      };
    },
  };
}

export const MAILGUN_KEY = 'mailgun signing key of the tests';

/** Signs as Mailgun does. */
export function mailgunRequest(
  event: object,
  options: { at?: Date; token?: string; key?: string } = {},
): ProviderRequest {
  const { at = new Date(), token = randomBytes(25).toString('hex'), key = MAILGUN_KEY } = options;
  const timestamp = String(Math.floor(at.getTime() / 1000));
  const signature = createHmac('sha256', key)
    .update(timestamp + token)
    .digest('hex');
  return {
    body: JSON.stringify({ signature: { timestamp, token, signature }, 'event-data': event }),
    headers: { 'content-type': 'application/json' },
  };
}

export const POSTMARK_CREDENTIALS = 'postmark:a-long-password-of-the-tests';

export function postmarkRequest(record: object, credentials = POSTMARK_CREDENTIALS): ProviderRequest {
  return {
    body: JSON.stringify(record),
    headers: {
      'content-type': 'application/json',
      authorization: `Basic ${Buffer.from(credentials).toString('base64')}`,
    },
  };
}
