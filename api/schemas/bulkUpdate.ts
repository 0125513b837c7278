import { z } from '@hono/zod-openapi';
import type { BulkUpdatePreview, BulkUpdateRow, RowSample } from '../../db/queries/bulkUpdateRows.ts';
import type { BulkUpdate } from '../../db/queries/bulkUpdates.ts';
import { rowsDone } from '../../domain/bulkUpdate/progress.ts';
import { BULK_UPDATE_STATES, REFUSALS, type Refusal, ROW_OUTCOMES } from '../../domain/bulkUpdate/words.ts';
import { bulkUpdateId } from '../../domain/processes.ts';
import type { ApiDeps } from '../context.ts';
import { id, line, reason, time, timeOf, timeOrNull } from './common.ts';
import { CriteriaSchema } from './criteria.ts';

/** A value of a field; null where it is empty. */
const value = z.union([z.string(), z.number(), z.boolean()]).nullable();

const change = {
  criteria: CriteriaSchema,
  field: line(100).openapi({
    description: 'A standard field, `custom.<key>`, `emailOptOut` or `bounced`.',
    example: 'emailOptOut',
  }),
  value: z.unknown().openapi({
    description: 'As the field takes it; `null` empties a field, `true` and `false` set a flag.',
    example: true,
  }),
};

export const BulkChangeInput = z.strictObject(change).openapi('BulkChangeInput');

export const BulkUpdateInput = z
  .strictObject({ ...change, reason: reason.optional() })
  .openapi('BulkUpdateInput', { description: 'A flag needs a `reason`.' });

export const UndoInput = z
  .strictObject({ reason: reason.optional() })
  .openapi('UndoInput', { description: 'A flag needs a `reason`.' });

export const bulkUpdateState = z.enum(BULK_UPDATE_STATES).openapi({ example: 'running' });
export const rowOutcome = z.enum(ROW_OUTCOMES).openapi({ example: 'changed' });
const refusal = z.enum(REFUSALS).openapi({
  description:
    '`own_opt_out`: the person said no by link, one-click, mail or complaint, which nobody takes back in bulk. `no_longer_matches`, `gone`: changed, deleted or merged away since it was decided who is meant. `changed_since`: not as the undone bulk update has left it.',
  example: 'own_opt_out',
});

const sample = {
  count: z.int(),
  examples: z.array(z.object({ prospectId: id, before: value, after: value })).openapi({
    description: 'Some of them: as it is, and as is asked for.',
  }),
};

export const BulkUpdatePreviewSchema = z
  .object({
    changed: z.object(sample),
    alreadySo: z.object(sample),
    refused: z.array(z.object({ refusal, ...sample })),
  })
  .openapi('BulkUpdatePreview');

export const BulkUpdateSchema = z
  .object({
    id,
    state: bulkUpdateState,
    criteria: CriteriaSchema.nullable().openapi({ description: 'null for an undo.' }),
    field: z.string().openapi({ example: 'emailOptOut' }),
    value: value.openapi({ description: 'Of an undo each row has its own.', example: true }),
    undoes: id.nullable().openapi({ description: 'The bulk update that it takes back.', example: null }),
    reason: z.string().nullable(),
    actor: z.string(),
    total: z
      .int()
      .nullable()
      .openapi({ description: 'Rows expected; null until it is decided who is meant.' }),
    done: z.int().openapi({ description: 'Rows that are done with, whatever became of them.' }),
    changed: z.int(),
    alreadySo: z.int(),
    refused: z.int(),
    failure: z.string().nullable().openapi({ description: 'Code of what ended it, where it failed.' }),
    createdAt: time,
    decidedAt: time.nullable().openapi({ description: 'When it was decided who is meant.' }),
    finishedAt: time.nullable(),
    workflow: z.object({ id: z.string(), url: z.url().nullable() }),
  })
  .openapi('BulkUpdate');

export const BulkUpdateWithRefusals = BulkUpdateSchema.extend({
  refusals: z.partialRecord(refusal, z.int()).openapi({
    description: 'How many rows were refused for what.',
    example: { own_opt_out: 3 },
  }),
}).openapi('BulkUpdateWithRefusals');

export const BulkUpdateRowSchema = z
  .object({
    prospectId: id,
    outcome: rowOutcome,
    refusal: refusal.nullable(),
    before: value.openapi({ description: 'Of a changed row; null where it was empty.' }),
    after: value,
    at: time,
  })
  .openapi('BulkUpdateRow');

export function bulkUpdateView(
  update: BulkUpdate,
  temporal: ApiDeps['temporal'],
): z.input<typeof BulkUpdateSchema> {
  const { criteria, createdAt, decidedAt, finishedAt, ...rest } = update;
  const workflowId = bulkUpdateId(update.id);
  return {
    ...rest,
    criteria: criteria === null ? null : { ...criteria },
    done: rowsDone(update),
    createdAt: timeOf(createdAt),
    decidedAt: timeOrNull(decidedAt),
    finishedAt: timeOrNull(finishedAt),
    workflow: { id: workflowId, url: temporal.uiLinkOf(workflowId) },
  };
}

export function withRefusals(
  update: BulkUpdate,
  refusals: Partial<Record<Refusal, number>>,
  temporal: ApiDeps['temporal'],
): z.input<typeof BulkUpdateWithRefusals> {
  return { ...bulkUpdateView(update, temporal), refusals };
}

export function bulkUpdateRowView(row: BulkUpdateRow): z.input<typeof BulkUpdateRowSchema> {
  return { ...row, at: timeOf(row.at) };
}

export function bulkUpdatePreviewView(preview: BulkUpdatePreview): z.input<typeof BulkUpdatePreviewSchema> {
  const copy = ({ count, examples }: RowSample) => ({ count, examples: [...examples] });
  return {
    changed: copy(preview.changed),
    alreadySo: copy(preview.alreadySo),
    refused: preview.refused.map((one) => ({ refusal: one.refusal, ...copy(one) })),
  };
}
