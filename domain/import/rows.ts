import {
  type AddressProblem,
  isAddressProblem,
  type ParsedAddress,
  parseAddress,
  parseDomain,
} from '../address.ts';
import {
  type CustomField,
  type CustomValue,
  readCustomCell,
  readStandardValue,
  readYesNo,
} from '../prospectFields.ts';
import type { StandardField, SuppressionReason } from '../words.ts';
import { type Column, isStandardField } from './columns.ts';
import type { CsvRow } from './csv.ts';

/** What is wrong with a row. Messages never repeat what stands in the cell: it is somebody's. */
export interface RowProblem {
  readonly line: number;
  /** As the file names it; empty where the whole row is meant. */
  readonly column: string;
  readonly code: string;
  readonly message: string;
}

/** How a file is to be read. */
export interface RowFormat {
  readonly columns: readonly Column[];
  /** Cells of a row, as the header has them. */
  readonly width: number;
  readonly customFields: readonly CustomField[];
}

/** A row of prospects. With any problem it is not taken, except for what its flags say of a readable address. */
export interface ProspectRow {
  readonly address: ParsedAddress | null;
  /** Only cells that are not empty. */
  readonly fields: Readonly<Partial<Record<StandardField, string>>>;
  readonly custom: Readonly<Record<string, CustomValue>>;
  readonly emailOptOut: boolean;
  readonly bounced: boolean;
  readonly problems: readonly RowProblem[];
}

/** A row of suppressions: an address, a domain, or neither where nothing of it is readable. */
export interface SuppressionRow {
  readonly address: ParsedAddress | null;
  readonly domain: string | null;
  readonly reason: SuppressionReason;
  readonly note: string | null;
  readonly problems: readonly RowProblem[];
}

const MAX_NOTE = 1000;

/** Reads a row of prospects. */
export function readProspectRow(format: RowFormat, row: CsvRow): ProspectRow {
  const problems = problemsOfRow(format, row);
  const report = (column: Column, problem: { code: string; message: string }) =>
    problems.push({ line: row.line, column: column.name, code: problem.code, message: problem.message });
  const custom: [string, CustomValue][] = [];
  const fields: Partial<Record<StandardField, string>> = {};
  const flags = { emailOptOut: false, bounced: false };
  let address: ParsedAddress | null = null;

  for (const column of format.columns) {
    const cell = cellOf(row, column);
    if (cell.trim() === '' && column.field !== 'email') continue;
    if (column.field === 'email') {
      const read = parseAddress(cell);
      if (isAddressProblem(read)) report(column, addressProblem(read));
      else address = read;
    } else if (column.field === 'emailOptOut' || column.field === 'bounced') {
      const value = readYesNo(cell);
      if (value === null) report(column, NOT_YES_OR_NO);
      else flags[column.field] = value;
    } else if (isStandardField(column.field)) {
      const read = readStandardValue(column.field, cell);
      if ('problem' in read) report(column, read.problem);
      else if (read.value !== null) fields[column.field] = read.value;
    } else {
      const key = column.field.slice('custom.'.length);
      const definition = format.customFields.find((each) => each.key === key)!;
      const read = readCustomCell(definition, cell);
      if ('problem' in read) report(column, read.problem);
      else if (read.value !== null) custom.push([key, read.value]);
    }
  }
  return { address, fields, custom: Object.fromEntries(custom), ...flags, problems };
}

/** Without the apostrophe that exports put before what a spreadsheet would run as a formula (OWASP, CSV Injection). */
function cellOf(row: CsvRow, column: Column): string {
  return (row.cells[column.index] ?? '').replace(/^'(?='*[=+\-@\t\r])/, '');
}

const NOT_YES_OR_NO = {
  code: 'invalid_boolean',
  message: 'Is neither a yes nor a no (yes, true, 1, x; no, false, 0).',
};

function addressProblem(problem: AddressProblem): { code: string; message: string } {
  return { code: `address_${problem.code.replace('address_', '')}`, message: problem.message };
}

const REASONS: Readonly<Record<string, SuppressionReason>> = {
  optout: 'opt_out',
  optedout: 'opt_out',
  unsubscribe: 'opt_out',
  unsubscribed: 'opt_out',
  bounce: 'bounced',
  bounced: 'bounced',
  hardbounce: 'bounced',
  hardbounced: 'bounced',
  complaint: 'complaint',
  complained: 'complaint',
  spam: 'complaint',
  spamcomplaint: 'complaint',
  manual: 'manual',
};

/**
 * Reads a row of suppressions. Without a reason, or with one that is not known, an address is `manual`: never mailed, and
 * no flag set.
 */
export function readSuppressionRow(format: RowFormat, row: CsvRow): SuppressionRow {
  const problems = problemsOfRow(format, row);
  const fieldOf = (field: string) => {
    const column = format.columns.find((each) => each.field === field);
    const text = column === undefined ? '' : cellOf(row, column).trim();
    const report = (problem: { code: string; message: string }) =>
      problems.push({
        line: row.line,
        column: column?.name ?? '',
        code: problem.code,
        message: problem.message,
      });
    return { text, report };
  };
  const [email, domain, reason, note] = [
    fieldOf('email'),
    fieldOf('domain'),
    fieldOf('reason'),
    fieldOf('note'),
  ];

  const address = email.text === '' ? null : parseAddress(email.text);
  if (address !== null && isAddressProblem(address)) email.report(addressProblem(address));
  const parsedDomain = domain.text === '' ? null : parseDomain(domain.text);
  if (parsedDomain !== null && isAddressProblem(parsedDomain)) domain.report(domainProblem(parsedDomain));
  if (email.text === '' && domain.text === '') {
    email.report({ code: 'address_empty', message: 'There is neither an address nor a domain.' });
  }
  if (email.text !== '' && domain.text !== '') {
    // Many exports tell the domain of each address: taking it would silence everybody there.
    domain.report({ code: 'address_and_domain', message: 'A row holds an address or a domain, not both.' });
  }
  const known = REASONS[reason.text.toLowerCase().replace(/[^a-z]/g, '')];
  if (reason.text !== '' && known === undefined) {
    reason.report({
      code: 'unknown_reason',
      message: 'Is none of opt_out, bounced, complaint, manual; the address is suppressed as manual.',
    });
  } else if (domain.text !== '' && known !== undefined && known !== 'manual') {
    reason.report({ code: 'unknown_reason', message: 'A whole domain is always suppressed as manual.' });
  }
  if (note.text.length > MAX_NOTE || /(?![\t\n\r])\p{Cc}/u.test(note.text)) {
    note.report({
      code: 'note_invalid',
      message: `May have ${MAX_NOTE} characters at the most, and no control characters.`,
    });
  }
  return {
    address: address === null || isAddressProblem(address) ? null : address,
    domain: parsedDomain === null || isAddressProblem(parsedDomain) ? null : parsedDomain.domain,
    reason: known ?? 'manual',
    note: note.text === '' ? null : note.text,
    problems,
  };
}

function domainProblem(problem: AddressProblem): { code: string; message: string } {
  // The one message that would repeat what stands in the cell.
  return problem.code === 'public_suffix'
    ? { code: 'domain_public_suffix', message: 'Is a public suffix: everybody can have a domain below it.' }
    : { code: `domain_${problem.code.replace('domain_', '')}`, message: problem.message };
}

function problemsOfRow(format: RowFormat, row: CsvRow): RowProblem[] {
  const problem = (code: string, message: string) => [{ line: row.line, column: '', code, message }];
  if (row.malformed === 'quotes') {
    return problem(
      'misplaced_quote',
      'A quote is never closed, or stands within a cell without being doubled.',
    );
  }
  if (row.malformed === 'too_long') return problem('row_too_long', 'The row is longer than 1 MiB.');
  if (row.cells.length < format.width) {
    return problem('too_few_cells', `The row has ${row.cells.length} cells, the header ${format.width}.`);
  }
  if (row.cells.slice(format.width).some((cell) => cell.trim() !== '')) {
    return problem('too_many_cells', `The row has ${row.cells.length} cells, the header ${format.width}.`);
  }
  return [];
}
