import { describe, expect, it } from 'vitest';
import { type CustomField, readCustomValue, readFields, readYesNo } from '../../domain/prospectFields.ts';
import { CUSTOM_FIELD_TYPES } from '../../domain/words.ts';

const FIELDS: CustomField[] = CUSTOM_FIELD_TYPES.map((type) => ({
  key: `a_${type}`,
  label: type,
  type,
  choices: type === 'choice' ? ['One', 'Two'] : [],
}));
const field = (type: string) => FIELDS.find((each) => each.type === type)!;

describe('the fields of a prospect', () => {
  it('trims texts and empties fields with null or nothing but space', () => {
    const { fields, problems } = readFields([], {
      fields: { firstName: '  Ada ', lastName: '   ', company: null },
    });
    expect(problems).toEqual([]);
    expect(fields).toEqual({ firstName: 'Ada', lastName: null, company: null });
  });

  it('writes time zones as the IANA database does and refuses offsets, which know no summer time', () => {
    expect(readFields([], { fields: { timeZone: 'AMERICA/new_york' } }).fields.timeZone).toBe(
      'America/New_York',
    );
    for (const timeZone of ['+01:00', 'Berlin', 'Europe/Berlin!']) {
      expect(readFields([], { fields: { timeZone } }).problems).toEqual([
        { field: 'timeZone', code: 'unknown_time_zone', message: expect.any(String) },
      ]);
    }
  });

  it('names every field with a problem at once, and never what stands in it', () => {
    const { problems } = readFields(FIELDS, {
      fields: { firstName: 'secret\r\nBcc: x', lastName: 'x'.repeat(256), phone: '\uD800' },
      custom: { a_number: 'secret', a_choice: 'secret', nothing: 1, a_boolean: 'yes' },
    });
    expect(problems.map(({ field, code }) => [field, code])).toEqual([
      ['firstName', 'forbidden_character'],
      ['lastName', 'too_long'],
      ['phone', 'forbidden_character'],
      ['custom.a_number', 'wrong_type'],
      ['custom.a_choice', 'unknown_choice'],
      ['custom.nothing', 'unknown_field'],
      ['custom.a_boolean', 'wrong_type'],
    ]);
    expect(JSON.stringify(problems)).not.toContain('secret');
  });

  it.each([
    ['number', 0],
    ['number', -1.5],
    ['boolean', false],
    ['date', '2028-02-29'],
    ['text', 'two\nlines'],
    ['choice', 'Two'],
  ])('takes a %s of %j as it is', (type, value) => {
    expect(readCustomValue(field(type), value)).toEqual({ value });
  });

  it('keeps a point in time in UTC', () => {
    expect(readCustomValue(field('datetime'), '2026-03-01 09:30:00+02:00')).toEqual({
      value: '2026-03-01T07:30:00.000Z',
    });
  });

  it.each([
    ['number', Number.NaN],
    ['number', Number.POSITIVE_INFINITY],
    ['date', '2026-02-29'],
    ['date', '28.02.2026'],
    ['datetime', '2026-03-01T09:30:00'],
    ['datetime', '2026-02-30T09:30:00Z'],
    ['datetime', '2026-03-01T25:00:00Z'],
    ['text', 'a\u0000b'],
    ['text', 5],
    ['choice', 'Three'],
  ])('refuses a %s of %j', (type, value) => {
    expect(readCustomValue(field(type), value)).toHaveProperty('problem');
  });

  it('reads yes and no as files write them, and nothing else', () => {
    expect(['Yes', 'true', '1', 'X'].map(readYesNo)).toEqual([true, true, true, true]);
    expect(['No', 'FALSE', '0'].map(readYesNo)).toEqual([false, false, false]);
    expect(['', 'maybe', '2'].map(readYesNo)).toEqual([null, null, null]);
  });
});
