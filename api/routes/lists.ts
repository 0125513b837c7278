import { OpenAPIHono, z } from '@hono/zod-openapi';
import { readMatchingPage } from '../../db/queries/criteria.ts';
import {
  addListMembers,
  type CreatedList,
  changeList,
  countListMembers,
  createDynamicList,
  createList,
  type List,
  readList,
  readLists,
  removeListMembers,
} from '../../db/queries/lists.ts';
import { readProspectsInOrder } from '../../db/queries/prospectRows.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { bodyCriteria, workingOut } from '../criteria.ts';
import { given } from '../given.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { ApiProblem, bodyProblem, notFound } from '../problems.ts';
import { id, idPath, name, time, timeOf } from '../schemas/common.ts';
import { CriteriaSchema } from '../schemas/criteria.ts';
import { cursorTo, idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';
import { ProspectSchema, prospectView } from '../schemas/prospect.ts';

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
    criteria: CriteriaSchema.nullable().openapi({
      description:
        'Who stands in a dynamic list; null for a static one, whose members are put in and taken out.',
      example: null,
    }),
    members: z.int().nullable().openapi({
      description:
        'How many stand in it. Null for a dynamic list among others: read it by itself to have it counted.',
      example: 1250,
    }),
    createdAt: time,
  })
  .openapi('List');

const list = operation('read', [], {
  method: 'get',
  path: '/lists',
  operationId: 'listLists',
  tags,
  summary: 'Lists',
  description: 'By name.',
  request: { query: z.strictObject({ limit, cursor: cursorTo(z.string().max(200)) }) },
  responses: { 200: jsonAnswer(pageOf(ListSchema, 'ListPage'), 'The lists.') },
});

const create = operation('write', ['conflict', 'unprocessable'], {
  method: 'post',
  path: '/lists',
  operationId: 'createList',
  tags,
  summary: 'Create a list',
  description:
    'Static, or dynamic with `criteria`: then whoever matches stands in it, now and later. A list stays what it is.',
  request: {
    body: jsonBody(
      z
        .strictObject({
          name: name(200).openapi({ example: 'Newsletter' }),
          private: isPrivate.default(false),
          criteria: CriteriaSchema.optional(),
        })
        .openapi('ListInput', { example: { name: 'Newsletter' } }),
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
  description: 'Members of a dynamic list are counted as of now.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(ListSchema, 'The list.') },
});

const change = operation('write', ['not-found', 'conflict', 'unprocessable'], {
  method: 'patch',
  path: '/lists/{id}',
  operationId: 'changeList',
  tags,
  summary: 'Change a list',
  description:
    'What is left out stays. Only a dynamic list has criteria to change; lists may name each other, but not in a circle.',
  request: {
    params: idPath,
    body: jsonBody(
      z
        .strictObject({
          name: name(200).optional(),
          private: isPrivate.optional(),
          criteria: CriteriaSchema.optional(),
        })
        .refine((value) => Object.keys(value).length > 0, { message: 'Give what is to be changed.' })
        .openapi('ListChange', { example: { private: true } }),
    ),
  },
  responses: { 200: jsonAnswer(ListSchema, 'The list as it is now.') },
});

const members = operation('read', ['not-found', 'unprocessable'], {
  method: 'get',
  path: '/lists/{id}/members',
  operationId: 'listListMembers',
  tags,
  summary: 'Members of a list',
  description: 'Static or dynamic, oldest prospects first.',
  request: { params: idPath, query: z.strictObject({ limit, cursor: idCursor }) },
  responses: { 200: jsonAnswer(pageOf(ProspectSchema, 'ListMemberPage'), 'A page of members.') },
});

const addMembers = operation('write', ['not-found', 'conflict', 'unprocessable'], {
  method: 'post',
  path: '/lists/{id}/members',
  operationId: 'addListMembers',
  tags,
  summary: 'Put prospects into a static list',
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

const removeMember = operation('write', ['not-found', 'conflict'], {
  method: 'delete',
  path: '/lists/{id}/members/{prospectId}',
  operationId: 'removeListMember',
  tags,
  summary: 'Take a prospect out of a static list',
  description:
    'Whoever unsubscribed from the list is to be suppressed within it instead (POST /suppressions with `listId`): that holds also when they are put into it again.',
  request: { params: z.strictObject({ id, prospectId: id }) },
  responses: { 204: { description: 'The prospect is not in the list.' } },
});

export function listRoutes({ db, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  api.openapi(list, async (c) => {
    const { limit, cursor } = c.req.valid('query');
    const rows = await readLists(db, cursor ?? null, limit + 1);
    return c.json(
      toPage(rows, limit, ({ name }) => name, view),
      200,
    );
  });
  api.openapi(create, async (c) => {
    const { name, private: isPrivate, criteria: givenCriteria } = c.req.valid('json');
    const created =
      givenCriteria === undefined
        ? await createList(db, now(), name, isPrivate)
        : await workingOut('/criteria', () =>
            db.transaction(async (tx) => {
              const criteria = await bodyCriteria(tx, '/criteria', givenCriteria);
              return createDynamicList(tx, now(), name, isPrivate, criteria);
            }),
          );
    const made = (await readList(db, listIdOf(created)))!;
    return c.json(await countedView(made), 201, { location: `/lists/${made.id}` });
  });
  api.openapi(read, async (c) => {
    const found = await readList(db, c.req.valid('param').id);
    if (found === null) throw notFound('list');
    return c.json(await countedView(found), 200);
  });
  api.openapi(change, async (c) => {
    const { id } = c.req.valid('param');
    const { criteria: givenCriteria, ...rest } = c.req.valid('json');
    await workingOut('/criteria', () =>
      db.transaction(async (tx) => {
        const criteria =
          givenCriteria === undefined ? undefined : await bodyCriteria(tx, '/criteria', givenCriteria);
        const changed = await changeList(tx, now(), id, given({ ...rest, criteria }));
        if (changed.kind === 'no_list') throw notFound('list');
        if (changed.kind === 'exists') throw nameTaken(changed.listId);
        if (changed.kind === 'static')
          throw bodyProblem('conflict', '/criteria', 'The list is a static one.');
      }),
    );
    return c.json(await countedView((await readList(db, id))!), 200);
  });
  api.openapi(members, async (c) => {
    const { id } = c.req.valid('param');
    const { limit, cursor } = c.req.valid('query');
    if ((await readList(db, id)) === null) throw notFound('list');
    const ids = await readMatchingPage(db, { list: id, member: true }, now(), cursor ?? null, limit + 1);
    return c.json(
      toPage(await readProspectsInOrder(db, ids), limit, (prospect) => prospect.id, prospectView),
      200,
    );
  });
  api.openapi(addMembers, async (c) => {
    const { id } = c.req.valid('param');
    const { prospectIds } = c.req.valid('json');
    const added = await db.transaction(async (tx) => {
      const result = await addListMembers(tx, now(), id, [...new Set(prospectIds)]);
      if (result.kind === 'no_list') throw notFound('list');
      if (result.kind === 'dynamic') throw dynamicList();
      if (result.unknown.length > 0) throw unknownProspects(prospectIds, new Set(result.unknown));
      return result.added;
    });
    return c.json({ added }, 200);
  });
  api.openapi(removeMember, async (c) => {
    const { id, prospectId } = c.req.valid('param');
    const found = await readList(db, id);
    if (found === null) throw notFound('list');
    if (found.criteria !== null) throw dynamicList();
    await removeListMembers(db, id, [prospectId]);
    return c.body(null, 204);
  });
  return api;

  async function countedView(list: List): Promise<z.input<typeof ListSchema>> {
    return { ...view(list), members: await countListMembers(db, list, now()) };
  }
}

function view(list: List): z.input<typeof ListSchema> {
  const { id, name, private: isPrivate, criteria, members } = list;
  return {
    id,
    name,
    private: isPrivate,
    criteria: criteria === null ? null : { ...criteria },
    members,
    createdAt: timeOf(list.createdAt),
  };
}

function listIdOf(created: CreatedList): string {
  if (created.kind === 'exists') throw nameTaken(created.listId);
  if (created.kind === 'invalid') {
    throw bodyProblem('invalid-request', '/name', `Not valid: ${created.problem}.`);
  }
  return created.listId;
}

function nameTaken(listId: string): ApiProblem {
  return bodyProblem('conflict', '/name', `Another list has this name: ${listId}.`);
}

function dynamicList(): ApiProblem {
  return new ApiProblem('conflict', 'The list is dynamic: its criteria say who stands in it.');
}

function unknownProspects(given: readonly string[], unknown: ReadonlySet<string>): ApiProblem {
  const errors = given.flatMap((id, index) =>
    unknown.has(id)
      ? [{ in: 'body' as const, field: `/prospectIds/${index}`, message: 'There is no such prospect.' }]
      : [],
  );
  return new ApiProblem('unprocessable', 'Some of the prospects do not exist; nobody was added.', { errors });
}
