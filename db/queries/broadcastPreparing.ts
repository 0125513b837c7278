import { type Audience, audienceCriteria } from '../../domain/broadcast/audience.ts';
import { PAGE_RECIPIENTS } from '../../domain/broadcast/pacing.ts';
import type { BroadcastState } from '../../domain/broadcast/words.ts';
import { uuidArray } from '../arrays.ts';
import { type Database, plain, prepared, type Session, type Transaction } from '../connection.ts';
import { filterMatching, readMatchingPage } from './criteria.ts';

/** Recipients a transaction; a multiple of those of a page, so that pages are full. */
const CHUNK = 10 * PAGE_RECIPIENTS;

const READ = plain('select state, audience, prepared_after, prepared_at from broadcast where id = $1');
const LOCK = plain(
  'select state, prepared_after, prepared_at, pages from broadcast where id = $1 for no key update',
);
const INSERT = prepared(
  'broadcast_recipients',
  `insert into broadcast_recipient (broadcast_id, prospect_id, list_id)
   select $1, r.prospect_id, r.list_id from unnest($2::uuid[], $3::uuid[]) as r(prospect_id, list_id)`,
);
const INSERT_PAGES = plain(`
  insert into broadcast_page (broadcast_id, number, first_id, last_id, recipients, state)
  select $1, p.number, p.first_id, p.last_id, p.recipients, 'open'
  from unnest($2::int[], $3::uuid[], $4::uuid[], $5::int[]) as p(number, first_id, last_id, recipients)`);
const ADVANCE = plain(`
  update broadcast set prepared_after = $2, recipients = recipients + $3, pages = pages + $4, prepared_at = $5 where id = $1`);

interface Row extends Record<string, unknown> {
  state: BroadcastState;
  audience: Audience;
  prepared_after: string | null;
  prepared_at: Date | null;
}

/** Recipients that are written down together. */
interface Chunk {
  readonly now: Date;
  /** The last prospect before them; `null` for the first chunk. */
  readonly after: string | null;
  readonly ids: readonly string[];
  readonly lists: ReadonlyMap<string, string>;
}

/**
 * Writes down the recipients of a broadcast, each once however many of its lists they stand in; goes on where it was left.
 * From then on they are its recipients, whatever lists they join or leave; whether they may be emailed is asked when they
 * are gated. The next of them are read while some are written.
 *
 * @param betweenChunks called after some thousand each; throws to stop there
 */
export async function prepareRecipients(
  db: Database,
  clock: () => Date,
  broadcastId: string,
  betweenChunks: () => Promise<void> = async () => {},
): Promise<void> {
  const [row] = await db.query<Row>(READ, [broadcastId]);
  if (row?.state !== 'sending' || row.prepared_at !== null) return;
  let chunk: Chunk | null = await readChunk(db, clock(), row.audience, row.prepared_after);
  while (chunk !== null) {
    const [isWritten, next]: [boolean, Chunk | null] = await Promise.all([
      writeChunk(db, broadcastId, chunk),
      isLast(chunk) ? null : readChunk(db, clock(), row.audience, chunk.ids.at(-1)!),
    ]);
    if (!isWritten || next === null) return;
    await betweenChunks();
    chunk = next;
  }
}

async function readChunk(db: Database, now: Date, audience: Audience, after: string | null): Promise<Chunk> {
  const ids = await readMatchingPage(db, audienceCriteria(audience), now, after, CHUNK);
  return { now, after, ids, lists: await listsOf(db, now, audience, ids) };
}

function isLast({ ids }: Chunk): boolean {
  return ids.length < CHUNK;
}

/** @returns `false` where a twin is further on, or somebody paused or cancelled the broadcast; then nothing was written */
function writeChunk(db: Database, broadcastId: string, chunk: Chunk): Promise<boolean> {
  const { now, after, ids, lists } = chunk;
  return db.transaction(async (tx) => {
    const [still] = await tx.query<Omit<Row, 'audience'> & { pages: number }>(LOCK, [broadcastId]);
    if (still?.state !== 'sending' || still.prepared_at !== null || still.prepared_after !== after)
      return false;
    if (ids.length > 0) {
      const listIds = ids.map((id) => lists.get(id) ?? null);
      await tx.query(INSERT, [broadcastId, uuidArray(ids), uuidArray(listIds)]);
      await insertPages(tx, broadcastId, still.pages, ids);
    }
    const pages = Math.ceil(ids.length / PAGE_RECIPIENTS);
    await tx.query(ADVANCE, [
      broadcastId,
      ids.at(-1) ?? after,
      ids.length,
      pages,
      isLast(chunk) ? now : null,
    ]);
    return true;
  });
}

async function insertPages(
  tx: Transaction,
  broadcastId: string,
  before: number,
  ids: readonly string[],
): Promise<void> {
  const pages = Array.from({ length: Math.ceil(ids.length / PAGE_RECIPIENTS) }, (_, index) =>
    ids.slice(index * PAGE_RECIPIENTS, (index + 1) * PAGE_RECIPIENTS),
  );
  await tx.query(INSERT_PAGES, [
    broadcastId,
    pages.map((_, index) => before + index + 1),
    pages.map((page) => page[0]),
    pages.map((page) => page.at(-1)),
    pages.map((page) => page.length),
  ]);
}

const UNSUBSCRIBED = plain(`
  select p.id, x.list_id from prospect p join suppression x on x.address_id = p.address_id
  where p.id = any($1::uuid[]) and x.list_id = any($2::uuid[])`);

/**
 * Which list each of them is sent to: the first of the broadcast's lists that they stand in and have not unsubscribed
 * from; where they have from all of them, the first, so that the gate refuses it.
 */
export async function listsOf(
  on: Session,
  now: Date,
  audience: Audience,
  prospectIds: readonly string[],
): Promise<Map<string, string>> {
  const chosen = new Map<string, string>();
  if (!('listIds' in audience) || prospectIds.length === 0) return chosen;
  const [first, ...others] = audience.listIds;
  if (others.length === 0) return new Map(prospectIds.map((id) => [id, first]));
  const rows = await on.query<{ id: string; list_id: string }>(UNSUBSCRIBED, [
    uuidArray(prospectIds),
    audience.listIds,
  ]);
  const unsubscribed = new Set(rows.map((row) => `${row.id} ${row.list_id}`));
  const refused = new Map<string, string>();
  for (const listId of audience.listIds) {
    const open = prospectIds.filter((id) => !chosen.has(id));
    for (const id of await filterMatching(on, { list: listId, member: true }, now, open)) {
      if (!unsubscribed.has(`${id} ${listId}`)) chosen.set(id, listId);
      else if (!refused.has(id)) refused.set(id, listId);
    }
  }
  return new Map([...refused, ...chosen]);
}
