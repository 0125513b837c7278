import {
  type Condition,
  type Criteria,
  conditionsOf,
  type HistoryKind,
  listsNamedIn,
  type SuppressedFor,
} from '../../domain/criteria/criteria.ts';
import type { HistoryEvent, ProspectFacts } from '../../domain/criteria/facts.ts';
import { matches } from '../../domain/criteria/matches.ts';
import { plain, type Session } from '../connection.ts';
import {
  COVERED_BY_DOMAIN,
  type CriteriaSqlOptions,
  criteriaSql,
  type DynamicLists,
  historySource,
  ListsRefused,
  type Reach,
} from './criteriaSql.ts';
import { PROSPECT_COLUMNS, toProspect } from './prospectRows.ts';

const LIST_CRITERIA = plain(
  'select id, criteria from list where id = any($1::uuid[]) and criteria is not null',
);

/** Criteria of all dynamic lists that it leads to, one through the other. */
export async function readDynamicLists(on: Session, criteria: Criteria): Promise<DynamicLists> {
  const found = new Map<string, Criteria>();
  const asked = new Set<string>();
  let named = listsNamedIn(criteria);
  while (named.length > 0) {
    for (const id of named) asked.add(id);
    const rows = await on.query<{ id: string; criteria: Criteria }>(LIST_CRITERIA, [named]);
    for (const row of rows) found.set(row.id, row.criteria);
    named = [...new Set(rows.flatMap((row) => listsNamedIn(row.criteria)))].filter((id) => !asked.has(id));
  }
  return found;
}

/**
 * Looks through the lists that the criteria leads to; at nobody.
 *
 * @throws ListsRefused where they cannot be worked out
 */
export async function checkLists(on: Session, criteria: Criteria): Promise<void> {
  await toSql(on, criteria, new Date(0), 'few');
}

async function toSql(
  on: Session,
  criteria: Criteria,
  now: Date,
  reach: Reach,
  options: CriteriaSqlOptions = {},
) {
  return criteriaSql(criteria, await readDynamicLists(on, criteria), now, reach, options);
}

/** How far clocks of processes are let differ. */
const CLOCKS_DIFFER_MS = 60_000;

/**
 * How many current prospects match.
 *
 * @throws ListsRefused, like all of these functions, where the lists that it names cannot be worked out
 */
export async function countMatching(on: Session, criteria: Criteria, now: Date): Promise<number> {
  const { from, where, values } = await toSql(on, criteria, now, 'everybody');
  const [row] = await on.query<{ count: number }>(
    plain(`select count(*)::int as count from ${from} where p.deleted_at is null and ${where}`),
    values,
  );
  return row!.count;
}

/**
 * Ids of current prospects that match, in ascending order.
 *
 * @param afterId the last id of the page before; `null` for the first page
 * @returns a full page, or fewer where there are no more
 */
export async function readMatchingPage(
  on: Session,
  criteria: Criteria,
  now: Date,
  afterId: string | null,
  limit: number,
): Promise<string[]> {
  const options = afterId === null ? {} : { beyond: { id: afterId, operator: '>' } as const };
  const { from, where, values } = await toSql(on, criteria, now, 'few', options);
  const bound = [...values, limit];
  const after = afterId === null ? '' : `and p.id > $${bound.push(afterId)}`;
  const rows = await on.query<{ id: string }>(
    plain(
      `select p.id from ${from} where p.deleted_at is null and ${where} ${after} order by p.id limit $${values.length + 1}`,
    ),
    bound,
  );
  return rows.map((row) => row.id);
}

/** Those of the prospects that are current and match. */
export function filterMatching(
  on: Session,
  criteria: Criteria,
  now: Date,
  prospectIds: readonly string[],
): Promise<Set<string>> {
  return among(on, criteria, now, prospectIds, {});
}

/**
 * As {@link filterMatching}, for prospects to whom something has just happened: what another process wrote down by a clock
 * that is somewhat ahead has happened within the last days, too. It is not looked at again.
 */
export function matchingByNow(
  on: Session,
  criteria: Criteria,
  now: Date,
  prospectIds: readonly string[],
): Promise<Set<string>> {
  return among(on, criteria, now, prospectIds, { until: new Date(now.getTime() + CLOCKS_DIFFER_MS) });
}

async function among(
  on: Session,
  criteria: Criteria,
  now: Date,
  prospectIds: readonly string[],
  options: CriteriaSqlOptions,
): Promise<Set<string>> {
  const { from, where, values } = await toSql(on, criteria, now, 'few', options);
  const rows = await on.query<{ id: string }>(
    plain(
      `select p.id from ${from} where p.deleted_at is null and p.id = any($${values.length + 1}::uuid[]) and ${where}`,
    ),
    [...values, prospectIds],
  );
  return new Set(rows.map((row) => row.id));
}

const PROSPECTS = plain(`
  select ${PROSPECT_COLUMNS}, a.email as compared, a.domain from prospect p join address a on a.id = p.address_id
  where p.id = any($1::uuid[]) and p.deleted_at is null`);
const SUPPRESSED = plain(`
  select p.id, x.reason from prospect p join suppression x on x.address_id = p.address_id and x.list_id is null
  where p.id = any($1::uuid[])
  union all
  select p.id, 'domain' from prospect p join address a on a.id = p.address_id
  where p.id = any($1::uuid[]) and ${COVERED_BY_DOMAIN}`);
const MEMBERSHIPS = plain(
  'select prospect_id as id, list_id from list_member where prospect_id = any($1::uuid[]) and list_id = any($2::uuid[])',
);

/**
 * What `matches` needs of prospects to decide this criteria: the fields always, suppressions, lists and history as far as
 * they are asked for.
 *
 * @returns by id; those that do not exist or were deleted are not there
 */
export async function readProspectFacts(
  on: Session,
  prospectIds: readonly string[],
  criteria: Criteria,
  now: Date,
): Promise<Map<string, ProspectFacts>> {
  const dynamic = await readDynamicLists(on, criteria);
  const order = dependenciesFirst(criteria, dynamic);
  const conditions = [criteria, ...dynamic.values()].flatMap(conditionsOf);
  const [rows, suppressedFor, lists, history] = await Promise.all([
    on.query(PROSPECTS, [prospectIds]),
    readSuppressions(on, prospectIds, conditions),
    readMemberships(on, prospectIds, conditions, dynamic),
    readHistory(on, prospectIds, conditions),
  ]);
  return new Map(
    rows.map((row) => {
      const prospect = toProspect(row);
      const memberOf = new Set(lists.get(prospect.id));
      const facts: ProspectFacts = {
        email: row.compared,
        emailDomain: row.domain,
        fields: prospect.fields,
        custom: prospect.custom,
        emailOptOut: prospect.emailOptOut,
        bounced: prospect.bounced,
        createdAt: prospect.createdAt,
        updatedAt: prospect.updatedAt,
        suppressedFor: new Set(suppressedFor.get(prospect.id)),
        lists: memberOf,
        history: history.get(prospect.id) ?? [],
      };
      for (const listId of order) if (matches(dynamic.get(listId)!, facts, now)) memberOf.add(listId);
      return [prospect.id, facts];
    }),
  );
}

/** The dynamic lists, each after those that it names itself. */
function dependenciesFirst(criteria: Criteria, dynamic: DynamicLists): string[] {
  const done = new Set<string>();
  const visit = (one: Criteria, within: readonly string[]): void => {
    for (const id of listsNamedIn(one)) {
      const named = dynamic.get(id);
      if (named === undefined || done.has(id)) continue;
      if (within.includes(id)) throw new ListsRefused('circle');
      visit(named, [...within, id]);
      done.add(id);
    }
  };
  visit(criteria, []);
  return [...done];
}

async function readSuppressions(on: Session, ids: readonly string[], conditions: readonly Condition[]) {
  if (!conditions.some((condition) => 'suppressed' in condition)) return new Map<string, SuppressedFor[]>();
  const rows = await on.query<{ id: string; reason: SuppressedFor }>(SUPPRESSED, [ids]);
  return grouped(rows, (row) => row.reason);
}

async function readMemberships(
  on: Session,
  ids: readonly string[],
  conditions: readonly Condition[],
  dynamic: DynamicLists,
) {
  const named = conditions.flatMap((condition) => ('list' in condition ? [condition.list] : []));
  const listIds = [...new Set(named)].filter((id) => !dynamic.has(id));
  if (listIds.length === 0) return new Map<string, string[]>();
  const rows = await on.query<{ id: string; list_id: string }>(MEMBERSHIPS, [ids, listIds]);
  return grouped(rows, (row) => row.list_id);
}

async function readHistory(on: Session, ids: readonly string[], conditions: readonly Condition[]) {
  const kinds = new Set(
    conditions.flatMap((condition) => ('history' in condition ? [condition.history] : [])),
  );
  const events = await Promise.all([...kinds].map((kind) => readEvents(on, ids, kind)));
  return grouped(events.flat(), (row) => row.event);
}

async function readEvents(on: Session, ids: readonly string[], kind: HistoryKind) {
  const { from, is, owner, ownedBy, subject, at, emailId, listIds, automationId } = historySource(kind);
  const rows = await on.query<{
    id: string;
    subject: string;
    at: Date;
    email_id: string | null;
    list_ids: string[];
    automation_id: string | null;
  }>(
    plain(`select p.id, ${subject}::text as subject, ${at} as at, ${emailId} as email_id,
        array_remove(array[${listIds.join(', ')}], null) as list_ids, ${automationId} as automation_id
      from prospect p cross join ${from} where ${owner} = p.${ownedBy} and p.id = any($1::uuid[]) and ${is}`),
    [ids],
  );
  return rows.map((row) => ({
    id: row.id,
    event: {
      kind,
      subject: row.subject,
      at: row.at,
      emailId: row.email_id,
      listIds: row.list_ids,
      automationId: row.automation_id,
    } as HistoryEvent,
  }));
}

function grouped<Row extends { id: string }, Value>(
  rows: readonly Row[],
  value: (row: Row) => Value,
): Map<string, Value[]> {
  const groups = new Map<string, Value[]>();
  for (const row of rows) {
    const group = groups.get(row.id);
    if (group === undefined) groups.set(row.id, [value(row)]);
    else group.push(value(row));
  }
  return groups;
}
