import { describe, expect, it } from 'vitest';
import { MAX_DEPTH, MAX_NODES, parseCriteria } from '../../../domain/criteria/criteria.ts';
import { CUSTOM_FIELDS, LISTS } from './person.ts';

const parse = (value: unknown) => parseCriteria(value, CUSTOM_FIELDS);
const pathsOf = (value: unknown) => {
  const parsed = parse(value);
  return parsed.ok ? [] : parsed.problems.map((problem) => problem.path);
};
const country = { field: 'country', operator: 'equals', value: 'Germany' };

describe('reading criteria', () => {
  it('gives back what it read, with values as prospects keep them', () => {
    const given = {
      all: [
        { field: 'email', operator: 'equals', value: ' Ada@EXAMPLE.com ' },
        { field: 'custom.lastVisit', operator: 'before', value: '2026-03-01T01:00:00+02:00' },
        { field: 'createdAt', operator: 'after', value: '2026-03-01' },
        { field: 'custom.plan', operator: 'in', value: ['gold', 'SILVER'] },
        { list: LISTS[0].toUpperCase(), member: true },
        { suppressed: true, reasons: ['bounced', 'bounced'] },
        { history: 'sent', happened: true, atLeast: 2, withinDays: 7 },
      ],
    };
    expect(parse(given)).toEqual({
      ok: true,
      criteria: {
        all: [
          { field: 'email', operator: 'equals', value: 'ada@example.com' },
          { field: 'custom.lastVisit', operator: 'before', value: '2026-02-28T23:00:00.000Z' },
          { field: 'createdAt', operator: 'after', value: '2026-03-01T00:00:00.000Z' },
          { field: 'custom.plan', operator: 'in', value: ['Gold', 'Silver'] },
          { list: LISTS[0], member: true },
          { suppressed: true, reasons: ['bounced'] },
          { history: 'sent', happened: true, atLeast: 2, withinDays: 7 },
        ],
      },
    });
  });

  it('reads what it gave back to the same again', () => {
    const once = parse({
      none: [country, { field: 'custom.renewal', operator: 'between', value: ['2026-01-01', '2026-02-01'] }],
    });
    expect(once.ok && parse(once.criteria)).toEqual(once);
  });

  it.each<[string, unknown, string[]]>([
    ['not an object', [], ['']],
    ['neither group nor condition', {}, ['']],
    ['both group and condition', { all: [], list: LISTS[0] }, ['']],
    ['a group that is no list', { any: country }, ['/any']],
    ['any of nothing', { any: [] }, ['/any']],
    ['none of nothing', { all: [{ none: [] }] }, ['/all/0/none']],
    ['something beside the group', { all: [], 'a/b~c': 1 }, ['/a~1b~0c']],
    [
      'every fault, not only the first',
      { all: [country, { any: [{}, { field: 'x' }] }, 5] },
      ['/all/1/any/0', '/all/1/any/1/field', '/all/2'],
    ],
    ['an unknown custom field', { field: 'custom.colour', operator: 'isEmpty' }, ['/field']],
    ['a field of the language itself', { field: 'constructor', operator: 'isEmpty' }, ['/field']],
    ['an operator of other fields', { field: 'country', operator: 'greaterThan', value: 1 }, ['/operator']],
    ['emptiness of a flag, which has none', { field: 'bounced', operator: 'isEmpty' }, ['/operator']],
    ['no value', { field: 'country', operator: 'equals' }, ['/value']],
    ['a value for emptiness', { field: 'country', operator: 'isEmpty', value: 1 }, ['/value']],
    ['a blank value', { field: 'country', operator: 'equals', value: '  ' }, ['/value']],
    ['a value of another type', { field: 'custom.score', operator: 'equals', value: '5' }, ['/value']],
    ['a number that is none', { field: 'custom.score', operator: 'equals', value: Number.NaN }, ['/value']],
    [
      'one fault in a list of values',
      { field: 'custom.plan', operator: 'in', value: ['Gold', 'Bronze'] },
      ['/value/1'],
    ],
    ['no values', { field: 'country', operator: 'in', value: [] }, ['/value']],
    ['too many values', { field: 'country', operator: 'in', value: Array(1001).fill('x') }, ['/value']],
    [
      'between, the wrong way round',
      { field: 'custom.score', operator: 'between', value: [2, 1] },
      ['/value'],
    ],
    ['between with one end', { field: 'custom.score', operator: 'between', value: [2] }, ['/value']],
    [
      'no date of the calendar',
      { field: 'custom.renewal', operator: 'before', value: '2026-02-30' },
      ['/value'],
    ],
    [
      'a time without its zone',
      { field: 'createdAt', operator: 'before', value: '2026-02-01T00:00:00' },
      ['/value'],
    ],
    [
      'a time beyond the year 9999',
      { field: 'createdAt', operator: 'before', value: '9999-12-31T23:59:00-01:00' },
      ['/value'],
    ],
    ['a window of no days', { field: 'createdAt', operator: 'withinLast', days: 0 }, ['/days']],
    ['a window of half a day', { field: 'createdAt', operator: 'withinLast', days: 0.5 }, ['/days']],
    ['no address', { field: 'email', operator: 'equals', value: 'ada' }, ['/value']],
    ['NUL in a text', { field: 'country', operator: 'contains', value: 'a\0b' }, ['/value']],
    ['half a surrogate pair', { field: 'country', operator: 'contains', value: '\ud800' }, ['/value']],
    ['an unknown reason', { suppressed: true, reasons: ['bounced', 'x'] }, ['/reasons/1']],
    ['no list id', { list: 'newsletter', member: true }, ['/list']],
    ['membership left open', { list: LISTS[0] }, ['/member']],
    ['an unknown kind of history', { history: 'opened', happened: true }, ['/history']],
    [
      'an email for entering an automation',
      { history: 'entered_automation', happened: true, emailId: LISTS[0] },
      ['/emailId'],
    ],
    ['at least no times', { history: 'sent', happened: true, atLeast: 0 }, ['/atLeast']],
  ])('refuses %s', (_, value, paths) => {
    expect(pathsOf(value)).toEqual(paths);
  });

  it('refuses what is nested too deep, at the place where it begins', () => {
    const nested = (levels: number): unknown => (levels === 1 ? country : { all: [nested(levels - 1)] });
    expect(parse(nested(MAX_DEPTH)).ok).toBe(true);
    expect(pathsOf(nested(MAX_DEPTH + 1))).toEqual(['/all/0'.repeat(MAX_DEPTH)]);
  });

  it('refuses what is too large, and says so once', () => {
    expect(parse({ all: Array(MAX_NODES - 1).fill(country) }).ok).toBe(true);
    expect(pathsOf({ all: Array(MAX_NODES + 500).fill(country) })).toEqual([`/all/${MAX_NODES - 1}`]);
  });
});
