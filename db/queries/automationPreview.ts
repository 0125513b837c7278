import type { Definition } from '../../domain/automation/definition.ts';
import type { Criteria } from '../../domain/criteria/criteria.ts';
import { plain, type Session } from '../connection.ts';
import { countMatching, filterMatching, readMatchingPage } from './criteria.ts';

export const IGNORED_REASONS = ['already_entered', 'opted_out', 'bounced', 'suppressed'] as const;
export type IgnoredReason = (typeof IGNORED_REASONS)[number];

/** How many prospects, and some of them. */
export interface Sample {
  readonly count: number;
  readonly examples: readonly string[];
}

/** What somebody sees before an automation starts. */
export interface AutomationPreview {
  /** Who matches and would enter. */
  readonly affected: Sample;
  /** Who matches and would not enter, or would enter and be sent no marketing email; one prospect can have several. */
  readonly ignored: readonly (Sample & { readonly reason: IgnoredReason })[];
}

const EXAMPLES = 5;
const ENTERED_PAGE = 5_000;
const NO_ID = '00000000-0000-0000-0000-000000000000';
const ENTERED = plain(`
  select prospect_id as id from enrollment where automation_id = $1 and prospect_id > $2 order by prospect_id limit $3`);

/** Each reason for which marketing email is refused, as criteria; a prospect is named under the first that holds. */
const REFUSED: readonly (readonly [IgnoredReason, Criteria])[] = [
  ['opted_out', { field: 'emailOptOut', operator: 'equals', value: true }],
  ['bounced', { field: 'bounced', operator: 'equals', value: true }],
  ['suppressed', { suppressed: true }],
];

/** Counts who would enter an automation now, and who would be left out, with the reasons. */
export async function previewAutomation(
  on: Session,
  now: Date,
  automationId: string,
  { who }: Definition,
): Promise<AutomationPreview> {
  const entered = await enteredAndMatching(on, now, automationId, who);
  const matching = await countMatching(on, who, now);
  const examples = await readMatchingPage(on, who, now, null, EXAMPLES + ENTERED_PAGE);
  const ignored = [{ reason: 'already_entered' as const, count: entered.size, examples: [...entered] }];
  const earlier: Criteria[] = [];
  const samples: (Sample & { reason: IgnoredReason })[] = [];
  for (const [reason, refused] of REFUSED) {
    const criteria: Criteria = {
      all: [who, refused, ...(earlier.length > 0 ? [{ none: [...earlier] }] : [])],
    };
    samples.push({
      reason,
      count: await countMatching(on, criteria, now),
      examples: await readMatchingPage(on, criteria, now, null, EXAMPLES),
    });
    earlier.push(refused);
  }
  return {
    affected: {
      count: matching - entered.size,
      examples: examples.filter((id) => !entered.has(id)).slice(0, EXAMPLES),
    },
    ignored: [...ignored, ...samples]
      .filter(({ count }) => count > 0)
      .map((one) => ({ ...one, examples: one.examples.slice(0, EXAMPLES) })),
  };
}

async function enteredAndMatching(
  on: Session,
  now: Date,
  automationId: string,
  who: Criteria,
): Promise<Set<string>> {
  const found = new Set<string>();
  for (let after: string | null = NO_ID; after !== null; ) {
    const rows: { id: string }[] = await on.query<{ id: string }>(ENTERED, [
      automationId,
      after,
      ENTERED_PAGE,
    ]);
    const matching = await filterMatching(
      on,
      who,
      now,
      rows.map((row) => row.id),
    );
    for (const id of matching) found.add(id);
    after = rows.length < ENTERED_PAGE ? null : rows.at(-1)!.id;
  }
  return found;
}
