import { v7 as uuidv7 } from 'uuid';
import { type Definition, stepsOf } from '../../domain/automation/definition.ts';
import { type Audience, audienceCriteria } from '../../domain/broadcast/audience.ts';
import { type Criteria, listsNamedIn } from '../../domain/criteria/criteria.ts';
import { plain, type Session, type Transaction } from '../connection.ts';
import { countMatching } from './criteria.ts';
import { criteriaSql, type DynamicLists, ListsRefused } from './criteriaSql.ts';
import { lockProspects } from './locks.ts';
import { lookAgainForList } from './lookingAgain.ts';

/** Static members by name, or whoever matches its criteria; a prospect stands in a list once. */
export interface List {
  readonly id: string;
  readonly name: string;
  /** Its name is shown to nobody who unsubscribes, except from mail that was sent to it. */
  readonly private: boolean;
  /** Who stands in a dynamic list; `null` for a static one. */
  readonly criteria: Criteria | null;
  /** How many static members it has; `null` for a dynamic one, whose members {@link countListMembers} works out. */
  readonly members: number | null;
  readonly createdAt: Date;
}

const INSERT = plain(`
  insert into list (id, name, private, created_at, criteria) values ($1, $2, $3, $4, $5)
  on conflict (lower(name)) do nothing returning id`);
const BY_NAME = plain('select id from list where lower(name) = lower($1)');
const COLUMNS = `l.id, l.name, l.private, l.criteria, l.created_at as "createdAt",
  case when l.criteria is null then (select count(*)::int from list_member m where m.list_id = l.id) end as members`;
const READ = plain(`select ${COLUMNS} from list l where l.id = $1`);
const READ_PAGE = plain(
  `select ${COLUMNS} from list l where $1::text is null or lower(l.name) > lower($1) order by lower(l.name) limit $2`,
);
const LOCK = plain('select criteria is not null as dynamic from list where id = $1 for key share');
/** One at a time: each change is checked against all other lists as they are. */
const LOCK_CRITERIA = plain('lock table list in share row exclusive mode');
const HOLD_CRITERIA = plain('lock table list in row exclusive mode');
const ALL_CRITERIA = plain('select id, criteria from list where criteria is not null');
const NOBODY: Criteria = { any: [] };
const RUNNING_AUTOMATIONS = plain(`
  select a.id, v.version, v.version = a.current_version as current, v.definition from automation a
  join automation_version v on v.automation_id = a.id
  where a.state in ('active', 'paused') order by a.id, v.version`);
const SOMEBODY_INSIDE = plain(`
  select 1 from enrollment where automation_id = $1 and version = $2 and state in ('running', 'suspended', 'removed') limit 1`);
const UNPREPARED_BROADCASTS = plain(`
  select id, audience from broadcast where state in ('scheduled', 'sending', 'paused') and prepared_at is null order by id`);
const UPDATE = plain(`
  update list set name = coalesce($2, name), private = coalesce($3, private), criteria = coalesce($4::jsonb, criteria)
  where id = $1`);
const KNOWN = plain('select id from list where id = any($1::uuid[])');
const ADD = plain(`
  insert into list_member (list_id, prospect_id, added_at)
  select $1, p.id, $3 from prospect p where p.id = any($2::uuid[]) and p.deleted_at is null
  on conflict do nothing returning prospect_id`);
const CURRENT = plain('select id from prospect where id = any($1::uuid[]) and deleted_at is null');
const REMOVE = plain(
  'delete from list_member where list_id = $1 and prospect_id = any($2::uuid[]) returning 1',
);

export type CreatedList =
  | { readonly kind: 'created' | 'exists'; readonly listId: string }
  | { readonly kind: 'invalid'; readonly problem: 'name_empty' | 'name_too_long' };

/** Creates a static list; names are told apart without regard to letter case. */
export async function createList(
  on: Session,
  now: Date,
  name: string,
  isPrivate = false,
): Promise<CreatedList> {
  return insertList(on, now, name, isPrivate, null);
}

/**
 * Creates a dynamic list. It stays one: static members and criteria do not mix.
 *
 * @throws ListsRefused where it leads, through the lists that it names, to too many conditions
 */
export async function createDynamicList(
  tx: Transaction,
  now: Date,
  name: string,
  isPrivate: boolean,
  criteria: Criteria,
): Promise<CreatedList> {
  await tx.query(LOCK_CRITERIA);
  const created = await insertList(tx, now, name, isPrivate, criteria);
  if (created.kind === 'created') await checkAllLists(tx, now);
  return created;
}

async function insertList(
  on: Session,
  now: Date,
  name: string,
  isPrivate: boolean,
  criteria: Criteria | null,
): Promise<CreatedList> {
  const trimmed = name.trim();
  if (trimmed === '') return { kind: 'invalid', problem: 'name_empty' };
  if (trimmed.length > 200) return { kind: 'invalid', problem: 'name_too_long' };
  const id = uuidv7();
  const json = criteria === null ? null : JSON.stringify(criteria);
  const [created] = await on.query(INSERT, [id, trimmed, isPrivate, now, json]);
  if (created !== undefined) return { kind: 'created', listId: id };
  const [existing] = await on.query<{ id: string }>(BY_NAME, [trimmed]);
  return { kind: 'exists', listId: existing!.id };
}

/** What is to be otherwise; what is absent stays. */
export interface ListChange {
  readonly name?: string;
  readonly private?: boolean;
  readonly criteria?: Criteria;
}

export type ChangedList =
  /** `static`: it has members, so it cannot have criteria. */
  | { readonly kind: 'changed' | 'no_list' | 'static' }
  /** Another list has the name. */
  | { readonly kind: 'exists'; readonly listId: string };

/**
 * Changes a list. Running continuous automations that name a dynamic list look at everybody again when its criteria change.
 *
 * @throws ListsRefused where dynamic lists would name each other in a circle, or they, or what runs by them, lead to too
 * many conditions
 */
export async function changeList(
  tx: Transaction,
  now: Date,
  id: string,
  change: ListChange,
): Promise<ChangedList> {
  await tx.query(LOCK_CRITERIA);
  const list = await readList(tx, id);
  if (list === null) return { kind: 'no_list' };
  if (change.criteria !== undefined && list.criteria === null) return { kind: 'static' };
  const name = change.name?.trim() ?? null;
  const [other] = name === null ? [] : await tx.query<{ id: string }>(BY_NAME, [name]);
  if (other !== undefined && other.id !== id) return { kind: 'exists', listId: other.id };
  const criteria = change.criteria === undefined ? null : JSON.stringify(change.criteria);
  await tx.query(UPDATE, [id, name, change.private ?? null, criteria]);
  if (criteria !== null) {
    await checkWhoRunsBy(tx, now, id, await checkAllLists(tx, now));
    await lookAgainForList(tx, now, id);
  }
  return { kind: 'changed' };
}

/** Whether every dynamic list can be worked out, now that one of them is as it is. */
async function checkAllLists(tx: Transaction, now: Date): Promise<DynamicLists> {
  const rows = await tx.query<{ id: string; criteria: Criteria }>(ALL_CRITERIA);
  const lists = new Map(rows.map((row) => [row.id, row.criteria]));
  for (const id of lists.keys()) criteriaSql({ list: id, member: true }, lists, now, 'few');
  return lists;
}

interface RunningVersion extends Record<string, unknown> {
  id: string;
  version: number;
  current: boolean;
  definition: Definition;
}

/**
 * Whether what runs by a list can still be worked out: it would find nobody any more, or not know which way somebody goes,
 * and tell nobody of it.
 */
async function checkWhoRunsBy(tx: Transaction, now: Date, listId: string, lists: DynamicLists) {
  const refusal = (of: string, criteria: readonly Criteria[]): ListsRefused | null => {
    try {
      for (const one of criteria) if (leadsTo(one, listId, lists)) criteriaSql(one, lists, now, 'few');
      return null;
    } catch (error) {
      if (error instanceof ListsRefused) return new ListsRefused(error.kind, of);
      throw error;
    }
  };
  for (const { id, version, current, definition } of await tx.query<RunningVersion>(RUNNING_AUTOMATIONS)) {
    const ifs = stepsOf(definition.steps).flatMap(({ step }) => (step.type === 'if' ? [step.criteria] : []));
    const refused = current
      ? refusal(`Automation ${id}`, [definition.who, ...ifs])
      : refusal(`Automation ${id}, version ${version}`, ifs);
    if (refused === null) continue;
    // Nobody enters an earlier version any more; whoever is inside, or can be put back, goes by it to the end.
    if (current || (await tx.query(SOMEBODY_INSIDE, [id, version])).length > 0) throw refused;
  }
  const broadcasts = await tx.query<{ id: string; audience: Audience }>(UNPREPARED_BROADCASTS);
  for (const { id, audience } of broadcasts) {
    const refused = refusal(`Broadcast ${id}`, [audienceCriteria(audience)]);
    if (refused !== null) throw refused;
  }
}

/** Whether the criteria names the list, or a list does that it leads to. */
function leadsTo(criteria: Criteria, listId: string, lists: DynamicLists): boolean {
  const reached = new Set(listsNamedIn(criteria));
  for (const id of reached) for (const next of listsNamedIn(lists.get(id) ?? NOBODY)) reached.add(next);
  return reached.has(listId);
}

/**
 * Keeps the criteria of lists as they are until the transaction ends, so that what begins to run by them was checked
 * against those that it runs by. Before any other lock.
 */
export async function holdLists(tx: Transaction): Promise<void> {
  await tx.query(HOLD_CRITERIA);
}

export async function readList(on: Session, id: string): Promise<List | null> {
  const [list] = await on.query<List & Record<string, unknown>>(READ, [id]);
  return list ?? null;
}

/** Lists by name, from the first after the name `after` on. */
export async function readLists(on: Session, after: string | null, limit: number): Promise<List[]> {
  return on.query<List & Record<string, unknown>>(READ_PAGE, [after, limit]);
}

/** How many current prospects stand in a list now, static or dynamic. */
export async function countListMembers(on: Session, list: List, now: Date): Promise<number> {
  return list.members ?? countMatching(on, { list: list.id, member: true }, now);
}

/** Those of the ids that are lists. */
export async function existingLists(on: Session, ids: readonly string[]): Promise<Set<string>> {
  return new Set((await on.query<{ id: string }>(KNOWN, [ids])).map((row) => row.id));
}

export type AddedMembers =
  /** `unknown` are no current prospects and were left out; who stood in the list already is not counted. */
  | { readonly kind: 'added'; readonly added: number; readonly unknown: readonly string[] }
  | { readonly kind: 'no_list' }
  /** Its criteria say who stands in it. */
  | { readonly kind: 'dynamic' };

/** Puts prospects into a static list. */
export async function addListMembers(
  tx: Transaction,
  now: Date,
  listId: string,
  prospectIds: readonly string[],
): Promise<AddedMembers> {
  const [list] = await tx.query<{ dynamic: boolean }>(LOCK, [listId]);
  if (list === undefined) return { kind: 'no_list' };
  if (list.dynamic) return { kind: 'dynamic' };
  // Held until the commit, so that nobody is added who is being deleted.
  await lockProspects(tx, prospectIds);
  const [added, current] = await Promise.all([
    tx.query(ADD, [listId, prospectIds, now]),
    tx.query<{ id: string }>(CURRENT, [prospectIds]),
  ]);
  const known = new Set(current.map((row) => row.id));
  return { kind: 'added', added: added.length, unknown: prospectIds.filter((id) => !known.has(id)) };
}

/**
 * Takes prospects out of a static list.
 *
 * @returns how many stood in it
 */
export async function removeListMembers(
  on: Session,
  listId: string,
  prospectIds: readonly string[],
): Promise<number> {
  return (await on.query(REMOVE, [listId, prospectIds])).length;
}
