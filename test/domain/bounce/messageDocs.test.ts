import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { RULES } from '../../../domain/bounce/rules.ts';
import { CATEGORIES } from '../../../domain/bounce/verdict.ts';

const page = readFileSync(join(import.meta.dirname, '../../../docs/bounces.md'), 'utf8');
const rows = new Map(
  page
    .split('\n')
    .map((line) => /^\| `(\w+)` \| (.*?) \|/.exec(line))
    .filter((match) => match !== null)
    .map(([, category, action]) => [category!, action!]),
);

it('docs/bounces.md has every category, with every action that a rule gives it', () => {
  for (const category of CATEGORIES) expect(rows.has(category), category).toBe(true);
  for (const { category, permanent, name } of RULES) {
    expect(rows.get(category), `${category}: ${name}`).toContain(permanent);
  }
});
