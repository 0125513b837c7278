import type { Database } from '../db/connection.ts';
import type { AddressHasher } from '../db/queries/addresses.ts';
import { readCustomFields } from '../db/queries/customFields.ts';
import { type ImportPage, takeInPage } from '../db/queries/importPage.ts';
import {
  cancelImport,
  failImport,
  type Import,
  ImportFile,
  type ImportState,
  readImport,
} from '../db/queries/imports.ts';
import { columnsOf } from '../domain/import/columns.ts';
import { type CsvHeader, type CsvPage, MAX_ROW_BYTES, readCsv, readCsvHeader } from '../domain/import/csv.ts';
import { type RowFormat, readProspectRow, readSuppressionRow } from '../domain/import/rows.ts';
import { beating } from './beating.ts';

/** Rows a transaction: a gate can wait for its locks, and what a page allocates keeps the process within 300 MB. */
const PAGE_ROWS = 500;
/** Enough for a page of ordinary rows; more is read where it is not. */
const WINDOW_BYTES = 128 * 1024;

export interface ImportInput {
  readonly importId: string;
  /** The workflow's time, in milliseconds of the epoch. */
  readonly now: number;
}

export interface ImportResult {
  readonly state: ImportState;
}

/** Activities that take uploaded files in. */
export function createImportActivities({ db, hasher }: { db: Database; hasher: AddressHasher }) {
  return {
    /**
     * Takes in a file from where it was left, page by page, to its end. Safe to run again after a crash at any line, and
     * beside a twin that was taken for dead.
     */
    async takeInFile(input: ImportInput): Promise<ImportResult> {
      return beating((betweenPages) => takeInFile(db, hasher, input, betweenPages));
    },

    /** Ends the import after its workflow was cancelled; one that was cancelled by the API has ended already. */
    async stopImport(input: ImportInput): Promise<ImportResult> {
      await db.transaction((tx) => cancelImport(tx, timeOf(input), input.importId));
      return { state: (await readImport(db, input.importId))?.state ?? 'cancelled' };
    },
  };
}

export type ImportActivities = ReturnType<typeof createImportActivities>;

function timeOf(input: ImportInput): Date {
  return new Date(Math.max(Date.now(), input.now));
}

/**
 * Takes in a file page by page.
 *
 * @param betweenPages called before each page; throws to stop there
 */
export async function takeInFile(
  db: Database,
  hasher: AddressHasher,
  input: ImportInput,
  betweenPages: () => Promise<void>,
): Promise<ImportResult> {
  const job = await readImport(db, input.importId);
  if (job === null) return { state: 'cancelled' };
  if (!isUnderWay(job)) return { state: job.state };
  const file = new ImportFile(db, job.id);
  const header = readCsvHeader(await file.read(0, MAX_ROW_BYTES));
  if (header === null) throw new Error(`the file of import ${job.id} has lost its header`);
  const format: RowFormat = {
    columns: columnsOf(header.names, job.mapping),
    width: header.names.length,
    customFields: await readCustomFields(db),
  };

  let cursor = cursorOf(job);
  for (;;) {
    await betweenPages();
    const csv = await readPage(file, job, header, cursor);
    const next = { bytes: cursor.bytes + csv.bytes, line: csv.line };
    const page = pageOf(job, format, csv, cursor, next);
    let taken: Awaited<ReturnType<typeof takeInPage>>;
    try {
      taken = await takeInPage(db, hasher, timeOf(input), page);
    } catch (error) {
      if (!isForGood(error)) throw error;
      await db.transaction((tx) => failImport(tx, timeOf(input), job.id, `database:${error.code}`));
      return { state: 'failed' };
    }
    if (taken === 'taken') {
      if (page.isLast) return { state: 'done' };
      cursor = next;
      continue;
    }
    // Somebody cancelled, or a twin is further on. That one may have been given up, so nothing is left to it alone.
    const current = await readImport(db, job.id);
    if (current === null) return { state: 'cancelled' };
    if (!isUnderWay(current)) return { state: current.state };
    cursor = cursorOf(current);
  }
}

function isUnderWay({ state }: Import): boolean {
  return state === 'queued' || state === 'running';
}

function cursorOf({ cursorBytes, cursorLine }: Import): { bytes: number; line: number } {
  return { bytes: cursorBytes, line: cursorLine };
}

/** Data that PostgreSQL will refuse each time: SQLSTATE classes 22 (data exception) and 23 (constraint violation). */
function isForGood(error: unknown): error is { code: string } {
  return /^2[23]/.test((error as { code?: string }).code ?? '');
}

async function readPage(
  file: ImportFile,
  job: Import,
  header: CsvHeader,
  cursor: { bytes: number; line: number },
): Promise<CsvPage> {
  for (let size = WINDOW_BYTES; ; size *= 2) {
    const part = await file.read(cursor.bytes, size);
    const atEnd = cursor.bytes + part.length >= job.totalBytes;
    const page = readCsv(part, { line: cursor.line, limit: PAGE_ROWS, delimiter: header.delimiter }, atEnd);
    // Less than was asked for: the import has ended meanwhile, and its file is gone.
    if (page.bytes > 0 || atEnd || part.length < size) return page;
  }
}

function pageOf(
  job: Import,
  format: RowFormat,
  csv: CsvPage,
  from: { bytes: number },
  next: { bytes: number; line: number },
): ImportPage {
  const place = {
    importId: job.id,
    from: from.bytes,
    to: next.bytes,
    nextLine: next.line,
    isLast: next.bytes >= job.totalBytes,
  };
  return job.kind === 'prospects'
    ? { ...place, kind: job.kind, rows: csv.rows.map((row) => readProspectRow(format, row)) }
    : { ...place, kind: job.kind, rows: csv.rows.map((row) => readSuppressionRow(format, row)) };
}
