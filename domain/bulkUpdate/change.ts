import { asFields, type FieldValue, isFlag } from '../automation/definition.ts';
import { type Criteria, type CriteriaProblem, parseCriteria } from '../criteria/criteria.ts';
import { type CustomField, readFields } from '../prospectFields.ts';
import { STANDARD_FIELDS } from '../words.ts';

/** A one-time change of a field of everybody who matches. */
export interface BulkChange {
  readonly criteria: Criteria;
  /** A standard field, `custom.<key>`, `emailOptOut` or `bounced`. */
  readonly field: string;
  /** As the field keeps it; `null` empties it. */
  readonly value: FieldValue;
}

export type ParsedBulkChange =
  | { readonly ok: true; readonly change: BulkChange }
  | { readonly ok: false; readonly problems: readonly CriteriaProblem[] };

/**
 * Reads a bulk update from JSON. All faults are told, each with its JSON Pointer; the value comes out as prospects keep
 * it.
 *
 * @param customFields the account's; a field that is not among them is refused
 */
export function parseBulkChange(
  input: { readonly criteria: unknown; readonly field: string; readonly value: unknown },
  customFields: readonly CustomField[],
): ParsedBulkChange {
  const criteria = parseCriteria(input.criteria, customFields);
  const value = readValue(input.field, input.value, customFields);
  if (criteria.ok && !('path' in value)) {
    return { ok: true, change: { criteria: criteria.criteria, field: input.field, value: value.value } };
  }
  const problems = criteria.ok
    ? []
    : criteria.problems.map(({ path, message }) => ({ path: `/criteria${path}`, message }));
  return { ok: false, problems: 'path' in value ? [...problems, value] : problems };
}

function readValue(
  field: string,
  value: unknown,
  customFields: readonly CustomField[],
): { readonly value: FieldValue } | CriteriaProblem {
  if (isFlag(field)) {
    return typeof value === 'boolean' ? { value } : { path: '/value', message: 'Must be true or false.' };
  }
  const standard = (STANDARD_FIELDS as readonly string[]).includes(field);
  if (!standard && !field.startsWith('custom.')) return noField();
  if (standard && value !== null && typeof value !== 'string') {
    return { path: '/value', message: 'Must be a text, or null to empty the field.' };
  }
  const { problems, fields, custom } = readFields(customFields, asFields(field, value as FieldValue));
  const [problem] = problems;
  if (problem?.code === 'unknown_field') return noField();
  if (problem !== undefined) return { path: '/value', message: problem.message };
  return { value: Object.values({ ...fields, ...custom })[0] ?? null };
}

function noField(): CriteriaProblem {
  return {
    path: '/field',
    message: 'Must be a standard field, custom.<key> of a field that there is, emailOptOut or bounced.',
  };
}
