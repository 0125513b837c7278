import { OpenAPIHono, z } from '@hono/zod-openapi';
import {
  type ExportedRow,
  exportBulkUpdateRows,
  previewBulkUpdate,
  readBulkUpdateRows,
} from '../../db/queries/bulkUpdateRows.ts';
import {
  type BulkUpdate,
  commandBulkUpdate,
  countRefusals,
  createBulkUpdate,
  createUndo,
  readBulkUpdate,
  searchBulkUpdates,
} from '../../db/queries/bulkUpdates.ts';
import { checkLists } from '../../db/queries/criteria.ts';
import { readCustomFields } from '../../db/queries/customFields.ts';
import { isFlag } from '../../domain/automation/definition.ts';
import { type BulkChange, parseBulkChange } from '../../domain/bulkUpdate/change.ts';
import type { BulkUpdateCommand } from '../../domain/bulkUpdate/words.ts';
import { isOver } from '../../domain/bulkUpdate/words.ts';
import { type Api, type ApiDeps, type ApiEnv, originOf } from '../context.ts';
import { bodyCriteria, workingOut } from '../criteria.ts';
import { csvLine } from '../csv.ts';
import { given } from '../given.ts';
import { idempotencyHeader, keyReused, requestHash } from '../idempotency.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { ApiProblem, type FieldProblem, notFound } from '../problems.ts';
import {
  BulkChangeInput,
  BulkUpdateInput,
  BulkUpdatePreviewSchema,
  BulkUpdateRowSchema,
  BulkUpdateSchema,
  BulkUpdateWithRefusals,
  bulkUpdatePreviewView,
  bulkUpdateRowView,
  bulkUpdateState,
  bulkUpdateView,
  rowOutcome,
  UndoInput,
  withRefusals,
} from '../schemas/bulkUpdate.ts';
import { idPath, timeOf } from '../schemas/common.ts';
import { idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';

const tags = ['Bulk updates'];
const located = (description: string) => ({
  ...jsonAnswer(BulkUpdateSchema, description),
  headers: z.object({ Location: z.string() }),
});

const preview = operation('read', ['unprocessable'], {
  method: 'post',
  path: '/bulk-updates/preview',
  operationId: 'previewBulkUpdate',
  tags,
  summary: 'What would a bulk update do?',
  description:
    'Counts of changed, already so and refused as of now, with some examples of each. Changes nothing.',
  request: { body: jsonBody(BulkChangeInput) },
  responses: { 200: jsonAnswer(BulkUpdatePreviewSchema, 'Counts and examples.') },
});

const create = operation('write', ['unprocessable'], {
  method: 'post',
  path: '/bulk-updates',
  operationId: 'createBulkUpdate',
  tags,
  summary: 'Change a field of everybody who matches',
  description:
    'Carried out once, by a workflow. Who is meant is decided when it begins; whoever matches no more when their turn comes is refused. Email Opt Out = No never takes back what a person said by link, one-click, mail or complaint.',
  request: { headers: idempotencyHeader, body: jsonBody(BulkUpdateInput) },
  responses: {
    202: located('It will be carried out.'),
    200: located('It was made before, under the same key.'),
  },
});

const list = operation('read', [], {
  method: 'get',
  path: '/bulk-updates',
  operationId: 'listBulkUpdates',
  tags,
  summary: 'List bulk updates',
  description: 'Newest first.',
  request: { query: z.strictObject({ state: bulkUpdateState.optional(), limit, cursor: idCursor }) },
  responses: { 200: jsonAnswer(pageOf(BulkUpdateSchema, 'BulkUpdatePage'), 'A page of bulk updates.') },
});

const read = operation('read', ['not-found'], {
  method: 'get',
  path: '/bulk-updates/{id}',
  operationId: 'readBulkUpdate',
  tags,
  summary: 'How far is a bulk update?',
  request: { params: idPath },
  responses: { 200: jsonAnswer(BulkUpdateWithRefusals, 'The bulk update.') },
});

const rows = operation('read', ['not-found'], {
  method: 'get',
  path: '/bulk-updates/{id}/rows',
  operationId: 'listBulkUpdateRows',
  tags,
  summary: 'What became of each row',
  description: 'In the order of the ids of the prospects. Rows whose turn has not come are not there.',
  request: {
    params: idPath,
    query: z.strictObject({ outcome: rowOutcome.optional(), limit, cursor: idCursor }),
  },
  responses: { 200: jsonAnswer(pageOf(BulkUpdateRowSchema, 'BulkUpdateRowPage'), 'A page of rows.') },
});

const exportRows = operation('read', ['not-found'], {
  method: 'get',
  path: '/bulk-updates/{id}/rows/export',
  operationId: 'exportBulkUpdateRows',
  tags,
  summary: 'What became of each row, as CSV',
  description:
    'Columns: prospectId, email (as of now; empty where the prospect is gone), outcome, refusal, before, after, at. A cell that a spreadsheet would run as a formula has an apostrophe in front.',
  request: { params: idPath, query: z.strictObject({ outcome: rowOutcome.optional() }) },
  responses: { 200: { description: 'The rows, streamed.', content: { 'text/csv': { schema: z.string() } } } },
});

const COMMANDS = [
  ['pause', 'Pause a bulk update', 'No page begins after the answer. What was changed stays.'],
  ['resume', 'Resume a paused bulk update', 'It goes on where it was paused, with those it was decided for.'],
  [
    'cancel',
    'Cancel a bulk update',
    'No page begins after the answer. What was changed stays, and can be undone.',
  ],
] as const satisfies readonly (readonly [BulkUpdateCommand, string, string])[];

const commandOf = (command: BulkUpdateCommand, summary: string, description: string) =>
  operation('write', ['not-found', 'conflict'], {
    method: 'post',
    path: `/bulk-updates/{id}/${command}`,
    operationId: `${command}BulkUpdate`,
    tags,
    summary,
    description,
    request: { params: idPath },
    responses: { 200: jsonAnswer(BulkUpdateSchema, 'The bulk update.') },
  });

const previewUndo = operation('read', ['not-found', 'conflict'], {
  method: 'post',
  path: '/bulk-updates/{id}/undo/preview',
  operationId: 'previewUndo',
  tags,
  summary: 'What would undoing it do?',
  description: 'Of the rows that it changed, as of now. Changes nothing.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(BulkUpdatePreviewSchema, 'Counts and examples.') },
});

const undo = operation('write', ['not-found', 'conflict', 'unprocessable'], {
  method: 'post',
  path: '/bulk-updates/{id}/undo',
  operationId: 'undoBulkUpdate',
  tags,
  summary: 'Undo a bulk update',
  description:
    'Makes a new bulk update of exactly the rows that it changed: each gets its own former value back, where it is still as the bulk update has left it. Once, unless the undo is cancelled or fails; an undo can be undone.',
  request: { params: idPath, headers: idempotencyHeader, body: jsonBody(UndoInput) },
  responses: {
    202: located('The undo will be carried out.'),
    200: located('It was made before, under the same key.'),
  },
});

export function bulkUpdateRoutes({ db, temporal, now, log }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();

  const current = async (id: string): Promise<BulkUpdate> => {
    const update = await readBulkUpdate(db, id);
    if (update === null) throw notFound('bulk update');
    return update;
  };
  const view = async (id: string) => bulkUpdateView(await current(id), temporal);

  /** Every fault is told at once, `others` of the same body too; lists that do not exist are faults as well. */
  const readChange = async (
    body: z.output<typeof BulkChangeInput>,
    others: readonly FieldProblem[] = [],
  ): Promise<BulkChange> => {
    const parsed = parseBulkChange(body, await readCustomFields(db));
    const faults = parsed.ok
      ? []
      : parsed.problems.map(({ path, message }) => ({ in: 'body' as const, field: path, message }));
    const errors = [...faults, ...others];
    if (!parsed.ok || errors.length > 0) {
      throw new ApiProblem('invalid-request', `The bulk update is not valid: ${errors[0]!.message}`, {
        errors,
      });
    }
    return { ...parsed.change, criteria: await bodyCriteria(db, '/criteria', body.criteria) };
  };

  api.openapi(preview, async (c) => {
    const change = await readChange(c.req.valid('json'));
    const seen = await workingOut('/criteria', () =>
      previewBulkUpdate(db, { ...change, undoes: null }, now()),
    );
    return c.json(bulkUpdatePreviewView(seen), 200);
  });

  api.openapi(create, async (c) => {
    const { reason = null, ...body } = c.req.valid('json');
    const change = await readChange(body, missingReason(body.field, reason));
    await workingOut('/criteria', () => checkLists(db, change.criteria));
    const request = requestOf(c.req.valid('header'), 'bulkUpdate', [JSON.stringify(change), reason]);
    const made = await db.transaction((tx) =>
      createBulkUpdate(tx, originOf(c, reason), now(), change, request),
    );
    if (made.kind === 'key_conflict') throw keyReused();
    const headers = { location: `/bulk-updates/${made.id}` };
    return c.json(await view(made.id), made.kind === 'created' ? 202 : 200, headers);
  });

  api.openapi(list, async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const page = { limit: limit + 1, ...given({ after: cursor }) };
    const found = await searchBulkUpdates(db, given(filter), page);
    return c.json(
      toPage(
        found,
        limit,
        (update) => update.id,
        (update) => bulkUpdateView(update, temporal),
      ),
      200,
    );
  });

  api.openapi(read, async (c) => {
    const update = await current(c.req.valid('param').id);
    return c.json(withRefusals(update, await countRefusals(db, update.id), temporal), 200);
  });

  api.openapi(rows, async (c) => {
    const { id } = c.req.valid('param');
    const { outcome, limit, cursor } = c.req.valid('query');
    await current(id);
    const found = await readBulkUpdateRows(db, id, outcome ?? null, cursor ?? null, limit + 1);
    return c.json(
      toPage(found, limit, (row) => row.prospectId, bulkUpdateRowView),
      200,
    );
  });

  api.openapi(exportRows, async (c) => {
    const { id } = c.req.valid('param');
    const { outcome } = c.req.valid('query');
    await current(id);
    const lines = exportLines(exportBulkUpdateRows(db, id, outcome ?? null), (error) =>
      log.error({ err: error, requestId: c.get('requestId') }, 'the export of a bulk update broke off'),
    );
    return c.body(ReadableStream.from(lines), 200, {
      'content-type': 'text/csv; charset=utf-8; header=present',
      'content-disposition': `attachment; filename="bulk-update-${id}.csv"`,
    });
  });

  for (const [command, summary, description] of COMMANDS) {
    api.openapi(commandOf(command, summary, description), async (c) => {
      const { id } = c.req.valid('param');
      const commanded = await db.transaction((tx) => commandBulkUpdate(tx, originOf(c), now(), id, command));
      if (commanded === 'not_found') throw notFound('bulk update');
      if (commanded === 'wrong_state') {
        throw new ApiProblem('conflict', `The bulk update is ${(await current(id)).state}.`);
      }
      return c.json(await view(id), 200);
    });
  }

  api.openapi(previewUndo, async (c) => {
    const update = await current(c.req.valid('param').id);
    if (!isOver(update.state)) throw notOver();
    const { id: undoes, field } = update;
    const seen = await previewBulkUpdate(db, { criteria: null, field, value: null, undoes }, now());
    return c.json(bulkUpdatePreviewView(seen), 200);
  });

  api.openapi(undo, async (c) => {
    const { id, field } = await current(c.req.valid('param').id);
    const { reason = null } = c.req.valid('json');
    const errors = missingReason(field, reason);
    if (errors.length > 0) throw new ApiProblem('invalid-request', errors[0]!.message, { errors });
    const request = requestOf(c.req.valid('header'), 'undo', [id, reason]);
    const made = await db.transaction((tx) => createUndo(tx, originOf(c, reason), now(), id, request));
    switch (made.kind) {
      case 'not_found':
        throw notFound('bulk update');
      case 'not_over':
        throw notOver();
      case 'undone':
        throw new ApiProblem(
          'conflict',
          `It is undone by the bulk update ${made.by}; that one can be undone.`,
        );
      case 'key_conflict':
        throw keyReused();
    }
    const headers = { location: `/bulk-updates/${made.id}` };
    return c.json(await view(made.id), made.kind === 'created' ? 202 : 200, headers);
  });

  return api;
}

function requestOf(
  header: z.output<typeof idempotencyHeader>,
  name: string,
  parts: readonly (string | null)[],
) {
  return { idempotencyKey: header['Idempotency-Key'], requestHash: requestHash(name, parts) };
}

/** Who changed a flag, and why: without the why, nobody can answer for it later. */
function missingReason(field: string, reason: string | null): FieldProblem[] {
  return isFlag(field) && reason === null
    ? [{ in: 'body', field: '/reason', message: 'A change of a flag needs a reason.' }]
    : [];
}

function notOver(): ApiProblem {
  return new ApiProblem('conflict', 'It is still under way: wait for its end, or cancel it first.');
}

async function* exportLines(
  exported: AsyncIterable<ExportedRow>,
  onError: (error: unknown) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder = new TextEncoder();
  const cell = (value: unknown) => (value === null ? null : String(value));
  yield encoder.encode(csvLine(['prospectId', 'email', 'outcome', 'refusal', 'before', 'after', 'at']));
  try {
    for await (const { prospectId, email, outcome, refusal, before, after, at } of exported) {
      yield encoder.encode(
        csvLine([prospectId, email, outcome, refusal, cell(before), cell(after), timeOf(at)]),
      );
    }
  } catch (error) {
    // Too late for a problem answer: the stream breaks off, so that nobody takes a part for the whole.
    onError(error);
    throw error;
  }
}
