import { STANDARD_FIELDS, type StandardField } from '../words.ts';

/** The standard field as templates name it: `firstName` is `{{ prospect.first_name }}`. */
export function mergeFieldName(field: StandardField): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Names below `prospect.` that stand for standard fields. */
export const STANDARD_MERGE_FIELDS: readonly string[] = STANDARD_FIELDS.map(mergeFieldName);

/**
 * Whether a template may use this path: `prospect.<standard field>` or `prospect.custom.<key>` with a key that the
 * account has defined. Whoever wants a field that is not sure to exist gives it a default.
 */
export function isKnownMergeField(path: readonly unknown[], customKeys: readonly string[]): boolean {
  const [root, field, key] = path;
  if (root !== 'prospect' || typeof field !== 'string') return false;
  if (field === 'custom') return path.length === 3 && typeof key === 'string' && customKeys.includes(key);
  return path.length === 2 && STANDARD_MERGE_FIELDS.includes(field);
}

/** The recipient's own unsubscribe link, in the HTML and the text of marketing email. */
export const UNSUBSCRIBE_FIELD = 'unsubscribe_url';

export function isUnsubscribeField(path: readonly unknown[]): boolean {
  return path.length === 1 && path[0] === UNSUBSCRIBE_FIELD;
}
