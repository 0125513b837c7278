import { describe, expect, it } from 'vitest';
import { parseBulkChange } from '../../domain/bulkUpdate/change.ts';
import { describeProgress, rowsDone } from '../../domain/bulkUpdate/progress.ts';
import {
  AFTER_COMMAND,
  BULK_UPDATE_COMMANDS,
  BULK_UPDATE_STATES,
  isOver,
} from '../../domain/bulkUpdate/words.ts';
import type { CustomField } from '../../domain/prospectFields.ts';

const FIELDS: readonly CustomField[] = [
  { key: 'plan', label: 'Plan', type: 'choice', choices: ['Gold', 'Silver'] },
  { key: 'score', label: 'Score', type: 'number', choices: [] },
  { key: 'member', label: 'Member', type: 'boolean', choices: [] },
  { key: 'renewal', label: 'Renewal', type: 'date', choices: [] },
  { key: 'memo', label: 'Memo', type: 'text', choices: [] },
];
const everybody = { all: [] };

function read(field: string, value: unknown, criteria: unknown = everybody): unknown {
  const parsed = parseBulkChange({ criteria, field, value }, FIELDS);
  return parsed.ok ? parsed.change.value : parsed.problems.map(({ path }) => path);
}

describe('the value of a bulk update', () => {
  it.each<[string, unknown, unknown]>([
    ['city', '  Bonn ', 'Bonn'],
    ['city', null, null],
    ['city', '   ', null],
    ['timeZone', 'europe/berlin', 'Europe/Berlin'],
    ['custom.plan', 'gold', 'Gold'],
    ['custom.plan', null, null],
    ['custom.score', 7.5, 7.5],
    ['custom.score', 0, 0],
    ['custom.member', false, false],
    ['custom.renewal', '2026-11-30', '2026-11-30'],
    ['emailOptOut', true, true],
    ['bounced', false, false],
  ])('%s: %j is kept as %j', (field, value, kept) => expect(read(field, value)).toEqual(kept));

  it.each<[string, unknown, string]>([
    ['city', undefined, '/value'],
    ['city', true, '/value'],
    ['city', 'x'.repeat(256), '/value'],
    ['custom.plan', 'Bronze', '/value'],
    ['custom.score', '7', '/value'],
    ['custom.score', Number.NaN, '/value'],
    ['custom.score', undefined, '/value'],
    ['custom.member', 'yes', '/value'],
    ['custom.renewal', '2026-02-30', '/value'],
    ['custom.memo', { a: 1 }, '/value'],
    ['emailOptOut', 'true', '/value'],
    ['emailOptOut', null, '/value'],
    ['bounced', 1, '/value'],
    ['custom.nothing', 'x', '/field'],
    ['custom.', 'x', '/field'],
    ['email', 'ada@example.com', '/field'],
    ['createdAt', '2026-01-01T00:00:00Z', '/field'],
    ['constructor', 'x', '/field'],
    ['', 'x', '/field'],
  ])('%s: %j is refused at %s', (field, value, path) => expect(read(field, value)).toEqual([path]));

  it('is refused together with every fault of the criteria', () => {
    const criteria = { any: [{ field: 'nothing', operator: 'isEmpty' }, { all: 1 }] };
    expect(read('city', 1, criteria)).toEqual(['/criteria/any/0/field', '/criteria/any/1/all', '/value']);
    expect(read('city', 'Bonn', criteria)).toEqual(['/criteria/any/0/field', '/criteria/any/1/all']);
  });
});

describe('the states of a bulk update', () => {
  it('one that is over obeys no command; every other one can be cancelled', () => {
    for (const state of BULK_UPDATE_STATES) {
      const obeyed = BULK_UPDATE_COMMANDS.filter((command) => AFTER_COMMAND[command].from.includes(state));
      if (isOver(state)) expect([state, obeyed]).toEqual([state, []]);
      else expect([state, obeyed.includes('cancel')]).toEqual([state, true]);
    }
  });
});

describe('how far it is', () => {
  const progress = { state: 'running', total: 100, changed: 20, alreadySo: 5, refused: 1 } as const;

  it('is told in one line of numbers', () => {
    expect(rowsDone(progress)).toBe(26);
    expect(describeProgress(progress)).toBe('running: 26 of 100 rows; 20 changed, 5 already so, 1 refused');
    expect(describeProgress({ ...progress, state: 'queued', total: null })).toBe(
      'queued: finding out who matches',
    );
  });
});
