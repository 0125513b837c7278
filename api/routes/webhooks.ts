import { OpenAPIHono, z } from '@hono/zod-openapi';
import { PROVIDERS } from '../../adapters/webhooks/configured.ts';
import type { Webhook, WebhookItem } from '../../adapters/webhooks/webhook.ts';
import type { Transaction } from '../../db/connection.ts';
import { readInboundContent, storeInbound } from '../../db/queries/inbound.ts';
import { INBOUND_KEPT_OCTETS } from '../../domain/inbound.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { readLimitedBody } from '../limitedBody.ts';
import { jsonAnswer, operation } from '../operation.ts';
import { ApiProblem, notFound } from '../problems.ts';

/** A batch of SendGrid, the largest of them all, has 768 KB; all of a body must fit into what is kept of it. */
const BODY_LIMITS = { bytes: INBOUND_KEPT_OCTETS, milliseconds: 30_000 };

const Kept = z
  .object({
    kept: z.int().openapi({ description: 'Events that were new.' }),
    known: z.int().openapi({ description: 'Events that had come before.' }),
  })
  .openapi('WebhookAnswer');

type Provider = (typeof PROVIDERS)[number];

const NAMES: Readonly<Record<Provider, string>> = {
  ses: 'Amazon SES, through Amazon SNS',
  sendgrid: 'SendGrid',
  mailgun: 'Mailgun',
  postmark: 'Postmark',
};

const receive = (provider: Provider) =>
  operation(
    null,
    [
      'invalid-request',
      'not-genuine',
      'not-found',
      'too-large',
      'internal',
      'unavailable',
      'provider-unavailable',
    ],
    {
      method: 'post',
      path: `/webhooks/${provider}`,
      operationId: `receiveWebhookOf${provider[0]!.toUpperCase()}${provider.slice(1)}`,
      tags: ['Inbound'],
      summary: `Webhook of ${NAMES[provider]}`,
      description:
        'Deliveries, bounces and complaints, where the provider is configured. It takes no API key: each request is verified in the way that the provider documents.',
      responses: { 200: jsonAnswer(Kept, 'What matters here is kept.') },
    },
  );

export function webhookRoutes({ db, webhooks, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  for (const provider of PROVIDERS) {
    api.openapi(receive(provider), async (c) => {
      const webhook = webhooks.find(({ source }) => source === provider);
      if (webhook === undefined) throw notFound('webhook');
      const body = await readBody(c.req.raw.body);
      const decision = await webhook.accept({ header: (name) => c.req.header(name), body }, now());
      switch (decision.kind) {
        case 'malformed':
          throw new ApiProblem('invalid-request', decision.detail);
        case 'refused':
          throw new ApiProblem('not-genuine', decision.detail);
        case 'unavailable':
          throw new ApiProblem('provider-unavailable', decision.detail);
        case 'accepted':
          return c.json(await db.transaction((tx) => keep(tx, webhook, decision.items, now())), 200);
      }
    });
  }
  return api;
}

async function readBody(stream: ReadableStream<Uint8Array> | null): Promise<Uint8Array> {
  const body = await readLimitedBody(stream, BODY_LIMITS);
  if (typeof body !== 'string') return body;
  throw new ApiProblem(
    'too-large',
    `The body is larger than ${BODY_LIMITS.bytes} bytes, or came too slowly.`,
  );
}

/** All events of a request, or none. */
async function keep(
  tx: Transaction,
  { source }: Webhook,
  items: readonly WebhookItem[],
  now: Date,
): Promise<{ kept: number; known: number }> {
  let kept = 0;
  // In one order everywhere, so that two requests with the same events never wait for each other in a circle.
  for (const { dedupeKey, content, keyIsUsedOnce } of items.toSorted(byKey)) {
    const item = { source, dedupeKey, content, size: content.length, recipients: [] };
    const stored = await storeInbound(tx, now, item);
    if (stored.isNew) kept += 1;
    else if (keyIsUsedOnce && !(await readInboundContent(tx, stored.id))?.equals(content)) {
      throw new ApiProblem('not-genuine', 'Its token was used before, for something else.');
    }
  }
  return { kept, known: items.length - kept };
}

function byKey(a: WebhookItem, b: WebhookItem): number {
  return a.dedupeKey < b.dedupeKey ? -1 : 1;
}
