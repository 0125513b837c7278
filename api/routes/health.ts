import { OpenAPIHono, z } from '@hono/zod-openapi';
import { plain } from '../../db/connection.ts';
import { outboxBacklog } from '../../db/queries/outbox.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { jsonAnswer, operation } from '../operation.ts';
import { time, timeOrNull } from '../schemas/common.ts';

/** How long a part may take to answer before it counts as down. Milliseconds. */
const PATIENCE = 2000;
/** The relay empties the outbox within seconds; an entry this old means that it does not run or cannot. Milliseconds. */
const OLD_BACKLOG = 60_000;

const Part = z.enum(['up', 'down']);

const Readiness = z
  .object({
    status: z.enum(['ready', 'degraded', 'down']).openapi({
      description:
        '`ready`; `degraded`: everything is accepted and kept, but what is accepted waits; `down`: nothing can be accepted.',
    }),
    parts: z.object({
      database: Part,
      temporal: Part,
      outbox: z
        .object({
          status: z.enum(['moving', 'stuck', 'unknown']),
          entries: z.int().nullable().openapi({ description: 'What the relay has yet to tell Temporal.' }),
          oldestAt: time.nullable(),
        })
        .openapi({
          description:
            'Stuck when its oldest entry is older than a minute: the relay is not running, or Temporal is down.',
        }),
    }),
  })
  .openapi('Readiness');

const alive = operation(null, [], {
  method: 'get',
  path: '/healthz',
  operationId: 'healthz',
  tags: ['Operations'],
  summary: 'Is the process alive?',
  responses: { 200: jsonAnswer(z.object({ status: z.literal('alive') }).openapi('Health'), 'It is.') },
});

const ready = operation(null, [], {
  method: 'get',
  path: '/readyz',
  operationId: 'readyz',
  tags: ['Operations'],
  summary: 'Which part is down?',
  description:
    'The API accepts and keeps everything while Temporal is down, so that is `degraded` and 200. Without the database it is `down` and 503.',
  responses: {
    200: jsonAnswer(Readiness, 'Requests are accepted.'),
    503: jsonAnswer(Readiness, 'The database is down; nothing can be accepted.'),
  },
});

export function healthRoutes({ db, temporal, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  api.openapi(alive, (c) => c.json({ status: 'alive' as const }, 200));
  api.openapi(ready, async (c) => {
    const [database, temporalUp, backlog] = await Promise.all([
      within(
        db.query(plain('select 1')).then(() => true),
        false,
      ),
      within(temporal.ready(), false),
      within(outboxBacklog(db), null),
    ]);
    const stuck = backlog?.oldestAt ? now().getTime() - backlog.oldestAt.getTime() > OLD_BACKLOG : false;
    const status = !database ? 'down' : !temporalUp || stuck || backlog === null ? 'degraded' : 'ready';
    const answer = {
      status,
      parts: {
        database: database ? 'up' : 'down',
        temporal: temporalUp ? 'up' : 'down',
        outbox: {
          status: backlog === null ? 'unknown' : stuck ? 'stuck' : 'moving',
          entries: backlog?.entries ?? null,
          oldestAt: timeOrNull(backlog?.oldestAt ?? null),
        },
      },
    } satisfies z.input<typeof Readiness>;
    return c.json(answer, status === 'down' ? 503 : 200, { 'cache-control': 'no-store' });
  });
  return api;
}

/** What the part says, or `otherwise` when it fails or takes too long. */
async function within<T>(answer: Promise<T>, otherwise: T): Promise<T> {
  const { promise: late, resolve } = Promise.withResolvers<T>();
  const timer = setTimeout(() => resolve(otherwise), PATIENCE);
  try {
    return await Promise.race([answer, late]);
  } catch {
    return otherwise;
  } finally {
    clearTimeout(timer);
  }
}
