import { describe, expect, test } from 'vitest';
import type { CustomField } from '../../../domain/prospectFields.ts';
import { type DescribedField, lackingAccess } from '../../../domain/salesforce/access.ts';
import { errorKindOf, pauseAfter } from '../../../domain/salesforce/errorKind.ts';
import {
  checkMappings,
  DEFAULT_MAPPINGS,
  type FieldMapping,
  fromSalesforce,
} from '../../../domain/salesforce/mapping.ts';
import { bounceFields, FieldMissing, fieldsToRead, readRecord } from '../../../domain/salesforce/record.ts';

const ROW = {
  Id: '00Q000000000001AAA',
  Email: 'Ada@Example.com',
  HasOptedOutOfEmail: false,
  EmailBouncedReason: null,
  EmailBouncedDate: null,
  IsEmailBounced: false,
  LastModifiedDate: '2026-11-23T10:00:00.000+0000',
  LastModifiedById: '005000000000001AAA',
  SystemModstamp: '2026-11-23T10:00:00.000+0000',
  IsDeleted: false,
  MasterRecordId: null,
  IsConverted: false,
  ConvertedContactId: null,
};

describe('a row of Salesforce', () => {
  test('is read with its address, flags and place', () => {
    expect(readRecord('Lead', [], ROW)).toMatchObject({
      state: 'active',
      successorId: null,
      optedOut: false,
      bounced: false,
      address: { comparisonForm: 'ada@example.com' },
      modifiedAt: Date.UTC(2026, 10, 23, 10),
    });
    expect(readRecord('Lead', [], { ...ROW, Email: 'nobody' })).toMatchObject({
      address: null,
      addressUnreadable: true,
    });
    expect(readRecord('Lead', [], { ...ROW, Email: null })).toMatchObject({
      address: null,
      addressUnreadable: false,
    });
  });

  test('without Email Opt Out is an error, never "not opted out"', () => {
    const { HasOptedOutOfEmail: _, ...hidden } = ROW;
    expect(() => readRecord('Lead', [], hidden)).toThrow(FieldMissing);
    expect(() => readRecord('Lead', [], { ...ROW, HasOptedOutOfEmail: null })).toThrow(
      /Lead\.HasOptedOutOfEmail.*Read access/i,
    );
  });

  test('tells where it has gone', () => {
    expect(readRecord('Lead', [], { ...ROW, IsDeleted: true })).toMatchObject({ state: 'deleted' });
    expect(readRecord('Lead', [], { ...ROW, IsDeleted: true, MasterRecordId: 'x' })).toMatchObject({
      state: 'merged',
      successorId: 'x',
    });
    expect(readRecord('Lead', [], { ...ROW, IsConverted: true, ConvertedContactId: 'c' })).toMatchObject({
      state: 'converted',
      successorId: 'c',
    });
  });

  test('half a bounce counts as one, and is to be completed', () => {
    const row = { ...ROW, EmailBouncedDate: '2026-11-23T10:00:00.000+0000' };
    expect(readRecord('Lead', [], row)).toMatchObject({ bounced: true, bounceIncomplete: true });
  });
});

describe('a bounce for Salesforce', () => {
  const at = new Date('2026-11-23T10:00:00.500Z');

  test('sets both fields, or clears both', () => {
    expect(bounceFields({ reason: 'no such user', at })).toEqual({
      EmailBouncedReason: 'no such user',
      EmailBouncedDate: '2026-11-23T10:00:00.500Z',
    });
    expect(bounceFields({ reason: null, at }).EmailBouncedReason).toBe('bounced');
    expect(bounceFields(null)).toEqual({ EmailBouncedReason: null, EmailBouncedDate: null });
  });

  test('has a reason of 255 characters at the most, no pair cut in half', () => {
    const reasonOf = (reason: string) => bounceFields({ reason, at }).EmailBouncedReason!;
    expect(reasonOf('x'.repeat(255))).toHaveLength(255);
    expect(reasonOf('x'.repeat(256))).toBe(`${'x'.repeat(254)}…`);
    for (const start of ['', 'x']) {
      const cut = reasonOf(start + '😀'.repeat(200));
      expect(cut.length).toBeLessThanOrEqual(255);
      expect(cut.isWellFormed()).toBe(true);
    }
  });
});

describe('the mapping table', () => {
  const line: FieldMapping = {
    object: 'Lead',
    salesforceField: 'Plan__c',
    field: 'custom.plan',
    direction: 'both',
    empty: 'keep',
  };
  const plan = { key: 'plan', label: 'Plan', type: 'choice' as const, choices: ['gold', 'silver'] };

  test('names each field of both sides once, and none that is synced by itself', () => {
    expect(checkMappings(DEFAULT_MAPPINGS, [])).toEqual([]);
    expect(checkMappings([line], [plan])).toEqual([]);
    expect(checkMappings([line], [])).toMatchObject([{ index: 0, property: 'field' }]);
    expect(checkMappings([line, { ...line, field: 'title' }], [plan])).toMatchObject([
      { index: 1, property: 'salesforceField' },
    ]);
    const own = { ...line, salesforceField: 'hasOptedOutOfEmail', field: 'title' };
    expect(checkMappings([own], [])).toMatchObject([{ index: 0, property: 'salesforceField' }]);
  });

  test('values are read into the types of the prospect', () => {
    const fields = new Map<string, CustomField>([
      ['plan', plan],
      ['score', { key: 'score', label: 'Score', type: 'number' as const, choices: [] }],
      ['seen', { key: 'seen', label: 'Seen', type: 'datetime' as const, choices: [] }],
    ]);
    expect(fromSalesforce('custom.plan', fields, 'Gold')).toEqual({ value: 'gold' });
    expect(fromSalesforce('custom.plan', fields, 'lead')).toMatchObject({
      problem: { code: 'unknown_choice' },
    });
    expect(fromSalesforce('custom.score', fields, 7)).toEqual({ value: 7 });
    expect(fromSalesforce('custom.seen', fields, '2026-11-23T10:00:00.000+0000')).toEqual({
      value: '2026-11-23T10:00:00.000Z',
    });
    expect(fromSalesforce('title', fields, null)).toEqual({ value: null });
    expect(fromSalesforce('title', fields, ' Head ')).toEqual({ value: 'Head' });
  });
});

describe('access', () => {
  const field = (name: string, more: Partial<DescribedField> = {}): DescribedField => ({
    name,
    updateable: true,
    createable: true,
    type: 'string',
    compoundFieldName: null,
    ...more,
  });
  const all = fieldsToRead('Lead', []).map((name) => field(name));
  const wanted = { optOutDirection: 'both', mappings: [], creates: false } as const;
  const TITLE = {
    object: 'Lead',
    salesforceField: 'Title',
    field: 'title',
    direction: 'from_salesforce',
    empty: 'keep',
  } as const;

  test('what is lacking is told by object, field and permission', () => {
    expect(lackingAccess('Lead', all, wanted)).toEqual([]);
    const hidden = all.filter((field) => field.name !== 'HasOptedOutOfEmail');
    expect(lackingAccess('Lead', hidden, wanted)).toEqual([
      'Lead.HasOptedOutOfEmail: the integration user needs the permission "Read Access" on this field.',
    ]);
    const readOnly = all.map((field) => ({ ...field, updateable: field.name !== 'HasOptedOutOfEmail' }));
    expect(lackingAccess('Lead', readOnly, wanted)).toEqual([
      'Lead.HasOptedOutOfEmail: the integration user needs the permission "Edit Access" on this field.',
    ]);
    expect(lackingAccess('Lead', readOnly, { ...wanted, optOutDirection: 'from_salesforce' })).toEqual([]);
  });

  test('a mapped field that is spelt otherwise is told as Salesforce calls it', () => {
    const mappings = [{ ...TITLE, salesforceField: 'title' }];
    const described = [...all, field('Title')];
    expect(lackingAccess('Lead', described, { ...wanted, mappings })).toEqual([
      'Lead.title: Salesforce calls this field Title. Spell it so in the mapping table.',
    ]);
  });

  test('a compound field is refused with its parts, and not for a permission that nobody has', () => {
    const readOnly = { updateable: false, createable: false };
    const described = [
      ...all,
      field('Address', { type: 'address', ...readOnly }),
      ...['Street', 'City'].map((name) => field(name, { compoundFieldName: 'Address' })),
      field('Place__c', { type: 'location', ...readOnly }),
    ];
    const mappings = ['Address', 'City', 'Place__c'].map(
      (salesforceField) => ({ ...TITLE, salesforceField, direction: 'both' }) as const,
    );
    expect(lackingAccess('Lead', described, { ...wanted, mappings })).toEqual([
      'Lead.Address: Address is a compound field (address), whose value is several in one. Map its parts instead: Street, City.',
      'Lead.Place__c: Place__c is a compound field (location), whose value is several in one. Map its parts instead.',
    ]);
  });

  test('a lead that a prospect becomes has every mapped field, whichever way it goes later', () => {
    const described = [
      ...all,
      ...['LastName', 'Company'].map((name) => field(name)),
      field('Title', { updateable: false, createable: false }),
    ];
    expect(lackingAccess('Lead', described, { ...wanted, mappings: [TITLE] })).toEqual([]);
    expect(lackingAccess('Lead', described, { ...wanted, mappings: [TITLE], creates: true })).toEqual([
      'Lead.Title: the integration user needs the permission "Edit Access" on this field.',
    ]);
  });
});

describe('errors', () => {
  test.each([
    ['UNABLE_TO_LOCK_ROW', '', 'locked'],
    ['REQUEST_LIMIT_EXCEEDED', 'TotalRequests Limit exceeded.', 'daily_limit'],
    ['REQUEST_LIMIT_EXCEEDED', 'ConcurrentPerOrgLongTxn Limit exceeded.', 'concurrent_limit'],
    ['INVALID_SESSION_ID', '', 'session'],
    ['ERROR_HTTP_503', '', 'unavailable'],
    ['INVALID_QUERY_LOCATOR', '', 'unavailable'],
    ['ENTITY_IS_DELETED', '', 'gone'],
    ['CANNOT_UPDATE_CONVERTED_LEAD', '', 'converted'],
    ['DUPLICATES_DETECTED', '', 'duplicate'],
    ['INVALID_FIELD', '', 'access'],
    ['FIELD_CUSTOM_VALIDATION_EXCEPTION', '', 'refused'],
    ['STRING_TOO_LONG', '', 'refused'],
  ])('%s %s is %s', (code, message, kind) => expect(errorKindOf(code, message)).toBe(kind));

  test('pauses double up to the longest of their kind', () => {
    expect([1, 2, 3].map((n) => pauseAfter('locked', n))).toEqual([2_000, 4_000, 8_000]);
    expect(pauseAfter('locked', 1_000)).toBe(120_000);
  });
});
