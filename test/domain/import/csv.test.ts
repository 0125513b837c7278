import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type CsvRow,
  DELIMITERS,
  type Delimiter,
  foreignEncoding,
  MAX_ROW_BYTES,
  readCsv,
  readCsvHeader,
  Utf8Check,
} from '../../../domain/import/csv.ts';

/** Reads a whole file in parts of this size, growing one that is too short for a row, as the import does. */
function readAll(
  file: Buffer,
  size: number,
  options: { limit?: number; delimiter?: Delimiter } = {},
): CsvRow[] {
  const rows: CsvRow[] = [];
  let [at, line, window] = [0, 1, size];
  while (at < file.length) {
    const part = file.subarray(at, at + window);
    const atEnd = at + part.length >= file.length;
    const page = readCsv(
      part,
      { line, limit: options.limit ?? 1000, delimiter: options.delimiter ?? ',' },
      atEnd,
    );
    rows.push(...page.rows);
    if (page.bytes === 0 && !atEnd) window *= 2;
    else window = size;
    at += page.bytes;
    line = page.line;
  }
  return rows;
}

const cellsOf = (rows: readonly CsvRow[]) => rows.map((row) => row.cells);

describe('reading CSV', () => {
  const cell = fc.oneof(
    fc.constantFrom('a', 'ü', '🦆', 'a"b', 'x,y', 'x;y', 'line\nbreak', 'line\r\nbreak', 'cr\rcr', '""', ' '),
    fc.string({ unit: 'grapheme', maxLength: 8 }),
  );
  // A first cell with something in it: rows without any content are passed over.
  const rows = fc.array(
    fc.tuple(fc.constantFrom('first', 'ünï'), cell, cell).map((cells) => [...cells]),
    { minLength: 1, maxLength: 12 },
  );

  it('gives back every row with its line, wherever the parts of a file end (multi-byte text, quotes, all line ends)', () => {
    fc.assert(
      fc.property(
        rows,
        fc.constantFrom('\n', '\r\n', '\r'),
        fc.constantFrom(...DELIMITERS),
        fc.integer({ min: 1, max: 64 }),
        fc.integer({ min: 1, max: 5 }),
        fc.boolean(),
        (table, lineEnd, delimiter, size, limit, ended) => {
          const lines = table.map((cells) =>
            cells
              .map((text, index) => (index === 0 ? text : `"${text.replaceAll('"', '""')}"`))
              .join(delimiter),
          );
          const file = Buffer.from(lines.join(lineEnd) + (ended ? lineEnd : ''));
          const read = readAll(file, size, { limit, delimiter });
          expect(cellsOf(read)).toEqual(table);
          let line = 1;
          for (const [index, row] of read.entries()) {
            expect(row.line).toBe(line);
            expect(row.malformed).toBeNull();
            line += lines[index]!.split(/\r\n|\r|\n/).length;
          }
        },
      ),
    );
  });

  it('counts blank lines and passes over rows without content', () => {
    const rows = readAll(Buffer.from('\n\na,b\r\n\r\n,\r\nc,d\n\n\n'), 1000);
    expect(rows).toEqual([
      { line: 3, cells: ['a', 'b'], malformed: null },
      { line: 6, cells: ['c', 'd'], malformed: null },
    ]);
  });

  it('takes the lines after a quote that closes at the wrong place', () => {
    const file = Buffer.from('a,1\nb,"open\nc,3\nd,"Acme, Inc"\ne,5\n');
    expect(readAll(file, 1000).map(({ line, malformed }) => [line, malformed])).toEqual([
      [1, null],
      [2, 'quotes'],
      [3, null],
      [4, null],
      [5, null],
    ]);
  });

  it('takes the lines after a quote that is never closed, and reads what can be read of that line', () => {
    const filler = Array.from({ length: 60_000 }, (_, row) => `person${row}@example.com,x`).join('\n');
    const file = Buffer.from(`a,1\njane@example.com,"open\n${filler}\n`);
    expect(file.length).toBeGreaterThan(MAX_ROW_BYTES);
    const rows = readAll(file, 256 * 1024);
    expect(rows).toHaveLength(60_002);
    expect(rows[1]).toMatchObject({ line: 2, malformed: 'quotes' });
    expect(rows[1]!.cells[0]).toBe('jane@example.com');
    expect(rows.at(-1)).toEqual({ line: 60_002, cells: ['person59999@example.com', 'x'], malformed: null });
  });

  it('reports a quote within an unquoted cell and keeps the cells', () => {
    const [row] = readAll(Buffer.from('jane@example.com,5" pipe,yes\n'), 1000);
    expect(row).toEqual({ line: 1, cells: ['jane@example.com', '5" pipe', 'yes'], malformed: 'quotes' });
  });

  it('reports a line that is too long and goes on', () => {
    const file = Buffer.from(`a,1\n${'x'.repeat(MAX_ROW_BYTES + 100)}\nb,2\n`);
    const rows = readAll(file, 256 * 1024);
    expect(rows[0]).toMatchObject({ line: 1, malformed: null });
    expect(rows[1]).toMatchObject({ line: 2, malformed: 'too_long' });
    expect(rows.at(-1)).toEqual({ line: 3, cells: ['b', '2'], malformed: null });
  });

  it('ends with a file of nothing but line breaks, however many', () => {
    expect(readAll(Buffer.from('\r\n'.repeat(MAX_ROW_BYTES)), 256 * 1024)).toEqual([]);
  });
});

describe('the header', () => {
  it.each(DELIMITERS)('finds the delimiter %j and skips the byte order mark', (delimiter) => {
    const text = `\uFEFF"E-Mail"${delimiter} Ort ${delimiter}"a,b;c"\r\nx`;
    expect(readCsvHeader(Buffer.from(text))).toEqual({
      names: ['E-Mail', 'Ort', 'a,b;c'],
      delimiter,
      bytes: Buffer.byteLength(text) - 1,
      line: 2,
    });
  });

  it('takes one column for a comma-separated file', () => {
    expect(readCsvHeader(Buffer.from('Email'))).toMatchObject({ names: ['Email'], delimiter: ',' });
  });

  it('is none where there is nothing, or quotes that do not close', () => {
    expect(readCsvHeader(Buffer.from('\n\n'))).toBeNull();
    expect(readCsvHeader(Buffer.from('"Email,Name\nx,y\n'))).toBeNull();
  });
});

describe('the encoding', () => {
  it('tells UTF-16 from its beginning', () => {
    expect(foreignEncoding(Buffer.from('\uFEFFEmail', 'utf16le'))).toBe('UTF-16');
    expect(foreignEncoding(Buffer.from('Email', 'utf16le'))).toBe('UTF-16');
    expect(foreignEncoding(Buffer.from('\uFEFFEmail'))).toBeNull();
  });

  it('names the line in which something stands that is not UTF-8, wherever the pieces end', () => {
    const file = Buffer.concat([Buffer.from('äöü\n🦆\nM'), Buffer.from([0xfc]), Buffer.from('ller\nok\n')]);
    for (let size = 1; size <= file.length; size += 1) {
      const check = new Utf8Check();
      let found: number | null = null;
      for (let at = 0; at < file.length && found === null; at += size) {
        found = check.take(file.subarray(at, at + size));
      }
      expect(found ?? check.take(Buffer.alloc(0))).toBe(3);
    }
  });

  it('passes UTF-8 in pieces of any size, and not a character cut off at the end', () => {
    const file = Buffer.from('äöü\n🦆\n');
    for (let size = 1; size <= file.length; size += 1) {
      const check = new Utf8Check();
      for (let at = 0; at < file.length; at += size)
        expect(check.take(file.subarray(at, at + size))).toBeNull();
      expect(check.take(Buffer.alloc(0))).toBeNull();
    }
    const check = new Utf8Check();
    check.take(Buffer.from('a\n🦆').subarray(0, 4));
    expect(check.take(Buffer.alloc(0))).toBe(2);
  });
});
