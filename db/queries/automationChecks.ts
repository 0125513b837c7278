import { type Definition, type DefinitionProblem, stepsOf } from '../../domain/automation/definition.ts';
import type { Criteria } from '../../domain/criteria/criteria.ts';
import { plain, type Session } from '../connection.ts';
import { checkLists } from './criteria.ts';
import { missingNames } from './criteriaNames.ts';
import { ListsRefused } from './criteriaSql.ts';

const EMAILS = plain('select id from email where id = any($1::uuid[]) and archived_at is null');
const LISTS = plain('select id, criteria is not null as dynamic from list where id = any($1::uuid[])');

/** What a well-formed definition names that is not there (any more), each fault with its JSON Pointer. */
export async function checkDefinition(on: Session, definition: Definition): Promise<DefinitionProblem[]> {
  const steps = stepsOf(definition.steps);
  const criteria: { criteria: Criteria; path: string }[] = [
    { criteria: definition.who, path: '/who' },
    ...steps.flatMap(({ step, path }) =>
      step.type === 'if' ? [{ criteria: step.criteria, path: `${path}/criteria` }] : [],
    ),
  ];
  const emailIds = steps.flatMap(({ step }) => (step.type === 'sendEmail' ? [step.emailId] : []));
  const listIds = steps.flatMap(({ step }) =>
    'listId' in step && step.listId !== undefined ? [step.listId] : [],
  );
  const [emails, lists] = await Promise.all([
    on.query<{ id: string }>(EMAILS, [emailIds]),
    on.query<{ id: string; dynamic: boolean }>(LISTS, [listIds]),
  ]);
  const emailsThere = new Set(emails.map(({ id }) => id));
  const listsThere = new Map(lists.map(({ id, dynamic }) => [id, dynamic]));
  const problems: DefinitionProblem[] = [];
  for (const { step, path } of steps) {
    if (step.type === 'sendEmail' && !emailsThere.has(step.emailId))
      problems.push({ path: `${path}/emailId`, message: 'There is no such email, or it is archived.' });
    if (!('listId' in step) || step.listId === undefined) continue;
    if (!listsThere.has(step.listId))
      problems.push({ path: `${path}/listId`, message: 'There is no such list.' });
    else if (step.type !== 'sendEmail' && listsThere.get(step.listId))
      problems.push({
        path: `${path}/listId`,
        message: 'A dynamic list has nobody added or removed by hand.',
      });
  }
  for (const { criteria: one, path } of criteria) {
    const missing = await missingNames(on, one);
    problems.push(...missing.map((problem) => ({ ...problem, path: `${path}${problem.path}` })));
    problems.push(...(await refusalOf(on, one)).map((message) => ({ path, message })));
  }
  return problems;
}

/** Why the lists that the criteria leads to cannot be worked out; nothing where they can. */
async function refusalOf(on: Session, criteria: Criteria): Promise<string[]> {
  try {
    await checkLists(on, criteria);
    return [];
  } catch (error) {
    if (error instanceof ListsRefused) return [error.message];
    throw error;
  }
}
