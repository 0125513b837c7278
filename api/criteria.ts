import type { Session } from '../db/connection.ts';
import { missingNames } from '../db/queries/criteriaNames.ts';
import { ListsRefused } from '../db/queries/criteriaSql.ts';
import { readCustomFields } from '../db/queries/customFields.ts';
import { type Criteria, type CriteriaProblem, parseCriteria } from '../domain/criteria/criteria.ts';
import { ApiProblem, bodyProblem, type FieldProblem } from './problems.ts';

/**
 * Reads criteria out of a body.
 *
 * @param field JSON Pointer of the criteria
 * @throws ApiProblem naming every fault by its JSON Pointer; to name what does not exist is a fault, too
 */
export async function bodyCriteria(db: Session, field: string, value: unknown): Promise<Criteria> {
  const parsed = parseCriteria(value, await readCustomFields(db));
  if (!parsed.ok) throw refusal('invalid-request', field, parsed.problems);
  const missing = await missingNames(db, parsed.criteria);
  if (missing.length > 0) throw refusal('unprocessable', field, missing);
  return parsed.criteria;
}

function refusal(
  kind: 'invalid-request' | 'unprocessable',
  field: string,
  problems: readonly CriteriaProblem[],
): ApiProblem {
  const errors: FieldProblem[] = problems.map(({ path, message }) => ({
    in: 'body',
    field: `${field}${path}`,
    message,
  }));
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
