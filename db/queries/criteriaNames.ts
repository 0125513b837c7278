import { type Criteria, type CriteriaProblem, placesOf } from '../../domain/criteria/criteria.ts';
import { plain, type Session } from '../connection.ts';

const THERE = plain(`
  select 'list' as kind, id from list where id = any($1::uuid[])
  union all select 'email', id from email where id = any($1::uuid[])
  union all select 'automation', id from automation where id = any($1::uuid[])`);

/** What a condition names by its id, by the key that names it. */
const KINDS = { list: 'list', listId: 'list', emailId: 'email', automationId: 'automation' } as const;

/**
 * Lists, emails and automations that the criteria names and that do not exist, each with its JSON Pointer into the
 * criteria: of nobody they would hold, or, negated, of everybody.
 */
export async function missingNames(on: Session, criteria: Criteria): Promise<CriteriaProblem[]> {
  const named = placesOf(criteria).flatMap(({ path, condition }) =>
    Object.entries(KINDS).flatMap(([key, kind]) => {
      const id = (condition as unknown as Record<string, unknown>)[key];
      return typeof id === 'string' ? [{ path: `${path}/${key}`, kind, id }] : [];
    }),
  );
  if (named.length === 0) return [];
  const rows = await on.query<{ kind: string; id: string }>(THERE, [named.map(({ id }) => id)]);
  const there = new Set(rows.map(({ kind, id }) => `${kind} ${id}`));
  return named
    .filter(({ kind, id }) => !there.has(`${kind} ${id}`))
    .map(({ path, kind }) => ({ path, message: `There is no such ${kind}.` }));
}
