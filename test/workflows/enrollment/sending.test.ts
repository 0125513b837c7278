import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { plain } from '../../../db/connection.ts';
import { setFlags } from '../../../db/queries/flags.ts';
import { gate } from '../../../db/queries/gate.ts';
import { clearHold, raiseHold } from '../../../db/queries/holds.ts';
import { deleteProspect } from '../../../db/queries/prospects.ts';
import { cancelSend } from '../../../db/queries/sends.ts';
import { addSuppressions } from '../../../db/queries/suppressions.ts';
import { enrollmentId as workflowIdOf } from '../../../domain/processes.ts';
import { enrollmentStanding } from '../../../workflows/enrollment.ts';
import { ORIGIN } from '../../support/account.ts';
import { enrollmentsOf, shownSteps, stepsOfEnrollment, transition } from '../../support/automating.ts';
import { type AutomationWorld, DAY, startAutomationWorld } from '../../support/automationWorld.ts';
import { until } from '../../support/until.ts';

let world: AutomationWorld;
beforeAll(async () => {
  world = await startAutomationWorld();
});
afterAll(() => world?.close());
afterEach(() => world.sending.mail.answer(() => null));

const mark = { id: 'mark', type: 'setField', field: 'title', value: 'went on' };

async function sendsOf(enrollmentId: string) {
  return world.account.db.query(
    plain('select state, outcome, step_id, attempt_count from send where enrollment_id = $1'),
    [enrollmentId],
  );
}

it('Applied by what came of the first attempt', async () => {
  const { who, address } = await world.somebody();
  const { enrollmentId } = await world.enter(
    [{ id: 'hello', type: 'sendEmail', emailId: await world.account.email() }],
    { who },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(world.account, enrollmentId)).toEqual(['hello: applied (delivered)']);
  expect(world.sending.mail.accepted.filter((to) => to === address)).toHaveLength(1);
  expect(await sendsOf(enrollmentId)).toEqual([
    { state: 'final', outcome: 'delivered', step_id: 'hello', attempt_count: 1 },
  ]);
});

it('I1: who opts out between two Send Email steps gets no second email, and goes on', async () => {
  const { who, prospect, address } = await world.somebody();
  const emailId = await world.account.email();
  const { enrollmentId } = await world.enter(
    [
      { id: 'first', type: 'sendEmail', emailId },
      { id: 'pause', type: 'wait', seconds: 3 * DAY },
      { id: 'second', type: 'sendEmail', emailId },
      mark,
    ],
    { who },
  );
  await world.shows(enrollmentId, 'pause: waiting (time)');
  await world.account.db.transaction((tx) =>
    setFlags(tx, ORIGIN, new Date(), prospect.id, { emailOptOut: true }),
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(world.account, enrollmentId)).toEqual([
    'first: applied (delivered)',
    'pause: applied',
    expect.stringMatching(/^second: skipped \(.*opt_out.*\)$/),
    'mark: applied',
  ]);
  expect(world.sending.mail.tries.get(address)).toBe(1);
  expect(await world.prospectRow(prospect.id)).toMatchObject({ title: 'went on' });
  const standing = await world.client.workflow
    .getHandle(workflowIdOf(enrollmentId, 1))
    .query(enrollmentStanding);
  expect(standing.steps[2]).toEqual({
    id: 'second',
    state: 'skipped',
    reason: expect.stringContaining('opt_out'),
  });
});

it('I1: who unsubscribed from a list gets nothing that is sent to it, and what is sent to none', async () => {
  const { account } = world;
  const { who, prospect, address } = await world.somebody();
  const [listId, emailId] = [await account.list(), await account.email()];
  await account.db.transaction((tx) =>
    addSuppressions(tx, ORIGIN, new Date(), [{ addressId: prospect.addressId, reason: 'opt_out', listId }]),
  );
  const { enrollmentId } = await world.enter(
    [
      { id: 'listed', type: 'sendEmail', emailId, listId },
      { id: 'unlisted', type: 'sendEmail', emailId },
    ],
    { who },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(account, enrollmentId)).toEqual([
    expect.stringMatching(/^listed: skipped \(.*opt_out.*\)$/),
    'unlisted: applied (delivered)',
  ]);
  expect(world.sending.mail.tries.get(address)).toBe(1);
});

it('an email that a person cancels before its first attempt is Skipped, without their words', async () => {
  const { account } = world;
  const destination = world.sending.mailer.destinationOf('example.net');
  await raiseHold(account.db, await world.now(), destination, 'relay_unavailable', null);
  const { who, address } = await world.somebody();
  const { enrollmentId } = await world.enter(
    [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }, mark],
    { who },
  );
  await world.shows(enrollmentId, 'mail: waiting (first_attempt)');
  const [send] = await account.db.query<{ id: string }>(
    plain('select id from send where enrollment_id = $1'),
    [enrollmentId],
  );
  const at = await world.now();
  await account.db.transaction((tx) =>
    cancelSend(tx, { ...ORIGIN, reason: `${address} asked` }, at, send!.id),
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(account, enrollmentId)).toEqual(['mail: skipped (cancelled)', 'mark: applied']);
  await clearHold(account.db, await world.now(), destination);
});

it('goes on after the first attempt that came to something, whatever was broken off before it', async () => {
  const { account } = world;
  const destination = world.sending.mailer.destinationOf('example.net');
  await raiseHold(account.db, await world.now(), destination, 'relay_unavailable', null);
  const { who, prospect, address } = await world.somebody();
  const { enrollmentId } = await world.enter(
    [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }, mark],
    { who },
  );
  const send = await until('it is held back', async () => {
    const [row] = await account.db.query<{ id: string; state: string }>(
      plain('select id, state from send where enrollment_id = $1'),
      [enrollmentId],
    );
    return row?.state === 'held' && row;
  });
  // A gate opens, its worker is lost, and before the next one comes marketing email is paused.
  const asked = {
    sendId: send.id,
    run: 1,
    prospectId: prospect.id,
    addressId: prospect.addressId,
    recipientDomain: 'example.net',
    trigger: 'retry_now' as const,
    now: await world.now(),
  };
  expect(await gate(account.db, asked)).toMatchObject({ kind: 'open' });
  await world.setting({ marketingPaused: true });
  expect(await gate(account.db, asked)).toMatchObject({ kind: 'held' });
  await clearHold(account.db, await world.now(), destination);
  await world.setting({ marketingPaused: false });
  await until('it is delivered', async () => (await sendsOf(enrollmentId))[0]!.outcome === 'delivered');
  expect(await sendsOf(enrollmentId)).toMatchObject([{ attempt_count: 2 }]);
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(account, enrollmentId)).toEqual(['mail: applied (delivered)', 'mark: applied']);
  expect(world.sending.mail.tries.get(address)).toBe(1);
});

it('I1: an automation that opts its own prospect out sends nothing after that', async () => {
  const { who, address } = await world.somebody();
  const { enrollmentId } = await world.enter(
    [
      { id: 'no', type: 'setField', field: 'emailOptOut', value: true },
      { id: 'mail', type: 'sendEmail', emailId: await world.account.email() },
    ],
    { who },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(world.account, enrollmentId)).toEqual([
    'no: applied',
    expect.stringMatching(/^mail: skipped \(.*opt_out.*\)$/),
  ]);
  expect(world.sending.mail.tries.get(address)).toBeUndefined();
});

it('goes on after the first attempt of a soft bounce, not after five days', async () => {
  const { who, address } = await world.somebody();
  world.sending.mail.answer((to) => (to === address ? '452 4.2.2 The recipient mailbox is full' : null));
  const began = await world.now();
  const { enrollmentId } = await world.enter(
    [{ id: 'mail', type: 'sendEmail', emailId: await world.account.email() }, mark],
    { who },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect((await world.now()).getTime() - began.getTime()).toBeLessThan(5 * 60_000);
  expect(await shownSteps(world.account, enrollmentId)).toEqual([
    'mail: applied (soft_bounce)',
    'mark: applied',
  ]);
  expect(await sendsOf(enrollmentId)).toMatchObject([{ state: 'waiting', attempt_count: 1 }]);
  // The send itself goes on, though its enrollment is over.
  world.sending.mail.answer(() => null);
  await world.pass(3600);
  await until('it is delivered', async () => (await sendsOf(enrollmentId))[0]!.outcome === 'delivered');
  expect(await shownSteps(world.account, enrollmentId)).toEqual([
    'mail: applied (soft_bounce)',
    'mark: applied',
  ]);
});

it('a dead mailbox is Applied as bounced, and the next Send Email is Skipped', async () => {
  const { who, address } = await world.somebody();
  world.sending.mail.answer((to) => (to === address ? '550 5.1.1 No such user' : null));
  const emailId = await world.account.email();
  const { enrollmentId } = await world.enter(
    [{ id: 'mail', type: 'sendEmail', emailId }, { id: 'again', type: 'sendEmail', emailId }, mark],
    { who },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(world.account, enrollmentId)).toEqual([
    'mail: applied (bounced)',
    expect.stringMatching(/^again: skipped \(.*bounced.*\)$/),
    'mark: applied',
  ]);
  expect(world.sending.mail.tries.get(address)).toBe(1);
});

it('ninety days of waits and emails: each email once, each wait as long as it says', async () => {
  const { who, address } = await world.somebody();
  const emailId = await world.account.email();
  const steps = Array.from({ length: 9 }, (_, index) => [
    { id: `mail${index}`, type: 'sendEmail', emailId },
    { id: `wait${index}`, type: 'wait', seconds: 10 * DAY },
  ]).flat();
  const began = await world.now();
  const { enrollmentId } = await world.enter(steps, { who });
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect((await world.now()).getTime() - began.getTime()).toBeGreaterThanOrEqual(90 * DAY * 1000);
  expect(world.sending.mail.accepted.filter((to) => to === address)).toHaveLength(9);
  const rows = await stepsOfEnrollment(world.account, enrollmentId);
  expect(rows).toHaveLength(18);
  for (const row of rows.filter(({ step_id: id }) => id.startsWith('wait'))) {
    const lasted = row.at.getTime() - row.begun_at.getTime();
    expect(lasted).toBeGreaterThanOrEqual(10 * DAY * 1000);
    expect(lasted).toBeLessThan(10 * DAY * 1000 + 60_000);
  }
}, 120_000);

it('I2: somebody who was deleted and created again gets no second copy of a step', async () => {
  const { account } = world;
  const { who, prospect, address } = await world.somebody();
  const { automationId, enrollmentId } = await world.enter(
    [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }],
    { who, when: { mode: 'continuous' } },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  await account.db.transaction((tx) => deleteProspect(tx, ORIGIN, new Date(), prospect.id, null));
  const again = await account.prospect(address);
  const entered = await until('the new prospect has entered', async () =>
    (await enrollmentsOf(account, automationId)).find((row) => row.prospect_id === again.id),
  );
  expect(await world.result(entered.id)).toEqual({ state: 'done' });
  expect(await shownSteps(account, entered.id)).toEqual(['mail: skipped (duplicate)']);
  expect(world.sending.mail.tries.get(address)).toBe(1);
  await transition(account, automationId, 'stop');
});
