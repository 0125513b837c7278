import { randomBytes } from 'node:crypto';
import { plain } from '../../db/connection.ts';
import { changeState, createAutomation, type Transition } from '../../db/queries/automations.ts';
import { readCustomFields } from '../../db/queries/customFields.ts';
import { type Definition, parseDefinition } from '../../domain/automation/definition.ts';
import { ORIGIN, type TestAccount } from './account.ts';

/** What stands of a step of an enrollment. */
export interface TestStep extends Record<string, unknown> {
  step_id: string;
  state: string;
  reason: string | null;
  waiting_until: Date | null;
  begun_at: Date;
  at: Date;
}

export interface TestEnrollment extends Record<string, unknown> {
  id: string;
  state: string;
  reason: string | null;
  position: string | null;
  version: number;
  run: number;
  prospect_id: string;
}

/** Who entered, by what they are asked for: everybody whose address begins so. */
export const addressBegins = (start: string) => ({ field: 'email', operator: 'startsWith', value: start });

/** Reads a definition that is known to be good. */
export async function definitionOf(
  account: TestAccount,
  steps: readonly object[],
  options: { who?: object; when?: object } = {},
): Promise<Definition> {
  const parsed = parseDefinition(
    {
      who: options.who ?? { all: [] },
      steps,
      when: { mode: 'once', timeZone: 'Europe/Berlin', ...options.when },
    },
    await readCustomFields(account.db),
  );
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.definition;
}

/** A draft. */
export async function newAutomation(
  account: TestAccount,
  steps: readonly object[],
  options: { who?: object; when?: object } = {},
): Promise<string> {
  const name = `Automation ${randomBytes(6).toString('hex')}`;
  const definition = await definitionOf(account, steps, options);
  const id = await createAutomation(account.db, new Date(), name, definition, 'secret');
  return id!;
}

/** Activates, pauses, resumes or stops it. */
export async function transition(
  account: TestAccount,
  id: string,
  what: Transition,
  now = new Date(),
): Promise<void> {
  const changed = await account.db.transaction((tx) => changeState(tx, ORIGIN, now, id, what));
  if (changed !== 'done') throw new Error(changed);
}

export async function enrollmentsOf(account: TestAccount, automationId: string): Promise<TestEnrollment[]> {
  return account.db.query<TestEnrollment>(
    plain('select * from enrollment where automation_id = $1 order by prospect_id'),
    [automationId],
  );
}

/** Its steps in the order in which they were begun. */
export async function stepsOfEnrollment(account: TestAccount, enrollmentId: string): Promise<TestStep[]> {
  return account.db.query<TestStep>(
    plain('select * from enrollment_step where enrollment_id = $1 order by begun_at, at'),
    [enrollmentId],
  );
}

/** `id: state` or `id: state (reason)` of each step. */
export async function shownSteps(account: TestAccount, enrollmentId: string): Promise<string[]> {
  const steps = await stepsOfEnrollment(account, enrollmentId);
  return steps.map(
    ({ step_id: id, state, reason }) => `${id}: ${state}${reason === null ? '' : ` (${reason})`}`,
  );
}
