import { describe, expect, it } from 'vitest';
import { csvLine } from '../../../api/csv.ts';
import { columnsOf } from '../../../domain/import/columns.ts';
import { type RowFormat, readProspectRow, readSuppressionRow } from '../../../domain/import/rows.ts';
import type { CustomField } from '../../../domain/prospectFields.ts';

const CUSTOM: CustomField[] = [
  { key: 'tier', label: 'Tier', type: 'choice', choices: ['Gold', 'Silver'] },
  { key: 'since', label: 'Since', type: 'date', choices: [] },
  { key: 'seats', label: 'Seats', type: 'number', choices: [] },
];
const PROSPECTS = {
  Mail: 'email',
  'Last name': 'lastName',
  Zone: 'timeZone',
  Tier: 'custom.tier',
  Since: 'custom.since',
  Seats: 'custom.seats',
  'Opt out': 'emailOptOut',
  Bounced: 'bounced',
};
const SUPPRESSIONS = { Mail: 'email', Domain: 'domain', Reason: 'reason', Note: 'note' };

function format(mapping: Record<string, string>): RowFormat {
  const header = Object.keys(mapping);
  return { columns: columnsOf(header, mapping), width: header.length, customFields: CUSTOM };
}

function prospect(cells: string[], malformed: 'quotes' | null = null) {
  return readProspectRow(format(PROSPECTS), { line: 7, cells, malformed });
}

function suppression(...cells: string[]) {
  return readSuppressionRow(format(SUPPRESSIONS), { line: 7, cells, malformed: null });
}

const JANE = ['Jane@Example.com', 'Doe', 'europe/berlin', 'gold', '2026-02-28', '1.5', '', ''];
const withCell = (index: number, cell: string) => JANE.with(index, cell);

describe('a row of prospects', () => {
  it('gives the non-empty cells, each as its type', () => {
    expect(prospect(JANE)).toEqual({
      address: expect.objectContaining({ comparisonForm: 'jane@example.com' }),
      fields: { lastName: 'Doe', timeZone: 'Europe/Berlin' },
      custom: { tier: 'Gold', since: '2026-02-28', seats: 1.5 },
      emailOptOut: false,
      bounced: false,
      problems: [],
    });
    expect(prospect(['a@example.com', '', ' ', '', '', '', '', ''])).toMatchObject({
      fields: {},
      custom: {},
    });
  });

  it.each(['yes', 'TRUE', '1', 'x', ' Y '])('sets an opt-out by %j', (cell) => {
    expect(prospect(withCell(6, cell))).toMatchObject({ emailOptOut: true, bounced: false, problems: [] });
    expect(prospect(withCell(7, cell))).toMatchObject({ emailOptOut: false, bounced: true, problems: [] });
  });

  it.each(['no', 'False', '0', '', '  '])('asks for nothing by %j', (cell) => {
    expect(prospect(withCell(6, cell))).toMatchObject({ emailOptOut: false, problems: [] });
  });

  it.each([
    [0, 'jane@', 'Mail', 'address_domain_incomplete'],
    [0, '', 'Mail', 'address_empty'],
    [1, 'D\u0000oe', 'Last name', 'forbidden_character'],
    [1, 'x'.repeat(256), 'Last name', 'too_long'],
    [2, 'Mars/Olympus', 'Zone', 'unknown_time_zone'],
    [3, 'Bronze', 'Tier', 'unknown_choice'],
    [4, '2026-02-30', 'Since', 'invalid_date'],
    [5, '1,5', 'Seats', 'invalid_number'],
    [6, 'perhaps', 'Opt out', 'invalid_boolean'],
  ])(
    'reports column %i with %j by line and column, without repeating the cell',
    (index, cell, column, code) => {
      const { problems } = prospect(withCell(index, cell));
      expect(problems).toEqual([{ line: 7, column, code, message: expect.any(String) }]);
      if (cell !== '') expect(problems[0]!.message).not.toContain(cell);
    },
  );

  it('I4: keeps the opt-out of a readable address though the rest of its row is bad', () => {
    for (const row of [
      prospect(withCell(4, 'soon').with(6, 'yes')),
      prospect(withCell(7, 'perhaps').with(6, 'yes')),
      prospect([...withCell(6, 'yes'), 'too', 'many']),
      prospect(withCell(6, 'yes').slice(0, 7)),
      prospect(withCell(6, 'yes'), 'quotes'),
    ]) {
      expect(row).toMatchObject({ address: { comparisonForm: 'jane@example.com' }, emailOptOut: true });
      expect(row.problems).not.toEqual([]);
    }
  });

  it('minds no empty cells beyond the header', () => {
    expect(prospect([...JANE, '', ' ']).problems).toEqual([]);
  });
});

describe('a row of suppressions', () => {
  it('is what was exported, without the apostrophe that keeps it from running as a formula', () => {
    for (const email of ['=1+1@example.com', '+49@example.com', "'=1@example.com", "o'neil@example.com"]) {
      const note = '@SUM(A1)';
      const [exported = '', as = ''] = csvLine([email, note]).trimEnd().split(',');
      expect(suppression(exported, '', '', as)).toMatchObject({
        address: { given: email },
        note,
        problems: [],
      });
    }
    expect(suppression("'tis@example.com", '', '', '')).toMatchObject({
      address: { given: "'tis@example.com" },
    });
  });

  it('takes an address with its reason and note, or a domain', () => {
    expect(suppression('a@example.com', '', 'Hard bounce', 'old list')).toMatchObject({
      address: { comparisonForm: 'a@example.com' },
      domain: null,
      reason: 'bounced',
      note: 'old list',
      problems: [],
    });
    expect(suppression('', 'Example.COM', '', '')).toMatchObject({
      address: null,
      domain: 'example.com',
      reason: 'manual',
      problems: [],
    });
  });

  it('keeps a readable address, as manual, where its reason is not known', () => {
    expect(suppression('a@example.com', '', 'because', '')).toMatchObject({
      address: { comparisonForm: 'a@example.com' },
      reason: 'manual',
      problems: [{ column: 'Reason', code: 'unknown_reason' }],
    });
  });

  it('does not silence the domain that an export tells beside each address', () => {
    expect(suppression('a@example.com', 'example.com', '', '')).toMatchObject({
      address: { comparisonForm: 'a@example.com' },
      problems: [{ column: 'Domain', code: 'address_and_domain' }],
    });
  });

  it.each([
    ['', '', 'Mail', 'address_empty'],
    ['nobody', '', 'Mail', 'address_no_at_sign'],
    ['', 'co.uk', 'Domain', 'domain_public_suffix'],
    ['', 'localhost', 'Domain', 'domain_incomplete'],
  ])('reports %j, %j', (email, domain, column, code) => {
    const { problems } = suppression(email, domain, '', '');
    expect(problems).toEqual([{ line: 7, column, code, message: expect.any(String) }]);
    if (domain !== '') expect(problems[0]!.message).not.toContain(domain);
  });
});
