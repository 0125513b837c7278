import { describe, expect, test } from 'vitest';
import type { FieldMapping } from '../../../domain/salesforce/mapping.ts';
import {
  baseAfterWriting,
  changesOf,
  countOf,
  isQuiet,
  type OurSide,
  type PlanInput,
  planRecord,
  type SyncRules,
  writtenFields,
} from '../../../domain/salesforce/plan.ts';
import { readRecord, type SalesforceRecord } from '../../../domain/salesforce/record.ts';

const TITLE: FieldMapping = {
  object: 'Lead',
  salesforceField: 'Title',
  field: 'title',
  direction: 'both',
  empty: 'clear',
};
const US = '005000000000001AAA';
const RULES: SyncRules = {
  direction: 'both',
  mayTakeBack: false,
  mappings: [TITLE],
  customFields: new Map(),
  ownUserId: US,
  hash: (value) => `#${value}`,
};
const NOON = Date.UTC(2026, 10, 23, 12);

const record = (more: object = {}): SalesforceRecord => ({
  ...readRecord('Lead', [], {
    Id: '00Q000000000001AAA',
    Email: 'ada@example.com',
    HasOptedOutOfEmail: false,
    EmailBouncedReason: null,
    EmailBouncedDate: null,
    IsEmailBounced: false,
    LastModifiedDate: '2026-11-23T12:00:00.000+0000',
    LastModifiedById: '005000000000002AAA',
    SystemModstamp: '2026-11-23T12:00:00.000+0000',
    IsDeleted: false,
    MasterRecordId: null,
    IsConverted: false,
    ConvertedContactId: null,
  }),
  values: { Title: 'Clerk' },
  ...more,
});
const ours = (more: Partial<OurSide> = {}, title: string | null = 'Clerk', updatedAt = NOON): OurSide => ({
  optedOut: false,
  optedOutAt: 0,
  byPerson: false,
  bounce: null,
  prospect: { fields: { title } as never, custom: {}, updatedAt: new Date(updatedAt) },
  ...more,
});
const STEP = { optOut: false, bounced: false, fields: { Title: '#Clerk' } };
const input = (more: Partial<PlanInput> = {}): PlanInput => ({
  record: record(),
  base: STEP,
  written: null,
  syncedAt: NOON,
  ours: ours(),
  otherRecordSaysYes: false,
  ...more,
});

describe('a plan', () => {
  test('for sides in step is quiet and leaves the base', () => {
    const plan = planRecord(input(), RULES);
    expect(isQuiet(plan)).toBe(true);
    expect(plan.base).toEqual(STEP);
  });

  test('takes an opt-out of Salesforce over and has it in the base at once', () => {
    const plan = planRecord(input({ record: record({ optedOut: true }) }), RULES);
    expect(changesOf(plan)).toEqual([{ side: 'heed', subject: 'emailOptOut', change: 'set' }]);
    expect(plan.base).toEqual({ ...STEP, optOut: true });
  });

  test('writes a bounce with its reason and time, and has it in the base once it is written', () => {
    const bounce = { reason: 'unknown user', at: new Date(NOON) };
    const side = ours({ bounce });
    const plan = planRecord(input({ ours: side }), RULES);
    expect(writtenFields(plan, side)).toEqual({
      EmailBouncedReason: 'unknown user',
      EmailBouncedDate: '2026-11-23T12:00:00.000Z',
    });
    expect(plan.base).toEqual(STEP);
    expect(baseAfterWriting(plan, record(), RULES)).toEqual({ ...STEP, bounced: true });
  });

  test('I3: an opt-out taken back never clears a bounce, on neither side', () => {
    const base = { ...STEP, optOut: true, bounced: true };
    const bounce = { reason: null, at: new Date(NOON) };
    const back = planRecord(
      input({ base, ours: ours({ bounce }), record: record({ optedOut: true, bounced: true }) }),
      RULES,
    );
    expect(changesOf(back)).toEqual([{ side: 'salesforce', subject: 'emailOptOut', change: 'clear' }]);
    const theirs = planRecord(
      input({ base, ours: ours({ bounce, optedOut: true }), record: record({ bounced: true }) }),
      RULES,
    );
    expect(changesOf(theirs)).toEqual([{ side: 'heed', subject: 'emailOptOut', change: 'clear' }]);
  });

  test('the newer change of a field holds where both have changed', () => {
    const newer = planRecord(
      input({ ours: ours({}, 'Owner', NOON + 1), record: record({ values: { Title: 'Head' } }) }),
      RULES,
    );
    expect(newer.salesforce.fields).toEqual({ Title: 'Owner' });
    const older = planRecord(
      input({ ours: ours({}, 'Owner', NOON - 1), record: record({ values: { Title: 'Head' } }) }),
      RULES,
    );
    expect(older.heed.fields).toEqual({ title: 'Head' });
  });

  test('what we wrote is known when it comes back, though its answer was lost', () => {
    // Written: Yes. Then taken back in Heed. Without the mark it would look as if Salesforce had said Yes.
    const lost = input({
      written: { optOut: true, fields: { Title: '#Clerk' } },
      record: record({ optedOut: true, modifiedBy: US }),
    });
    expect(changesOf(planRecord(lost, RULES))).toEqual([
      { side: 'salesforce', subject: 'emailOptOut', change: 'clear' },
    ]);
    // Somebody else's Yes is somebody else's.
    const theirs = { ...lost, record: record({ optedOut: true }) };
    expect(changesOf(planRecord(theirs, RULES))).toEqual([
      { side: 'heed', subject: 'emailOptOut', change: 'set' },
    ]);
  });

  test('an opt-out given anew since the base stands against a No from Salesforce', () => {
    const plan = planRecord(
      input({ base: { ...STEP, optOut: true }, ours: ours({ optedOut: true, optedOutAt: NOON + 1 }) }),
      RULES,
    );
    expect(changesOf(plan)).toEqual([{ side: 'salesforce', subject: 'emailOptOut', change: 'set' }]);
  });

  test('a value that cannot be taken over is told, and holds nothing else up', () => {
    const plan = planRecord(
      input({ record: record({ optedOut: true, values: { Title: 'x'.repeat(300) } }) }),
      RULES,
    );
    expect(plan.problems).toMatchObject([{ field: 'Title', code: 'too_long' }]);
    expect(plan.heed.optOut).toBe(true);
    expect(plan.base.fields).toEqual({ Title: '#Clerk' });
  });

  test('an address without a prospect has its flags synced and no fields', () => {
    const plan = planRecord(input({ base: {}, ours: ours({ optedOut: true, prospect: null }) }), RULES);
    expect(changesOf(plan)).toEqual([{ side: 'salesforce', subject: 'emailOptOut', change: 'set' }]);
  });

  test('every change has a count of its own', () => {
    expect(countOf({ side: 'heed', subject: 'emailOptOut', change: 'set' })).toBe('heedOptOutsSet');
    expect(countOf({ side: 'salesforce', subject: 'bounced', change: 'clear' })).toBe(
      'salesforceBouncesCleared',
    );
    expect(countOf({ side: 'heed', subject: 'title', change: 'change' })).toBe('heedFields');
    expect(countOf({ side: 'heed', subject: 'prospect', change: 'create' })).toBe('heedProspects');
    expect(countOf({ side: 'salesforce', subject: 'address', change: 'change' })).toBe('salesforceAddresses');
  });
});
