import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { Transaction } from '../../db/connection.ts';
import { findAddress } from '../../db/queries/addresses.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { lockProspects } from '../../db/queries/locks.ts';
import { eraseProspect } from '../../db/queries/prospectErase.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { searchProspects } from '../../db/queries/prospectSearch.ts';
import {
  createProspect,
  deleteProspect,
  type Prospect,
  readProspect,
  updateProspect,
} from '../../db/queries/prospects.ts';
import { positionOf, readTimeline } from '../../db/queries/timeline.ts';
import type { FieldProblem } from '../../domain/prospectFields.ts';
import type { Origin } from '../../domain/words.ts';
import { changedMeanwhile, etagOf, ifMatchHeader, requiredVersion, versionOf } from '../conditions.ts';
import { type Api, type ApiDeps, type ApiEnv, originOf } from '../context.ts';
import { given } from '../given.ts';
import { requireReach } from '../middleware/authentication.ts';
import { fieldName } from '../middleware/validation.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { ApiProblem, bodyProblem, notFound } from '../problems.ts';
import { email, flagIn, id, idPath, line, reason, timeIn } from '../schemas/common.ts';
import { cursorTo, idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';
import {
  FlagsInput,
  ProspectChange,
  ProspectInput,
  ProspectSchema,
  prospectView,
  TimelineEventSchema,
  timelineEventView,
} from '../schemas/prospect.ts';
import { bodyAddress, queryAddress } from './input.ts';

const etagHeader = z.object({ ETag: z.string().openapi({ example: '"3"' }) });
const oneProspect = (description: string) => ({
  ...jsonAnswer(ProspectSchema, description),
  headers: etagHeader,
});
const tags = ['Prospects'];

const create = operation('write', ['conflict'], {
  method: 'post',
  path: '/prospects',
  operationId: 'createProspect',
  tags,
  summary: 'Create a prospect',
  description:
    'There is one prospect for each address, whatever its letter case. The flags begin with what the address is suppressed for: an opt-out outlives the prospect that it came to.',
  request: { body: jsonBody(ProspectInput) },
  responses: {
    201: {
      ...jsonAnswer(ProspectSchema, 'The prospect.'),
      headers: z.object({ Location: z.string(), ETag: z.string() }),
    },
  },
});

const search = operation('read', [], {
  method: 'get',
  path: '/prospects',
  operationId: 'searchProspects',
  tags,
  summary: 'Search prospects',
  description: 'Newest first. All conditions must hold.',
  request: {
    query: z.strictObject({
      q: line(200).optional().openapi({
        description: 'Beginning of the address, the last name or the company, whatever the letter case.',
        example: 'ada',
      }),
      email: email.optional().openapi({ description: 'Exactly this address.' }),
      emailOptOut: flagIn.optional(),
      bounced: flagIn.optional(),
      listId: id.optional().openapi({ description: 'Members of this list.' }),
      createdFrom: timeIn.optional(),
      createdBefore: timeIn.optional(),
      updatedFrom: timeIn.optional(),
      updatedBefore: timeIn.optional(),
      limit,
      cursor: idCursor,
    }),
  },
  responses: { 200: jsonAnswer(pageOf(ProspectSchema, 'ProspectPage'), 'A page of prospects.') },
});

const read = operation('read', ['not-found'], {
  method: 'get',
  path: '/prospects/{id}',
  operationId: 'readProspect',
  tags,
  summary: 'Read a prospect',
  request: { params: idPath },
  responses: { 200: oneProspect('The prospect.') },
});

const change = operation('write', ['not-found', 'conflict', 'precondition-failed', 'precondition-required'], {
  method: 'patch',
  path: '/prospects/{id}',
  operationId: 'changeProspect',
  tags,
  summary: 'Change a prospect',
  description:
    'What is left out stays, null empties a field. A new address takes the opt-out along and leaves Bounced behind; unfinished sends to the old address are cancelled.',
  request: { params: idPath, headers: ifMatchHeader, body: jsonBody(ProspectChange) },
  responses: { 200: oneProspect('The prospect as it is now.') },
});

const remove = operation('write', ['not-found', 'precondition-failed'], {
  method: 'delete',
  path: '/prospects/{id}',
  operationId: 'deleteProspect',
  tags,
  summary: 'Delete a prospect, or erase the person',
  description:
    'Unfinished sends are cancelled. Suppressions of the address stay in force. With `erase=true` (scope `admin`) everything personal is erased for good; of the address a keyed hash stays, by which its suppressions are still honoured.',
  request: {
    params: idPath,
    headers: ifMatchHeader,
    query: z.strictObject({ erase: flagIn.optional(), reason: reason.optional() }),
  },
  responses: { 204: { description: 'It is gone.' } },
});

const timeline = operation('read', ['not-found'], {
  method: 'get',
  path: '/prospects/{id}/timeline',
  operationId: 'readProspectTimeline',
  tags,
  summary: 'Everything that happened to a prospect',
  description:
    'Newest first: changes of it and of its flags, what its addresses were suppressed for, its sends and every attempt. A deleted prospect still has a timeline.',
  request: {
    params: idPath,
    query: z.strictObject({
      limit,
      cursor: cursorTo(
        z.discriminatedUnion('type', [
          z.strictObject({
            at: z.int(),
            type: z.literal('audit'),
            id: z.string().regex(/^\d{1,18}$/),
            number: z.literal(0),
          }),
          z.strictObject({ at: z.int(), type: z.literal('send'), id: z.uuid(), number: z.literal(0) }),
          z.strictObject({ at: z.int(), type: z.literal('attempt'), id: z.uuid(), number: z.int32() }),
        ]),
      ),
    }),
  },
  responses: { 200: jsonAnswer(pageOf(TimelineEventSchema, 'TimelinePage'), 'A page of the timeline.') },
});

const flags = operation('write', ['not-found'], {
  method: 'patch',
  path: '/prospects/{id}/flags',
  operationId: 'setProspectFlags',
  tags,
  summary: 'Set Email Opt Out or Bounced',
  description:
    'Yes puts the address on the Global Suppression List at the same moment and ends its waiting sends; No takes that reason off, and no other. The two flags are independent, so no If-Match is asked for.',
  request: { params: idPath, body: jsonBody(FlagsInput) },
  responses: { 200: oneProspect('The prospect as it is now.') },
});

const merge = operation('write', ['not-found', 'unprocessable'], {
  method: 'post',
  path: '/prospects/{id}/merge',
  operationId: 'mergeProspect',
  tags,
  summary: 'Merge a prospect into another',
  description:
    'The prospect in the path goes; the one in `into` keeps its address and fields, has its empty fields filled, and keeps the stricter of what either said no to.',
  request: {
    params: idPath,
    body: jsonBody(z.strictObject({ into: id, reason: reason.optional() }).openapi('MergeInput')),
  },
  responses: { 200: oneProspect('The prospect that stays.') },
});

export function prospectRoutes({ db, hasher, temporal, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();

  api.openapi(create, async (c) => {
    const { email, reason = null, custom, emailOptOut, bounced, ...fields } = c.req.valid('json');
    const input = {
      address: bodyAddress('/email', email),
      fields: given(fields),
      ...given({ custom, emailOptOut, bounced }),
    };
    const prospect = await db.transaction(async (tx) => {
      const result = await createProspect(tx, hasher, originOf(c, reason), now(), input);
      if (result.kind === 'invalid') throw fieldsRefused(result.problems);
      if (result.kind === 'exists') throw addressTaken(result.prospectId);
      return result.prospect;
    });
    return c.json(prospectView(prospect), 201, {
      location: `/prospects/${prospect.id}`,
      etag: etagOf(prospect.version),
    });
  });

  api.openapi(search, async (c) => {
    const { q, email, limit, cursor, ...filter } = c.req.valid('query');
    const addressId =
      email === undefined ? undefined : await findAddress(db, hasher, queryAddress('email', email));
    if (addressId === null) return c.json({ items: [], nextCursor: null }, 200);
    const wanted = given({ ...filter, prefix: q, addressId });
    const rows = await searchProspects(db, wanted, { limit: limit + 1, ...given({ after: cursor }) }, now());
    return c.json(
      toPage(rows, limit, (prospect) => prospect.id, prospectView),
      200,
    );
  });

  api.openapi(read, async (c) => answer(await readProspect(db, c.req.valid('param').id), c));

  api.openapi(change, async (c) => {
    const { id } = c.req.valid('param');
    const version = requiredVersion(c.req.valid('header')['If-Match']);
    const { email, reason = null, custom, emailOptOut, bounced, ...fields } = c.req.valid('json');
    const address = email === undefined ? undefined : bodyAddress('/email', email);
    const patch = { fields: given(fields), ...given({ address, custom, emailOptOut, bounced }) };
    const prospect = await db.transaction(async (tx) => {
      const result = await updateProspect(tx, hasher, originOf(c, reason), now(), id, version, patch);
      if (result.kind === 'not_found') throw notFound('prospect');
      if (result.kind === 'version_conflict') throw changedMeanwhile(result.version);
      if (result.kind === 'invalid') throw fieldsRefused(result.problems);
      if (result.kind === 'exists') throw addressTaken(result.prospectId);
      return result.prospect;
    });
    return answer(prospect, c);
  });

  api.openapi(remove, async (c) => {
    const { id } = c.req.valid('param');
    const version = versionOf(c.req.valid('header')['If-Match']);
    const { erase = false, reason = null } = c.req.valid('query');
    if (erase) requireReach(c, 'admin');
    await db.transaction(async (tx) => {
      const result = erase
        ? await eraseVersion(tx, originOf(c, reason), now(), id, version)
        : await deleteProspect(tx, originOf(c, reason), now(), id, version);
      if (result.kind === 'not_found') throw notFound('prospect');
      if (result.kind === 'version_conflict') throw changedMeanwhile(result.version);
    });
    return c.body(null, 204);
  });

  api.openapi(timeline, async (c) => {
    const { id } = c.req.valid('param');
    const { limit, cursor } = c.req.valid('query');
    const events = await readTimeline(db, id, cursor ?? null, limit + 1);
    if (events === null) throw notFound('prospect');
    return c.json(
      toPage(events, limit, positionOf, (event) => timelineEventView(event, temporal)),
      200,
    );
  });

  api.openapi(flags, async (c) => {
    const { id } = c.req.valid('param');
    const { reason, ...change } = c.req.valid('json');
    const prospect = await db.transaction(async (tx) => {
      const found = await setFlags(tx, originOf(c, reason), now(), id, given(change));
      return found ? readProspect(tx, id) : null;
    });
    return answer(prospect, c);
  });

  api.openapi(merge, async (c) => {
    const { id } = c.req.valid('param');
    const { into, reason = null } = c.req.valid('json');
    const prospect = await db.transaction(async (tx) => {
      const result = await mergeProspects(tx, originOf(c, reason), now(), into, id);
      if (result.kind === 'same') throw bodyProblem('unprocessable', '/into', 'Is the same prospect.');
      if (result.kind === 'merged') return result.prospect;
      if (result.prospectId === id) throw notFound('prospect');
      throw bodyProblem('unprocessable', '/into', 'There is no such prospect.');
    });
    return answer(prospect, c);
  });

  return api;
}

/** Erases a person, also one whose prospect was deleted before; with a version only where it is still at that. */
async function eraseVersion(tx: Transaction, origin: Origin, now: Date, id: string, version: number | null) {
  if (version !== null) {
    await lockProspects(tx, [id]);
    const prospect = await readProspect(tx, id);
    if (prospect === null) return { kind: 'not_found' as const };
    if (prospect.version !== version) return { kind: 'version_conflict' as const, version: prospect.version };
  }
  return eraseProspect(tx, origin, now, id);
}

function answer(prospect: Prospect | null, c: Context<ApiEnv>) {
  if (prospect === null) throw notFound('prospect');
  return c.json(prospectView(prospect), 200, { etag: etagOf(prospect.version) });
}

function addressTaken(prospectId: string): ApiProblem {
  const message = `Another prospect has this address: ${prospectId}.`;
  return bodyProblem('conflict', '/email', message);
}

/** Names fields as they stand in the body: `custom.plan` is `/custom/plan`. */
function fieldsRefused(problems: readonly FieldProblem[]): ApiProblem {
  const errors = problems.map(({ field, message }) => ({
    in: 'body' as const,
    field: fieldName(
      'body',
      field.startsWith('custom.') ? ['custom', field.slice('custom.'.length)] : [field],
    ),
    message,
  }));
  return new ApiProblem('invalid-request', `Not valid: ${errors.map((error) => error.field).join(', ')}.`, {
    errors,
  });
}
