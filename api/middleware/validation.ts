import type { Hook, z } from '@hono/zod-openapi';
import type { ApiEnv } from '../context.ts';
import { ApiProblem, type FieldPlace, type FieldProblem } from '../problems.ts';

type Issue = z.core.$ZodIssue;

const PLACES: Readonly<Record<string, FieldPlace>> = {
  json: 'body',
  query: 'query',
  param: 'path',
  header: 'header',
};

/** How values of these types are called in a message. */
const TYPES: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};

/** Answers a request that its schema refuses, naming every field that is wrong. Nothing was done for it. */
export const refuseInvalid: Hook<unknown, ApiEnv, string, undefined> = (result) => {
  if (result.success) return undefined;
  const place = PLACES[result.target] ?? 'body';
  const data = (result as { data?: unknown }).data;
  const errors = result.error.issues.flatMap((issue) => fieldProblems(place, issue as Issue, data));
  const named = [...new Set(errors.map((error) => error.field || 'the body'))].slice(0, 5).join(', ');
  throw new ApiProblem('invalid-request', `Not valid: ${named}.`, { errors });
};

function fieldProblems(place: FieldPlace, issue: Issue, data: unknown): FieldProblem[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      in: place,
      field: fieldName(place, [...issue.path, key]),
      message: place === 'query' ? 'There is no such parameter.' : 'There is no such field.',
    }));
  }
  return [{ in: place, field: fieldName(place, issue.path), message: messageOf(issue, data) }];
}

/** JSON Pointer (RFC 6901) into the body, else the plain name. */
export function fieldName(place: FieldPlace, path: readonly PropertyKey[]): string {
  if (place !== 'body') return path.map(String).join('.');
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

function messageOf(issue: Issue, data: unknown): string {
  const value = issue.path.reduce<unknown>(
    (inside, part) => (inside as Record<PropertyKey, unknown> | null | undefined)?.[part],
    data,
  );
  if (issue.code === 'invalid_type') {
    if (value === undefined) return 'Is required.';
    return `Must be ${TYPES[issue.expected] ?? issue.expected}.`;
  }
  if (issue.code === 'invalid_value') {
    if (value === undefined) return 'Is required.';
    return `Must be ${issue.values.map((one) => JSON.stringify(one)).join(', ')}.`.replace(
      /, ([^,]*)$/,
      ' or $1',
    );
  }
  if (issue.code === 'too_big' && issue.origin === 'string')
    return `Is longer than ${issue.maximum} characters.`;
  if (issue.code === 'too_small' && issue.origin === 'string') {
    return issue.minimum === 1 ? 'Must not be empty.' : `Is shorter than ${issue.minimum} characters.`;
  }
  if (issue.code === 'too_big' && issue.origin === 'array') return `Has more than ${issue.maximum} entries.`;
  if (issue.code === 'too_small' && issue.origin === 'array')
    return `Needs at least ${issue.minimum} entries.`;
  if (issue.code === 'too_big') return `Must be at most ${issue.maximum}.`;
  if (issue.code === 'too_small') return `Must be at least ${issue.minimum}.`;
  if (issue.code === 'invalid_format' && issue.format === 'uuid') return 'Must be an id (a UUID).';
  if (issue.code === 'invalid_format' && issue.format === 'datetime') {
    return 'Must be a time with its zone, such as 2026-11-23T09:30:00Z (RFC 3339).';
  }
  return issue.message;
}
