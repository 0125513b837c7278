import { afterAll, beforeAll, expect, it } from 'vitest';
import { plain } from '../../../db/connection.ts';
import { setFlags } from '../../../db/queries/flags.ts';
import { unsubscribeInOneStep } from '../../../db/queries/unsubscribe.ts';
import { enrollmentId as workflowIdOf } from '../../../domain/processes.ts';
import { enrollmentStanding } from '../../../workflows/enrollment.ts';
import { ORIGIN } from '../../support/account.ts';
import { shownSteps } from '../../support/automating.ts';
import {
  type AutomationWorld,
  DAY,
  type Somebody,
  startAutomationWorld,
} from '../../support/automationWorld.ts';

let world: AutomationWorld;
beforeAll(async () => {
  world = await startAutomationWorld();
});
afterAll(() => world?.close());

it('sets fields, and flags like a person does', async () => {
  const { who, prospect } = await world.somebody();
  const { enrollmentId } = await world.enter(
    [
      { id: 'country', type: 'setField', field: 'country', value: 'Austria' },
      { id: 'no', type: 'setField', field: 'emailOptOut', value: true },
      { id: 'dead', type: 'setField', field: 'bounced', value: true },
      { id: 'alive', type: 'setField', field: 'bounced', value: false },
    ],
    { who },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await world.prospectRow(prospect.id)).toMatchObject({
    country: 'Austria',
    email_opt_out: true,
    bounced: false,
  });
  const audit = await world.account.db.query(
    plain(`select way, actor, subject, after from audit_entry
           where prospect_id = $1 and action = 'flag.changed' order by id`),
    [prospect.id],
  );
  const automation = { way: 'automation', actor: expect.stringMatching(/^automation:/) };
  expect(audit).toEqual([
    { ...automation, subject: 'emailOptOut', after: true },
    { ...automation, subject: 'bounced', after: true },
    { ...automation, subject: 'bounced', after: false },
  ]);
});

it('Email Opt Out = No takes back what a law said, and not what the prospect said meanwhile', async () => {
  const { account } = world;
  const [lawful, own] = [await world.somebody(), await world.somebody()];
  const enter = async ({ prospect, who }: Somebody) => {
    const at = await world.now();
    await account.db.transaction((tx) => setFlags(tx, ORIGIN, at, prospect.id, { emailOptOut: true }));
    const { enrollmentId } = await world.enter(
      [
        { id: 'wait', type: 'wait', seconds: 30 * DAY },
        { id: 'set', type: 'setField', field: 'emailOptOut', value: false },
        { id: 'mail', type: 'sendEmail', emailId: await account.email() },
      ],
      { who },
    );
    await world.shows(enrollmentId, 'wait: waiting (time)');
    return enrollmentId;
  };
  const [first, second] = [await enter(lawful), await enter(own)];
  const { sendId } = await account.send(own.prospect);
  const at = await world.now();
  await account.db.transaction((tx) => unsubscribeInOneStep(tx, { way: 'one_click' }, at, sendId));
  expect(await world.result(first)).toEqual({ state: 'done' });
  expect(await shownSteps(account, first)).toEqual([
    'wait: applied',
    'set: applied',
    'mail: applied (delivered)',
  ]);
  expect(await world.result(second)).toEqual({ state: 'done' });
  expect(await shownSteps(account, second)).toEqual([
    'wait: applied',
    'set: skipped (own_opt_out)',
    'mail: skipped (prospect:opt_out address:opt_out)',
  ]);
  expect(world.sending.mail.tries.get(own.address)).toBeUndefined();
});

it('adds to a list and removes from it; where the list is gone or dynamic it is Skipped', async () => {
  const { account } = world;
  const { who, prospect } = await world.somebody();
  const [into, outOf, dynamic] = [await account.list(), await account.list(), await account.list()];
  await account.db.query(plain('insert into list_member values ($1, $2, now())'), [outOf, prospect.id]);
  await account.db.query(plain(`update list set criteria = '{"all": []}' where id = $1`), [dynamic]);
  const { enrollmentId } = await world.enter(
    [
      { id: 'in', type: 'addToList', listId: into },
      { id: 'out', type: 'removeFromList', listId: outOf },
      { id: 'gone', type: 'addToList', listId: '019a0c5e-0000-7000-8000-000000000000' },
      { id: 'by-criteria', type: 'addToList', listId: dynamic },
    ],
    { who },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(account, enrollmentId)).toEqual([
    'in: applied',
    'out: applied',
    'gone: skipped (no_list)',
    'by-criteria: skipped (dynamic)',
  ]);
  const lists = await account.db.query(plain('select list_id from list_member where prospect_id = $1'), [
    prospect.id,
  ]);
  expect(lists).toEqual([{ list_id: into }]);
});

it.each([
  ['yes', 'Austria', ['if: applied (yes)', 'a: applied', 'leave: applied'], 'left'],
  ['no', 'Sweden', ['if: applied (no)', 'b: applied', 'end: applied'], 'done'],
])('if/else goes by %s, and leave ends it there', async (_, country, expected, state) => {
  const { who } = await world.somebody({ country });
  const set = (id: string) => ({ id, type: 'setField', field: 'title', value: id });
  const { enrollmentId } = await world.enter(
    [
      {
        id: 'if',
        type: 'if',
        criteria: { field: 'country', operator: 'equals', value: 'Austria' },
        yes: [set('a'), { id: 'leave', type: 'leave' }],
        no: [set('b')],
      },
      set('end'),
    ],
    { who },
  );
  expect(await world.result(enrollmentId)).toEqual({ state });
  expect(await shownSteps(world.account, enrollmentId)).toEqual(expected);
});

it('if/else is decided when it is come to, by criteria over history too', async () => {
  const { who, prospect } = await world.somebody();
  const { enrollmentId } = await world.enter(
    [
      { id: 'mail', type: 'sendEmail', emailId: await world.account.email() },
      {
        id: 'if',
        type: 'if',
        criteria: { history: 'delivered', happened: true, withinDays: 1 },
        yes: [{ id: 'reached', type: 'setField', field: 'title', value: 'reached' }],
      },
    ],
    { who },
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await world.prospectRow(prospect.id)).toMatchObject({ title: 'reached' });
});

it('shows every step and what comes next in the Temporal UI, by ids and codes alone', async () => {
  const { who, address } = await world.somebody();
  const { enrollmentId } = await world.enter(
    [
      { id: 'mail', type: 'sendEmail', emailId: await world.account.email() },
      { id: 'rest', type: 'wait', seconds: 3600 },
    ],
    { who },
  );
  await world.shows(enrollmentId, 'rest: waiting (time)');
  const handle = world.client.workflow.getHandle(workflowIdOf(enrollmentId, 1));
  expect(await handle.query(enrollmentStanding)).toEqual({
    steps: [
      { id: 'mail', state: 'applied', reason: 'delivered' },
      { id: 'rest', state: 'waiting', reason: 'time' },
    ],
    next: { kind: 'wait', until: expect.any(Number), reason: 'time' },
  });
  const { currentDetails } = await handle.query<{ currentDetails: string }>('__temporal_workflow_metadata');
  expect(currentDetails).toMatch(
    /^- mail: applied \(delivered\)\n- rest: waiting \(time\)\n\nWaiting: time, until 20/,
  );
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  const history = JSON.stringify(await handle.fetchHistory());
  expect(history).not.toContain(address);
  expect(history).not.toContain(Buffer.from(address).toString('base64'));
});
