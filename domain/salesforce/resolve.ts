import type { SyncDirection } from './words.ts';

/** What each side is to have, and what both are taken to have had the next time. */
export interface Resolved<Value> {
  readonly ours: Value;
  readonly theirs: Value;
  /** The common base from now on. */
  readonly base: Value;
}

/** Everything that decides about Email Opt Out of one record. */
export interface OptOutFacts {
  /** What both sides had when they were last in step; `null` where they never were, or the record was restored. */
  readonly base: boolean | null;
  readonly ours: boolean;
  readonly theirs: boolean;
  /** Ours was given, or given anew, after the base was taken. */
  readonly givenSince: boolean;
  /** Ours was given by the person, by link or mail. */
  readonly byPerson: boolean;
  /** Another record of the same person says Yes. */
  readonly otherRecordSaysYes: boolean;
}

export interface OptOutRules {
  readonly direction: SyncDirection;
  /** Whether a No from Salesforce takes back an opt-out that the person gave by link or mail. */
  readonly mayTakeBack: boolean;
}

/**
 * Email Opt Out of both sides (SPEC.md, Salesforce). Where only one side has changed since the base, its value holds.
 * The opt-out wins where both have changed, where there is no common base, and where another record of the person
 * still says Yes. A No from Salesforce takes nothing back that the person gave, unless the account lets it.
 *
 * In one direction alone the other side is never written; a No goes that way only where it takes a Yes back that both
 * sides had, so that no side ever loses an opt-out that it alone knows.
 */
export function resolveOptOut(facts: OptOutFacts, rules: OptOutRules): Resolved<boolean> {
  const { base, ours, theirs } = facts;
  const { direction } = rules;
  const both = ours === theirs ? ours : winner(facts, rules);
  if (direction === 'both') return { ours: both, theirs: both, base: both };
  if (direction === 'to_salesforce') {
    const written = ours || (theirs && base !== true);
    return { ours, theirs: written, base: ours };
  }
  const taken = theirs || (ours && (base !== true || both));
  return { ours: taken, theirs, base: theirs };
}

function winner(facts: OptOutFacts, rules: OptOutRules): boolean {
  if (facts.base !== true) return true;
  if (facts.theirs) return false;
  const standsByPerson = facts.byPerson && !rules.mayTakeBack;
  return facts.givenSince || facts.otherRecordSaysYes || standsByPerson;
}

/** Bounced of both sides: what changed since the base holds, and without a base Yes does. */
export function resolveBounced(facts: {
  readonly base: boolean | null;
  readonly ours: boolean;
  readonly theirs: boolean;
}): Resolved<boolean> {
  const { base, ours, theirs } = facts;
  const value = ours === theirs ? ours : base !== true;
  return { ours: value, theirs: value, base: value };
}

/** What decides about a mapped field. Values are compared in the form that Heed keeps them in; `null` is empty. */
export interface ValueFacts<Value> {
  readonly direction: SyncDirection;
  /** `keep`: an empty value never takes the place of another. `clear`: emptying a field empties the other side's too. */
  readonly empty: EmptyRule;
  readonly ours: Value | null;
  readonly theirs: Value | null;
  /** Whether each side has changed since the base; both, where there is none. */
  readonly oursChanged: boolean;
  readonly theirsChanged: boolean;
  /** Whether ours was changed later than theirs. */
  readonly oursNewer: boolean;
}

export const EMPTY_RULES = ['keep', 'clear'] as const;
export type EmptyRule = (typeof EMPTY_RULES)[number];

/** Values of both sides: the changed one holds, and where both have changed, the newer. */
export function resolveValue<Value>(facts: ValueFacts<Value>): Omit<Resolved<Value | null>, 'base'> {
  const { ours, theirs, direction, empty, oursChanged, theirsChanged } = facts;
  if (ours === theirs) return { ours, theirs };
  if (direction === 'to_salesforce') {
    const goes = oursChanged && !(ours === null && empty === 'keep');
    return { ours, theirs: goes ? ours : theirs };
  }
  if (direction === 'from_salesforce') {
    const comes = theirsChanged && !(theirs === null && empty === 'keep');
    return { ours: comes ? theirs : ours, theirs };
  }
  const oursHolds = oursChanged && (!theirsChanged || facts.oursNewer);
  let value = oursHolds ? ours : theirs;
  if (value === null && empty === 'keep') value = oursHolds ? theirs : ours;
  return { ours: value, theirs: value };
}
