import { OpenAPIHono, z } from '@hono/zod-openapi';
import {
  abandonUpload,
  appendImportChunk,
  beginImport,
  cancelImport,
  type FinishedUpload,
  finishUpload,
  MAX_CHUNK_BYTES,
  readImport,
  readImportProblems,
  searchImports,
} from '../../db/queries/imports.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { given } from '../given.ts';
import { jsonAnswer, operation } from '../operation.ts';
import { ApiProblem, type FieldProblem, notFound } from '../problems.ts';
import { idPath, name } from '../schemas/common.ts';
import {
  ImportProblem,
  ImportSchema,
  importKind,
  importState,
  importView,
  mappingIn,
} from '../schemas/import.ts';
import { cursorTo, idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';
import { takeInPieces, tooLarge } from '../uploads.ts';

const tags = ['Imports'];

const create = operation('write', ['too-large', 'unsupported-media-type', 'unprocessable'], {
  method: 'post',
  path: '/imports',
  operationId: 'createImport',
  tags,
  summary: 'Import a CSV file',
  description:
    'The body is the file: CSV in UTF-8 with a header. It is taken in by a workflow: good rows are taken, bad ones reported by line and column. A file can set an opt-out, never clear one; of a row that is bad elsewhere, the opt-out of a readable address still counts.',
  request: {
    query: z.strictObject({
      kind: importKind,
      fileName: name(255).default('upload.csv').openapi({ example: 'people.csv' }),
      mapping: mappingIn.optional(),
    }),
    body: {
      required: true,
      content: {
        'text/csv': { schema: z.string().openapi({ example: 'email,First name\nada@example.com,Ada\n' }) },
      },
    },
  },
  responses: {
    202: {
      ...jsonAnswer(ImportSchema, 'The file is kept and will be taken in.'),
      headers: z.object({ Location: z.string() }),
    },
  },
});

const list = operation('read', [], {
  method: 'get',
  path: '/imports',
  operationId: 'listImports',
  tags,
  summary: 'List imports',
  description: 'Newest first.',
  request: { query: z.strictObject({ state: importState.optional(), limit, cursor: idCursor }) },
  responses: { 200: jsonAnswer(pageOf(ImportSchema, 'ImportPage'), 'A page of imports.') },
});

const read = operation('read', ['not-found'], {
  method: 'get',
  path: '/imports/{id}',
  operationId: 'readImport',
  tags,
  summary: 'How far is an import?',
  request: { params: idPath },
  responses: { 200: jsonAnswer(ImportSchema, 'The import.') },
});

const problems = operation('read', ['not-found'], {
  method: 'get',
  path: '/imports/{id}/problems',
  operationId: 'listImportProblems',
  tags,
  summary: 'What was wrong with the rows',
  description: 'By line and column.',
  request: {
    params: idPath,
    query: z.strictObject({
      limit,
      cursor: cursorTo(
        z.strictObject({ line: z.int().min(0), column: z.string().refine((value) => !value.includes('\0')) }),
      ),
    }),
  },
  responses: { 200: jsonAnswer(pageOf(ImportProblem, 'ImportProblemPage'), 'A page of problems.') },
});

const cancel = operation('write', ['not-found', 'conflict'], {
  method: 'post',
  path: '/imports/{id}/cancel',
  operationId: 'cancelImport',
  tags,
  summary: 'Cancel an import',
  description: 'What was taken in stays.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(ImportSchema, 'It is cancelled.') },
});

export function importRoutes({ db, config, temporal, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();

  const current = async (id: string) => {
    const job = await readImport(db, id);
    if (job === null) throw notFound('import');
    return importView(job, temporal);
  };

  api.openapi(create, async (c) => {
    const { kind, fileName, mapping = {} } = c.req.valid('query');
    requireCsv(c.req.header('content-type'));
    // A hint only: what really comes is counted.
    if (Number(c.req.header('content-length')) > config.maxImportBytes) throw tooLarge(config.maxImportBytes);
    const id = await beginImport(db, now(), { kind, fileName, mapping, actor: c.get('key').name });
    try {
      await takeInPieces(c.req.raw.body, MAX_CHUNK_BYTES, config.maxImportBytes, async (offset, piece) => {
        if (!(await appendImportChunk(db, id, offset, piece))) throw cancelledMeanwhile();
      });
      const finished = await db.transaction((tx) => finishUpload(tx, now(), id));
      if (finished.kind !== 'queued') throw refused(finished);
    } catch (error) {
      // What cannot be removed now, for the database is gone, is swept away later.
      await db.transaction((tx) => abandonUpload(tx, id)).catch(() => {});
      throw error;
    }
    return c.json(await current(id), 202, { location: `/imports/${id}` });
  });

  api.openapi(list, async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const rows = await searchImports(db, given(filter), { limit: limit + 1, ...given({ after: cursor }) });
    return c.json(
      toPage(
        rows,
        limit,
        (job) => job.id,
        (job) => importView(job, temporal),
      ),
      200,
    );
  });

  api.openapi(read, async (c) => c.json(await current(c.req.valid('param').id), 200));

  api.openapi(problems, async (c) => {
    const { id } = c.req.valid('param');
    const { limit, cursor } = c.req.valid('query');
    if ((await readImport(db, id)) === null) throw notFound('import');
    const rows = await readImportProblems(db, id, cursor ?? null, limit + 1);
    return c.json(
      toPage(
        rows,
        limit,
        ({ line, column }) => ({ line, column }),
        (problem) => problem,
      ),
      200,
    );
  });

  api.openapi(cancel, async (c) => {
    const { id } = c.req.valid('param');
    const result = await db.transaction((tx) => cancelImport(tx, now(), id));
    if (result === 'not_found') throw notFound('import');
    if (result === 'already_over') throw new ApiProblem('conflict', 'The import is over already.');
    return c.json(await current(id), 200);
  });

  return api;
}

function requireCsv(contentType: string | undefined): void {
  const [type, ...parameters] = (contentType ?? '')
    .toLowerCase()
    .split(';')
    .map((part) => part.trim());
  const charset = parameters.find((parameter) => parameter.startsWith('charset='))?.slice('charset='.length);
  if (type === 'text/csv' && /^"?(utf-?8|us-ascii)?"?$/.test(charset ?? '')) return;
  throw new ApiProblem('unsupported-media-type', 'The body must be text/csv in UTF-8.', {
    headers: { accept: 'text/csv' },
  });
}

function cancelledMeanwhile(): ApiProblem {
  return new ApiProblem('unprocessable', 'The import was cancelled while its file was coming in.');
}

/** Why the file was not taken. Nothing of it is left. */
function refused(finished: Exclude<FinishedUpload, { kind: 'queued' }>): ApiProblem {
  switch (finished.kind) {
    case 'not_uploading':
      return cancelledMeanwhile();
    case 'unreadable':
      return new ApiProblem('unprocessable', unreadable(finished.problem));
    case 'invalid': {
      const errors = finished.problems.map(({ column, code, message }): FieldProblem => {
        const asked = code === 'unknown_column' || code === 'unknown_field';
        return {
          in: asked ? 'query' : 'body',
          field: asked ? 'mapping' : column,
          message: column ? `${column}: ${message}` : message,
        };
      });
      return new ApiProblem('unprocessable', 'The columns of the file do not fit.', { errors });
    }
  }
}

function unreadable(problem: Extract<FinishedUpload, { kind: 'unreadable' }>['problem']): string {
  switch (problem.code) {
    case 'empty':
      return 'The file is empty.';
    case 'no_header':
      return 'The file has no header that can be read: its first line must name the columns.';
    case 'not_utf8':
      return `The file is not UTF-8: line ${problem.line} has something else.`;
  }
}
