import { OpenAPIHono, z } from '@hono/zod-openapi';
import { createApiKey, listApiKeys, revokeApiKey } from '../../db/queries/apiKeys.ts';
import { SCOPES } from '../../db/schema/operations.ts';
import { type Api, type ApiDeps, type ApiEnv, originOf } from '../context.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { ApiProblem, notFound } from '../problems.ts';
import { id, idPath, name, time, timeOf, timeOrNull } from '../schemas/common.ts';
import { idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';

const scope = z.enum(SCOPES).openapi({
  description: 'What the key may do: `read`; `write`, which includes `read`; `admin`, which includes both.',
  example: 'write',
});

const keyName = name(60)
  .refine(
    (value) => !value.includes('@'),
    'Must not be an email address: it stands in the audit trail for good.',
  )
  .openapi({ description: 'Who uses the key. Stands in the audit trail as the actor.', example: 'crm' });

const ApiKeyView = z
  .object({ id, name: z.string(), scope, createdAt: time, revokedAt: time.nullable() })
  .openapi('ApiKey');

const NewApiKey = z
  .object({
    id,
    key: z.string().openapi({
      description: 'Shown this once.',
      example: 'heed_mBZ0q6Yz1v3x8Qy5n7tKcR2wUjL4aSdFgHpE9oIiXrM',
    }),
  })
  .openapi('NewApiKey');

const list = operation('admin', [], {
  method: 'get',
  path: '/api-keys',
  operationId: 'listApiKeys',
  tags: ['API keys'],
  summary: 'List API keys',
  description: 'Newest first, revoked ones too. The keys themselves are not kept, only their SHA-256.',
  request: { query: z.strictObject({ limit, cursor: idCursor }) },
  responses: { 200: jsonAnswer(pageOf(ApiKeyView, 'ApiKeyPage'), 'A page of keys.') },
});

const create = operation('admin', [], {
  method: 'post',
  path: '/api-keys',
  operationId: 'createApiKey',
  tags: ['API keys'],
  summary: 'Make an API key',
  request: { body: jsonBody(z.strictObject({ name: keyName, scope }).openapi('ApiKeyInput')) },
  responses: { 201: jsonAnswer(NewApiKey, 'The key. It cannot be shown again.') },
});

const revoke = operation('admin', ['not-found', 'conflict'], {
  method: 'delete',
  path: '/api-keys/{id}',
  operationId: 'revokeApiKey',
  tags: ['API keys'],
  summary: 'Revoke an API key',
  description: 'At once and for good. The last key with the scope `admin` cannot be revoked.',
  request: { params: idPath },
  responses: { 204: { description: 'The key is revoked.' } },
});

export function apiKeyRoutes({ db, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  api.openapi(list, async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const rows = await listApiKeys(db, cursor ?? null, limit + 1);
    const page = toPage(
      rows,
      limit,
      (key) => key.id,
      (key) => ({ ...key, createdAt: timeOf(key.createdAt), revokedAt: timeOrNull(key.revokedAt) }),
    );
    return c.json(page, 200);
  });
  api.openapi(create, async (c) => {
    const { name, scope } = c.req.valid('json');
    const made = await db.transaction((tx) => createApiKey(tx, originOf(c), now(), name, scope));
    return c.json(made, 201, { 'cache-control': 'no-store' });
  });
  api.openapi(revoke, async (c) => {
    const { id } = c.req.valid('param');
    const result = await db.transaction((tx) => revokeApiKey(tx, originOf(c), now(), id));
    if (result === 'not_found') throw notFound('API key');
    if (result === 'last_admin') {
      throw new ApiProblem('conflict', 'This is the last key with the scope admin. Make another one first.');
    }
    return c.body(null, 204);
  });
  return api;
}
