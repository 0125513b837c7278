import { describe, expect, it } from 'vitest';
import { parseCriteria } from '../../../domain/criteria/criteria.ts';
import { matches } from '../../../domain/criteria/matches.ts';
import { CASES } from './cases.ts';
import { CUSTOM_FIELDS, factsOf, NOW } from './person.ts';

describe('criteria in code', () => {
  it.each(CASES)('$name', ({ criteria: json, yes, no }) => {
    const parsed = parseCriteria(json, CUSTOM_FIELDS);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
    for (const person of yes)
      expect(matches(parsed.criteria, factsOf(person, 0), NOW), show(person)).toBe(true);
    for (const person of no)
      expect(matches(parsed.criteria, factsOf(person, 0), NOW), show(person)).toBe(false);
  });
});

const show = (person: object) => JSON.stringify(person);
