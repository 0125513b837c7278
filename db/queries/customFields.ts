import type { CustomField } from '../../domain/prospectFields.ts';
import { plain, type Session } from '../connection.ts';

const INSERT = plain(`
  insert into custom_field (key, label, type, choices, created_at) values ($1, $2, $3, $4, $5)
  on conflict (key) do nothing returning key`);
const READ_ALL = plain('select key, label, type, choices from custom_field order by key');

/** What is wrong with the definition of a custom field. */
export type CustomFieldProblem = 'key_invalid' | 'label_empty' | 'choices_missing' | 'choices_not_allowed';

export type CreatedCustomField =
  | { readonly kind: 'created' | 'exists' }
  | { readonly kind: 'invalid'; readonly problem: CustomFieldProblem };

/**
 * Adds a custom field. Its key and type stay for good, since stored values and criteria rely on them.
 *
 * @returns `exists` where the key is taken
 */
export async function createCustomField(
  on: Session,
  now: Date,
  field: CustomField,
): Promise<CreatedCustomField> {
  const problem = problemOf(field);
  if (problem !== null) return { kind: 'invalid', problem };
  const choices = [...new Set(field.choices.map((choice) => choice.trim()))].filter(
    (choice) => choice !== '',
  );
  const created = await on.query(INSERT, [field.key, field.label.trim(), field.type, choices, now]);
  return { kind: created.length === 1 ? 'created' : 'exists' };
}

function problemOf(field: CustomField): CustomFieldProblem | null {
  // A merge field can name it as it is: `prospect.custom.<key>`.
  if (!/^[a-z][a-zA-Z0-9_]{0,62}$/.test(field.key)) return 'key_invalid';
  if (field.label.trim() === '') return 'label_empty';
  if (field.type === 'choice') {
    return field.choices.every((choice) => choice.trim() === '') ? 'choices_missing' : null;
  }
  return field.choices.length > 0 ? 'choices_not_allowed' : null;
}

/** All custom fields, by key. */
export async function readCustomFields(on: Session): Promise<CustomField[]> {
  return on.query<CustomField & Record<string, unknown>>(READ_ALL);
}
