import { OpenAPIHono, z } from '@hono/zod-openapi';
import { countMatching, readMatchingPage } from '../../db/queries/criteria.ts';
import { readProspectsInOrder } from '../../db/queries/prospectRows.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { bodyCriteria, workingOut } from '../criteria.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { CriteriaSchema } from '../schemas/criteria.ts';
import { idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';
import { ProspectSchema, prospectView } from '../schemas/prospect.ts';

const tags = ['Prospects'];
const EXAMPLES = 5;

const count = operation('read', ['unprocessable'], {
  method: 'post',
  path: '/prospects/count',
  operationId: 'countProspects',
  tags,
  summary: 'Count the prospects that match criteria',
  description:
    'With a few of them as examples, so that a filter can be tried before it is used. Changes nothing.',
  request: { body: jsonBody(z.strictObject({ criteria: CriteriaSchema }).openapi('CountInput')) },
  responses: {
    200: jsonAnswer(
      z
        .object({
          count: z.int().openapi({ example: 1250 }),
          examples: z.array(ProspectSchema).openapi({ description: `${EXAMPLES} of them at the most.` }),
        })
        .openapi('ProspectCount'),
      'How many there are now.',
    ),
  },
});

const search = operation('read', ['unprocessable'], {
  method: 'post',
  path: '/prospects/search',
  operationId: 'searchProspectsByCriteria',
  tags,
  summary: 'Search prospects by criteria',
  description: 'Those that match, oldest first. Changes nothing.',
  request: {
    body: jsonBody(
      z.strictObject({ criteria: CriteriaSchema, limit, cursor: idCursor }).openapi('CriteriaSearchInput'),
    ),
  },
  responses: { 200: jsonAnswer(pageOf(ProspectSchema, 'MatchingProspectPage'), 'A page of prospects.') },
});

export function prospectCriteriaRoutes({ db, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  api.openapi(count, async (c) => {
    const criteria = await bodyCriteria(db, '/criteria', c.req.valid('json').criteria);
    const at = now();
    const [total, ids] = await workingOut('/criteria', () =>
      Promise.all([countMatching(db, criteria, at), readMatchingPage(db, criteria, at, null, EXAMPLES)]),
    );
    const examples = await readProspectsInOrder(db, ids);
    return c.json({ count: total, examples: examples.map(prospectView) }, 200);
  });
  api.openapi(search, async (c) => {
    const { criteria: given, limit, cursor } = c.req.valid('json');
    const criteria = await bodyCriteria(db, '/criteria', given);
    const ids = await workingOut('/criteria', () =>
      readMatchingPage(db, criteria, now(), cursor ?? null, limit + 1),
    );
    const rows = await readProspectsInOrder(db, ids);
    return c.json(
      toPage(rows, limit, (prospect) => prospect.id, prospectView),
      200,
    );
  });
  return api;
}
