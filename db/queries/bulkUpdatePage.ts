import type { FieldValue } from '../../domain/automation/definition.ts';
import type { BulkUpdateState } from '../../domain/bulkUpdate/words.ts';
import type { Origin, StandardField } from '../../domain/words.ts';
import { type Database, plain, type Transaction } from '../connection.ts';
import { addAuditEntries } from './audit.ts';
import { type JudgedRow, judgingSql, type RowsOf, reasonOf } from './bulkUpdateRows.ts';
import { endBulkUpdate } from './bulkUpdates.ts';
import { byIndex } from './byIndex.ts';
import { lockAddressesWithProspects, lockProspects, Restart } from './locks.ts';
import { standardColumn } from './prospectRows.ts';
import { addSuppressionsLocked, removeSuppressionsLocked } from './suppressions.ts';

/**
 * Rows a transaction. Who else wants one of them waits for the rest of the page: a third of a second at the most on a busy
 * machine (docs/performance.md).
 */
export const PAGE_ROWS = 500;

interface Job extends RowsOf, Record<string, unknown> {
  readonly state: BulkUpdateState;
  readonly actor: string;
  readonly reason: string | null;
  readonly epoch: number;
  readonly nextPage: number;
  readonly pages: number | null;
  readonly total: number | null;
  readonly createdAt: Date;
  readonly decidedAt: Date | null;
}

const COLUMNS = `state, criteria, field, value, undoes, actor, reason, epoch, next_page as "nextPage", pages, total,
  created_at as "createdAt", decided_at as "decidedAt"`;
const READ = plain(`select ${COLUMNS} from bulk_update where id = $1`);
const LOCK = plain(`select ${COLUMNS} from bulk_update where id = $1 for no key update`);
const DECIDED = plain(`
  update bulk_update set pages = s.pages, total = s.total, decided_at = $2,
    state = case when state = 'queued' then 'running' else state end
  from (select count(*)::int as pages, coalesce(sum(cardinality(prospect_ids)), 0)::int as total
        from bulk_update_page where bulk_update_id = $1) s
  where id = $1 and bulk_update.total is null and state in ('queued', 'running', 'paused') returning 1`);
const CLAIM = plain(`
  update bulk_update set epoch = epoch + 1 where id = $1 and state in ('queued', 'running') returning epoch`);
// A worker that freezes in mid-page gives the locks of its rows back when this has passed.
const BOUND_FREEZE = plain(`set local idle_in_transaction_session_timeout = '5s'`);
const PAGE = plain(
  'select prospect_ids as ids from bulk_update_page where bulk_update_id = $1 and number = $2',
);
const ADDRESSES = plain('select address_id as id from prospect where id = any($1::uuid[])');
const ADD_ROWS = plain(`
  insert into bulk_update_row (bulk_update_id, prospect_id, outcome, refusal, before, after, address_id, way, note, at)
  select $1, r.*, $2
  from unnest($3::uuid[], $4::text[], $5::text[], $6::jsonb[], $7::jsonb[], $8::uuid[], $9::text[], $10::text[]) r`);
const ADVANCE = plain(`
  update bulk_update set state = 'running', next_page = next_page + 1, changed = changed + $2, already_so = already_so + $3,
    refused = refused + $4 where id = $1`);

/**
 * Decides once who is meant: one statement, so one moment. Nobody is locked by it. Safe to run twice, and beside a twin.
 *
 * @param pageRows rows of each page
 * @throws ListsRefused where the lists that the criteria names cannot be worked out
 */
export async function decideRows(db: Database, now: Date, id: string, pageRows: number): Promise<void> {
  await db.transaction(async (tx) => {
    const [job] = await tx.query<Job>(READ, [id]);
    if (job === undefined || job.total !== null || !isUnderWay(job.state)) return;
    const { text, values } = await judgingSql(tx, job, now, null);
    const bound = [...values, id, pageRows];
    await tx.query(
      plain(`
        insert into bulk_update_page (bulk_update_id, number, prospect_ids)
        select $${bound.length - 1}::uuid, number, array_agg(id order by id)
        from (select id, ((row_number() over (order by id) - 1) / $${bound.length}::int)::int as number from (${text}) meant) numbered
        group by number on conflict do nothing`),
      bound,
    );
    const decided = await tx.query(DECIDED, [id, now]);
    // A twin was faster, or somebody cancelled: looked at anew, and none of these pages stays.
    if (decided.length === 0) throw new Restart('who is meant was decided meanwhile');
  });
}

function isUnderWay(state: BulkUpdateState): boolean {
  return state === 'queued' || state === 'running' || state === 'paused';
}

/**
 * Takes a bulk update over from whoever had it: theirs is an older epoch, with which no page is taken any more.
 *
 * @returns the epoch, or `null` where it does not run
 */
export async function claimBulkUpdate(db: Database, id: string): Promise<number | null> {
  const [row] = await db.query<{ epoch: number }>(CLAIM, [id]);
  return row?.epoch ?? null;
}

/**
 * Takes the next page: its rows, what changes with them, their outcomes, the counts and the place to go on from are one
 * transaction, so that no row is done twice and none is lost, wherever the process dies (I7). The last page ends it.
 *
 * @returns false where there was none to take: it is paused or over, or somebody else has it
 * @throws ListsRefused as {@link decideRows}, for the lists may have changed meanwhile
 */
export async function takeNextPage(db: Database, now: Date, id: string, epoch: number): Promise<boolean> {
  return db.transaction(async (tx) => {
    // The suppression list grows page by page while PostgreSQL plans for the size that it had.
    const [, , [job]] = await Promise.all([byIndex(tx), tx.query(BOUND_FREEZE), tx.query<Job>(LOCK, [id])]);
    const isMine = job?.epoch === epoch && (job.state === 'running' || job.state === 'queued');
    if (job === undefined || !isMine || job.pages === null) return false;
    if (job.nextPage >= job.pages) {
      await endBulkUpdate(tx, now, id, 'done', null);
      return false;
    }
    const [page] = await tx.query<{ ids: string[] }>(PAGE, [id, job.nextPage]);
    await lockRows(tx, job, page!.ids);
    const decidedAt = job.decidedAt!;
    // The clock of another worker may be behind that of the one that decided.
    const at = new Date(Math.max(now.getTime(), decidedAt.getTime()));
    // In a statement of its own: what is decided on is read after the locks were had.
    const { text, values } = await judgingSql(tx, job, decidedAt, { ids: page!.ids, at });
    const rows = await tx.query<JudgedRow & Record<string, unknown>>(plain(text), values);
    await writeRows(tx, now, id, job, rows);
    if (job.nextPage + 1 === job.pages) await endBulkUpdate(tx, now, id, 'done', null);
    return true;
  });
}

/** Prospects, and for a flag the addresses that they have: whose prospect is locked, nobody comes to or leaves. */
async function lockRows(tx: Transaction, job: Job, ids: readonly string[]): Promise<void> {
  await lockProspects(tx, ids);
  if (reasonOf(job.field) === undefined) return;
  const addresses = await tx.query<{ id: string }>(ADDRESSES, [ids]);
  await lockAddressesWithProspects(
    tx,
    addresses.map((row) => row.id),
    ids,
  );
}

async function writeRows(
  tx: Transaction,
  now: Date,
  id: string,
  job: Job,
  rows: readonly JudgedRow[],
): Promise<void> {
  const origin: Origin = {
    way: 'bulk_update',
    actor: job.actor,
    reason: [`bulkUpdate:${id}`, ...(job.reason === null ? [] : [job.reason])].join(' '),
  };
  const changed = rows.filter((row) => row.verdict === 'changed');
  const alreadySo = rows.filter((row) => row.verdict === 'already_so').length;
  const refused = rows.length - changed.length - alreadySo;
  const ofChanged = <Value>(value: (row: JudgedRow) => Value) =>
    rows.map((row) => (row.verdict === 'changed' ? value(row) : null));
  // Issued together they share round trips; the connection runs them in this order.
  await Promise.all([
    change(tx, origin, now, job.field, changed),
    tx.query(ADD_ROWS, [
      id,
      now,
      rows.map((row) => row.id),
      rows.map(outcomeOf),
      rows.map(({ verdict }) => (verdict === 'changed' || verdict === 'already_so' ? null : verdict)),
      ofChanged((row) => toJson(row.before)),
      ofChanged((row) => toJson(row.after)),
      ofChanged((row) => (reasonOf(job.field) === 'bounced' ? row.addressId : null)),
      ofChanged((row) => row.way),
      ofChanged((row) => row.note),
    ]),
    tx.query(ADVANCE, [id, changed.length, alreadySo, refused]),
  ]);
}

function outcomeOf({ verdict }: JudgedRow): string {
  return verdict === 'changed' || verdict === 'already_so' ? verdict : 'refused';
}

function toJson(value: FieldValue): string | null {
  return value === null ? null : JSON.stringify(value);
}

/** Changes locked rows: flags by the code that every change of a flag goes through, with all that follows from it. */
async function change(
  tx: Transaction,
  origin: Origin,
  now: Date,
  field: string,
  rows: readonly JudgedRow[],
): Promise<void> {
  if (rows.length === 0) return;
  const reason = reasonOf(field);
  if (reason === undefined) return changeField(tx, origin, now, field, rows);
  const entries = (value: boolean) =>
    rows
      .filter((row) => row.after === value)
      // An undo gives back whose word it was, too.
      .map(({ addressId, way, note }) =>
        value && way !== null ? { addressId, reason, way, note } : { addressId, reason, note: origin.reason },
      );
  const [yes, no] = [entries(true), entries(false)];
  if (yes.length > 0) await addSuppressionsLocked(tx, origin, now, yes);
  if (no.length > 0) await removeSuppressionsLocked(tx, origin, now, no);
}

async function changeField(
  tx: Transaction,
  origin: Origin,
  now: Date,
  field: string,
  rows: readonly JudgedRow[],
): Promise<void> {
  const values = [rows.map((row) => row.id), rows.map((row) => toJson(row.after)), now];
  await Promise.all([
    field.startsWith('custom.')
      ? tx.query(SET_CUSTOM, [...values, field.slice('custom.'.length)])
      : tx.query(setStandard(field as StandardField), values),
    addAuditEntries(
      tx,
      origin,
      now,
      rows.map((row) => ({
        action: 'prospect.updated',
        prospectId: row.id,
        addressId: row.addressId,
        after: { fields: [field] },
      })),
    ),
  ]);
}

const CHANGED = `version = p.version + 1, updated_at = $3
  from unnest($1::uuid[], $2::jsonb[]) as r(id, value) where p.id = r.id`;
const SET_CUSTOM = plain(`
  update prospect p set custom = case when r.value is null then p.custom - $4::text
    else p.custom || jsonb_build_object($4::text, r.value) end, ${CHANGED}`);

function setStandard(field: StandardField) {
  return plain(`update prospect p set ${standardColumn(field)} = r.value #>> '{}', ${CHANGED}`);
}
