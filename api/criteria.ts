import type { Session } from '../db/connection.ts';
import { ListsRefused } from '../db/queries/criteriaSql.ts';
import { readCustomFields } from '../db/queries/customFields.ts';
import { existingLists } from '../db/queries/lists.ts';
import { type Criteria, listsNamedIn, parseCriteria, placesOf } from '../domain/criteria/criteria.ts';
import { ApiProblem, bodyProblem, type FieldProblem } from './problems.ts';

/**
 * Reads criteria out of a body.
 *
 * @param field JSON Pointer of the criteria
 * @throws ApiProblem naming every fault by its JSON Pointer; lists and custom fields that do not exist are faults, too
 */
export async function bodyCriteria(db: Session, field: string, value: unknown): Promise<Criteria> {
  const parsed = parseCriteria(value, await readCustomFields(db));
  if (!parsed.ok) {
    throw refusal(
      'invalid-request',
      parsed.problems.map(({ path, message }) => ({ in: 'body', field: `${field}${path}`, message })),
    );
  }
  const named = listsNamedIn(parsed.criteria);
  const known = named.length === 0 ? new Set() : await existingLists(db, named);
  const missing = placesOf(parsed.criteria).filter(
    ({ condition }) => 'list' in condition && !known.has(condition.list),
  );
  if (missing.length > 0) {
    throw refusal(
      'unprocessable',
      missing.map(({ path }) => ({
        in: 'body',
        field: `${field}${path}/list`,
        message: 'There is no such list.',
      })),
    );
  }
  return parsed.criteria;
}

function refusal(kind: 'invalid-request' | 'unprocessable', errors: readonly FieldProblem[]): ApiProblem {
  return new ApiProblem(kind, `The criteria are not valid: ${errors[0]!.message}`, { errors });
}

/**
 * Does what works out criteria of the body.
 *
 * @param field JSON Pointer of the criteria
 * @throws ApiProblem where the dynamic lists that they lead to cannot be worked out
 */
export async function workingOut<T>(field: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ListsRefused) throw bodyProblem('unprocessable', field, error.message);
    throw error;
  }
}
