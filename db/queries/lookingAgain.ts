import type { Definition } from '../../domain/automation/definition.ts';
import type { AutomationState } from '../../domain/automation/words.ts';
import { type Condition, conditionsOf } from '../../domain/criteria/criteria.ts';
import { plain, type Transaction } from '../connection.ts';
import { beginRun } from './automations.ts';
import { readDynamicLists } from './criteria.ts';
import type { DynamicLists } from './criteriaSql.ts';
import { addToOutbox, automationEntry } from './outbox.ts';

/*
 * Whoever changes is looked at by running continuous automations, by triggers. These are the changes that are nobody's in
 * particular and may still make many people match: everybody is looked at again, page by page.
 */

const CONTINUOUS = plain(`
  select a.id, v.definition from automation a
  join automation_version v on v.automation_id = a.id and v.version = a.current_version
  where a.mode = 'continuous' and a.state = 'active' order by a.id`);
const LOCK = plain('select state, run from automation where id = $1 for no key update');

/** The criteria of a dynamic list have changed. */
export async function lookAgainForList(tx: Transaction, now: Date, listId: string): Promise<void> {
  await lookAgain(tx, now, (_, lists) => lists.has(listId));
}

/** Domains have been suppressed, or are no longer. */
export async function lookAgainForDomains(tx: Transaction, now: Date): Promise<void> {
  await lookAgain(tx, now, (conditions) => conditions.some(asksForDomains));
}

function asksForDomains(condition: Condition): boolean {
  if (!('suppressed' in condition)) return false;
  const { reasons } = condition;
  return reasons === undefined || reasons.includes('domain') || reasons.includes('manual');
}

async function lookAgain(
  tx: Transaction,
  now: Date,
  concerns: (conditions: readonly Condition[], lists: DynamicLists) => boolean,
): Promise<void> {
  for (const { id, definition } of await tx.query<{ id: string; definition: Definition }>(CONTINUOUS)) {
    const lists = await readDynamicLists(tx, definition.who);
    if (!concerns([definition.who, ...lists.values()].flatMap(conditionsOf), lists)) continue;
    const [row] = await tx.query<{ state: AutomationState; run: number }>(LOCK, [id]);
    // Whoever resumes one that was paused meanwhile looks at everybody, too.
    if (row?.state !== 'active') continue;
    const messages = [
      { type: 'wakeAutomation' as const, automationId: id, run: row.run },
      await beginRun(tx, now, id, true),
    ];
    await addToOutbox(tx, now, messages.map(automationEntry));
  }
}
