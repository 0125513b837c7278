import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { plain, type Transaction } from '../../db/connection.ts';
import { addAutomationVersion, changeState, Programs } from '../../db/queries/automations.ts';
import { enrollChanged, enrollPage } from '../../db/queries/enrolling.ts';
import {
  followAutomation,
  moveEnrollments,
  putEnrollmentBack,
  removeEnrollment,
  wakeHeldBack,
} from '../../db/queries/enrollmentChanges.ts';
import { advance } from '../../db/queries/enrollments.ts';
import { type GateRequest, gate } from '../../db/queries/gate.ts';
import { createDynamicList } from '../../db/queries/lists.ts';
import { lookAgainForDomains } from '../../db/queries/lookingAgain.ts';
import { type AttemptEnd, recordOutcome } from '../../db/queries/outcome.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { deleteProspect, updateProspect } from '../../db/queries/prospects.ts';
import { readSend } from '../../db/queries/sendSearch.ts';
import { cancelSend } from '../../db/queries/sends.ts';
import { changeSettings, type Settings } from '../../db/queries/settings.ts';
import {
  createTestAccount,
  ORIGIN,
  parsed,
  type TestAccount,
  type TestProspect,
} from '../support/account.ts';
import {
  addressBegins,
  definitionOf,
  enrollmentsOf,
  newAutomation,
  shownSteps,
  transition,
} from '../support/automating.ts';
import { until } from '../support/until.ts';

/* What happens between two statements, and what is decided from rows alone: no workflow runs here. */

const NO_ID = '00000000-0000-0000-0000-000000000000';
const DAY_MS = 24 * 3600_000;

let account: TestAccount;
beforeAll(async () => {
  account = await createTestAccount();
});
afterAll(() => account?.close());

const programs = new Programs();
let counter = 0;

async function somebody(): Promise<{ prospect: TestProspect; who: object }> {
  counter += 1;
  const prospect = await account.prospect(`row${counter}.person@example.net`);
  return { prospect, who: addressBegins(`row${counter}.`) };
}

/** A transaction that has done its work and commits when it is told. */
async function open(work: (tx: Transaction) => Promise<unknown>): Promise<() => Promise<void>> {
  const [done, told] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const over = account.db.transaction(async (tx) => {
    await work(tx);
    done.resolve();
    await told.promise;
  });
  await Promise.race([done.promise, over]);
  return async () => {
    told.resolve();
    await over;
  };
}

/** Somebody waits for a lock in this database. */
async function somebodyWaits(): Promise<void> {
  for (;;) {
    const rows = await account.db.query(
      plain(`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`),
    );
    if (rows.length > 0) return;
    await delay(10);
  }
}

function enrollAll(id: string, run = 1) {
  return enrollPage(account.db, programs, new Date(), { id, run }, null);
}

/** Waits until whatever runs in the same cluster is over, too. */
async function enrollSettled(id: string, run = 1) {
  for (;;) {
    const page = await enrollAll(id, run);
    if (page.kind !== 'wait') return page;
    await delay(20);
  }
}

/** Takes the next step. */
async function take(enrollmentId: string, now = new Date(), run = 1) {
  const parts = { db: account.db, hasher: account.hasher, programs, messageIdDomain: 'heed.test' };
  return (await advance(parts, now, enrollmentId, run)).next;
}

async function enter(steps: readonly object[], who: object): Promise<{ id: string; automationId: string }> {
  const automationId = await newAutomation(account, steps, { who });
  await transition(account, automationId, 'activate');
  await enrollSettled(automationId);
  const [entered] = await enrollmentsOf(account, automationId);
  return { id: entered!.id, automationId };
}

/** The one send that its steps have made. */
async function sendOf(enrollmentId: string) {
  const [send, ...others] = await account.db.query<Record<string, unknown> & { id: string; run: number }>(
    plain('select * from send where enrollment_id = $1'),
    [enrollmentId],
  );
  expect(others).toEqual([]);
  return send!;
}

const takeOut = (id: string) => account.db.transaction((tx) => removeEnrollment(tx, ORIGIN, new Date(), id));
const putBack = (id: string) => account.db.transaction((tx) => putEnrollmentBack(tx, ORIGIN, new Date(), id));

const rest = { id: 'rest', type: 'wait', seconds: 3600 };

describe('who comes to match just as it changes is not forgotten', () => {
  it('when it is activated: a change that began before the activation was committed is waited for', async () => {
    const { prospect, who } = await somebody();
    const company = { field: 'company', operator: 'equals', value: 'Late' };
    const id = await newAutomation(account, [rest], {
      who: { all: [who, company] },
      when: { mode: 'continuous' },
    });
    const activate = await open((tx) => changeState(tx, ORIGIN, new Date(), id, 'activate'));
    // It sees no running automation, so it tells nobody.
    const change = await open((tx) =>
      tx.query(plain(`update prospect set company = 'Late' where id = $1`), [prospect.id]),
    );
    await activate();
    expect(await enrollAll(id)).toMatchObject({ kind: 'wait' });
    await change();
    expect(await enrollSettled(id)).toMatchObject({ kind: 'page', enrolled: 1 });
  });

  it('when it gets a new version: nobody enters the old one any more', async () => {
    const { prospect, who } = await somebody();
    const when = { mode: 'continuous' };
    const id = await newAutomation(account, [rest], {
      who: { all: [who, { field: 'company', operator: 'equals', value: 'Late' }] },
      when,
    });
    await transition(account, id, 'activate');
    expect(await enrollSettled(id)).toMatchObject({ kind: 'page', enrolled: 0 });
    await account.db.query(plain(`update prospect set company = 'Late' where id = $1`), [prospect.id]);
    const next = await definitionOf(account, [rest], { who: { all: [who] }, when });
    const version = await open((tx) => addAutomationVersion(tx, ORIGIN, new Date(), id, next, true));
    const changed = enrollChanged(account.db, programs, new Date(), [prospect.id]);
    await Promise.race([changed, somebodyWaits()]);
    await version();
    await changed;
    expect(await enrollmentsOf(account, id)).toEqual([]);
    expect(await enrollSettled(id, 2)).toMatchObject({ kind: 'page', enrolled: 1 });
    expect(await enrollmentsOf(account, id)).toMatchObject([{ version: 2 }]);
  });

  it('when everybody is to be looked at again, which waits for its run hours', async () => {
    const { prospect, who } = await somebody();
    const id = await newAutomation(account, [rest], {
      who: { all: [who, { suppressed: false }] },
      when: { mode: 'continuous', timeZone: 'UTC', runHours: { from: '09:00', to: '17:00' } },
    });
    await transition(account, id, 'activate');
    const evening = new Date('2026-03-02T20:00:00Z');
    await account.db.transaction((tx) => lookAgainForDomains(tx, evening));
    await until('it waits for its run hours', async () => {
      const page = await enrollPage(account.db, programs, evening, { id, run: 2 }, null);
      return page.kind === 'wait' && page.until.toISOString() === '2026-03-03T09:00:00.000Z';
    });
    await enrollChanged(account.db, programs, evening, [prospect.id]);
    expect(await enrollmentsOf(account, id)).toMatchObject([{ prospect_id: prospect.id }]);
  });
});

it('who is changed by a process whose clock is ahead is enrolled by what happened within the last days, and takes the right way', async () => {
  const { prospect, who } = await somebody();
  const recently = { field: 'createdAt', operator: 'withinLast', days: 1 };
  await account.db.query(plain(`update prospect set created_at = $2 where id = $1`), [
    prospect.id,
    new Date(Date.now() + 10_000),
  ]);
  const id = await newAutomation(account, [rest], {
    who: { all: [who, recently] },
    when: { mode: 'continuous' },
  });
  await transition(account, id, 'activate');
  await enrollSettled(id);
  await enrollChanged(account.db, programs, new Date(), [prospect.id]);
  expect(await enrollmentsOf(account, id)).toMatchObject([{ prospect_id: prospect.id }]);

  const { id: inside } = await enter(
    [{ id: 'if', type: 'if', criteria: recently, yes: [rest], no: [{ id: 'out', type: 'leave' }] }],
    who,
  );
  expect(await take(inside)).toEqual({ kind: 'on' });
  expect(await take(inside)).toMatchObject({ kind: 'wait', reason: 'time' });
});

it('a transaction that stays open for long is asked after ever more seldom', async () => {
  const { who } = await somebody();
  const id = await newAutomation(account, [rest], { who });
  const close = await open((tx) => tx.query(plain('select pg_current_xact_id()')));
  const begun = Date.now();
  await transition(account, id, 'activate', new Date(begun));
  const pauseAfter = async (ms: number) => {
    const page = await enrollPage(account.db, programs, new Date(begun + ms), { id, run: 1 }, null);
    return page.kind === 'wait' ? page.until.getTime() - begun - ms : page;
  };
  expect([await pauseAfter(0), await pauseAfter(20_000), await pauseAfter(20 * 60_000)]).toEqual([
    200, 1_000, 5_000,
  ]);
  await close();
  expect(await enrollSettled(id)).toMatchObject({ kind: 'page', enrolled: 1 });
});

describe('who comes to wait just as what it waits for comes to be is woken', () => {
  /**
   * Takes a step whose note waits while the change is made and followed, as far as it does not wait for the step.
   *
   * @returns whether the enrollment is woken, or waits for nothing
   */
  async function goesOn(
    enrollmentId: string,
    stepId: string,
    change: () => Promise<unknown>,
    follow: (tx: Transaction) => Promise<unknown>,
  ): Promise<boolean> {
    const inTheWay = await open((tx) =>
      tx.query(
        plain(`insert into enrollment_step (enrollment_id, step_id, state, begun_at, at)
               values ($1, $2, 'waiting', now(), now())`),
        [enrollmentId, stepId],
      ),
    );
    const taken = take(enrollmentId);
    await Promise.race([taken, somebodyWaits()]);
    const woken = change().then(async () => {
      await account.db.query(plain('delete from outbox'));
      await account.db.transaction(follow);
      const rows = await account.db.query(
        plain(
          `select 1 from outbox where message->>'type' = 'wakeEnrollment' and message->>'enrollmentId' = $1`,
        ),
        [enrollmentId],
      );
      return rows.length > 0;
    });
    await Promise.race([woken, delay(300)]);
    await inTheWay();
    const next = await taken;
    return (await woken) || next.kind !== 'wait';
  }

  it('the automation is resumed', async () => {
    const { who } = await somebody();
    const { id, automationId } = await enter([rest], who);
    await transition(account, automationId, 'pause');
    const on = await goesOn(
      id,
      'rest',
      () => transition(account, automationId, 'resume'),
      (tx) => followAutomation(tx, new Date(), automationId, NO_ID, 10),
    );
    expect(on).toBe(true);
  });

  it.each([
    ['the kill switch is taken back', { marketingPaused: true }, { marketingPaused: false }],
    ['the cap is lifted', { frequencyCap: { emails: 1, days: 30 } }, { frequencyCap: null }],
    [
      'quiet hours are no more',
      { quietHours: { from: '00:00', to: '00:00', timeZone: 'UTC' } },
      { quietHours: null },
    ],
  ])('%s', async (_, before, after) => {
    const { who, prospect } = await somebody();
    await account.send(prospect);
    const set = (change: Partial<Settings>) =>
      account.db.transaction((tx) => changeSettings(tx, ORIGIN, new Date(), change));
    await set(before);
    const { id } = await enter([{ id: 'mail', type: 'sendEmail', emailId: await account.email() }], who);
    const on = await goesOn(
      id,
      'mail',
      () => set(after),
      (tx) => wakeHeldBack(tx, new Date(), NO_ID, 10),
    );
    expect(on).toBe(true);
  });
});

describe('the frequency cap', () => {
  afterEach(async () => {
    await account.db.transaction((tx) => changeSettings(tx, ORIGIN, new Date(), { frequencyCap: null }));
  });
  const capped = () =>
    account.db.transaction((tx) =>
      changeSettings(tx, ORIGIN, new Date(), { frequencyCap: { emails: 1, days: 7 } }),
    );
  const ago = (days: number) => new Date(Date.now() - days * DAY_MS);
  const mail = async () => [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }];
  const heldBack = { kind: 'wait', reason: 'frequency_cap' };

  async function delivered(prospect: TestProspect, at: Date): Promise<void> {
    const { sendId } = await account.send(prospect, { now: at });
    await account.db.query(
      plain(`update send set state = 'final', outcome = 'delivered', first_attempt_at = $2 where id = $1`),
      [sendId, at],
    );
  }

  it('counts an email that has still to go out, however long it has been held back', async () => {
    const { prospect, who } = await somebody();
    const { sendId } = await account.send(prospect, { now: ago(8) });
    await account.db.query(plain(`update send set state = 'held' where id = $1`), [sendId]);
    await capped();
    const { id } = await enter(await mail(), who);
    expect(await take(id)).toMatchObject(heldBack);
  });

  it('counts one whose first attempt was begun and broken off long ago, and which has still to go out', async () => {
    const { prospect, who } = await somebody();
    const { sendId } = await account.send(prospect, { now: ago(9) });
    await account.db.query(plain(`update send set state = 'held', first_attempt_at = $2 where id = $1`), [
      sendId,
      ago(8),
    ]);
    await capped();
    const { id } = await enter(await mail(), who);
    expect(await take(id)).toMatchObject(heldBack);
  });

  it('makes room soon where what had still to go out does not', async () => {
    const { prospect, who } = await somebody();
    const { sendId } = await account.send(prospect);
    await capped();
    const { id } = await enter(await mail(), who);
    const held = await take(id);
    expect(held).toMatchObject(heldBack);
    const { until } = held as { until: Date };
    expect(until.getTime() - Date.now()).toBeLessThanOrEqual(15 * 60_000);
    await account.db.query(
      plain(`update send set state = 'final', outcome = 'suppressed', finished_at = now() where id = $1`),
      [sendId],
    );
    expect(await take(id)).toMatchObject({ kind: 'wait', reason: 'first_attempt' });
  });

  it('counts one whose outcome is unknown, and none that was refused, cancelled or long ago', async () => {
    await capped();
    const [unknown, others] = [await somebody(), await somebody()];
    await delivered(unknown.prospect, ago(1));
    await account.db.query(plain(`update send set outcome = 'unknown' where prospect_id = $1`), [
      unknown.prospect.id,
    ]);
    const first = await enter(await mail(), unknown.who);
    expect(await take(first.id)).toMatchObject(heldBack);
    await delivered(others.prospect, ago(8));
    for (const outcome of ['suppressed', 'cancelled']) {
      const { sendId } = await account.send(others.prospect);
      await account.db.query(plain(`update send set state = 'final', outcome = $2 where id = $1`), [
        sendId,
        outcome,
      ]);
    }
    const second = await enter(await mail(), others.who);
    expect(await take(second.id)).toMatchObject({ kind: 'wait', reason: 'first_attempt' });
  });

  it('holds back the email of somebody who is put back, too', async () => {
    const { prospect, who } = await somebody();
    const { id } = await enter(await mail(), who);
    expect(await take(id)).toMatchObject({ reason: 'first_attempt' });
    await takeOut(id);
    await delivered(prospect, ago(1));
    await capped();
    await putBack(id);
    expect(await take(id, new Date(), 2)).toMatchObject(heldBack);
    expect(await sendOf(id)).toMatchObject({ outcome: 'cancelled', run: 1 });
  });

  it('counts what a person got before being merged, also over two merges', async () => {
    const [winner, between, loser] = [await somebody(), await somebody(), await somebody()];
    await delivered(loser.prospect, ago(1));
    const merge = (into: TestProspect, from: TestProspect) =>
      account.db.transaction((tx) => mergeProspects(tx, ORIGIN, new Date(), into.id, from.id));
    await merge(between.prospect, loser.prospect);
    await merge(winner.prospect, between.prospect);
    await capped();
    const { id } = await enter(await mail(), winner.who);
    expect(await take(id)).toMatchObject(heldBack);
  });

  it('counts what the address of somebody got who was deleted and created again', async () => {
    const { prospect, who } = await somebody();
    await delivered(prospect, ago(1));
    await account.db.transaction((tx) => deleteProspect(tx, ORIGIN, new Date(), prospect.id, null));
    await account.prospect(`row${counter}.person@example.net`);
    await capped();
    const { id } = await enter(await mail(), who);
    expect(await take(id)).toMatchObject(heldBack);
  });
});

it('a merge ends what the enrollment that does not continue would still send', async () => {
  const [winner, loser] = [await somebody(), await somebody()];
  const emailId = await account.email();
  const { automationId } = await enter(
    [
      { id: 'if', type: 'if', criteria: loser.who, yes: [rest], no: [] },
      { id: 'mail', type: 'sendEmail', emailId },
    ],
    { any: [winner.who, loser.who] },
  );
  const entered = await enrollmentsOf(account, automationId);
  const of = ({ prospect }: { prospect: TestProspect }) =>
    entered.find((row) => row.prospect_id === prospect.id)!.id;
  const [behind, ahead] = [of(winner), of(loser)];
  expect(await take(behind)).toEqual({ kind: 'on' });
  expect(await take(behind)).toMatchObject({ reason: 'first_attempt' });
  const now = new Date();
  expect(await take(ahead, now)).toEqual({ kind: 'on' });
  expect(await take(ahead, now)).toMatchObject({ reason: 'time' });
  expect(await take(ahead, new Date(now.getTime() + DAY_MS))).toEqual({ kind: 'on' });
  await account.db.transaction((tx) =>
    mergeProspects(tx, ORIGIN, new Date(), winner.prospect.id, loser.prospect.id),
  );
  expect(await enrollmentsOf(account, automationId)).toMatchObject([
    { id: expect.any(String), prospect_id: winner.prospect.id },
    { id: expect.any(String), prospect_id: winner.prospect.id },
  ]);
  const sends = await account.db.query(
    plain('select outcome from send where enrollment_id = any($1::uuid[])'),
    [[behind, ahead]],
  );
  expect(sends).toEqual([{ outcome: 'cancelled' }]);
  // The one that continues sends it, once.
  expect(await take(ahead)).toMatchObject({ reason: 'first_attempt' });
  expect(await shownSteps(account, ahead)).toContain('mail: waiting (first_attempt)');
});

it('a merge has whoever goes on with another clock look at it', async () => {
  const [winner, loser] = [await somebody(), await somebody()];
  const zone = (prospect: TestProspect, timeZone: string) =>
    account.db.query(plain('update prospect set time_zone = $2 where id = $1'), [prospect.id, timeZone]);
  await zone(winner.prospect, 'Asia/Tokyo');
  await zone(loser.prospect, 'America/New_York');
  const { id } = await enter(
    [{ id: 'until', type: 'wait', until: { date: '2999-01-01', time: '09:00' } }],
    loser.who,
  );
  expect(await take(id)).toMatchObject({ until: new Date('2999-01-01T14:00:00Z') });
  await account.db.query(plain('delete from outbox'));
  await account.db.transaction((tx) =>
    mergeProspects(tx, ORIGIN, new Date(), winner.prospect.id, loser.prospect.id),
  );
  const told = await account.db.query(
    plain(`select message from outbox where message->>'type' = 'wakeEnrollment'`),
  );
  expect(told).toEqual([{ message: { type: 'wakeEnrollment', enrollmentId: id, run: 1 } }]);
  expect(await take(id)).toMatchObject({ until: new Date('2999-01-01T00:00:00Z') });
});

it('a second merge ends nobody whom the first one let continue', async () => {
  const [winner, loser, later] = [await somebody(), await somebody(), await somebody()];
  const { automationId } = await enter(
    [
      { id: 'if', type: 'if', criteria: loser.who, yes: [rest], no: [] },
      { ...rest, id: 'more' },
    ],
    { any: [winner.who, loser.who] },
  );
  const ahead = (await enrollmentsOf(account, automationId)).find(
    (row) => row.prospect_id === loser.prospect.id,
  )!.id;
  expect(await take(ahead)).toEqual({ kind: 'on' });
  for (const { prospect } of [loser, later]) {
    await account.db.transaction((tx) =>
      mergeProspects(tx, ORIGIN, new Date(), winner.prospect.id, prospect.id),
    );
    const rows = await enrollmentsOf(account, automationId);
    expect(rows.find(({ id }) => id === ahead)).toMatchObject({
      state: 'running',
      reason: null,
      prospect_id: winner.prospect.id,
    });
  }
});

it('a step that is left by a move is Skipped where its email never went out, and Applied where it goes on', async () => {
  const { who } = await somebody();
  const { id, automationId } = await enter(
    [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }, rest],
    who,
  );
  expect(await take(id)).toMatchObject({ reason: 'first_attempt' });
  const move = async (version: number) => {
    const definition = await definitionOf(account, [rest], { who });
    const added = await account.db.transaction((tx) =>
      addAutomationVersion(tx, ORIGIN, new Date(), automationId, definition, true),
    );
    expect(added).toBe(version);
    await moveEnrollments(account.db, programs, new Date(), automationId, version, NO_ID, 10);
  };
  await takeOut(id);
  await move(2);
  expect(await shownSteps(account, id)).toEqual(['mail: skipped (moved)']);

  const other = await somebody();
  const on = await enter(
    [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }, rest],
    other.who,
  );
  expect(await take(on.id)).toMatchObject({ reason: 'first_attempt' });
  const definition = await definitionOf(account, [rest], { who: other.who });
  await account.db.transaction((tx) =>
    addAutomationVersion(tx, ORIGIN, new Date(), on.automationId, definition, true),
  );
  await moveEnrollments(account.db, programs, new Date(), on.automationId, 2, NO_ID, 10);
  expect(await shownSteps(account, on.id)).toEqual(['mail: applied (moved)']);
});

it('an email that a person cancelled stays cancelled, though its prospect is taken out and put back', async () => {
  const { who } = await somebody();
  const { id, automationId } = await enter(
    [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }],
    who,
  );
  expect(await take(id)).toMatchObject({ reason: 'first_attempt' });
  await transition(account, automationId, 'pause');
  const { id: sendId } = await sendOf(id);
  await account.db.transaction((tx) => cancelSend(tx, ORIGIN, new Date(), sendId));
  expect(await take(id)).toMatchObject({ reason: 'automation_paused' });
  await takeOut(id);
  await transition(account, automationId, 'resume');
  await putBack(id);
  await take(id, new Date(), 2);
  expect(await sendOf(id)).toMatchObject({ outcome: 'cancelled', run: 1 });
  expect(await shownSteps(account, id)).toEqual(['mail: skipped (cancelled)']);
});

it('who is put back gets the email whose only attempt was broken off before anything was sent', async () => {
  const { prospect, who } = await somebody();
  const { id } = await enter([{ id: 'mail', type: 'sendEmail', emailId: await account.email() }], who);
  expect(await take(id)).toMatchObject({ reason: 'first_attempt' });
  const asked: GateRequest = {
    sendId: (await sendOf(id)).id,
    run: 1,
    prospectId: prospect.id,
    addressId: prospect.addressId,
    recipientDomain: 'example.net',
    trigger: 'schedule',
    now: new Date(),
  };
  const paused = (marketingPaused: boolean) =>
    account.db.transaction((tx) => changeSettings(tx, ORIGIN, new Date(), { marketingPaused }));
  expect(await gate(account.db, asked)).toMatchObject({ kind: 'open' });
  await paused(true);
  expect(await gate(account.db, asked)).toMatchObject({ kind: 'held' });
  await paused(false);
  await takeOut(id);
  expect(await sendOf(id)).toMatchObject({ state: 'final' });
  await putBack(id);
  expect(await take(id, new Date(), 2)).toMatchObject({ reason: 'first_attempt' });
  expect(await sendOf(id)).toMatchObject({
    state: 'queued',
    run: 2,
    attempt_count: 1,
    first_attempt_at: null,
  });
});

describe('who is taken out while the first attempt is in the air', () => {
  const GREYLISTED: AttemptEnd = {
    outcome: 'soft_bounce',
    category: 'greylisting',
    faultOurs: false,
    holdsBack: false,
    rule: 'test',
    phase: 'rcpt',
    replyCode: 451,
    enhancedCode: '4.7.1',
    replyText: 'greylisted',
    remoteHost: 'mx.example.net',
    hintSeconds: null,
    destination: 'relay:test:25',
  };

  /** Somebody whose email is being tried. */
  async function inTheAir() {
    const { prospect, who } = await somebody();
    const { id } = await enter([{ id: 'mail', type: 'sendEmail', emailId: await account.email() }], who);
    await take(id);
    const { id: sendId } = await sendOf(id);
    const asked: GateRequest = {
      sendId,
      run: 1,
      prospectId: prospect.id,
      addressId: prospect.addressId,
      recipientDomain: 'example.net',
      trigger: 'schedule',
      now: new Date(),
    };
    const decision = await gate(account.db, asked);
    if (decision.kind !== 'open') throw new Error(decision.kind);
    const { attempt } = decision;
    const askAgain = () => gate(account.db, { ...asked, held: attempt });
    const greylisted = () => recordOutcome(account.db, asked, attempt, GREYLISTED, new Date());
    return { id, sendId, askAgain, greylisted };
  }

  it('and put back before it has ended, has an email that goes on', async () => {
    const { id, greylisted } = await inTheAir();
    await takeOut(id);
    await putBack(id);
    expect(await take(id, new Date(), 2)).toMatchObject({ reason: 'first_attempt' });
    expect(await greylisted()).toMatchObject({ state: 'waiting' });
    expect(await take(id, new Date(), 2)).toEqual({ kind: 'over', state: 'done' });
    expect(await shownSteps(account, id)).toEqual(['mail: applied (soft_bounce)']);
  });

  it.each(['greylisted', 'askAgain'] as const)(
    'and put back after it has ended (%s), gets it after all',
    async (how) => {
      const tried = await inTheAir();
      const { id } = tried;
      await takeOut(id);
      expect(await tried[how]()).toMatchObject({ outcome: 'cancelled', reason: 'enrollment_removed' });
      await putBack(id);
      expect(await take(id, new Date(), 2)).toMatchObject({ reason: 'first_attempt' });
      expect(await sendOf(id)).toMatchObject({ state: 'queued', run: 2, cancel_requested_at: null });
    },
  );

  it.each([true, false])('gets nothing where a person cancelled it, too (before: %s)', async (before) => {
    const { id, sendId, greylisted } = await inTheAir();
    const cancel = () => account.db.transaction((tx) => cancelSend(tx, ORIGIN, new Date(), sendId));
    if (before) await cancel();
    await takeOut(id);
    if (!before) await cancel();
    expect(await readSend(account.db, sendId)).toMatchObject({ outcome: null, outcomeReason: null });
    await putBack(id);
    expect(await greylisted()).toMatchObject({ outcome: 'cancelled', reason: 'cancelled' });
    await take(id, new Date(), 2);
    expect(await shownSteps(account, id)).toEqual(['mail: skipped (cancelled)']);
  });
});

it('who is put back while the automation is paused gets the email once it is resumed', async () => {
  const { who } = await somebody();
  const { id, automationId } = await enter(
    [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }],
    who,
  );
  await take(id);
  await takeOut(id);
  await transition(account, automationId, 'pause');
  await putBack(id);
  expect(await take(id, new Date(), 2)).toMatchObject({ reason: 'automation_paused' });
  const { id: sendId } = await sendOf(id);
  const starts = async () =>
    account.db.query(
      plain(`select message->'run' as run from outbox
             where message->>'type' = 'startSend' and message->>'sendId' = $1 and message->>'run' <> '1'`),
      [sendId],
    );
  expect(await starts()).toEqual([]);
  await transition(account, automationId, 'resume');
  expect(await take(id, new Date(), 2)).toMatchObject({ reason: 'first_attempt' });
  expect(await starts()).toEqual([{ run: 2 }]);
});

it('who is put back in another version and has another address gets its email there, once', async () => {
  const { who, prospect } = await somebody();
  const { id, automationId } = await enter(
    [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }],
    who,
  );
  await take(id);
  const before = await sendOf(id);
  await takeOut(id);
  const [emailId, listId] = [await account.email('transactional'), await account.list()];
  const definition = await definitionOf(account, [{ id: 'mail', type: 'sendEmail', emailId, listId }], {
    who,
  });
  await account.db.transaction((tx) =>
    addAutomationVersion(tx, ORIGIN, new Date(), automationId, definition, true),
  );
  await moveEnrollments(account.db, programs, new Date(), automationId, 2, NO_ID, 10);
  const address = parsed(`moved${counter}@example.org`);
  await account.db.transaction((tx) =>
    updateProspect(tx, account.hasher, ORIGIN, new Date(), prospect.id, null, { address }),
  );
  await putBack(id);
  expect(await take(id, new Date(), 2)).toMatchObject({ reason: 'first_attempt' });
  const send = await sendOf(id);
  expect(send).toMatchObject({
    id: before.id,
    message_id: before.message_id,
    email_id: emailId,
    kind: 'transactional',
    list_id: listId,
    recipient: address.given,
    recipient_domain: 'example.org',
    state: 'queued',
    run: 2,
  });
  const asked = {
    sendId: send.id,
    run: 2,
    prospectId: prospect.id,
    addressId: send.address_id as string,
    recipientDomain: 'example.org',
    trigger: 'schedule' as const,
    now: new Date(),
  };
  expect(await gate(account.db, asked)).toMatchObject({ kind: 'open' });
});

it('a time zone that is none, or no more, is taken for none', async () => {
  const { prospect, who } = await somebody();
  await account.db.query(plain(`update prospect set time_zone = 'Mars/Base' where id = $1`), [prospect.id]);
  await account.db.transaction((tx) =>
    changeSettings(tx, ORIGIN, new Date(), {
      quietHours: { from: '00:00', to: '00:00', timeZone: 'UTC' },
    }),
  );
  const { id } = await enter(
    [
      { id: 'past', type: 'wait', until: { date: '2020-01-01', time: '09:00' } },
      { id: 'mail', type: 'sendEmail', emailId: await account.email() },
    ],
    who,
  );
  expect(await take(id)).toEqual({ kind: 'on' });
  expect(await take(id)).toMatchObject({ reason: 'quiet_hours' });
});

it('an if/else that cannot be decided any more is Skipped, and holds nobody up', async () => {
  const { who } = await somebody();
  const created = await account.db.transaction((tx) =>
    createDynamicList(tx, new Date(), 'Names itself', false, { all: [] }),
  );
  const criteria = { list: (created as { listId: string }).listId, member: true };
  const { id } = await enter(
    [{ id: 'if', type: 'if', criteria, yes: [{ id: 'leave', type: 'leave' }], no: [] }, rest],
    who,
  );
  // No change of a list would be let through that comes to this.
  await account.db.query(plain('update list set criteria = $2 where id = $1'), [
    criteria.list,
    JSON.stringify(criteria),
  ]);
  expect(await take(id)).toEqual({ kind: 'on' });
  expect(await take(id)).toMatchObject({ reason: 'time' });
  expect(await shownSteps(account, id)).toEqual(['if: skipped (lists_refused)', 'rest: waiting (time)']);
});
