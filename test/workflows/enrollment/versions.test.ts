import { afterAll, beforeAll, expect, it } from 'vitest';
import { addAutomationVersion } from '../../../db/queries/automations.ts';
import { putEnrollmentBack, removeEnrollment } from '../../../db/queries/enrollmentChanges.ts';
import { ORIGIN } from '../../support/account.ts';
import { definitionOf, enrollmentsOf, shownSteps } from '../../support/automating.ts';
import { type AutomationWorld, DAY, startAutomationWorld } from '../../support/automationWorld.ts';
import { until } from '../../support/until.ts';

let world: AutomationWorld;
beforeAll(async () => {
  world = await startAutomationWorld();
});
afterAll(() => world?.close());

const wait = { id: 'wait', type: 'wait', seconds: DAY };
const set = (value: string) => ({ id: `set-${value}`, type: 'setField', field: 'title', value });

async function newVersion(automationId: string, who: object, steps: object[], moveEnrolled: boolean) {
  const definition = await definitionOf(world.account, steps, { who });
  const at = await world.now();
  await world.account.db.transaction((tx) =>
    addAutomationVersion(tx, ORIGIN, at, automationId, definition, moveEnrolled),
  );
}

function isAt(automationId: string, version: number) {
  return until(`it is at version ${version}`, async () => {
    const [row] = await enrollmentsOf(world.account, automationId);
    return row!.version === version;
  });
}

it.each([
  [false, ['first: applied', 'wait: applied', 'set-old: applied'], 'old'],
  [true, ['first: applied', 'wait: applied', 'set-new: applied'], 'new'],
])('an edit while somebody is inside, moved: %s', async (move, expected, title) => {
  const { who, prospect } = await world.somebody();
  const first = { id: 'first', type: 'setField', field: 'city', value: 'Graz' };
  const { automationId, enrollmentId } = await world.enter([first, wait, set('old')], { who });
  await world.shows(enrollmentId, 'wait: waiting (time)');
  // The step that was applied already stands behind the wait in the new version: it is not applied again.
  await newVersion(automationId, who, [wait, { ...first, value: 'Linz' }, set('new')], move);
  await isAt(automationId, move ? 2 : 1);
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect((await shownSteps(world.account, enrollmentId)).toSorted()).toEqual(expected.toSorted());
  expect(await world.prospectRow(prospect.id)).toMatchObject({ title, city: 'Graz' });
});

it('who enters after the edit goes by the new version, whoever stays on the old one', async () => {
  const [old, young] = [await world.somebody(), await world.somebody()];
  const { automationId, enrollmentId } = await world.enter([wait, set('old')], { who: old.who });
  await world.shows(enrollmentId, 'wait: waiting (time)');
  await newVersion(automationId, { any: [old.who, young.who] }, [wait, set('new')], false);
  const entered = await until('the other one has entered', async () =>
    (await enrollmentsOf(world.account, automationId)).find((row) => row.prospect_id === young.prospect.id),
  );
  expect(entered.version).toBe(2);
  for (const id of [enrollmentId, entered.id]) expect(await world.result(id)).toEqual({ state: 'done' });
  expect(await world.prospectRow(old.prospect.id)).toMatchObject({ title: 'old' });
  expect(await world.prospectRow(young.prospect.id)).toMatchObject({ title: 'new' });
});

it('who stands at a step that is gone lands at the next one that is still there', async () => {
  const { who, prospect } = await world.somebody();
  const { automationId, enrollmentId } = await world.enter([wait, set('old'), set('kept')], { who });
  await world.shows(enrollmentId, 'wait: waiting (time)');
  await newVersion(automationId, who, [set('new'), set('kept')], true);
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect((await shownSteps(world.account, enrollmentId)).toSorted()).toEqual([
    'set-kept: applied',
    'wait: skipped (moved)',
  ]);
  expect(await world.prospectRow(prospect.id)).toMatchObject({ title: 'kept' });
});

it('where nothing that lies ahead is still there, the enrollment is done', async () => {
  const { who, prospect } = await world.somebody();
  const { automationId, enrollmentId } = await world.enter([wait, set('old')], { who });
  await world.shows(enrollmentId, 'wait: waiting (time)');
  await newVersion(automationId, who, [set('new')], true);
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(world.account, enrollmentId)).toEqual(['wait: skipped (moved)']);
  expect(await world.prospectRow(prospect.id)).toMatchObject({ title: null });
});

it('a wait that is changed counts from when it began', async () => {
  const { who } = await world.somebody();
  const { automationId, enrollmentId } = await world.enter([{ ...wait, seconds: 30 * DAY }], { who });
  await world.shows(enrollmentId, 'wait: waiting (time)');
  const began = await world.now();
  await world.pass(2 * DAY);
  await newVersion(automationId, who, [{ ...wait, seconds: DAY }], true);
  await world.shows(enrollmentId, 'wait: applied');
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect((await world.now()).getTime() - began.getTime()).toBeLessThan(3 * DAY * 1000);
});

it('who was taken out is moved, too, and goes on in the new version once put back', async () => {
  const { who, prospect } = await world.somebody();
  const { automationId, enrollmentId } = await world.enter([wait, set('old')], { who });
  await world.shows(enrollmentId, 'wait: waiting (time)');
  const change = async (what: typeof removeEnrollment) => {
    const at = await world.now();
    return world.account.db.transaction((tx) => what(tx, ORIGIN, at, enrollmentId));
  };
  expect(await change(removeEnrollment)).toBe('done');
  await newVersion(automationId, who, [wait, set('new')], true);
  await isAt(automationId, 2);
  expect(await change(putEnrollmentBack)).toBe('done');
  expect(await world.result(enrollmentId, 2)).toEqual({ state: 'done' });
  expect(await world.prospectRow(prospect.id)).toMatchObject({ title: 'new' });
});
