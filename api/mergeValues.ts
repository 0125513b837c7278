import type { Prospect } from '../db/queries/prospectRows.ts';
import { mergeFieldName } from '../domain/email/mergeFields.ts';
import { STANDARD_FIELDS } from '../domain/words.ts';

/** A prospect as templates see it. */
export function mergeValuesOf(prospect: Prospect): Record<string, unknown> {
  const fields = STANDARD_FIELDS.map((field) => [mergeFieldName(field), prospect.fields[field]]);
  return { ...Object.fromEntries(fields), custom: prospect.custom };
}
