import { z } from '@hono/zod-openapi';
import type { Import } from '../../db/queries/imports.ts';
import { IMPORT_KINDS, IMPORT_STATES } from '../../db/schema/operations.ts';
import { importFileId } from '../../domain/processes.ts';
import type { ApiDeps } from '../context.ts';
import { id, time, timeOf, timeOrNull } from './common.ts';

export const importKind = z.enum(IMPORT_KINDS).openapi({ example: 'prospects' });
export const importState = z.enum(IMPORT_STATES).openapi({ example: 'running' });

export const ImportSchema = z
  .object({
    id,
    kind: importKind,
    state: importState,
    fileName: z.string().openapi({ example: 'people.csv' }),
    mapping: z
      .record(z.string(), z.string().nullable())
      .openapi({ description: 'Column to field.', example: { 'E-mail': 'email', City: 'city' } }),
    totalBytes: z.int(),
    takenBytes: z.int().openapi({ description: 'How far it is.' }),
    rows: z.int().openapi({ description: 'Rows looked at so far.' }),
    created: z.int(),
    updated: z.int(),
    unchanged: z.int(),
    rejected: z.int().openapi({ description: 'Rows with a problem; see its problems.' }),
    optOuts: z.int().openapi({ description: 'Addresses opted out by this file that were not before.' }),
    failure: z.string().nullable().openapi({ description: 'Code of what ended it, where it failed.' }),
    actor: z.string(),
    createdAt: time,
    finishedAt: time.nullable(),
    workflow: z.object({ id: z.string(), url: z.url().nullable() }),
  })
  .openapi('Import');

export const ImportProblem = z
  .object({
    line: z.int().openapi({ description: 'In the file, the header being line 1.', example: 17 }),
    column: z.string().openapi({
      description: 'As the file names it; empty where the whole row is meant.',
      example: 'E-mail',
    }),
    code: z.string().openapi({ example: 'no_at_sign' }),
    message: z.string().openapi({ example: 'The address has no @ sign.' }),
  })
  .openapi('ImportProblem');

/** Column to field, or to null for a column to be left out, as JSON in the query. */
export const mappingIn = z
  .string()
  .max(20_000)
  .transform((value, context) => {
    const parsed = mapping.safeParse(parseJson(value));
    if (parsed.success) return parsed.data;
    context.addIssue({
      code: 'custom',
      message: 'Must be a JSON object of column names to field names or null.',
    });
    return z.NEVER;
  })
  .openapi({
    type: 'string',
    description:
      'JSON object: column name to field name, or to null for a column to be left out. Columns that it does not name go by well-known names. Custom fields are `custom.<key>`.',
    example: '{"E-mail":"email","Notes":null}',
  });

const name = z
  .string()
  .max(500)
  .refine((value) => value.isWellFormed() && !value.includes('\0'));
const mapping = z.record(name, name.nullable());

function parseJson(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}

export function importView(job: Import, temporal: ApiDeps['temporal']): z.input<typeof ImportSchema> {
  const { cursorBytes, cursorLine: _, createdAt, finishedAt, ...rest } = job;
  const workflowId = importFileId(job.id);
  return {
    ...rest,
    mapping: { ...job.mapping },
    takenBytes: cursorBytes,
    createdAt: timeOf(createdAt),
    finishedAt: timeOrNull(finishedAt),
    workflow: { id: workflowId, url: temporal.uiLinkOf(workflowId) },
  };
}
