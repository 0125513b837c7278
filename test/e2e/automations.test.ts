import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { ensureAddresses } from '../../db/queries/addresses.ts';
import { addAutomationVersion } from '../../db/queries/automations.ts';
import { applyDeliveryEvent } from '../../db/queries/deliveryEvents.ts';
import { countWaitingStarts } from '../../db/queries/outbox.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { unsubscribe } from '../../db/queries/unsubscribe.ts';
import {
  automationId as automationWorkflowId,
  enrollmentId as enrollmentWorkflowId,
  TASK_QUEUES,
  WORKFLOW_TYPES,
} from '../../domain/processes.ts';
import { type Relay, startRelay } from '../../worker/relay.ts';
import { startApi, type TestApi } from '../api/support.ts';
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
import { readNothing } from '../support/inbound.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { type Sending, startSending } from '../support/sending.ts';
import { silent } from '../support/silent.ts';
import { until } from '../support/until.ts';

/*
 * Automations on the real server: whoever comes to match a continuous one is enrolled, by whatever way that came about,
 * and nobody is enrolled twice or forgotten.
 */

/** The contract's number. */
const ENROLLED_WITHIN_MS = 5_000;

let account: TestAccount;
let temporal: RealTemporal;
let sending: Sending;
let relay: Relay;
let api: TestApi;
beforeAll(async () => {
  account = await createTestAccount({ poolSize: 20 });
  temporal = await connectToTemporal();
  sending = await startSending(account, temporal);
  relay = startRelay({ db: account.db, processes: sending.processes, readInbound: readNothing, log: silent });
  api = await startApi({}, account);
});
afterAll(async () => {
  await api?.close();
  await relay?.stop();
  await sending?.close();
  await temporal?.close();
  await account?.close();
});

let counter = 0;

/** Who a way is about, and somebody beside them who never comes to match. */
interface Person {
  readonly n: number;
  readonly address: string;
  readonly prospect: TestProspect;
  /** Criteria that hold for these two alone, whatever else holds. */
  readonly these: object;
}

async function newPerson(domain = 'example.net'): Promise<Person> {
  counter += 1;
  const address = `come${counter}.person@${domain}`;
  await account.prospect(`come${counter}.other@example.org`);
  return {
    n: counter,
    address,
    prospect: await account.prospect(address),
    these: addressBegins(`come${counter}.`),
  };
}

/** A running automation that has looked at everybody and enrolled nobody. */
async function running(who: object, steps: object[] = [{ id: 'rest', type: 'wait', seconds: 3600 }]) {
  const automationId = await newAutomation(account, steps, { who, when: { mode: 'continuous' } });
  await transition(account, automationId, 'activate');
  await until('it has looked at everybody', async () => {
    const [row] = await account.db.query(plain('select enrolled_at from automation where id = $1'), [
      automationId,
    ]);
    return row!.enrolled_at !== null;
  });
  expect(await enrollmentsOf(account, automationId)).toEqual([]);
  return automationId;
}

/** Makes the change and expects that this prospect, and nobody else, is enrolled in time. */
async function expectEnrolled(automationId: string, change: () => Promise<unknown>, prospectId?: string) {
  await change();
  const entered = await until(
    'somebody is enrolled',
    async () => {
      const rows = await enrollmentsOf(account, automationId);
      return rows.length > 0 && rows;
    },
    ENROLLED_WITHIN_MS,
  );
  if (prospectId !== undefined) expect(entered.map((row) => row.prospect_id)).toEqual([prospectId]);
  await transition(account, automationId, 'stop');
}

async function ok(answer: Promise<{ status: number; body: unknown }>) {
  const { status, body } = await answer;
  expect(status, JSON.stringify(body)).toBeLessThan(300);
  // biome-ignore lint/suspicious/noExplicitAny: what the tests look into
  return body as any;
}

async function changeProspect(id: string, change: object): Promise<void> {
  const { headers } = await api.call('GET', `/prospects/${id}`);
  await ok(api.call('PATCH', `/prospects/${id}`, change, { 'if-match': headers.get('etag')! }));
}

const company = { field: 'company', operator: 'equals', value: 'Come' };
const all = (...criteria: object[]) => ({ all: criteria });

describe('by the API', () => {
  it('a prospect that is created', async () => {
    counter += 1;
    const email = `come${counter}.person@example.net`;
    const id = await running(all(addressBegins(`come${counter}.`), company));
    await expectEnrolled(id, () => ok(api.call('POST', '/prospects', { email, company: 'Come' })));
  });

  it('a field that is changed', async () => {
    const { prospect, these } = await newPerson();
    const id = await running(all(these, company));
    await expectEnrolled(id, () => changeProspect(prospect.id, { company: 'come' }), prospect.id);
  });

  it('a flag that is set', async () => {
    const { prospect, these } = await newPerson();
    const id = await running(all(these, { field: 'emailOptOut', operator: 'equals', value: true }));
    const path = `/prospects/${prospect.id}/flags`;
    await expectEnrolled(
      id,
      () => ok(api.call('PATCH', path, { emailOptOut: true, reason: 'asked' })),
      prospect.id,
    );
  });

  it('an address that is suppressed', async () => {
    const { prospect, address, these } = await newPerson();
    const id = await running(all(these, { suppressed: true, reasons: ['manual'] }));
    const body = { email: address, reason: 'manual' };
    await expectEnrolled(id, () => ok(api.call('POST', '/suppressions', body)), prospect.id);
  });

  it('a domain that is suppressed, and one that is released', async () => {
    const { prospect, these } = await newPerson('sub.come.test');
    const id = await running(all(these, { suppressed: true }));
    const body = { domain: 'come.test', reason: 'manual' };
    let entry: { id: string };
    await expectEnrolled(
      id,
      async () => {
        entry = await ok(api.call('POST', '/suppressions', body));
      },
      prospect.id,
    );
    const released = await running(
      all(addressBegins(`come${counter}.person`), { suppressed: false, reasons: ['domain'] }),
    );
    await expectEnrolled(
      released,
      () => ok(api.call('DELETE', `/suppressions/${entry.id}?note=mistaken`)),
      prospect.id,
    );
  });
});

it('by an import', async () => {
  const { prospect, address, these } = await newPerson();
  const id = await running(all(these, company));
  const csv = { 'content-type': 'text/csv' };
  await expectEnrolled(
    id,
    () =>
      ok(api.call('POST', '/imports?kind=prospects&fileName=a.csv', `Email,Company\n${address},Come\n`, csv)),
    prospect.id,
  );
});

describe('by what becomes of a send', () => {
  it.each([
    ['an acceptance', 'delivered', null],
    ['a soft bounce', 'soft_bounced', '452 4.2.2 The recipient mailbox is full'],
    ['a hard bounce', 'hard_bounced', '550 5.1.1 No such user'],
  ])('%s', async (_, history, answer) => {
    const { prospect, address, these } = await newPerson();
    const id = await running(all(these, { history, happened: true }));
    sending.mail.answer((to) => (to === address ? answer : null));
    await expectEnrolled(id, () => account.send(prospect), prospect.id);
    sending.mail.answer(() => null);
  });

  it('a hard bounce sets Bounced', async () => {
    const { prospect, address, these } = await newPerson();
    const id = await running(all(these, { field: 'bounced', operator: 'equals', value: true }));
    sending.mail.answer((to) => (to === address ? '550 5.1.1 No such user' : null));
    await expectEnrolled(id, () => account.send(prospect), prospect.id);
    sending.mail.answer(() => null);
  });

  it.each([
    ['gave_up', 'soft_bounced'],
    ['hard_bounce', 'hard_bounced'],
  ] as const)('a report that comes after the acceptance: %s', async (kind, history) => {
    const { prospect, these } = await newPerson();
    const { sendId } = await account.send(prospect);
    await until('it is accepted', async () => {
      const [send] = await account.db.query(plain('select outcome from send where id = $1'), [sendId]);
      return send!.outcome === 'delivered';
    });
    const id = await running(all(these, { history, happened: true }));
    const event = { sendId, kind, category: null, faultOurs: false };
    await expectEnrolled(
      id,
      () => account.db.transaction((tx) => applyDeliveryEvent(tx, new Date(), event)),
      prospect.id,
    );
  });

  it('unsubscribing by its link', async () => {
    const { prospect, these } = await newPerson();
    const { sendId } = await account.send(prospect);
    const id = await running(all(these, { history: 'unsubscribed', happened: true }));
    const choice = { everything: true, listIds: [] };
    await expectEnrolled(
      id,
      () =>
        account.db.transaction((tx) =>
          unsubscribe(tx, { way: 'unsubscribe_link' }, new Date(), sendId, choice),
        ),
      prospect.id,
    );
  });
});

describe('by lists', () => {
  it('one that the prospect is put into, and one that it is taken out of', async () => {
    const { prospect, these } = await newPerson();
    const [listId, members] = [await account.list(), (list: string) => `/lists/${list}/members`];
    const inside = await running(all(these, { list: listId, member: true }));
    const body = { prospectIds: [prospect.id] };
    await expectEnrolled(inside, () => ok(api.call('POST', members(listId), body)), prospect.id);
    const outside = await running(
      all(addressBegins(`come${counter}.person`), { list: listId, member: false }),
    );
    const path = `${members(listId)}/${prospect.id}`;
    await expectEnrolled(outside, () => ok(api.call('DELETE', path)), prospect.id);
  });

  it('a dynamic list whose criteria change, also one that another one leads to', async () => {
    const { prospect, these, n } = await newPerson();
    await account.db.query(plain(`update prospect set city = 'Come' where id = $1`), [prospect.id]);
    const nobody = { field: 'city', operator: 'equals', value: 'Nowhere' };
    const inner = await ok(api.call('POST', '/lists', { name: `inner ${n}`, criteria: nobody }));
    const outer = await ok(
      api.call('POST', '/lists', { name: `outer ${n}`, criteria: { list: inner.id, member: true } }),
    );
    const id = await running(all(these, { list: outer.id, member: true }));
    const criteria = { field: 'city', operator: 'equals', value: 'Come' };
    await expectEnrolled(id, () => ok(api.call('PATCH', `/lists/${inner.id}`, { criteria })), prospect.id);
  });
});

describe('by other automations', () => {
  it('a step that changes it', async () => {
    const { prospect, these, address } = await newPerson();
    const id = await running(all(these, company));
    const steps = [{ id: 'set', type: 'setField', field: 'company', value: 'Come' }];
    const other = await newAutomation(account, steps, { who: addressBegins(address) });
    await expectEnrolled(id, () => transition(account, other, 'activate'), prospect.id);
  });

  it('entering one', async () => {
    const { prospect, these, address } = await newPerson();
    const other = await newAutomation(
      account,
      [{ id: 'set', type: 'setField', field: 'city', value: 'Wien' }],
      {
        who: addressBegins(address),
      },
    );
    const id = await running(
      all(these, { history: 'entered_automation', happened: true, automationId: other }),
    );
    await expectEnrolled(id, () => transition(account, other, 'activate'), prospect.id);
  });
});

it('by a merge that gives it what it had not', async () => {
  const [winner, loser] = [await newPerson(), await newPerson()];
  await account.db.query(plain(`update prospect set company = 'Come' where id = $1`), [loser.prospect.id]);
  const id = await running(all(winner.these, company));
  await expectEnrolled(
    id,
    () =>
      account.db.transaction((tx) =>
        mergeProspects(tx, ORIGIN, new Date(), winner.prospect.id, loser.prospect.id),
      ),
    winner.prospect.id,
  );
});

it('by a merge that hands it an enrollment', async () => {
  const [winner, loser] = [await newPerson(), await newPerson()];
  const other = await newAutomation(account, [{ id: 'rest', type: 'wait', seconds: 3600 }], {
    who: addressBegins(loser.address),
  });
  await transition(account, other, 'activate');
  await until('the loser has entered', async () => (await enrollmentsOf(account, other)).length > 0);
  const entered = { history: 'entered_automation', happened: true, automationId: other };
  const id = await running(all(winner.these, entered));
  await expectEnrolled(
    id,
    () =>
      account.db.transaction((tx) =>
        mergeProspects(tx, ORIGIN, new Date(), winner.prospect.id, loser.prospect.id),
      ),
    winner.prospect.id,
  );
  await transition(account, other, 'stop');
});

it('while very many go over to another version', async () => {
  const { prospect, these } = await newPerson();
  const id = await running(all(these, company));
  const who = { field: 'city', operator: 'equals', value: 'Nowhere' };
  const steps = [{ id: 'rest', type: 'wait', seconds: 3600 }];
  const many = await running(who, steps);
  // Taken out, so that none of them has a workflow to be told.
  await account.db.query(
    plain(`with a as (
             insert into address (id, hash, created_at)
             select gen_random_uuid(), sha256(convert_to('many' || n, 'UTF8')), now() from generate_series(1, 800) n returning id
           ), p as (
             insert into prospect (id, address_id, email, created_at, updated_at)
             select gen_random_uuid(), id, 'many@example.net', now(), now() from a returning id
           )
           insert into enrollment (id, automation_id, version, prospect_id, state, position, entered_at, finished_at)
           select gen_random_uuid(), $1, 1, id, 'removed', 'rest', now(), now() from p`),
    [many],
  );
  const behind = async () => {
    const [row] = await account.db.query<{ count: number }>(
      plain('select count(*)::int as count from enrollment where automation_id = $1 and version = 1'),
      [many],
    );
    return row!.count;
  };
  const definition = await definitionOf(account, steps, { who, when: { mode: 'continuous' } });
  await account.db.transaction((tx) => addAutomationVersion(tx, ORIGIN, new Date(), many, definition, true));
  await until('they begin to go over', async () => (await behind()) < 800);
  await expectEnrolled(id, () => changeProspect(prospect.id, { company: 'Come' }), prospect.id);
  expect(await behind()).toBeGreaterThan(0);
  await until('all have gone over', async () => (await behind()) === 0);
  await transition(account, many, 'stop');
});

describe('and nobody twice', () => {
  it('who stops matching and matches again stays as it is', async () => {
    const { prospect, these } = await newPerson();
    const id = await newAutomation(account, [{ id: 'rest', type: 'wait', seconds: 3600 }], {
      who: all(these, company),
      when: { mode: 'continuous' },
    });
    await transition(account, id, 'activate');
    for (const value of ['Come', null, 'Come', null, 'Come'])
      await changeProspect(prospect.id, { company: value });
    await until('it is enrolled', async () => (await enrollmentsOf(account, id)).length > 0);
    await transition(account, id, 'pause');
    await transition(account, id, 'resume');
    await until('everybody was looked at again', async () => {
      const [row] = await account.db.query(plain('select run, enrolled_at from automation where id = $1'), [
        id,
      ]);
      return row!.run === 2 && row!.enrolled_at !== null;
    });
    expect(await enrollmentsOf(account, id)).toHaveLength(1);
    await transition(account, id, 'stop');
  });

  it('one that enrolls only once enrolls nobody who comes to match later, resumed or not', async () => {
    const { prospect, these } = await newPerson();
    const other = await newPerson();
    await changeProspect(prospect.id, { company: 'Come' });
    const who = all({ any: [these, other.these] }, company);
    const id = await newAutomation(account, [{ id: 'rest', type: 'wait', seconds: 3600 }], { who });
    const enrolledInRun = (run: number) =>
      until(`run ${run} has looked`, () =>
        temporal.client.workflow.getHandle(automationWorkflowId(id, run)).result(),
      );
    await transition(account, id, 'activate');
    expect(await enrolledInRun(1)).toEqual({ enrolled: 1 });
    await changeProspect(other.prospect.id, { company: 'Come' });
    await transition(account, id, 'pause');
    await transition(account, id, 'resume');
    expect(await enrolledInRun(2)).toEqual({ enrolled: 0 });
    expect((await enrollmentsOf(account, id)).map((row) => row.prospect_id)).toEqual([prospect.id]);
    await transition(account, id, 'stop');
  });

  it('whatever is clicked twice: activating at the same time starts one run', async () => {
    const { prospect, these } = await newPerson();
    const made = await ok(
      api.call('POST', '/automations', {
        name: `Twice ${counter}`,
        definition: {
          who: these,
          steps: [{ id: 'in', type: 'setField', field: 'title', value: 'in' }],
          when: { mode: 'once', timeZone: 'UTC' },
        },
      }),
    );
    const clicks = Array.from({ length: 4 }, () => api.call('POST', `/automations/${made.id}/activate`));
    expect((await Promise.all(clicks)).map(({ status }) => status).toSorted()).toEqual([200, 409, 409, 409]);
    await until('everybody is through', async () => {
      const rows = await enrollmentsOf(account, made.id);
      return rows.length === 2 && rows.every(({ state }) => state === 'done');
    });
    const [row] = await account.db.query(plain('select version from prospect where id = $1'), [prospect.id]);
    expect(row).toEqual({ version: 2 });
    const [automation] = await account.db.query(
      plain('select run, current_version as version from automation where id = $1'),
      [made.id],
    );
    expect(automation).toEqual({ run: 1, version: 1 });
  });
});

describe('I7: a workflow that was lost is started again by the sweep', () => {
  async function sweep(): Promise<void> {
    counter += 1;
    await temporal.client.workflow.execute(WORKFLOW_TYPES.sweep, {
      workflowId: `sweep-${counter}`,
      taskQueue: TASK_QUEUES.operations,
    });
  }

  it('of an enrollment whose time has come; one that has still to wait is left alone', async () => {
    const { address } = await newPerson();
    const steps = [
      { id: 'rest', type: 'wait', seconds: 3600 },
      { id: 'set', type: 'setField', field: 'title', value: 'went on' },
    ];
    const enter = async () => {
      const id = await newAutomation(account, steps, { who: addressBegins(address) });
      await transition(account, id, 'activate');
      const [entered] = await until('it waits', async () => {
        const rows = await enrollmentsOf(account, id);
        return rows.length > 0 && (await shownSteps(account, rows[0]!.id)).length > 0 && rows;
      });
      await account.db.query(
        plain(`update enrollment set entered_at = entered_at - interval '3 hours' where id = $1`),
        [entered!.id],
      );
      await temporal.client.workflow.getHandle(enrollmentWorkflowId(entered!.id, 1)).terminate('lost');
      return { id, enrollmentId: entered!.id };
    };
    const [late, early] = [await enter(), await enter()];
    await account.db.query(
      plain(`update enrollment_step set begun_at = begun_at - interval '3 hours',
               waiting_until = waiting_until - interval '3 hours' where enrollment_id = $1`),
      [late.enrollmentId],
    );
    await sweep();
    await until('it is through', async () => (await enrollmentsOf(account, late.id))[0]!.state === 'done');
    expect(await enrollmentsOf(account, late.id)).toMatchObject([{ state: 'done', run: 2 }]);
    expect(await enrollmentsOf(account, early.id)).toMatchObject([{ state: 'running', run: 1 }]);
    await transition(account, early.id, 'stop');
  });

  it('of an automation that has not enrolled everybody yet', async () => {
    const { these } = await newPerson();
    const startAt = { date: '2999-01-01', time: '09:00' };
    const steps = [{ id: 'leave', type: 'leave' }];
    const id = await newAutomation(account, steps, { who: these, when: { startAt } });
    await transition(account, id, 'activate');
    const first = temporal.client.workflow.getHandle(automationWorkflowId(id, 1));
    await until('it has started', () => first.describe());
    await first.terminate('lost');
    await account.db.query(
      plain(`update automation set updated_at = updated_at - interval '1 hour' where id = $1`),
      [id],
    );
    await sweep();
    const second = temporal.client.workflow.getHandle(automationWorkflowId(id, 2));
    await until('it runs again', async () => (await second.describe()).status.name === 'RUNNING');
    await transition(account, id, 'stop');
    expect(await second.result()).toEqual({ enrolled: 0 });
  });
});

it('while thousands of other entries are to be told: whoever comes to match does not wait behind them', async () => {
  const { prospect, these } = await newPerson();
  const id = await running(all(these, company));
  await account.db.query(
    plain(`insert into outbox (aggregate, message, created_at)
           select 'send:' || id, jsonb_build_object('type', 'wakeSend', 'sendId', id, 'run', 1), now()
           from (select uuidv7()::text as id from generate_series(1, 5000)) sends`),
  );
  await changeProspect(prospect.id, { company: 'come' });
  await until('somebody is enrolled', async () => (await enrollmentsOf(account, id)).length > 0);
  const overtaken = await account.db.query(
    plain(`delete from outbox where message->>'type' = 'wakeSend' returning id`),
  );
  // More than the batch that is under way, which the deletion waits for.
  expect(overtaken.length).toBeGreaterThan(1_000);
  await transition(account, id, 'stop');
});

// The last one: what hundreds of enrollments have still to do would slow the others down.
it('while another automation enrolls hundreds: what they wait for holds up nobody else', async () => {
  const crowd = Array.from({ length: 1_200 }, (_, n) => parsed(`crowd${n}@example.net`));
  const addressIds = await ensureAddresses(account.db, account.hasher, new Date(), crowd);
  await account.db.query(
    plain(`insert into prospect (id, address_id, email, created_at, updated_at)
           select uuidv7(), address_id, email, now(), now() from unnest($1::uuid[], $2::text[]) as t(address_id, email)`),
    [
      crowd.map(({ comparisonForm }) => addressIds.get(comparisonForm)),
      crowd.map(({ comparisonForm }) => comparisonForm),
    ],
  );
  const { prospect, these } = await newPerson();
  const id = await running(all(these, company));
  const crowded = await newAutomation(
    account,
    [{ id: 'set', type: 'setField', field: 'city', value: 'Wien' }],
    {
      who: addressBegins('crowd'),
    },
  );
  await transition(account, crowded, 'activate');
  const waiting = () => countWaitingStarts(account.db, 10_000);
  await until('hundreds wait', async () => (await waiting()) >= 400);
  await changeProspect(prospect.id, { company: 'come' });
  const [{ newest }] = (await account.db.query(plain('select max(id) as newest from outbox'))) as [
    { newest: string },
  ];
  await until('somebody is enrolled', async () => (await enrollmentsOf(account, id)).length > 0);
  const [{ overtaken }] = (await account.db.query(
    plain('select count(*)::int as overtaken from outbox where id <= $1'),
    [newest],
  )) as [{ overtaken: number }];
  // More than the batch that is under way.
  expect(overtaken).toBeGreaterThan(100);
  let most = 0;
  await until('everybody has entered', async () => {
    most = Math.max(most, await waiting());
    return (await enrollmentsOf(account, crowded)).length === crowd.length;
  });
  // A page of 500 is enrolled once less than one waits.
  expect(most).toBeLessThan(1_000);
  await transition(account, id, 'stop');
});
