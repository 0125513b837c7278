import { describe, expect, test } from 'vitest';
import {
  type OptOutFacts,
  type OptOutRules,
  resolveBounced,
  resolveOptOut,
  resolveValue,
} from '../../../domain/salesforce/resolve.ts';
import { SYNC_DIRECTIONS, type SyncDirection } from '../../../domain/salesforce/words.ts';

const [Y, N] = [true, false];
const BOOLEANS = [N, Y] as const;

const fact = (base: boolean | null, ours: boolean, theirs: boolean): OptOutFacts => ({
  base,
  ours,
  theirs,
  givenSince: false,
  byPerson: false,
  otherRecordSaysYes: false,
});

/* Every combination of before, ours and theirs, and what comes of it in each direction: [ours, theirs]. */
type Row = [
  before: boolean | null,
  ours: boolean,
  theirs: boolean,
  both: [boolean, boolean],
  to: [boolean, boolean],
  from: [boolean, boolean],
  why: string,
];
const TABLE: Row[] = [
  [null, N, N, [N, N], [N, N], [N, N], 'in step'],
  [null, N, Y, [Y, Y], [N, Y], [Y, Y], 'first link: the opt-out wins'],
  [null, Y, N, [Y, Y], [Y, Y], [Y, N], 'first link: the opt-out wins'],
  [null, Y, Y, [Y, Y], [Y, Y], [Y, Y], 'in step'],
  [N, N, N, [N, N], [N, N], [N, N], 'nothing changed'],
  [N, N, Y, [Y, Y], [N, Y], [Y, Y], 'opted out in Salesforce'],
  [N, Y, N, [Y, Y], [Y, Y], [Y, N], 'opted out in Heed'],
  [N, Y, Y, [Y, Y], [Y, Y], [Y, Y], 'opted out in both'],
  [Y, N, N, [N, N], [N, N], [N, N], 'taken back in both'],
  [Y, N, Y, [N, N], [N, N], [Y, Y], 'taken back in Heed'],
  [Y, Y, N, [N, N], [Y, Y], [N, N], 'taken back in Salesforce'],
  [Y, Y, Y, [Y, Y], [Y, Y], [Y, Y], 'nothing changed'],
];

const sides = (facts: OptOutFacts, direction: SyncDirection, mayTakeBack = false) => {
  const { ours, theirs } = resolveOptOut(facts, { direction, mayTakeBack });
  return [ours, theirs];
};

describe('Email Opt Out: every combination of before, ours and theirs', () => {
  test.each(TABLE)('before %s, ours %s, theirs %s', (before, ours, theirs, both, to, from, _why) => {
    expect(sides(fact(before, ours, theirs), 'both')).toEqual(both);
    expect(sides(fact(before, ours, theirs), 'to_salesforce')).toEqual(to);
    expect(sides(fact(before, ours, theirs), 'from_salesforce')).toEqual(from);
  });

  test('the table has all of them', () => {
    expect(new Set(TABLE.map(([before, ours, theirs]) => `${before}${ours}${theirs}`)).size).toBe(12);
  });

  test('both changed: the opt-out that was given anew in Heed wins over the No from Salesforce', () => {
    expect(sides({ ...fact(Y, Y, N), givenSince: true }, 'both')).toEqual([Y, Y]);
  });

  test('a No from Salesforce does not take back what the person gave, unless the account sets it so', () => {
    const facts = { ...fact(Y, Y, N), byPerson: true };
    expect(sides(facts, 'both')).toEqual([Y, Y]);
    expect(sides(facts, 'from_salesforce')).toEqual([Y, N]);
    expect(sides(facts, 'both', true)).toEqual([N, N]);
    expect(sides(facts, 'from_salesforce', true)).toEqual([N, N]);
  });

  test('one record says No while another of the person says Yes: the opt-out wins', () => {
    expect(sides({ ...fact(Y, Y, N), otherRecordSaysYes: true }, 'both', true)).toEqual([Y, Y]);
  });
});

function everyCase(): [OptOutFacts, OptOutRules][] {
  const cases: [OptOutFacts, OptOutRules][] = [];
  for (const base of [null, ...BOOLEANS])
    for (const ours of BOOLEANS)
      for (const theirs of BOOLEANS)
        for (const givenSince of BOOLEANS)
          for (const byPerson of BOOLEANS)
            for (const otherRecordSaysYes of BOOLEANS)
              for (const mayTakeBack of BOOLEANS)
                for (const direction of SYNC_DIRECTIONS) {
                  const facts = { base, ours, theirs, givenSince, byPerson, otherRecordSaysYes };
                  cases.push([facts, { direction, mayTakeBack }]);
                }
  return cases;
}

describe('in every case, whatever else is so', () => {
  const cases = everyCase();

  test('there are 576 of them', () => expect(cases).toHaveLength(576));

  test('an opt-out that only one side knows is never lost', () => {
    for (const [facts, rules] of cases) {
      if (facts.base === true) continue;
      const { ours, theirs } = resolveOptOut(facts, rules);
      if (facts.ours) expect(ours).toBe(true);
      if (facts.theirs) expect(theirs).toBe(true);
    }
  });

  test('what is resolved stays so: the next time nothing changes', () => {
    for (const [facts, rules] of cases) {
      const first = resolveOptOut(facts, rules);
      const again = resolveOptOut({ ...facts, ...first, givenSince: false }, rules);
      expect([again.ours, again.theirs]).toEqual([first.ours, first.theirs]);
    }
  });

  test('in both directions both sides end with the same', () => {
    for (const [facts, rules] of cases) {
      if (rules.direction !== 'both') continue;
      const { ours, theirs, base } = resolveOptOut(facts, rules);
      expect([theirs, base]).toEqual([ours, ours]);
    }
  });

  test('in one direction the other side is not written', () => {
    for (const [facts, rules] of cases) {
      const resolved = resolveOptOut(facts, rules);
      if (rules.direction === 'to_salesforce') expect(resolved.ours).toBe(facts.ours);
      if (rules.direction === 'from_salesforce') expect(resolved.theirs).toBe(facts.theirs);
    }
  });
});

test.each([
  [null, N, N, N],
  [null, N, Y, Y],
  [null, Y, N, Y],
  [null, Y, Y, Y],
  [N, N, N, N],
  [N, N, Y, Y],
  [N, Y, N, Y],
  [N, Y, Y, Y],
  [Y, N, N, N],
  [Y, N, Y, N],
  [Y, Y, N, N],
  [Y, Y, Y, Y],
])('Bounced: before %s, ours %s, theirs %s: %s', (base, ours, theirs, expected) => {
  expect(resolveBounced({ base, ours, theirs })).toEqual({
    ours: expected,
    theirs: expected,
    base: expected,
  });
});

describe('mapped fields', () => {
  const value = (more: Partial<Parameters<typeof resolveValue<string>>[0]>) => {
    const { ours, theirs } = resolveValue<string>({
      direction: 'both',
      empty: 'clear',
      ours: 'o',
      theirs: 't',
      oursChanged: false,
      theirsChanged: false,
      oursNewer: false,
      ...more,
    });
    return [ours, theirs];
  };

  test('the side that changed holds, and where both did, the newer', () => {
    expect(value({ oursChanged: true })).toEqual(['o', 'o']);
    expect(value({ theirsChanged: true })).toEqual(['t', 't']);
    expect(value({ oursChanged: true, theirsChanged: true, oursNewer: true })).toEqual(['o', 'o']);
    expect(value({ oursChanged: true, theirsChanged: true })).toEqual(['t', 't']);
  });

  test('an empty value empties the other side only where the table says so', () => {
    expect(value({ ours: null, oursChanged: true })).toEqual([null, null]);
    expect(value({ ours: null, oursChanged: true, empty: 'keep' })).toEqual(['t', 't']);
    expect(value({ theirs: null, theirsChanged: true })).toEqual([null, null]);
    expect(value({ theirs: null, theirsChanged: true, empty: 'keep' })).toEqual(['o', 'o']);
  });

  test('in one direction the source is never written, and only its changes go', () => {
    const from = { direction: 'from_salesforce' } as const;
    expect(value({ ...from, theirsChanged: true })).toEqual(['t', 't']);
    expect(value({ ...from, oursChanged: true })).toEqual(['o', 't']);
    expect(value({ ...from, theirs: null, theirsChanged: true, empty: 'keep' })).toEqual(['o', null]);
    const to = { direction: 'to_salesforce' } as const;
    expect(value({ ...to, oursChanged: true })).toEqual(['o', 'o']);
    expect(value({ ...to, theirsChanged: true })).toEqual(['o', 't']);
    expect(value({ ...to, ours: null, oursChanged: true, empty: 'keep' })).toEqual([null, 't']);
  });
});
