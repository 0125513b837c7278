import { OpenAPIHono, z } from '@hono/zod-openapi';
import { readAttempts, readSend, readUnknownSends, searchSends } from '../../db/queries/sendSearch.ts';
import {
  cancelSend,
  createSend,
  requestRetry,
  type SettleResult,
  settleSend,
} from '../../db/queries/sends.ts';
import { SEND_OUTCOMES, SEND_STATES } from '../../domain/words.ts';
import { type Api, type ApiDeps, type ApiEnv, originOf } from '../context.ts';
import { idempotencyHeader, keyReused, requestHash } from '../idempotency.ts';
import { jsonAnswer, jsonBody, operation, optionalJsonBody } from '../operation.ts';
import { ApiProblem, bodyProblem, notFound } from '../problems.ts';
import { flagIn, id, idPath, line, reason, timeIn } from '../schemas/common.ts';
import { idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';
import { attemptView, SendSchema, SendWithTimeline, sendView } from '../schemas/send.ts';

/** Sends that one request settles at the most; the answer says whether there are more. */
const SETTLE_AT_MOST = 5000;
const SETTLE_PAGE = 100;
const COUNTED_AS = { done: 'settled', not_unknown: 'notUnknown', not_found: 'notFound' } as const;
const FIRST_ID = '00000000-0000-0000-0000-000000000000';

const SendInput = z
  .strictObject({
    emailId: id,
    prospectId: id,
    listId: id.nullable().optional().openapi({
      description: 'The list that it is sent to: whoever unsubscribed from that list does not get it.',
    }),
  })
  .openapi('SendInput');

const recipientDomain = line(253).openapi({ example: 'example.com' });
const settleAs = z.enum(['delivered', 'resend']).openapi({
  description:
    '`delivered`: somebody knows that it arrived. `resend`: send it again, through the gate and under the same Message-ID.',
});

const create = operation('write', ['unprocessable'], {
  method: 'post',
  path: '/sends',
  operationId: 'createSend',
  tags: ['Sends'],
  summary: 'Send an email to a prospect',
  description:
    'Accepted once it is on disk. Whether it may be sent is decided at each attempt: a suppressed address makes the send `suppressed`. The header Idempotency-Key makes a repeated request harmless.',
  request: { headers: idempotencyHeader, body: jsonBody(SendInput) },
  responses: {
    201: { ...jsonAnswer(SendSchema, 'The send was made.'), headers: z.object({ Location: z.string() }) },
    200: {
      ...jsonAnswer(SendSchema, 'It was made before, under the same key.'),
      headers: z.object({ Location: z.string() }),
    },
  },
});

const list = operation('read', [], {
  method: 'get',
  path: '/sends',
  operationId: 'listSends',
  tags: ['Sends'],
  summary: 'List sends',
  description: 'Newest first. Those that need a person are at `?outcome=unknown`.',
  request: {
    query: z.strictObject({
      state: z.enum(SEND_STATES).optional(),
      outcome: z.enum(SEND_OUTCOMES).optional(),
      prospectId: id.optional(),
      emailId: id.optional(),
      test: flagIn.optional(),
      limit,
      cursor: idCursor,
    }),
  },
  responses: { 200: jsonAnswer(pageOf(SendSchema, 'SendPage'), 'A page of sends.') },
});

const read = operation('read', ['not-found'], {
  method: 'get',
  path: '/sends/{id}',
  operationId: 'readSend',
  tags: ['Sends'],
  summary: 'Read a send with its timeline',
  description:
    'Every attempt with its reply, exactly when the next one comes, and where to see its workflow.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(SendWithTimeline, 'The send.') },
});

const retry = operation('write', ['not-found', 'conflict'], {
  method: 'post',
  path: '/sends/{id}/retry',
  operationId: 'retrySend',
  tags: ['Sends'],
  summary: 'Try again now',
  description:
    'The next attempt of a waiting send is made now, through the gate as always. Uses none of the attempts that its schedule has left.',
  request: {
    params: idPath,
    body: optionalJsonBody(z.strictObject({ reason: reason.optional() }).openapi('RetryInput')),
  },
  responses: { 202: jsonAnswer(SendSchema, 'It will be tried at once.') },
});

const cancel = operation('write', ['not-found', 'conflict'], {
  method: 'post',
  path: '/sends/{id}/cancel',
  operationId: 'cancelSend',
  tags: ['Sends'],
  summary: 'Cancel a send',
  description:
    'A waiting send ends at once (200). Where an attempt is in the air, the send ends with it, unless it is delivered (202).',
  request: {
    params: idPath,
    body: optionalJsonBody(z.strictObject({ reason: reason.optional() }).openapi('CancelInput')),
  },
  responses: {
    200: jsonAnswer(SendSchema, 'It is cancelled.'),
    202: jsonAnswer(
      SendSchema,
      'It will be cancelled when the attempt in the air is over, unless it is delivered.',
    ),
  },
});

const settle = operation('write', ['not-found', 'conflict'], {
  method: 'post',
  path: '/sends/{id}/settle',
  operationId: 'settleSend',
  tags: ['Sends'],
  summary: 'Settle a send whose outcome is unknown',
  request: {
    params: idPath,
    body: jsonBody(z.strictObject({ as: settleAs, reason }).openapi('SettleInput')),
  },
  responses: { 200: jsonAnswer(SendSchema, 'The send as it stands now.') },
});

const settleMany = operation('write', [], {
  method: 'post',
  path: '/sends/settle',
  operationId: 'settleSends',
  tags: ['Sends'],
  summary: 'Settle many sends whose outcome is unknown',
  description: `Either \`sendIds\` or \`filter\`. At most ${SETTLE_AT_MOST} in one request; where \`more\` is true, ask again. They are settled page by page: what is settled stays so though the request fails later.`,
  request: {
    body: jsonBody(
      z
        .strictObject({
          as: settleAs,
          reason,
          sendIds: z.array(id).min(1).max(SETTLE_AT_MOST).optional(),
          filter: z
            .strictObject({
              emailId: id.optional(),
              recipientDomain: recipientDomain.optional(),
              createdBefore: timeIn.optional(),
            })
            .optional(),
        })
        .refine((value) => (value.sendIds === undefined) !== (value.filter === undefined), {
          path: ['sendIds'],
          message: 'Give either sendIds or filter.',
        })
        .openapi('SettleManyInput', {
          example: {
            as: 'resend',
            reason: 'The relay lost them',
            filter: { recipientDomain: 'example.com' },
          },
        }),
    ),
  },
  responses: {
    200: jsonAnswer(
      z
        .object({
          settled: z.int(),
          notUnknown: z.int().openapi({ description: 'Their outcome was not unknown, or not any more.' }),
          notFound: z.int(),
          more: z.boolean(),
        })
        .openapi('SettleManyResult'),
      'What became of them.',
    ),
  },
});

export function sendRoutes({ db, hasher, config, temporal, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();

  const current = async (id: string) => {
    const send = await readSend(db, id);
    if (send === null) throw notFound('send');
    return sendView(send, temporal);
  };

  api.openapi(create, async (c) => {
    const { emailId, prospectId, listId = null } = c.req.valid('json');
    const key = c.req.valid('header')['Idempotency-Key'];
    const hash = requestHash('send', [emailId, prospectId, listId]);
    const request = { emailId, prospectId, listId, idempotencyKey: key, requestHash: hash };
    const made = await db.transaction(async (tx) =>
      sendIdOf(await createSend(tx, hasher, now(), request, config.messageIdDomain)),
    );
    const headers = { location: `/sends/${made.sendId}` };
    return c.json(await current(made.sendId), made.created ? 201 : 200, headers);
  });

  api.openapi(list, async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const rows = await searchSends(db, filter, cursor, limit + 1);
    return c.json(
      toPage(
        rows,
        limit,
        (send) => send.id,
        (send) => sendView(send, temporal),
      ),
      200,
    );
  });

  api.openapi(settleMany, async (c) => {
    const { as, reason, sendIds, filter } = c.req.valid('json');
    const counts = { settled: 0, notUnknown: 0, notFound: 0 };
    const settlePage = async (ids: readonly string[]) => {
      const results = await db.transaction(async (tx) => {
        const each: SettleResult[] = [];
        // In the order of their ids, as everybody locks sends.
        for (const id of ids) each.push(await settleSend(tx, originOf(c, reason), now(), id, as));
        return each;
      });
      for (const result of results) counts[COUNTED_AS[result]] += 1;
    };
    if (sendIds !== undefined) {
      const ids = [...new Set(sendIds)].sort();
      for (let from = 0; from < ids.length; from += SETTLE_PAGE)
        await settlePage(ids.slice(from, from + SETTLE_PAGE));
      return c.json({ ...counts, more: false }, 200);
    }
    const which = {
      emailId: filter?.emailId ?? null,
      recipientDomain: filter?.recipientDomain ?? null,
      // What turns unknown again while this goes on is left for the next time.
      createdBefore: filter?.createdBefore ?? now(),
    };
    let after = FIRST_ID;
    for (let seen = 0; seen < SETTLE_AT_MOST; seen += SETTLE_PAGE) {
      const ids = await readUnknownSends(db, which, after, SETTLE_PAGE);
      if (ids.length > 0) await settlePage(ids);
      if (ids.length < SETTLE_PAGE) return c.json({ ...counts, more: false }, 200);
      after = ids.at(-1)!;
    }
    const left = await readUnknownSends(db, which, after, 1);
    return c.json({ ...counts, more: left.length > 0 }, 200);
  });

  api.openapi(read, async (c) => {
    const { id } = c.req.valid('param');
    const [send, attempts] = await Promise.all([current(id), readAttempts(db, id)]);
    return c.json({ ...send, timeline: attempts.map(attemptView) }, 200);
  });

  api.openapi(retry, async (c) => {
    const { id } = c.req.valid('param');
    const { reason = null } = c.req.valid('json');
    const result = await db.transaction((tx) => requestRetry(tx, originOf(c, reason), now(), id));
    if (result === 'not_found') throw notFound('send');
    if (result !== 'done') {
      throw new ApiProblem(
        'conflict',
        'The send is final, or an attempt is in the air: there is nothing to hurry.',
      );
    }
    return c.json(await current(id), 202);
  });

  api.openapi(cancel, async (c) => {
    const { id } = c.req.valid('param');
    const { reason = null } = c.req.valid('json');
    const result = await db.transaction((tx) => cancelSend(tx, originOf(c, reason), now(), id));
    if (result === 'not_found') throw notFound('send');
    if (result === 'already_final') throw new ApiProblem('conflict', 'The send is final already.');
    return c.json(await current(id), result === 'done' ? 200 : 202);
  });

  api.openapi(settle, async (c) => {
    const { id } = c.req.valid('param');
    const { as, reason } = c.req.valid('json');
    const result = await db.transaction((tx) => settleSend(tx, originOf(c, reason), now(), id, as));
    if (result === 'not_found') throw notFound('send');
    if (result === 'not_unknown')
      throw new ApiProblem('conflict', 'Only a send whose outcome is unknown can be settled.');
    return c.json(await current(id), 200);
  });

  return api;
}

/** Id of the send that a request made, now or before. */
export function sendIdOf(created: Awaited<ReturnType<typeof createSend>>): {
  sendId: string;
  created: boolean;
} {
  switch (created.kind) {
    case 'created':
    case 'existing':
      return { sendId: created.sendId, created: created.kind === 'created' };
    case 'key_conflict':
      throw keyReused();
    case 'no_email':
      throw bodyProblem('unprocessable', '/emailId', 'There is no such email, or it is archived.');
    case 'no_prospect':
      throw bodyProblem('unprocessable', '/prospectId', 'There is no such prospect.');
    case 'no_list':
      throw bodyProblem('unprocessable', '/listId', 'There is no such list.');
  }
}
