import type { FieldValue } from '../../domain/automation/definition.ts';
import { isFlag } from '../../domain/automation/definition.ts';
import type { Refusal, RowOutcome } from '../../domain/bulkUpdate/words.ts';
import type { Criteria } from '../../domain/criteria/criteria.ts';
import { OWN_WAYS, type StandardField, type SuppressionReason, type Way } from '../../domain/words.ts';
import { plain, type Session } from '../connection.ts';
import type { BulkUpdate } from './bulkUpdates.ts';
import { readDynamicLists } from './criteria.ts';
import { criteriaSql } from './criteriaSql.ts';
import { FLAG_REASONS } from './flags.ts';
import { standardColumn } from './prospectRows.ts';

/** What is to be changed, and of whom: those who match, or the rows that another bulk update changed. */
export type RowsOf = Pick<BulkUpdate, 'criteria' | 'field' | 'value' | 'undoes'>;

/** What becomes of a row: changed, already so, or why it is refused. */
export type Verdict = Exclude<RowOutcome, 'refused'> | Refusal;

/** A row as it is, and as it will be. */
export interface JudgedRow {
  readonly id: string;
  readonly addressId: string;
  readonly before: FieldValue;
  readonly after: FieldValue;
  /** Of a flag, whose word the entry is that is taken off or given back, and its note; `null` where there is none. */
  readonly way: Way | null;
  readonly note: string | null;
  readonly verdict: Verdict;
}

/** A statement that selects {@link JudgedRow}s. */
interface JudgingSql {
  readonly text: string;
  readonly values: readonly unknown[];
}

/**
 * Judges rows, for the preview and for the run alike: one definition of what becomes of a row.
 *
 * @param now what windows of time in the criteria count from
 * @param decided rows that were decided on at `now`, some of which may match no more at `at`; `null` for whoever matches
 * @throws ListsRefused where the lists that the criteria names cannot be worked out
 */
export async function judgingSql(
  on: Session,
  of: RowsOf,
  now: Date,
  decided: Decided | null,
): Promise<JudgingSql> {
  return of.criteria === null
    ? undoSql(of, decided?.ids ?? null)
    : matchingSql(of, of.criteria, await readDynamicLists(on, of.criteria), now, decided);
}

interface Decided {
  readonly ids: readonly string[];
  readonly at: Date;
}

function matchingSql(
  { field, value }: RowsOf,
  criteria: Criteria,
  lists: Awaited<ReturnType<typeof readDynamicLists>>,
  now: Date,
  decided: Decided | null,
): JudgingSql {
  // Somebody who is active meanwhile is still somebody who was in the last days.
  const sql =
    decided === null
      ? criteriaSql(criteria, lists, now, 'everybody')
      : criteriaSql(criteria, lists, now, 'few', { until: decided.at });
  const values = [...sql.values];
  const before = current(field, values);
  const reason = reasonOf(field);
  const after = `$${values.push(value === null ? null : JSON.stringify(value))}::jsonb`;
  const cases = [
    ...(decided === null
      ? []
      : [
          `when p.deleted_at is not null then 'gone'`,
          `when (${sql.where}) is not true then 'no_longer_matches'`,
        ]),
    `when ${before} is not distinct from ${after} then 'already_so'`,
    ...(field === 'emailOptOut' && value === false
      ? [`when held.way = any($${values.push(OWN_WAYS)}) then 'own_opt_out'`]
      : []),
  ];
  const word = reason !== undefined && value === false ? HELD : NOBODYS;
  const which =
    decided === null
      ? `p.deleted_at is null and ${sql.where}`
      : `p.id = any($${values.push(decided.ids)}::uuid[])`;
  return {
    text: `${select(before, after, word, cases)} from ${sql.from}${entryOf(reason, decided !== null)} where ${which}`,
    values,
  };
}

/** The rows that a bulk update changed, where they are still as it left them. */
function undoSql({ field, undoes }: RowsOf, ids: readonly string[] | null): JudgingSql {
  const values: unknown[] = [undoes];
  const before = current(field, values);
  const reason = reasonOf(field);
  const cases = [
    `when p.deleted_at is not null then 'gone'`,
    `when ${before} is not distinct from r.before then 'already_so'`,
    `when ${before} is distinct from r.after then 'changed_since'`,
    ...(reason === 'opt_out' ? [`when held.way = any($${values.push(OWN_WAYS)}) then 'own_opt_out'`] : []),
    // Somebody else said the same meanwhile: the entry is theirs now. And what is of an address stays with it.
    ...(reason === undefined
      ? []
      : [
          `when held.id is not null and ${AS_LEFT} is not true or p.address_id <> r.address_id then 'changed_since'`,
        ]),
  ];
  const word = reason === undefined ? NOBODYS : GIVEN_BACK_OR_HELD;
  const some = ids === null ? '' : ` and r.prospect_id = any($${values.push(ids)}::uuid[])`;
  return {
    text: `${select(before, 'r.before', word, cases)}
      from bulk_update_row r join prospect p on p.id = r.prospect_id${entryOf(reason, ids !== null)}
      where r.bulk_update_id = $1 and r.outcome = 'changed'${some}`,
    values,
  };
}

/** Whose word an entry is, and its note: nobody's, of the one that holds, or of the one that an undo gives back. */
const NOBODYS = 'null::text as way, null::text as note';
const HELD = 'held.way, held.note';
const GIVEN_BACK_OR_HELD = `case when r.before = 'true' then r.way else held.way end as way,
  case when r.before = 'true' then r.note else held.note end as note`;
/** The entry is the one that the bulk update wrote by itself, or gave back to somebody. */
const AS_LEFT = `case when r.way is null then held.way = 'bulk_update' and starts_with(held.note, 'bulkUpdate:' || r.bulk_update_id)
  else held.way = r.way and held.note is not distinct from r.note end`;

function select(before: string, after: string, word: string, cases: readonly string[]): string {
  return `select p.id, p.address_id as "addressId", ${before} as before, ${after} as after, ${word},
    case ${cases.join(' ')} else 'changed' end as verdict`;
}

/** The field as JSON; null where it is empty. */
function current(field: string, values: unknown[]): string {
  if (isFlag(field)) return `to_jsonb(p.${field === 'bounced' ? 'bounced' : 'email_opt_out'})`;
  if (field.startsWith('custom.'))
    return `(p.custom -> $${values.push(field.slice('custom.'.length))}::text)`;
  return `to_jsonb(p.${standardColumn(field as StandardField)})`;
}

/**
 * Joins the entry by which the address is suppressed everywhere for the reason that goes with the flag.
 *
 * @param each looked up for each row of a page: PostgreSQL takes those of one reason for a few, and compared each row of
 *   the page with all of them
 */
function entryOf(reason: SuppressionReason | undefined, each: boolean): string {
  if (reason === undefined) return '';
  const is = (held: string) =>
    `${held}.address_id = p.address_id and ${held}.reason = '${reason}' and ${held}.list_id is null`;
  return each
    ? ` left join lateral (select x.* from suppression x where ${is('x')} offset 0) held on true`
    : ` left join suppression held on ${is('held')}`;
}

/** The reason that goes with a flag; `undefined` for any other field. */
export function reasonOf(field: string): SuppressionReason | undefined {
  return FLAG_REASONS.find(([flag]) => flag === field)?.[1];
}

/** How many rows, and some of them. */
export interface RowSample {
  readonly count: number;
  readonly examples: readonly {
    readonly prospectId: string;
    readonly before: FieldValue;
    readonly after: FieldValue;
  }[];
}

/** What a bulk update would do, were it run now. */
export interface BulkUpdatePreview {
  readonly changed: RowSample;
  readonly alreadySo: RowSample;
  readonly refused: readonly (RowSample & { readonly refusal: Refusal })[];
}

const EXAMPLES = 5;
const NOBODY: RowSample = { count: 0, examples: [] };

/** Counts what would become of whom, with some examples of each. Changes nothing. */
export async function previewBulkUpdate(on: Session, of: RowsOf, now: Date): Promise<BulkUpdatePreview> {
  const { text, values } = await judgingSql(on, of, now, null);
  const groups = await on.query<RowSample & { verdict: Verdict }>(
    plain(`
      with judged as materialized (${text})
      select g.verdict, g.count, e.examples
      from (select verdict, count(*)::int as count from judged group by verdict) g
      cross join lateral (
        select jsonb_agg(jsonb_build_object('prospectId', id, 'before', before, 'after', after)) as examples
        from (select id, before, after from judged j where j.verdict = g.verdict limit ${EXAMPLES}) sample
      ) e order by g.verdict`),
    values,
  );
  const sampleOf = (verdict: Verdict): RowSample => {
    const group = groups.find((one) => one.verdict === verdict);
    return group === undefined ? NOBODY : { count: group.count, examples: group.examples };
  };
  return {
    changed: sampleOf('changed'),
    alreadySo: sampleOf('already_so'),
    refused: groups.flatMap(({ verdict, count, examples }) =>
      verdict === 'changed' || verdict === 'already_so' ? [] : [{ refusal: verdict, count, examples }],
    ),
  };
}

/** What became of one row. */
export interface BulkUpdateRow {
  readonly prospectId: string;
  readonly outcome: RowOutcome;
  readonly refusal: Refusal | null;
  /** Values of changed rows; `null` where the field was, or is, empty, and where the person was erased. */
  readonly before: FieldValue;
  readonly after: FieldValue;
  readonly at: Date;
}

const ROWS = `
  select r.prospect_id as "prospectId", r.outcome, r.refusal, r.before, r.after, r.at`;
const READ_ROWS = plain(`${ROWS} from bulk_update_row r
  where r.bulk_update_id = $1 and r.prospect_id > $2 and ($3::text is null or r.outcome = $3)
  order by r.prospect_id limit $4`);
const EXPORT_ROWS = plain(`${ROWS}, case when p.deleted_at is null then p.email end as email
  from bulk_update_row r join prospect p on p.id = r.prospect_id
  where r.bulk_update_id = $1 and r.prospect_id > $2 and ($3::text is null or r.outcome = $3)
  order by r.prospect_id limit $4`);

const NIL = '00000000-0000-0000-0000-000000000000';
const EXPORT_PAGE = 1000;

/** A page of what became of the rows, in the order of the prospects' ids. */
export async function readBulkUpdateRows(
  on: Session,
  id: string,
  outcome: RowOutcome | null,
  afterId: string | null,
  limit: number,
): Promise<BulkUpdateRow[]> {
  return on.query<BulkUpdateRow & Record<string, unknown>>(READ_ROWS, [id, afterId ?? NIL, outcome, limit]);
}

/** What became of a row, with the address that the prospect has now; `null` where the prospect is gone. */
export interface ExportedRow extends BulkUpdateRow {
  readonly email: string | null;
}

/** Everything that became of the rows, read page by page so that memory does not grow with it. */
export async function* exportBulkUpdateRows(
  on: Session,
  id: string,
  outcome: RowOutcome | null,
): AsyncGenerator<ExportedRow, void, undefined> {
  for (let after = NIL; ; ) {
    const rows = await on.query<ExportedRow & Record<string, unknown>>(EXPORT_ROWS, [
      id,
      after,
      outcome,
      EXPORT_PAGE,
    ]);
    yield* rows;
    if (rows.length < EXPORT_PAGE) return;
    after = rows.at(-1)!.prospectId;
  }
}
