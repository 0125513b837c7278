import { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { enrollmentId as workflowIdOf } from '../../domain/processes.ts';
import { type Relay, startRelay } from '../../worker/relay.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestProspect } from '../support/account.ts';
import {
  addressBegins,
  enrollmentsOf,
  newAutomation,
  shownSteps,
  stepsOfEnrollment,
  transition,
} from '../support/automating.ts';
import { readNothing } from '../support/inbound.ts';
import { type Sending, startSending } from '../support/sending.ts';
import { silent } from '../support/silent.ts';
import { until } from '../support/until.ts';

let account: TestAccount;
let environment: TestWorkflowEnvironment;
let sending: Sending;
let relay: Relay;
beforeAll(async () => {
  account = await createTestAccount({ poolSize: 20 });
  environment = await TestWorkflowEnvironment.createTimeSkipping({
    server: { executable: { type: 'existing-path', path: inject('testServerPath') } },
  });
  sending = await startSending(account, environment);
  relay = startRelay({
    db: account.db,
    processes: sending.processes,
    readInbound: readNothing,
    log: silent,
  });
});
afterAll(async () => {
  await relay?.stop();
  await sending?.close();
  await environment?.teardown();
  await account?.close();
});
afterEach(() => sending.mail.answer(() => null));

const DAY = 24 * 3600;
let counter = 0;

/** A prospect of one's own, and the criteria that it alone matches. */
async function somebody(
  fields: { time_zone?: string } = {},
): Promise<{ prospect: TestProspect; address: string; who: object }> {
  counter += 1;
  const address = `way${counter}.person@example.net`;
  const prospect = await account.prospect(address);
  if (fields.time_zone)
    await account.db.query(plain('update prospect set time_zone = $2 where id = $1'), [
      prospect.id,
      fields.time_zone,
    ]);
  return { prospect, address, who: addressBegins(`way${counter}.`) };
}

/** Activates an automation and waits until the one who matches has entered. */
async function enter(
  steps: readonly object[],
  options: { who: object; when?: object },
): Promise<{ automationId: string; enrollmentId: string }> {
  const automationId = await newAutomation(account, steps, options);
  await transition(account, automationId, 'activate', new Date(await environment.currentTimeMs()));
  const [enrollment] = await until('somebody has entered', async () => {
    const entered = await enrollmentsOf(account, automationId);
    return entered.length > 0 && entered;
  });
  return { automationId, enrollmentId: enrollment!.id };
}

/**
 * The result of the enrollment's workflow. Time skips only while it waits for a time: what waits for the relay would
 * else see its own execution time out.
 */
async function result(enrollmentId: string, run = 1) {
  const handle = environment.client.workflow.getHandle(workflowIdOf(enrollmentId, run));
  await until(`${enrollmentId} is over`, async () => {
    const [row] = await account.db.query<{ over: boolean; reason: string | null; until: Date | null }>(
      plain(`select e.finished_at is not null as over, s.reason, s.waiting_until as until from enrollment e
             left join enrollment_step s on s.enrollment_id = e.id and s.state = 'waiting' where e.id = $1`),
      [enrollmentId],
    );
    if (row!.over) return (await handle.describe()).status.name !== 'RUNNING';
    const rest = row!.until === null ? 0 : row!.until.getTime() - (await environment.currentTimeMs());
    if (rest > 0) await environment.sleep(rest);
    else if (row!.reason === 'webhook') await environment.sleep('1 hour');
    return false;
  });
  return handle.result();
}

async function prospectRow(id: string) {
  const [row] = await account.db.query(plain('select * from prospect where id = $1'), [id]);
  return row!;
}

describe('enrollment', () => {
  it('sends an email, and its step is Applied by what came of the first attempt', async () => {
    const { who, address } = await somebody();
    const { enrollmentId } = await enter(
      [{ id: 'hello', type: 'sendEmail', emailId: await account.email() }],
      {
        who,
      },
    );
    expect(await result(enrollmentId)).toEqual({ state: 'done' });
    expect(await shownSteps(account, enrollmentId)).toEqual(['hello: applied (delivered)']);
    expect(sending.mail.accepted.filter((to) => to === address)).toHaveLength(1);
  });

  it('sets a field, and flags like a person does', async () => {
    const { who, prospect } = await somebody();
    const { enrollmentId } = await enter(
      [
        { id: 'country', type: 'setField', field: 'country', value: 'Austria' },
        { id: 'no', type: 'setField', field: 'emailOptOut', value: true },
      ],
      { who },
    );
    expect(await result(enrollmentId)).toEqual({ state: 'done' });
    expect(await prospectRow(prospect.id)).toMatchObject({
      country: 'Austria',
      email_opt_out: true,
      bounced: false,
    });
    const audit = await account.db.query(
      plain(`select way, actor from audit_entry where prospect_id = $1 and action = 'flag.changed'`),
      [prospect.id],
    );
    expect(audit).toEqual([{ way: 'automation', actor: expect.stringMatching(/^automation:/) }]);
  });

  it('I1: who opts out between two Send Email steps gets no second email, and goes on', async () => {
    const { who, prospect, address } = await somebody();
    const emailId = await account.email();
    const { enrollmentId } = await enter(
      [
        { id: 'first', type: 'sendEmail', emailId },
        { id: 'pause', type: 'wait', seconds: 3 * DAY },
        { id: 'second', type: 'sendEmail', emailId },
        { id: 'mark', type: 'setField', field: 'title', value: 'went on' },
      ],
      { who },
    );
    await until('it waits', async () =>
      (await shownSteps(account, enrollmentId)).includes('pause: waiting (time)'),
    );
    await account.db.transaction((tx) =>
      setFlags(tx, ORIGIN, new Date(), prospect.id, { emailOptOut: true }),
    );
    expect(await result(enrollmentId)).toEqual({ state: 'done' });
    expect(await shownSteps(account, enrollmentId)).toEqual([
      'first: applied (delivered)',
      'pause: applied',
      expect.stringMatching(/^second: skipped \(.*opt_out.*\)$/),
      'mark: applied',
    ]);
    expect(sending.mail.tries.get(address)).toBe(1);
    expect(await prospectRow(prospect.id)).toMatchObject({ title: 'went on' });
  });

  it('goes on after the first attempt of a soft bounce, not after five days', async () => {
    const { who, address } = await somebody();
    sending.mail.answer((to) => (to === address ? '452 4.2.2 The recipient mailbox is full' : null));
    const { enrollmentId } = await enter(
      [
        { id: 'mail', type: 'sendEmail', emailId: await account.email() },
        { id: 'mark', type: 'setField', field: 'title', value: 'went on' },
      ],
      { who },
    );
    expect(await result(enrollmentId)).toEqual({ state: 'done' });
    expect(await shownSteps(account, enrollmentId)).toEqual(['mail: applied (soft_bounce)', 'mark: applied']);
    const [send] = await account.db.query(
      plain('select state, attempt_count from send where enrollment_id = $1'),
      [enrollmentId],
    );
    expect(send).toMatchObject({ state: 'waiting' });
  });

  it('ninety days of waits and emails: each email once, each wait as long as it says', async () => {
    const { who, address } = await somebody();
    const emailId = await account.email();
    const steps = Array.from({ length: 9 }, (_, index) => [
      { id: `mail${index}`, type: 'sendEmail', emailId },
      { id: `wait${index}`, type: 'wait', seconds: 10 * DAY },
    ]).flat();
    const { enrollmentId } = await enter(steps, { who });
    const began = await environment.currentTimeMs();
    expect(await result(enrollmentId)).toEqual({ state: 'done' });
    expect((await environment.currentTimeMs()) - began).toBeGreaterThanOrEqual(90 * DAY * 1000 - 60_000);
    expect(sending.mail.accepted.filter((to) => to === address)).toHaveLength(9);
    const rows = await stepsOfEnrollment(account, enrollmentId);
    expect(rows).toHaveLength(18);
    for (const row of rows.filter(({ step_id: id }) => id.startsWith('wait'))) {
      const lasted = row.at.getTime() - row.begun_at.getTime();
      expect(lasted).toBeGreaterThanOrEqual(10 * DAY * 1000);
      expect(lasted).toBeLessThan(10 * DAY * 1000 + 60_000);
    }
  }, 120_000);
});
