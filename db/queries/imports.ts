import { v7 as uuidv7 } from 'uuid';
import { type ColumnProblem, type ImportKind, resolveMapping } from '../../domain/import/columns.ts';
import { foreignEncoding, MAX_ROW_BYTES, readCsvHeader, Utf8Check } from '../../domain/import/csv.ts';
import type { RowProblem } from '../../domain/import/rows.ts';
import { plain, type Session, type Transaction } from '../connection.ts';
import type { IMPORT_STATES } from '../schema/operations.ts';
import { readCustomFields } from './customFields.ts';
import { Conditions, type Page } from './keyset.ts';
import { addToOutbox } from './outbox.ts';

export type ImportState = (typeof IMPORT_STATES)[number];

/** A CSV file and how far it was taken in. */
export interface Import {
  readonly id: string;
  readonly kind: ImportKind;
  readonly state: ImportState;
  readonly fileName: string;
  /** Column name to field; complete once the upload has ended. */
  readonly mapping: Readonly<Record<string, string | null>>;
  readonly totalBytes: number;
  /** Bytes taken in so far, and the line that comes next. */
  readonly cursorBytes: number;
  readonly cursorLine: number;
  readonly rows: number;
  /** Prospects, or entries of the Global Suppression List, that were not there before. */
  readonly created: number;
  readonly updated: number;
  readonly unchanged: number;
  /** Rows with a problem; what their flags said of a readable address was kept. */
  readonly rejected: number;
  /** Addresses that were opted out by this file and were not before. */
  readonly optOuts: number;
  /** Code of what ended it, where it failed. */
  readonly failure: string | null;
  readonly actor: string;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
}

export interface ImportRequest {
  readonly kind: ImportKind;
  readonly fileName: string;
  /** Column name to field, or to `null` for a column to be left out; the rest goes by well-known names. */
  readonly mapping: Readonly<Record<string, string | null>>;
  /** Who imports, as in `Origin`. */
  readonly actor: string;
}

/** The largest piece in which a file is kept, in bytes. */
export const MAX_CHUNK_BYTES = 1024 * 1024;

const BEGIN = plain(`
  insert into import_job (id, kind, state, file_name, mapping, total_bytes, cursor_bytes, cursor_line, rows, created, updated,
    unchanged, rejected, opt_outs, actor, created_at)
  values ($1, $2, 'uploading', $3, $4, 0, 0, 1, 0, 0, 0, 0, 0, 0, $5, $6)`);
const APPEND = plain(`
  with grown as (
    update import_job set total_bytes = total_bytes + $4
    where id = $1 and state = 'uploading' and total_bytes = $2 returning id
  ) insert into import_chunk (import_id, "offset", data) select id, $2, $3 from grown returning 1`);
const LOCK = plain('select state from import_job where id = $1 for update');
const DELETE_CHUNKS = plain('delete from import_chunk where import_id = $1');
const DELETE_JOB = plain('delete from import_job where id = $1');
const ABANDONED = plain(
  `select id from import_job where state = 'uploading' and created_at < $1 order by id`,
);
const QUEUE = plain(`
  update import_job set state = 'queued', mapping = $2, cursor_bytes = $3, cursor_line = $4 where id = $1`);
const CHUNK = plain(
  'select data, "offset" from import_chunk where import_id = $1 and "offset" <= $2 order by "offset" desc limit 1',
);

/**
 * Begins an upload. Nothing runs before {@link finishUpload}; one that breaks off is given up with
 * {@link abandonUpload}, or swept away later.
 *
 * @returns the import's id
 */
export async function beginImport(on: Session, now: Date, request: ImportRequest): Promise<string> {
  const id = uuidv7();
  await on.query(BEGIN, [
    id,
    request.kind,
    request.fileName.slice(0, 255),
    JSON.stringify(request.mapping),
    request.actor,
    now,
  ]);
  return id;
}

/**
 * Keeps the next piece of the file.
 *
 * @param offset where it begins in the file: the bytes that were kept before
 * @param data {@link MAX_CHUNK_BYTES} at the most, not empty
 * @returns false where the upload is over, or another piece came to this place
 */
export async function appendImportChunk(
  on: Session,
  importId: string,
  offset: number,
  data: Uint8Array,
): Promise<boolean> {
  if (data.length === 0 || data.length > MAX_CHUNK_BYTES)
    throw new RangeError('a piece has 1 to 1048576 bytes');
  const kept = await on.query(APPEND, [importId, offset, Buffer.from(data), data.length]);
  return kept.length === 1;
}

export type FinishedUpload =
  | { readonly kind: 'queued' }
  | { readonly kind: 'not_uploading' }
  /** The file as a whole cannot be read; the upload is gone. */
  | { readonly kind: 'unreadable'; readonly problem: FileProblem }
  /** The columns do not fit; the upload is gone. */
  | { readonly kind: 'invalid'; readonly problems: readonly ColumnProblem[] };

/** Why a file cannot be read. */
export type FileProblem =
  | { readonly code: 'empty' | 'no_header' }
  /** `line`: the first with something that is not UTF-8. */
  | { readonly code: 'not_utf8'; readonly line: number };

/**
 * Ends an upload: the file is looked through (it must be UTF-8 from end to end, with a header whose columns are known),
 * and its workflow is asked for in the same transaction. A file that is refused leaves nothing behind.
 */
export async function finishUpload(tx: Transaction, now: Date, importId: string): Promise<FinishedUpload> {
  const [job] = await tx.query<{ state: ImportState }>(LOCK, [importId]);
  if (job?.state !== 'uploading') return { kind: 'not_uploading' };
  const file = new ImportFile(tx, importId);
  const beginning = await file.read(0, MAX_ROW_BYTES);
  const problem = await problemOfFile(file, beginning);
  const header = problem === null ? readCsvHeader(beginning) : null;
  if (problem !== null || header === null) {
    await removeUpload(tx, importId);
    return { kind: 'unreadable', problem: problem ?? { code: 'no_header' } };
  }
  const asked = await readImport(tx, importId);
  const resolved = resolveMapping(asked!.kind, header.names, asked!.mapping, await readCustomFields(tx));
  if ('problems' in resolved) {
    await removeUpload(tx, importId);
    return { kind: 'invalid', problems: resolved.problems };
  }
  await tx.query(QUEUE, [importId, JSON.stringify(resolved.mapping), header.bytes, header.line]);
  await addToOutbox(tx, now, [
    { aggregate: importAggregate(importId), message: { type: 'startImport', importId } },
  ]);
  return { kind: 'queued' };
}

/** Aggregate of everything about one import: its entries go out in order. */
export function importAggregate(importId: string): string {
  return `import:${importId}`;
}

async function problemOfFile(file: ImportFile, beginning: Buffer): Promise<FileProblem | null> {
  if (beginning.length === 0) return { code: 'empty' };
  if (foreignEncoding(beginning) !== null) return { code: 'not_utf8', line: 1 };
  const check = new Utf8Check();
  for (let offset = 0; ; ) {
    const piece = await file.read(offset, MAX_CHUNK_BYTES);
    const line = check.take(piece);
    if (line !== null) return { code: 'not_utf8', line };
    if (piece.length === 0) return null;
    offset += piece.length;
  }
}

/** Gives up an upload that broke off; one that was finished is left alone. */
export async function abandonUpload(tx: Transaction, importId: string): Promise<void> {
  const [job] = await tx.query<{ state: ImportState }>(LOCK, [importId]);
  if (job?.state === 'uploading') await removeUpload(tx, importId);
}

/**
 * Ids of uploads that nobody goes on with: they began before this and never ended. For a sweep, which gives each to
 * {@link abandonUpload}.
 */
export async function readAbandonedUploads(on: Session, begunBefore: Date): Promise<string[]> {
  return (await on.query<{ id: string }>(ABANDONED, [begunBefore])).map((row) => row.id);
}

async function removeUpload(tx: Transaction, importId: string): Promise<void> {
  await tx.query(DELETE_CHUNKS, [importId]);
  await tx.query(DELETE_JOB, [importId]);
}

/** The uploaded file, read from any place. The last two pieces stay in memory: what is read often lies across both. */
export class ImportFile {
  readonly #on: Session;
  readonly #importId: string;
  #pieces: readonly { start: number; data: Buffer }[] = [];

  constructor(on: Session, importId: string) {
    this.#on = on;
    this.#importId = importId;
  }

  /** @returns `length` bytes from `offset` on, fewer only at the end of the file */
  async read(offset: number, length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    let [at, missing] = [offset, length];
    while (missing > 0) {
      const part = (await this.#from(at)).subarray(0, missing);
      if (part.length === 0) break;
      parts.push(part);
      at += part.length;
      missing -= part.length;
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  /** The rest of the piece in which `at` lies; nothing at the end of the file. */
  async #from(at: number): Promise<Buffer> {
    const kept = this.#pieces.find(({ start, data }) => at >= start && at < start + data.length);
    if (kept !== undefined) return kept.data.subarray(at - kept.start);
    const [row] = await this.#on.query<{ data: Buffer; offset: string }>(CHUNK, [this.#importId, at]);
    if (row === undefined) return Buffer.alloc(0);
    const piece = { start: Number(row.offset), data: row.data };
    this.#pieces = [...this.#pieces.slice(-1), piece];
    return piece.data.subarray(at - piece.start);
  }
}

const COLUMNS = `id, kind, state, file_name as "fileName", mapping, total_bytes as "totalBytes", cursor_bytes as "cursorBytes",
  cursor_line as "cursorLine", rows, created, updated, unchanged, rejected, opt_outs as "optOuts", failure, actor,
  created_at as "createdAt", finished_at as "finishedAt"`;
const READ = plain(`select ${COLUMNS} from import_job where id = $1`);

function toImport(row: Record<string, unknown>): Import {
  const sizes = ['totalBytes', 'cursorBytes', 'cursorLine'].map((name) => [name, Number(row[name])]);
  return { ...(row as unknown as Import), ...Object.fromEntries(sizes) };
}

export async function readImport(on: Session, id: string): Promise<Import | null> {
  const [row] = await on.query(READ, [id]);
  return row === undefined ? null : toImport(row);
}

/** Imports, the newest first. */
export async function searchImports(
  on: Session,
  filter: { readonly state?: ImportState },
  page: Page,
): Promise<Import[]> {
  const conditions = new Conditions();
  conditions.add('id < ?', page.after);
  conditions.add('state = ?', filter.state);
  const rows = await on.query(
    plain(
      `select ${COLUMNS} from import_job ${conditions.where} order by id desc ${conditions.limit(page.limit)}`,
    ),
    conditions.values,
  );
  return rows.map(toImport);
}

const PROBLEMS = plain(`
  select line, "column", code, message from import_problem
  where import_id = $1 and (line, "column") > ($2, $3) order by line, "column" limit $4`);

/** A page of what was wrong with the rows, by line and column. */
export async function readImportProblems(
  on: Session,
  importId: string,
  after: { readonly line: number; readonly column: string } | null,
  limit: number,
): Promise<RowProblem[]> {
  const rows = await on.query<{ line: string; column: string; code: string; message: string }>(PROBLEMS, [
    importId,
    after?.line ?? 0,
    after?.column ?? '',
    limit,
  ]);
  return rows.map((row) => ({ ...row, line: Number(row.line) }));
}

const OVER: readonly ImportState[] = ['done', 'cancelled', 'failed'];
const END = plain('update import_job set state = $2, failure = $3, finished_at = $4 where id = $1');

/** Ends an import whose row the caller has locked; the file is removed. */
export async function endImport(
  tx: Transaction,
  now: Date,
  importId: string,
  state: 'done' | 'cancelled' | 'failed',
  failure: string | null,
): Promise<void> {
  await tx.query(END, [importId, state, failure, now]);
  await tx.query(DELETE_CHUNKS, [importId]);
}

/** Ends an import that cannot go on, unless it has ended; what was taken in stays. */
export async function failImport(
  tx: Transaction,
  now: Date,
  importId: string,
  failure: string,
): Promise<void> {
  const [job] = await tx.query<{ state: ImportState }>(LOCK, [importId]);
  if (job !== undefined && !OVER.includes(job.state)) await endImport(tx, now, importId, 'failed', failure);
}

export type CancelledImport = 'cancelled' | 'already_over' | 'not_found';

/** Cancels an import: no page begins after this commit, and what was taken in stays. */
export async function cancelImport(tx: Transaction, now: Date, importId: string): Promise<CancelledImport> {
  const [job] = await tx.query<{ state: ImportState }>(LOCK, [importId]);
  if (job === undefined) return 'not_found';
  if (OVER.includes(job.state)) return 'already_over';
  await endImport(tx, now, importId, 'cancelled', null);
  // Nothing runs for an upload that was not finished.
  if (job.state !== 'uploading') {
    await addToOutbox(tx, now, [
      { aggregate: importAggregate(importId), message: { type: 'endImport', importId } },
    ]);
  }
  return 'cancelled';
}
