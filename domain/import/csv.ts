import { isUtf8 } from 'node:buffer';
import { CsvError, parse } from 'csv-parse/sync';

/** What separates the cells of a row. */
export const DELIMITERS = [',', ';', '\t'] as const;
export type Delimiter = (typeof DELIMITERS)[number];

/** A row longer than this is not read: an unclosed quote would take the rest of the file for one cell. */
export const MAX_ROW_BYTES = 1024 * 1024;

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const CR = 13;
const LF = 10;

/** Where a row stands: its first line, counted from 1 with every line break, also those within quotes. */
export interface CsvRow {
  readonly line: number;
  readonly cells: readonly string[];
  /** Why its cells may be read wrongly: nothing of it can be trusted but what stands in them word for word. */
  readonly malformed: 'quotes' | 'too_long' | null;
}

/** What could be read of a file from some place on, and where to go on from. */
export interface CsvPage {
  readonly rows: readonly CsvRow[];
  /** Bytes from the beginning of what was given. */
  readonly bytes: number;
  /** Line that begins there. */
  readonly line: number;
}

/**
 * Reads rows from a part of a CSV file (RFC 4180; rows end in CRLF, LF or CR) that begins where a row does. A row with
 * misplaced quotes, or one that is too long, is taken to be its first line alone, and reading goes on after that: a quote
 * that is never closed spoils one line and not the rest of the file. Rows without any content are passed over.
 *
 * @param part bytes from a row's beginning on; UTF-8
 * @param from.line number of the line that begins there
 * @param from.limit rows at the most
 * @param atEnd whether the file ends with the part. Otherwise its last row is left, since it may go on.
 * @returns no bytes read where the part is too short for one row: it is to be given again with more
 */
export function readCsv(
  part: Buffer,
  from: { readonly line: number; readonly limit: number; readonly delimiter: Delimiter },
  atEnd: boolean,
): CsvPage {
  const rows: CsvRow[] = [];
  let [bytes, line] = [0, from.line];
  while (rows.length < from.limit && bytes < part.length) {
    const rest = part.subarray(bytes);
    const parsed = parseRows(rest, from.delimiter, from.limit - rows.length, atEnd);
    for (const row of parsed.rows) {
      const start = bytes + leadingBreaks(part, bytes);
      line += countLines(part, bytes, start);
      if (row.cells.some((cell) => cell.trim() !== ''))
        rows.push({ line, cells: row.cells, malformed: null });
      const end = part.length - rest.length + row.end;
      line += countLines(part, start, end);
      bytes = end;
    }
    if (parsed.rows.length > 0) continue;
    const isLong = part.length - bytes >= MAX_ROW_BYTES;
    if (parsed.malformed === null && !isLong && !atEnd) break;
    const first = firstLine(part, bytes);
    if (first.start === part.length) {
      // Nothing but line breaks is left.
      line += countLines(part, bytes, part.length);
      bytes = part.length;
      break;
    }
    line += countLines(part, bytes, first.start);
    rows.push({
      line,
      cells: readLeniently(part.subarray(first.start, first.end), from.delimiter),
      malformed: parsed.malformed ?? 'too_long',
    });
    line += countLines(part, first.start, first.next);
    bytes = first.next;
  }
  return { rows, bytes, line };
}

interface ParsedRows {
  rows: { cells: string[]; end: number }[];
  malformed: CsvRow['malformed'];
}

/** Complete rows from the beginning on, up to the first with misplaced quotes. */
function parseRows(part: Buffer, delimiter: Delimiter, limit: number, atEnd: boolean): ParsedRows {
  const rows: ParsedRows['rows'] = [];
  try {
    parse(part, {
      ...FORMAT,
      delimiter,
      // One more than wanted: whether the last row of a part is complete shows only when another follows.
      to: limit + 1,
      on_record: (cells: string[], info) => {
        rows.push({ cells, end: info.bytes });
        return null;
      },
    });
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const isOpen = error.code === 'CSV_QUOTE_NOT_CLOSED' && !atEnd && part.length < MAX_ROW_BYTES;
    return { rows: rows.slice(0, limit), malformed: isOpen ? null : 'quotes' };
  }
  return {
    rows: atEnd ? rows.slice(0, limit) : rows.slice(0, Math.min(limit, rows.length - 1)),
    malformed: null,
  };
}

const FORMAT = {
  bom: false,
  relax_column_count: true,
  skip_empty_lines: true,
  record_delimiter: ['\r\n', '\n', '\r'],
};

/** The cells of a spoilt line as well as they can be told, for the sake of an opt-out that stands in it. */
function readLeniently(line: Buffer, delimiter: Delimiter): string[] {
  if (line.length > MAX_ROW_BYTES) return [];
  const text = line.toString('utf8');
  try {
    return parse(text, { ...FORMAT, delimiter, relax_quotes: true })[0] ?? [];
  } catch {
    return text.split(delimiter).map((cell) => cell.replace(/^\s*"|"\s*$/g, ''));
  }
}

function isBreak(byte: number | undefined): boolean {
  return byte === CR || byte === LF;
}

function leadingBreaks(part: Buffer, from: number): number {
  let at = from;
  while (isBreak(part[at])) at += 1;
  return at - from;
}

function firstLine(part: Buffer, from: number): { start: number; end: number; next: number } {
  const start = from + leadingBreaks(part, from);
  let end = start;
  while (end < part.length && !isBreak(part[end])) end += 1;
  const next = part[end] === CR && part[end + 1] === LF ? end + 2 : Math.min(end + 1, part.length);
  return { start, end, next };
}

/** Line breaks in a range that does not begin between CR and LF. */
function countLines(part: Buffer, from: number, to: number): number {
  let lines = 0;
  for (let at = from; at < to; at += 1) {
    if (part[at] === LF) lines += 1;
    else if (part[at] === CR && !(part[at + 1] === LF && at + 1 < to)) lines += 1;
  }
  return lines;
}

/** The first row of a file, and how the file is written. */
export interface CsvHeader {
  readonly names: readonly string[];
  readonly delimiter: Delimiter;
  /** Where the first row of data begins. */
  readonly bytes: number;
  readonly line: number;
}

/**
 * Reads the header of a file; the delimiter is the one that gives it the most columns.
 *
 * @param beginning {@link MAX_ROW_BYTES} from the file's beginning, or all of it
 * @returns `null` where there is none
 */
export function readCsvHeader(beginning: Buffer): CsvHeader | null {
  const skipped = beginning.subarray(0, 3).equals(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK.length : 0;
  const headers = DELIMITERS.map((delimiter) => {
    const page = readCsv(beginning.subarray(skipped), { line: 1, limit: 1, delimiter }, true);
    const names = page.rows[0]?.cells.map((name) => name.trim()) ?? [];
    return { names, delimiter, bytes: skipped + page.bytes, line: page.line, row: page.rows[0] };
  });
  const [best] = headers.toSorted((one, other) => other.names.length - one.names.length);
  if (best?.row === undefined || best.row.malformed !== null) return null;
  return { names: best.names, delimiter: best.delimiter, bytes: best.bytes, line: best.line };
}

/** Tells a file of another encoding by its first bytes; `null` where nothing speaks against UTF-8. */
export function foreignEncoding(beginning: Buffer): 'UTF-16' | null {
  const [first, second] = beginning;
  const marked = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
  // Text of two bytes a character has a NUL in every one of a header's.
  return marked || first === 0 || second === 0 ? 'UTF-16' : null;
}

/** Checks piece by piece whether a file is UTF-8. */
export class Utf8Check {
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });
  #line = 1;

  /**
   * @param piece follows the one before; empty at the end of the file
   * @returns the line in which something stands that is not UTF-8, or `null`
   */
  take(piece: Buffer): number | null {
    try {
      this.#decoder.decode(piece, { stream: piece.length > 0 });
    } catch {
      return this.#line + linesBeforeInvalid(piece);
    }
    this.#line += countLines(piece, 0, piece.length);
    return null;
  }
}

function linesBeforeInvalid(piece: Buffer): number {
  let start = 0;
  // What continues a character of the piece before.
  while (start < 3 && (piece[start]! & 0xc0) === 0x80) start += 1;
  for (let lines = 0; start < piece.length; lines += 1) {
    const end = piece.indexOf(LF, start);
    const line = piece.subarray(start, end === -1 ? piece.length : end);
    if (!isUtf8(line)) return lines;
    if (end === -1) break;
    start = end + 1;
  }
  // Every line is right in itself, so it was the beginning that does not continue what came before.
  return 0;
}
