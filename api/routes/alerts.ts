import { OpenAPIHono, z } from '@hono/zod-openapi';
import { listAlerts } from '../../db/queries/alerts.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { jsonAnswer, operation } from '../operation.ts';
import { id, time, timeOf, timeOrNull } from '../schemas/common.ts';
import { idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';

const AlertView = z
  .object({
    id,
    key: z.string().openapi({ description: 'What it is about; one open alert each.' }),
    kind: z.string().openapi({ example: 'relay_unavailable' }),
    detail: z.string(),
    count: z.int().openapi({ description: 'How often it was seen.' }),
    raisedAt: time,
    lastSeenAt: time,
    clearedAt: time.nullable().openapi({ description: 'null while it is open.' }),
  })
  .openapi('Alert');

const list = operation('read', [], {
  method: 'get',
  path: '/alerts',
  operationId: 'listAlerts',
  tags: ['Operations'],
  summary: 'List alerts',
  description: 'What a person has to look at, such as a mail relay that refuses us. Newest first.',
  request: {
    query: z.strictObject({
      state: z
        .enum(['open', 'all'])
        .default('open')
        .openapi({ description: '`all` shows those that are over, too.' }),
      limit,
      cursor: idCursor,
    }),
  },
  responses: { 200: jsonAnswer(pageOf(AlertView, 'AlertPage'), 'A page of alerts.') },
});

export function alertRoutes({ db }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  api.openapi(list, async (c) => {
    const { state, limit, cursor } = c.req.valid('query');
    const rows = await listAlerts(db, state === 'all', cursor ?? null, limit + 1);
    const page = toPage(
      rows,
      limit,
      (alert) => alert.id,
      (alert) => ({
        ...alert,
        raisedAt: timeOf(alert.raisedAt),
        lastSeenAt: timeOf(alert.lastSeenAt),
        clearedAt: timeOrNull(alert.clearedAt),
      }),
    );
    return c.json(page, 200);
  });
  return api;
}
