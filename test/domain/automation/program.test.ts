import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Step } from '../../../domain/automation/definition.ts';
import { compile, landing, nextStep, type Program } from '../../../domain/automation/program.ts';

const set = (id: string): Step => ({ id, type: 'setField', field: 'title', value: id });
const leave = (id: string): Step => ({ id, type: 'leave' });
const branch = (id: string, yes: Step[], no: Step[]): Step => ({
  id,
  type: 'if',
  criteria: { all: [] },
  yes,
  no,
});
const program = (...steps: Step[]): Program => compile({ steps });

/** Every id in the order in which it is come to, always going by this branch. */
function way(of: Program, by: 'yes' | 'no'): string[] {
  const ids: string[] = [];
  for (let at = of.first; at !== null; ) {
    ids.push(at);
    at = nextStep(of, at, of.steps.get(at)!.branches === null ? 'on' : by);
  }
  return ids;
}

describe('the way through', () => {
  it('goes step by step, through a branch and on behind it', () => {
    const nested = branch('inner', [set('c')], []);
    const both = program(set('a'), branch('outer', [set('b'), nested], [set('d')]), set('e'));
    expect(way(both, 'yes')).toEqual(['a', 'outer', 'b', 'inner', 'c', 'e']);
    expect(way(both, 'no')).toEqual(['a', 'outer', 'd', 'e']);
  });

  it('an empty branch leads on at once, an empty list of steps nowhere', () => {
    expect(way(program(branch('if', [], [])), 'yes')).toEqual(['if']);
    expect(program().first).toBeNull();
  });

  it('ends where a step leaves, also within a branch', () => {
    const left = program(branch('if', [leave('out'), set('never')], [set('b')]), set('c'));
    expect(way(left, 'yes')).toEqual(['if', 'out']);
    expect(way(left, 'no')).toEqual(['if', 'b', 'c']);
  });
});

describe('where somebody lands who is moved to another version', () => {
  const old = program(set('a'), branch('if', [set('b'), set('c')], [set('d')]), set('e'));

  it.each([
    ['at the same step, where it is still there', 'b', program(set('x'), set('b')), 'b'],
    ['also where it stands elsewhere now', 'e', program(set('e'), set('a')), 'e'],
    ['at the next one on the way that is there', 'a', program(set('e'), set('c')), 'c'],
    ['through the branch yes before the branch no', 'if', program(set('d'), set('c')), 'c'],
    ['through the branch no before what is behind both', 'if', program(set('e'), set('d')), 'd'],
    ['not into the other branch', 'b', program(set('d'), set('e')), 'e'],
    ['at the end, where nothing of what lies ahead is there', 'b', program(set('a'), set('d')), null],
    ['at the end, where they stand there already', null, program(set('a')), null],
  ])('%s', (_, position, to, expected) => {
    expect(landing(old, to, position)).toBe(expected);
  });

  const steps: fc.Arbitrary<Step[]> = fc
    .uniqueArray(fc.constantFrom(...'abcdefgh'), { maxLength: 8 })
    .chain((ids) =>
      fc
        .record({ at: fc.nat({ max: ids.length }), width: fc.nat({ max: 4 }) })
        .map(({ at, width }) => [
          ...ids.slice(0, at).map(set),
          ...(ids[at] === undefined
            ? []
            : [
                branch(
                  ids[at],
                  ids.slice(at + 1, at + 1 + width).map(set),
                  ids.slice(at + 1 + width, at + 1 + 2 * width).map(set),
                ),
              ]),
          ...ids.slice(at + 1 + 2 * width).map(set),
        ]),
    );

  it('is a step of the new version or its end; in the same version, where they stand', () => {
    fc.assert(
      fc.property(steps, steps, (before, after) => {
        const [from, to] = [compile({ steps: before }), compile({ steps: after })];
        for (const position of from.steps.keys()) {
          const landed = landing(from, to, position);
          expect(landed === null || to.steps.has(landed)).toBe(true);
          expect(landing(from, from, position)).toBe(position);
          if (to.steps.has(position)) expect(landed).toBe(position);
        }
      }),
    );
  });
});
