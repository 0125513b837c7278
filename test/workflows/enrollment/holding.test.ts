import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { plain } from '../../../db/connection.ts';
import { setFlags } from '../../../db/queries/flags.ts';
import { mergeProspects } from '../../../db/queries/prospectMerge.ts';
import { ORIGIN } from '../../support/account.ts';
import { shownSteps, stepsOfEnrollment } from '../../support/automating.ts';
import { type AutomationWorld, DAY, startAutomationWorld } from '../../support/automationWorld.ts';

let world: AutomationWorld;
beforeAll(async () => {
  world = await startAutomationWorld();
});
afterAll(() => world?.close());
afterEach(() => world.setting({ marketingPaused: false, frequencyCap: null, quietHours: null }));

async function mail(kind: 'marketing' | 'transactional' = 'marketing') {
  return [{ id: 'mail', type: 'sendEmail', emailId: await world.account.email(kind) }];
}

const hourOf = (at: Date, plus: number) =>
  `${String((at.getUTCHours() + plus + 24) % 24).padStart(2, '0')}:00`;

it('the kill switch: it waits, is not lost, and goes out once it is off; transactional mail passes', async () => {
  await world.setting({ marketingPaused: true });
  const { who, address } = await world.somebody();
  const { enrollmentId } = await world.enter(await mail(), { who });
  await world.shows(enrollmentId, 'mail: waiting (marketing_paused)');
  const other = await world.somebody();
  const passed = await world.enter(await mail('transactional'), { who: other.who });
  expect(await world.result(passed.enrollmentId)).toEqual({ state: 'done' });
  await world.pass(30 * DAY);
  expect(await shownSteps(world.account, enrollmentId)).toEqual(['mail: waiting (marketing_paused)']);
  expect(world.sending.mail.tries.get(address)).toBeUndefined();
  await world.setting({ marketingPaused: false });
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(world.account, enrollmentId)).toEqual(['mail: applied (delivered)']);
  expect(world.sending.mail.tries.get(address)).toBe(1);
});

it('I1: who opts out while the kill switch holds an email back does not get it afterwards', async () => {
  await world.setting({ marketingPaused: true });
  const { who, prospect, address } = await world.somebody();
  const { enrollmentId } = await world.enter(await mail(), { who });
  await world.shows(enrollmentId, 'mail: waiting (marketing_paused)');
  const at = await world.now();
  await world.account.db.transaction((tx) => setFlags(tx, ORIGIN, at, prospect.id, { emailOptOut: true }));
  await world.setting({ marketingPaused: false });
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(world.account, enrollmentId)).toEqual([
    expect.stringMatching(/^mail: skipped \(.*opt_out.*\)$/),
  ]);
  expect(world.sending.mail.tries.get(address)).toBeUndefined();
});

it('the frequency cap, over all automations: the next email waits until there is room again', async () => {
  await world.setting({ frequencyCap: { emails: 2, days: 7 } });
  const { who, address } = await world.somebody();
  for (let nth = 1; nth <= 2; nth += 1) {
    const early = await world.enter(await mail(), { who });
    expect(await world.result(early.enrollmentId)).toEqual({ state: 'done' });
    await world.pass(DAY);
  }
  const third = await world.enter(await mail(), { who });
  await world.shows(third.enrollmentId, 'mail: waiting (frequency_cap)');
  const transactional = await world.enter(await mail('transactional'), { who });
  expect(await world.result(transactional.enrollmentId)).toEqual({ state: 'done' });
  expect(await world.result(third.enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(world.account, third.enrollmentId)).toEqual(['mail: applied (delivered)']);
  const attempts = await world.account.db.query<{ at: Date }>(
    plain(`select first_attempt_at as at from send where recipient = $1 and kind = 'marketing' order by 1`),
    [address],
  );
  const [first, , last] = attempts.map(({ at }) => at.getTime()) as [number, number, number];
  expect(last - first).toBeGreaterThanOrEqual(7 * DAY * 1000);
  expect(last - first).toBeLessThan(7 * DAY * 1000 + 60_000);
});

it('the frequency cap counts what was sent to somebody who was merged into the prospect', async () => {
  await world.setting({ frequencyCap: { emails: 1, days: 7 } });
  const [loser, winner] = [await world.somebody(), await world.somebody()];
  const early = await world.enter(await mail(), { who: loser.who });
  expect(await world.result(early.enrollmentId)).toEqual({ state: 'done' });
  const at = await world.now();
  await world.account.db.transaction((tx) =>
    mergeProspects(tx, ORIGIN, at, winner.prospect.id, loser.prospect.id),
  );
  const late = await world.enter(await mail(), { who: winner.who });
  await world.shows(late.enrollmentId, 'mail: waiting (frequency_cap)');
  expect(await world.result(late.enrollmentId)).toEqual({ state: 'done' });
  expect(world.sending.mail.tries.get(winner.address)).toBe(1);
});

it('a cap that is lifted, and quiet hours that are taken back, hold nobody any longer', async () => {
  const at = await world.now();
  await world.setting({ frequencyCap: { emails: 1, days: 365 } });
  const { who } = await world.somebody();
  const first = await world.enter(await mail(), { who });
  expect(await world.result(first.enrollmentId)).toEqual({ state: 'done' });
  const { enrollmentId } = await world.enter(await mail(), { who });
  await world.shows(enrollmentId, 'mail: waiting (frequency_cap)');
  await world.setting({
    frequencyCap: null,
    quietHours: { from: hourOf(at, -1), to: hourOf(at, 20), timeZone: 'UTC' },
  });
  await world.shows(enrollmentId, 'mail: waiting (quiet_hours)');
  await world.setting({ quietHours: null });
  await world.shows(enrollmentId, 'mail: applied (delivered)');
  expect((await world.now()).getTime() - at.getTime()).toBeLessThan(3600_000);
});

it('quiet hours on the clock of the prospect', async () => {
  const at = await world.now();
  await world.setting({ quietHours: { from: hourOf(at, -1), to: hourOf(at, 2), timeZone: 'UTC' } });
  const { who } = await world.somebody();
  const { enrollmentId } = await world.enter(await mail(), { who });
  await world.shows(enrollmentId, 'mail: waiting (quiet_hours)');
  // Where it is a quarter of a day later, these hours are over.
  const elsewhere = await world.somebody({ timeZone: 'Etc/GMT-6' });
  const awake = await world.enter(await mail(), { who: elsewhere.who });
  expect(await world.result(awake.enrollmentId)).toEqual({ state: 'done' });
  await world.shows(enrollmentId, 'mail: waiting (quiet_hours)');
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  const [step] = await stepsOfEnrollment(world.account, enrollmentId);
  expect(step!.at.toISOString().slice(11, 16)).toBe(hourOf(at, 2));
});

it('outside of the run hours of its automation an action waits for them, and is not lost', async () => {
  const at = await world.now();
  const { who, prospect } = await world.somebody();
  const { enrollmentId } = await world.enter(
    [
      { id: 'rest', type: 'wait', seconds: 2 * 3600 },
      { id: 'mark', type: 'setField', field: 'title', value: 'went on' },
    ],
    { who, when: { timeZone: 'UTC', runHours: { from: hourOf(at, 0), to: hourOf(at, 1) } } },
  );
  await world.shows(enrollmentId, 'rest: waiting (time)');
  await world.pass(2 * 3600);
  await world.shows(enrollmentId, 'mark: waiting (run_hours)');
  expect(await world.prospectRow(prospect.id)).toMatchObject({ title: null });
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  const [, mark] = await stepsOfEnrollment(world.account, enrollmentId);
  expect(mark!.at.toISOString().slice(11, 16)).toBe(hourOf(at, 0));
});
