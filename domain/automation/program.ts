import type { Definition, Step } from './definition.ts';

/** The way through a definition: each step with what comes after it. */
export interface Program {
  /** Id of the first step, `null` where there is none. */
  readonly first: string | null;
  readonly steps: ReadonlyMap<string, Place>;
}

/** A step and where it leads; an if/else leads to the beginning of the branch that holds. */
export interface Place {
  readonly step: Step;
  /** Id of the step behind it, behind both branches of an if/else; `null` at the end. */
  readonly next: string | null;
  readonly branches: { readonly yes: string | null; readonly no: string | null } | null;
}

/** What was decided at a step: an if/else takes a branch, everything else goes on. */
export type Decision = 'on' | 'yes' | 'no';

/** Lays a definition out. Steps are told apart by their ids, so a position is the id of a step. */
export function compile(definition: Pick<Definition, 'steps'>): Program {
  const steps = new Map<string, Place>();
  const lay = (list: readonly Step[], behind: string | null): string | null => {
    let next = behind;
    for (const step of [...list].reverse()) {
      const branches = step.type === 'if' ? { yes: lay(step.yes, next), no: lay(step.no, next) } : null;
      steps.set(step.id, { step, next, branches });
      next = step.id;
    }
    return next;
  };
  return { first: lay(definition.steps, null), steps };
}

/**
 * Where an enrollment goes from a step.
 *
 * @returns id of the next step; `null` at the end, and behind a step that leaves
 */
export function nextStep(program: Program, position: string, decision: Decision): string | null {
  const place = program.steps.get(position);
  if (place === undefined) throw new RangeError(`there is no step ${position}`);
  if (place.step.type === 'leave') return null;
  if (decision === 'on' || place.branches === null) return place.next;
  return place.branches[decision];
}

/**
 * Where somebody inside lands who is moved to another version: at the step they stand before, where that version still
 * has it; else at the first step that lies ahead of them (in the branch `yes` of an if/else, then in its branch `no`, then
 * behind it) that it has; else at its end. What was done stays done: a step that was applied or skipped is passed over.
 */
export function landing(from: Program, to: Program, position: string | null): string | null {
  /** @param end where the branch that `at` stands in leads on */
  const search = (at: string | null, end: string | null): string | null => {
    if (at === null || at === end) return null;
    if (to.steps.has(at)) return at;
    const place = from.steps.get(at);
    if (place === undefined) return null;
    const { branches, next } = place;
    const within = branches && (search(branches.yes, next) ?? search(branches.no, next));
    return within ?? search(next, end);
  };
  return search(position, null);
}
