import { createHmac } from 'node:crypto';
import { lookup } from 'node:dns';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';

/** How a call ended. `final`: calling again would change nothing. */
export type CallResult =
  | { readonly ok: true; readonly status: number }
  | { readonly ok: false; readonly final: boolean; readonly reason: string };

/** Calls the webhooks of automations. */
export type WebhookCaller = (call: {
  readonly url: string;
  /** Key of the signature. */
  readonly secret: string;
  /** The same for every try, by which the receiver knows a repetition. */
  readonly id: string;
  readonly body: object;
  /** Milliseconds of the epoch. */
  readonly now: number;
}) => Promise<CallResult>;

/** For the whole call; a receiver answers first and works then. */
const TIMEOUT_MS = 10_000;

/**
 * Calls as Standard Webhooks describes (standardwebhooks.com): POST with `webhook-id`, `webhook-timestamp` and
 * `webhook-signature: v1,<base64 of HMAC-SHA256 over "id.timestamp.body">`. Redirects are not followed, and nothing is
 * sent to an address that `mayReach` does not allow: whoever may write automations must not reach our own network.
 */
export function createWebhookCaller(mayReach: (address: string) => boolean): WebhookCaller {
  const guarded: LookupFunction = (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const refused = error ?? (addresses.every(({ address }) => mayReach(address)) ? null : new NotPublic());
      if (refused !== null) return callback(refused, '', 4);
      if (options.all) return callback(null, addresses);
      return callback(null, addresses[0]!.address, addresses[0]!.family);
    });
  };
  return ({ url, secret, id, body, now }) => {
    const target = new URL(url);
    const host = target.hostname.replace(/^\[|\]$/g, '');
    if (isIP(host) !== 0 && !mayReach(host)) return Promise.resolve(notPublic);
    const payload = JSON.stringify(body);
    const timestamp = String(Math.floor(now / 1000));
    const signature = createHmac('sha256', secret).update(`${id}.${timestamp}.${payload}`).digest('base64');
    return new Promise((resolve) => {
      const send = target.protocol === 'https:' ? requestHttps : requestHttp;
      const request = send(
        target,
        {
          method: 'POST',
          lookup: guarded,
          signal: AbortSignal.timeout(TIMEOUT_MS),
          agent: false,
          headers: {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(payload),
            'user-agent': 'Heed',
            'webhook-id': id,
            'webhook-timestamp': timestamp,
            'webhook-signature': `v1,${signature}`,
          },
        },
        (response) => {
          // What it answers is not read.
          response.destroy();
          resolve(resultOf(response.statusCode ?? 0));
        },
      );
      // Nobody speaks another protocol here; without this the answer would never be told.
      request.on('upgrade', (response, socket) => {
        socket.destroy();
        resolve(resultOf(response.statusCode ?? 0));
      });
      request.on('close', () => resolve({ ok: false, final: false, reason: 'no_answer' }));
      request.on('error', (error) =>
        resolve(
          error instanceof NotPublic
            ? notPublic
            : { ok: false, final: false, reason: (error as { code?: string }).code ?? 'no_answer' },
        ),
      );
      request.end(payload);
    });
  };
}

class NotPublic extends Error {}
const notPublic: CallResult = { ok: false, final: true, reason: 'address_not_allowed' };

/** Timeouts, too many requests and faults of the receiver pass; any other answer stays. */
function resultOf(status: number): CallResult {
  if (status >= 200 && status < 300) return { ok: true, status };
  const passes = status === 408 || status === 425 || status === 429 || status >= 500;
  return { ok: false, final: !passes, reason: `http_${status}` };
}
