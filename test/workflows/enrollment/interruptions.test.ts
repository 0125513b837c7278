import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../../db/connection.ts';
import { putEnrollmentBack, removeEnrollment } from '../../../db/queries/enrollmentChanges.ts';
import { clearHold, raiseHold } from '../../../db/queries/holds.ts';
import { eraseProspect } from '../../../db/queries/prospectErase.ts';
import { mergeProspects } from '../../../db/queries/prospectMerge.ts';
import { deleteProspect } from '../../../db/queries/prospects.ts';
import { enrollmentId as workflowIdOf } from '../../../domain/processes.ts';
import { ORIGIN } from '../../support/account.ts';
import { enrollmentsOf, shownSteps, stepsOfEnrollment, transition } from '../../support/automating.ts';
import { type AutomationWorld, DAY, startAutomationWorld } from '../../support/automationWorld.ts';
import { until } from '../../support/until.ts';

let world: AutomationWorld;
beforeAll(async () => {
  world = await startAutomationWorld();
});
afterAll(() => world?.close());

const wait = { id: 'wait', type: 'wait', seconds: DAY };
const mark = { id: 'mark', type: 'setField', field: 'title', value: 'done' };
const steps = [wait, mark];

async function change(what: typeof removeEnrollment, enrollmentId: string) {
  const at = await world.now();
  return world.account.db.transaction((tx) => what(tx, ORIGIN, at, enrollmentId));
}

async function enrollmentRun(enrollmentId: string): Promise<number> {
  const [row] = await world.account.db.query(plain('select run from enrollment where id = $1'), [
    enrollmentId,
  ]);
  return row!.run;
}

describe('pausing and stopping the automation', () => {
  it('a paused automation suspends, a resumed one goes on: each action once', async () => {
    const { who, prospect } = await world.somebody();
    const { automationId, enrollmentId } = await world.enter(steps, { who });
    await world.shows(enrollmentId, 'wait: waiting (time)');
    await transition(world.account, automationId, 'pause', await world.now());
    await world.pass(2 * DAY);
    await world.shows(enrollmentId, 'wait: suspended (automation_paused)');
    expect(await world.prospectRow(prospect.id)).toMatchObject({ title: null });
    await transition(world.account, automationId, 'resume', await world.now());
    expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
    expect(await shownSteps(world.account, enrollmentId)).toEqual(['wait: applied', 'mark: applied']);
  });

  it('one that is resumed within a wait is running again, and the wait is no longer for it', async () => {
    const { who } = await world.somebody();
    const { automationId, enrollmentId } = await world.enter(
      [{ id: 'hour', type: 'wait', seconds: 3600 }, ...steps],
      { who },
    );
    await world.shows(enrollmentId, 'hour: waiting (time)');
    await transition(world.account, automationId, 'pause', await world.now());
    await world.pass(2 * 3600);
    await world.shows(enrollmentId, 'hour: suspended (automation_paused)');
    await transition(world.account, automationId, 'resume', await world.now());
    await world.shows(enrollmentId, 'wait: waiting (time)');
    const [row] = await enrollmentsOf(world.account, automationId);
    expect(row).toMatchObject({ state: 'running' });
    expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
    const [hour] = await stepsOfEnrollment(world.account, enrollmentId);
    // The pause fell within the wait's hour and the next one: waits run on while an automation is paused.
    expect(hour!.at.getTime() - hour!.begun_at.getTime()).toBeLessThan(2.5 * 3600_000);
  });

  it('a stopped one ends what waits in it, and nobody can be put back', async () => {
    const { who, prospect } = await world.somebody();
    const { automationId, enrollmentId } = await world.enter(steps, { who });
    const other = await world.enter(steps, { who });
    await world.shows(enrollmentId, 'wait: waiting (time)');
    await world.shows(other.enrollmentId, 'wait: waiting (time)');
    expect(await change(removeEnrollment, other.enrollmentId)).toBe('done');
    for (const id of [automationId, other.automationId])
      await transition(world.account, id, 'stop', await world.now());
    expect(await world.result(enrollmentId)).toEqual({ state: 'stopped' });
    expect(await shownSteps(world.account, enrollmentId)).toEqual(['wait: suspended (time)']);
    expect(await change(putEnrollmentBack, other.enrollmentId)).toBe('automation_stopped');
    await world.pass(2 * DAY);
    expect(await world.prospectRow(prospect.id)).toMatchObject({ title: null });
  });
});

describe('taking a prospect out and putting it back', () => {
  it('who is taken out does nothing more; who is put back does what was not applied, and nothing twice', async () => {
    const { who, prospect, address } = await world.somebody();
    const { enrollmentId } = await world.enter(
      [{ id: 'mail', type: 'sendEmail', emailId: await world.account.email() }, ...steps],
      { who },
    );
    await world.shows(enrollmentId, 'wait: waiting (time)');
    expect(await change(removeEnrollment, enrollmentId)).toBe('done');
    expect(await world.result(enrollmentId)).toEqual({ state: 'removed' });
    expect(await change(removeEnrollment, enrollmentId)).toBe('wrong_state');
    await world.pass(2 * DAY);
    expect(await world.prospectRow(prospect.id)).toMatchObject({ title: null });
    // Clicked twice, at once and one after the other: one of them counts.
    const clicks = [change(putEnrollmentBack, enrollmentId), change(putEnrollmentBack, enrollmentId)];
    expect((await Promise.all(clicks)).toSorted()).toEqual(['done', 'wrong_state']);
    expect(await change(putEnrollmentBack, enrollmentId)).toBe('wrong_state');
    expect(await world.result(enrollmentId, 2)).toEqual({ state: 'done' });
    expect(await shownSteps(world.account, enrollmentId)).toEqual([
      'mail: applied (delivered)',
      'wait: applied',
      'mark: applied',
    ]);
    expect(world.sending.mail.tries.get(address)).toBe(1);
  });

  it('who is put back before the first workflow was told has one workflow, not two', async () => {
    const { account, client } = world;
    const { who } = await world.somebody();
    const { enrollmentId } = await world.enter(steps, { who });
    await world.shows(enrollmentId, 'wait: waiting (time)');
    await account.db.transaction(async (tx) => {
      expect(await removeEnrollment(tx, ORIGIN, new Date(), enrollmentId)).toBe('done');
      expect(await putEnrollmentBack(tx, ORIGIN, new Date(), enrollmentId)).toBe('done');
    });
    const first = client.workflow.getHandle(workflowIdOf(enrollmentId, 1));
    expect(await first.result()).toEqual({ state: 'superseded' });
    expect(await world.result(enrollmentId, 2)).toEqual({ state: 'done' });
    expect(await enrollmentRun(enrollmentId)).toBe(2);
  });

  it('an email that waits for its first attempt is cancelled, and sent once after putting back', async () => {
    const { account } = world;
    const { who, address } = await world.somebody();
    const destination = world.sending.mailer.destinationOf('example.net');
    await raiseHold(account.db, await world.now(), destination, 'relay_unavailable', null);
    const { enrollmentId } = await world.enter(
      [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }, mark],
      { who },
    );
    await world.shows(enrollmentId, 'mail: waiting (first_attempt)');
    expect(await change(removeEnrollment, enrollmentId)).toBe('done');
    expect(await world.result(enrollmentId)).toEqual({ state: 'removed' });
    const state = async () => {
      const [send] = await account.db.query(plain('select outcome from send where enrollment_id = $1'), [
        enrollmentId,
      ]);
      return send!.outcome;
    };
    expect(await state()).toBe('cancelled');
    await clearHold(account.db, await world.now(), destination);
    await world.pass(2 * DAY);
    expect(world.sending.mail.tries.get(address)).toBeUndefined();
    expect(await change(putEnrollmentBack, enrollmentId)).toBe('done');
    expect(await world.result(enrollmentId, 2)).toEqual({ state: 'done' });
    expect(await state()).toBe('delivered');
    expect(world.sending.mail.accepted.filter((to) => to === address)).toHaveLength(1);
  });
});

describe('I4: what becomes of the prospect', () => {
  it('a deleted prospect is in no automation any more', async () => {
    const { who, prospect } = await world.somebody();
    const { enrollmentId } = await world.enter(steps, { who });
    await world.shows(enrollmentId, 'wait: waiting (time)');
    await world.account.db.transaction((tx) => deleteProspect(tx, ORIGIN, new Date(), prospect.id, null));
    expect(await world.result(enrollmentId)).toEqual({ state: 'ended' });
    await world.pass(2 * DAY);
    expect(await shownSteps(world.account, enrollmentId)).toEqual(['wait: suspended (time)']);
  });

  it('an erased person too, and nothing of them is left in the enrollment', async () => {
    const { who, prospect, address } = await world.somebody();
    const { enrollmentId } = await world.enter(
      [{ id: 'mail', type: 'sendEmail', emailId: await world.account.email() }, ...steps],
      { who },
    );
    await world.shows(enrollmentId, 'wait: waiting (time)');
    await world.account.db.transaction((tx) => eraseProspect(tx, ORIGIN, new Date(), prospect.id));
    expect(await world.result(enrollmentId)).toEqual({ state: 'ended' });
    const left = await world.account.db.query(
      plain(`select to_jsonb(e)::text as row from enrollment e where id = $1
             union all select to_jsonb(s)::text from enrollment_step s where enrollment_id = $1
             union all select to_jsonb(d)::text from send d where enrollment_id = $1`),
      [enrollmentId],
    );
    expect(left).toHaveLength(4);
    expect(JSON.stringify(left)).not.toContain(address);
  });

  it('after a merge the enrollment that is further on continues, with the winner', async () => {
    const { account } = world;
    const [winner, loser] = [await world.somebody(), await world.somebody()];
    const who = { any: [winner.who, loser.who] };
    const ways = [
      {
        id: 'if',
        type: 'if',
        criteria: loser.who,
        yes: [{ id: 'ahead', type: 'setField', field: 'city', value: 'Graz' }],
        no: [],
      },
      ...steps,
    ];
    const { automationId } = await world.enter(ways, { who });
    await until('both have entered', async () => (await enrollmentsOf(account, automationId)).length === 2);
    const entered = await enrollmentsOf(account, automationId);
    const of = ({ prospect }: { prospect: { id: string } }) =>
      entered.find((one) => one.prospect_id === prospect.id)!.id;
    const [ahead, behind] = [of(loser), of(winner)];
    for (const id of [ahead, behind]) await world.shows(id, 'wait: waiting (time)');
    await account.db.transaction((tx) =>
      mergeProspects(tx, ORIGIN, new Date(), winner.prospect.id, loser.prospect.id),
    );
    expect(await world.result(behind)).toEqual({ state: 'ended' });
    expect(await world.result(ahead)).toEqual({ state: 'done' });
    const after = await enrollmentsOf(account, automationId);
    expect(after.find(({ id }) => id === ahead)).toMatchObject({
      prospect_id: winner.prospect.id,
      state: 'done',
    });
    expect(after.find(({ id }) => id === behind)).toMatchObject({ state: 'ended', reason: 'merged' });
    expect(await world.prospectRow(winner.prospect.id)).toMatchObject({ title: 'done' });
    expect(await world.prospectRow(loser.prospect.id)).toMatchObject({ title: null });
  });

  it('a loser that alone was in the automation goes on as the winner', async () => {
    const { account } = world;
    const [winner, loser] = [await world.somebody(), await world.somebody()];
    const { enrollmentId } = await world.enter(steps, { who: loser.who });
    await world.shows(enrollmentId, 'wait: waiting (time)');
    await account.db.transaction((tx) =>
      mergeProspects(tx, ORIGIN, new Date(), winner.prospect.id, loser.prospect.id),
    );
    expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
    expect(await world.prospectRow(winner.prospect.id)).toMatchObject({ title: 'done' });
  });
});
