import { OpenAPIHono, z } from '@hono/zod-openapi';
import { collectMessage, messageKey } from '../../adapters/inbound/collect.ts';
import {
  readInbound,
  readInboundContent,
  retryInbound,
  searchInbound,
  storeInbound,
} from '../../db/queries/inbound.ts';
import { INBOUND_MAX_OCTETS } from '../../domain/inbound.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { given } from '../given.ts';
import { jsonAnswer, operation } from '../operation.ts';
import { ApiProblem, notFound } from '../problems.ts';
import { email, id, idPath } from '../schemas/common.ts';
import { eventResult, InboundSchema, inboundSource, inboundState, inboundView } from '../schemas/inbound.ts';
import { idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';
import { tooLarge } from '../uploads.ts';

const tags = ['Inbound'];

const Accepted = z.object({ id }).openapi('InboundAccepted');

const create = operation('write', ['too-large', 'unsupported-media-type'], {
  method: 'post',
  path: '/inbound/messages',
  operationId: 'createInboundMessage',
  tags,
  summary: 'Hand over a message that came back',
  description:
    'The body is the message as it came in (RFC 5322). It is kept, and applied within seconds; the same message twice changes nothing.',
  request: {
    query: z.strictObject({
      recipient: email.optional().openapi({
        description:
          'Address that it was delivered to (RCPT TO), where you know it. It may be a signed return address.',
        example: 'bounces@bounce.example.com',
      }),
    }),
    body: {
      required: true,
      content: {
        'message/rfc822': { schema: z.string().openapi({ example: 'Subject: Undelivered mail\r\n' }) },
      },
    },
  },
  responses: {
    200: jsonAnswer(Accepted, 'It is known already.'),
    202: {
      ...jsonAnswer(Accepted, 'It is kept and will be applied.'),
      headers: z.object({ Location: z.string() }),
    },
  },
});

const list = operation('read', [], {
  method: 'get',
  path: '/inbound',
  operationId: 'listInbound',
  tags,
  summary: 'List what came in',
  description: 'Newest first. With `result=unmatched`: what is about none of our sends and changed nothing.',
  request: {
    query: z.strictObject({
      state: inboundState.optional(),
      source: inboundSource.optional(),
      result: eventResult.optional().openapi({ description: 'With an event that ended so.' }),
      sendId: id.optional().openapi({ description: 'With an event about this send.' }),
      limit,
      cursor: idCursor,
    }),
  },
  responses: { 200: jsonAnswer(pageOf(InboundSchema, 'InboundPage'), 'A page.') },
});

const read = operation('read', ['not-found'], {
  method: 'get',
  path: '/inbound/{id}',
  operationId: 'readInbound',
  tags,
  summary: 'What was understood of one item, and what came of it',
  request: { params: idPath },
  responses: { 200: jsonAnswer(InboundSchema, 'The item with its events.') },
});

const content = operation('admin', ['not-found'], {
  method: 'get',
  path: '/inbound/{id}/content',
  operationId: 'readInboundContent',
  tags,
  summary: 'An item as it came in',
  description:
    'The first megabyte. It is what a stranger sent: a message, or the body of a provider’s webhook.',
  request: { params: idPath },
  responses: {
    200: { description: 'The octets.', content: { 'application/octet-stream': { schema: z.string() } } },
  },
});

const retry = operation('write', ['not-found', 'conflict'], {
  method: 'post',
  path: '/inbound/{id}/retry',
  operationId: 'retryInbound',
  tags,
  summary: 'Try again what could not be read',
  description:
    'For an item with `state: failed`, once what stood in the way was mended, as by a newer version of Heed. It is read and applied as it came in.',
  request: { params: idPath },
  responses: { 202: jsonAnswer(InboundSchema, 'It will be applied.') },
});

export function inboundRoutes({ db, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();

  api.openapi(create, async (c) => {
    requireMessage(c.req.header('content-type'));
    const { recipient } = c.req.valid('query');
    const recipients = recipient === undefined ? [] : [recipient];
    if (c.req.raw.body === null) throw emptyMessage();
    const message = await collectMessage(c.req.raw.body, INBOUND_MAX_OCTETS).catch(() => {
      throw new ApiProblem('invalid-request', 'The upload broke off; nothing of it was kept.');
    });
    if (message === null) throw tooLarge(INBOUND_MAX_OCTETS);
    if (message.size === 0) throw emptyMessage();
    const { id, isNew } = await db.transaction((tx) =>
      storeInbound(tx, now(), {
        source: 'http',
        dedupeKey: messageKey(message, recipients),
        ...message,
        recipients,
      }),
    );
    return isNew ? c.json({ id }, 202, { location: `/inbound/${id}` }) : c.json({ id }, 200);
  });

  api.openapi(list, async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const rows = await searchInbound(db, given(filter), { beforeId: cursor ?? null, limit: limit + 1 });
    return c.json(
      toPage(rows, limit, (item) => item.id, inboundView),
      200,
    );
  });

  api.openapi(read, async (c) => {
    const item = await readInbound(db, c.req.valid('param').id);
    if (item === null) throw notFound('inbound item');
    return c.json(inboundView(item), 200);
  });

  api.openapi(retry, async (c) => {
    const { id } = c.req.valid('param');
    const result = await db.transaction((tx) => retryInbound(tx, now(), id));
    if (result === 'not_found') throw notFound('inbound item');
    if (result === 'not_failed') throw new ApiProblem('conflict', 'Only an item that failed is tried again.');
    return c.json(inboundView((await readInbound(db, id))!), 202);
  });

  api.openapi(content, async (c) => {
    const { id } = c.req.valid('param');
    const octets = await readInboundContent(db, id);
    if (octets === null) throw notFound('inbound item');
    return c.body(new Uint8Array(octets), 200, {
      'content-type': 'application/octet-stream',
      // No browser is to make anything of it.
      'content-disposition': `attachment; filename="inbound-${id}"`,
      'x-content-type-options': 'nosniff',
    });
  });

  return api;
}

function requireMessage(contentType: string | undefined): void {
  if (contentType?.split(';')[0]?.trim().toLowerCase() === 'message/rfc822') return;
  throw new ApiProblem('unsupported-media-type', 'The body must be message/rfc822.', {
    headers: { accept: 'message/rfc822' },
  });
}

function emptyMessage(): ApiProblem {
  return new ApiProblem('invalid-request', 'The message is empty.');
}
