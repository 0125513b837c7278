import type { SalesforceObject } from '../../domain/salesforce/words.ts';

/** Records of a page: what one answer holds at the most (REST API, headers_queryoptions.htm). */
export const PAGE = 2_000;

/** A text as SOQL quotes it: SOQL and SOSL Reference, "Quoted String Escape Sequences". */
function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}

const select = (object: SalesforceObject, fields: readonly string[]) =>
  `SELECT ${fields.join(', ')} FROM ${object}`;

/** Records changed since a time, itself included, or after a record of a page before; in the order of their changes. */
export function changesQuery(
  object: SalesforceObject,
  fields: readonly string[],
  from: { readonly modstamp: Date; readonly afterId: string | null },
): string {
  const time = from.modstamp.toISOString();
  const where =
    from.afterId === null
      ? `SystemModstamp >= ${time}`
      : `(SystemModstamp > ${time} OR (SystemModstamp = ${time} AND Id > ${quoted(from.afterId)}))`;
  return `${select(object, fields)} WHERE ${where} ORDER BY SystemModstamp, Id LIMIT ${PAGE}`;
}

/** All records, in the order of their ids. */
export function allQuery(
  object: SalesforceObject,
  fields: readonly string[],
  afterId: string | null,
): string {
  const where = afterId === null ? '' : ` WHERE Id > ${quoted(afterId)}`;
  return `${select(object, fields)}${where} ORDER BY Id LIMIT ${PAGE}`;
}

/** The change that was the last. */
export function newestQuery(object: SalesforceObject): string {
  return `SELECT Id, SystemModstamp FROM ${object} ORDER BY SystemModstamp DESC LIMIT 1`;
}

/** @param field `Id` or `Email`; so many values that the whole stays well below 16,384 bytes, what a URI may have */
export function amongQuery(
  object: SalesforceObject,
  fields: readonly string[],
  field: 'Id' | 'Email',
  values: readonly string[],
): string {
  return `${select(object, fields)} WHERE ${field} IN (${values.map(quoted).join(', ')})`;
}
