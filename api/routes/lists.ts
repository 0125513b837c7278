import { OpenAPIHono, z } from '@hono/zod-openapi';
import {
  addListMembers,
  createList,
  type List,
  readList,
  readLists,
  removeListMembers,
  setListPrivate,
} from '../../db/queries/lists.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { ApiProblem, bodyProblem, notFound } from '../problems.ts';
import { id, idPath, name, time, timeOf } from '../schemas/common.ts';

const tags = ['Lists'];
const MAX_MEMBERS_AT_ONCE = 1000;

const isPrivate = z.boolean().openapi({
  description:
    'Whether the page on which people unsubscribe keeps its name to itself, except from mail that was sent to it.',
  example: false,
});

const ListSchema = z
  .object({
    id,
    name: z.string().openapi({ example: 'Newsletter' }),
    private: isPrivate,
    members: z.int().openapi({ example: 1250 }),
    createdAt: time,
  })
  .openapi('List');

const list = operation('read', [], {
  method: 'get',
  path: '/lists',
  operationId: 'listLists',
  tags,
  summary: 'All lists',
  description: 'By name.',
  responses: { 200: jsonAnswer(z.object({ items: z.array(ListSchema) }).openapi('Lists'), 'The lists.') },
});

const create = operation('write', ['conflict'], {
  method: 'post',
  path: '/lists',
  operationId: 'createList',
  tags,
  summary: 'Create a list',
  request: {
    body: jsonBody(
      z
        .strictObject({
          name: name(200).openapi({ example: 'Newsletter' }),
          private: isPrivate.default(false),
        })
        .openapi('ListInput'),
    ),
  },
  responses: {
    201: { ...jsonAnswer(ListSchema, 'The list.'), headers: z.object({ Location: z.string() }) },
  },
});

const read = operation('read', ['not-found'], {
  method: 'get',
  path: '/lists/{id}',
  operationId: 'readList',
  tags,
  summary: 'Read a list',
  description: 'Its members are at `/prospects?listId=…`.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(ListSchema, 'The list.') },
});

const change = operation('write', ['not-found'], {
  method: 'patch',
  path: '/lists/{id}',
  operationId: 'changeList',
  tags,
  summary: 'Change a list',
  request: {
    params: idPath,
    body: jsonBody(z.strictObject({ private: isPrivate }).openapi('ListChange')),
  },
  responses: { 200: jsonAnswer(ListSchema, 'The list as it is now.') },
});

const addMembers = operation('write', ['not-found', 'unprocessable'], {
  method: 'post',
  path: '/lists/{id}/members',
  operationId: 'addListMembers',
  tags,
  summary: 'Put prospects into a list',
  description: 'All of them or, where one does not exist, none. A prospect stands in a list once.',
  request: {
    params: idPath,
    body: jsonBody(
      z
        .strictObject({ prospectIds: z.array(id).min(1).max(MAX_MEMBERS_AT_ONCE) })
        .openapi('ListMembersInput'),
    ),
  },
  responses: {
    200: jsonAnswer(
      z
        .object({ added: z.int().openapi({ description: 'Those who were not in it.' }) })
        .openapi('ListMembersAdded'),
      'They are in the list.',
    ),
  },
});

const removeMember = operation('write', ['not-found'], {
  method: 'delete',
  path: '/lists/{id}/members/{prospectId}',
  operationId: 'removeListMember',
  tags,
  summary: 'Take a prospect out of a list',
  description:
    'Whoever unsubscribed from the list is to be suppressed within it instead (POST /suppressions with `listId`): that holds also when they are put into it again.',
  request: { params: z.strictObject({ id, prospectId: id }) },
  responses: { 204: { description: 'The prospect is not in the list.' } },
});

export function listRoutes({ db, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  api.openapi(list, async (c) => c.json({ items: (await readLists(db)).map(view) }, 200));
  api.openapi(create, async (c) => {
    const { name, private: isPrivate } = c.req.valid('json');
    const created = await createList(db, now(), name, isPrivate);
    if (created.kind === 'exists') {
      throw bodyProblem('conflict', '/name', `Another list has this name: ${created.listId}.`);
    }
    if (created.kind === 'invalid')
      throw bodyProblem('invalid-request', '/name', `Not valid: ${created.problem}.`);
    const made = (await readList(db, created.listId))!;
    return c.json(view(made), 201, { location: `/lists/${made.id}` });
  });
  api.openapi(read, async (c) => {
    const found = await readList(db, c.req.valid('param').id);
    if (found === null) throw notFound('list');
    return c.json(view(found), 200);
  });
  api.openapi(change, async (c) => {
    const { id } = c.req.valid('param');
    if (!(await setListPrivate(db, id, c.req.valid('json').private))) throw notFound('list');
    return c.json(view((await readList(db, id))!), 200);
  });
  api.openapi(addMembers, async (c) => {
    const { id } = c.req.valid('param');
    const { prospectIds } = c.req.valid('json');
    const added = await db.transaction(async (tx) => {
      const result = await addListMembers(tx, now(), id, [...new Set(prospectIds)]);
      if (result.kind === 'no_list') throw notFound('list');
      if (result.unknown.length > 0) throw unknownProspects(prospectIds, new Set(result.unknown));
      return result.added;
    });
    return c.json({ added }, 200);
  });
  api.openapi(removeMember, async (c) => {
    const { id, prospectId } = c.req.valid('param');
    if ((await readList(db, id)) === null) throw notFound('list');
    await removeListMembers(db, id, [prospectId]);
    return c.body(null, 204);
  });
  return api;
}

function view(list: List): z.input<typeof ListSchema> {
  const { id, name, private: isPrivate, members } = list;
  return { id, name, private: isPrivate, members, createdAt: timeOf(list.createdAt) };
}

function unknownProspects(given: readonly string[], unknown: ReadonlySet<string>): ApiProblem {
  const errors = given.flatMap((id, index) =>
    unknown.has(id)
      ? [{ in: 'body' as const, field: `/prospectIds/${index}`, message: 'There is no such prospect.' }]
      : [],
  );
  return new ApiProblem('unprocessable', 'Some of the prospects do not exist; nobody was added.', { errors });
}
