import { v7 as uuidv7 } from 'uuid';
import { plain, type Session, type Transaction } from '../connection.ts';
import { lockProspects } from './locks.ts';

/** Named static members; a prospect stands in it once. */
export interface List {
  readonly id: string;
  readonly name: string;
  /** Its name is shown to nobody who unsubscribes, except from mail that was sent to it. */
  readonly private: boolean;
  readonly members: number;
  readonly createdAt: Date;
}

const INSERT = plain(`
  insert into list (id, name, private, created_at) values ($1, $2, $3, $4) on conflict (lower(name)) do nothing returning id`);
const BY_NAME = plain('select id from list where lower(name) = lower($1)');
const COLUMNS = `l.id, l.name, l.private, l.created_at as "createdAt",
  (select count(*)::int from list_member m where m.list_id = l.id) as members`;
const READ = plain(`select ${COLUMNS} from list l where l.id = $1`);
const READ_ALL = plain(`select ${COLUMNS} from list l order by lower(l.name)`);
const LOCK = plain('select 1 from list where id = $1 for key share');
const SET_PRIVATE = plain('update list set private = $2 where id = $1 returning 1');
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

/** Creates a list; names are told apart without regard to letter case. */
export async function createList(
  on: Session,
  now: Date,
  name: string,
  isPrivate = false,
): Promise<CreatedList> {
  const trimmed = name.trim();
  if (trimmed === '') return { kind: 'invalid', problem: 'name_empty' };
  if (trimmed.length > 200) return { kind: 'invalid', problem: 'name_too_long' };
  const id = uuidv7();
  const [created] = await on.query(INSERT, [id, trimmed, isPrivate, now]);
  if (created !== undefined) return { kind: 'created', listId: id };
  const [existing] = await on.query<{ id: string }>(BY_NAME, [trimmed]);
  return { kind: 'exists', listId: existing!.id };
}

/** @returns false where there is no such list */
export async function setListPrivate(on: Session, id: string, isPrivate: boolean): Promise<boolean> {
  return (await on.query(SET_PRIVATE, [id, isPrivate])).length > 0;
}

export async function readList(on: Session, id: string): Promise<List | null> {
  const [list] = await on.query<List & Record<string, unknown>>(READ, [id]);
  return list ?? null;
}

/** All lists, by name. */
export async function readLists(on: Session): Promise<List[]> {
  return on.query<List & Record<string, unknown>>(READ_ALL);
}

export type AddedMembers =
  /** `unknown` are no current prospects and were left out; who stood in the list already is not counted. */
  | { readonly kind: 'added'; readonly added: number; readonly unknown: readonly string[] }
  | { readonly kind: 'no_list' };

/** Puts prospects into a list. */
export async function addListMembers(
  tx: Transaction,
  now: Date,
  listId: string,
  prospectIds: readonly string[],
): Promise<AddedMembers> {
  if ((await tx.query(LOCK, [listId])).length === 0) return { kind: 'no_list' };
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
 * Takes prospects out of a list.
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
