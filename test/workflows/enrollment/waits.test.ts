import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../../db/connection.ts';
import { automationId as automationWorkflowId } from '../../../domain/processes.ts';
import { enrollmentsOf, newAutomation, stepsOfEnrollment, transition } from '../../support/automating.ts';
import { type AutomationWorld, DAY, startAutomationWorld } from '../../support/automationWorld.ts';
import { until } from '../../support/until.ts';

let world: AutomationWorld;
beforeAll(async () => {
  world = await startAutomationWorld();
});
afterAll(() => world?.close());

/** When each step was over, in the order of the steps. */
async function timesOf(enrollmentId: string): Promise<number[]> {
  return (await stepsOfEnrollment(world.account, enrollmentId)).map((step) => step.at.getTime());
}

/** A worker may come late, and never early. */
function expectAt(time: number, at: number): void {
  expect(time).toBeGreaterThanOrEqual(at);
  expect(time).toBeLessThan(at + 60_000);
}

/** Midnight in UTC of the last Sunday of a month, 0 to 11, in the next year: when clocks change in the European Union. */
async function lastSunday(month: number): Promise<number> {
  const year = (await world.now()).getUTCFullYear() + 1;
  const last = new Date(Date.UTC(year, month + 1, 0));
  return last.getTime() - last.getUTCDay() * DAY * 1000;
}
const dateOf = (at: number): string => new Date(at).toISOString().slice(0, 10);
const HOUR = 3600_000;

it('a duration in real time, until a date, and until a weekday and hour, on the clock of the prospect', async () => {
  const { who } = await world.somebody({ timeZone: 'Asia/Tokyo' });
  const year = (await world.now()).getUTCFullYear() + 1;
  const { enrollmentId } = await world.enter(
    [
      { id: 'duration', type: 'wait', seconds: 3 * DAY },
      { id: 'date', type: 'wait', until: { date: `${year}-03-10`, time: '09:00' } },
      { id: 'day', type: 'wait', weekdays: ['sunday'], time: '07:30' },
      { id: 'past', type: 'wait', until: { date: '2020-01-01', time: '00:00' } },
    ],
    { who },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  const [first] = await stepsOfEnrollment(world.account, enrollmentId);
  const [duration, date, day, past] = (await timesOf(enrollmentId)) as [number, number, number, number];
  expectAt(duration, first!.begun_at.getTime() + 3 * DAY * 1000);
  // 09:00 in Tokyo is midnight in UTC; 07:30 on a Sunday is 22:30 on Saturday.
  expectAt(date, Date.UTC(year, 2, 10));
  expect([new Date(day).getUTCDay(), new Date(day).toISOString().slice(11, 16)]).toEqual([6, '22:30']);
  expectAt(past, day);
});

it('on the clock of the automation where the prospect has none', async () => {
  const { who } = await world.somebody();
  const year = (await world.now()).getUTCFullYear() + 1;
  const { enrollmentId } = await world.enter(
    [{ id: 'date', type: 'wait', until: { date: `${year}-01-15`, time: '12:00' } }],
    { who, when: { timeZone: 'America/New_York' } },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expectAt((await timesOf(enrollmentId))[0]!, Date.UTC(year, 0, 15, 17));
});

it('a prospect that comes to another time zone waits on its new clock', async () => {
  const { who, prospect } = await world.somebody({ timeZone: 'America/New_York' });
  const year = (await world.now()).getUTCFullYear() + 1;
  const { enrollmentId } = await world.enter(
    [{ id: 'date', type: 'wait', until: { date: `${year}-03-20`, time: '09:00' } }],
    { who },
  );
  await world.shows(enrollmentId, 'date: waiting (time)');
  await world.account.db.query(plain(`update prospect set time_zone = 'Asia/Tokyo' where id = $1`), [
    prospect.id,
  ]);
  await until('it waits on the clock of Tokyo', async () => {
    const [step] = await stepsOfEnrollment(world.account, enrollmentId);
    return step!.waiting_until?.getTime() === Date.UTC(year, 2, 20);
  });
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expectAt((await timesOf(enrollmentId))[0]!, Date.UTC(year, 2, 20));
});

it('an automation begins at its start, on its own clock, and on its run days alone', async () => {
  const { account } = world;
  const { who } = await world.somebody({ timeZone: 'Asia/Tokyo' });
  const year = (await world.now()).getUTCFullYear() + 1;
  const automationId = await newAutomation(account, [{ id: 'leave', type: 'leave' }], {
    who,
    when: {
      timeZone: 'America/New_York',
      startAt: { date: `${year}-02-01`, time: '09:00' },
      runDays: ['wednesday'],
    },
  });
  await transition(account, automationId, 'activate', await world.now());
  let day = 1;
  while (new Date(Date.UTC(year, 1, day)).getUTCDay() !== 3) day += 1;
  // Midnight in New York of the first Wednesday from then on; or the start, where that is one.
  const at = Date.UTC(year, 1, day, day === 1 ? 14 : 5);
  const workflow = world.client.workflow.getHandle(automationWorkflowId(automationId, 1));
  await until('it waits for its start', async () => {
    const history = await workflow.fetchHistory();
    return history.events?.some((event) => event.timerStartedEventAttributes);
  });
  await world.pass((at - (await world.now()).getTime()) / 1000 - 60);
  expect(await enrollmentsOf(account, automationId)).toEqual([]);
  await world.pass(120);
  const [entered] = await until('somebody has entered', async () => {
    const rows = await enrollmentsOf(account, automationId);
    return rows.length > 0 && rows;
  });
  expectAt((entered!.entered_at as Date).getTime(), at);
  expect(await world.result(entered!.id)).toEqual({ state: 'left' });
});

describe('when clocks change', () => {
  it('forward: a day on the wall is 23 hours, a day of waiting is 24, and a time that is left out comes an hour later', async () => {
    const { who } = await world.somebody({ timeZone: 'Europe/Berlin' });
    const sunday = await lastSunday(2);
    const saturday = dateOf(sunday - DAY * 1000);
    const { enrollmentId } = await world.enter(
      [
        { id: 'before', type: 'wait', until: { date: saturday, time: '01:00' } },
        { id: 'missing', type: 'wait', until: { date: dateOf(sunday), time: '02:30' } },
        { id: 'noon', type: 'wait', weekdays: ['sunday'], time: '12:00' },
      ],
      { who },
    );
    const other = await world.somebody({ timeZone: 'Europe/Berlin' });
    const across = await world.enter(
      [
        { id: 'noon', type: 'wait', weekdays: ['saturday'], time: '12:00' },
        { id: 'from', type: 'wait', until: { date: saturday, time: '12:00' } },
        { id: 'day', type: 'wait', seconds: DAY },
      ],
      { who: other.who },
    );
    expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
    const [before, missing, noon] = (await timesOf(enrollmentId)) as [number, number, number];
    expectAt(before, sunday - DAY * 1000);
    // 02:30 is left out: 03:30 summer time, 01:30 in UTC.
    expectAt(missing, sunday + 1.5 * HOUR);
    expectAt(noon, sunday + 10 * HOUR);

    expect(await world.result(across.enrollmentId)).toEqual({ state: 'done' });
    const [, from, day] = (await timesOf(across.enrollmentId)) as [number, number, number];
    expectAt(from, sunday - 13 * HOUR);
    // Noon on Saturday and a day of real time: 13:00 on the wall.
    expectAt(day, sunday + 11 * HOUR);
  });

  it('back: a time that comes twice is the first, a weekday comes once, and a day of waiting is 24 hours', async () => {
    const { who } = await world.somebody({ timeZone: 'Europe/Berlin' });
    const sunday = await lastSunday(9);
    const { enrollmentId } = await world.enter(
      [
        { id: 'before', type: 'wait', until: { date: dateOf(sunday - DAY * 1000), time: '12:00' } },
        { id: 'twice', type: 'wait', weekdays: ['sunday'], time: '02:30' },
        { id: 'next', type: 'wait', weekdays: ['sunday'], time: '02:30' },
      ],
      { who },
    );
    const other = await world.somebody({ timeZone: 'Europe/Berlin' });
    const across = await world.enter(
      [
        { id: 'from', type: 'wait', until: { date: dateOf(sunday - DAY * 1000), time: '12:00' } },
        { id: 'day', type: 'wait', seconds: DAY },
      ],
      { who: other.who },
    );
    expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
    const [before, twice, next] = (await timesOf(enrollmentId)) as [number, number, number];
    expectAt(before, sunday - 14 * HOUR);
    // 02:30 summer time is 00:30 in UTC; an hour later the wall shows it again, and nothing is done then.
    expectAt(twice, sunday + 0.5 * HOUR);
    expectAt(next, sunday + 7 * DAY * 1000 + 1.5 * HOUR);

    expect(await world.result(across.enrollmentId)).toEqual({ state: 'done' });
    const [from, day] = (await timesOf(across.enrollmentId)) as [number, number];
    expectAt(from, sunday - 14 * HOUR);
    // Noon on Saturday and a day of real time: 11:00 on the wall.
    expectAt(day, sunday + 10 * HOUR);
  });
});
