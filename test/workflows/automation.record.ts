import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { loadEmbeddedConfig } from '../../config/config.ts';
import { plain } from '../../db/connection.ts';
import { addAutomationVersion } from '../../db/queries/automations.ts';
import { putEnrollmentBack, removeEnrollment } from '../../db/queries/enrollmentChanges.ts';
import { changeSettings } from '../../db/queries/settings.ts';
import {
  automationId as automationWorkflowId,
  enrollmentId as workflowIdOf,
} from '../../domain/processes.ts';
import { ensureTemporal, startTemporal, type TemporalServer } from '../../tools/embedded/temporal.ts';
import { type Relay, startRelay } from '../../worker/relay.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import {
  addressBegins,
  definitionOf,
  enrollmentsOf,
  newAutomation,
  shownSteps,
  transition,
} from '../support/automating.ts';
import { keepHistory, writeHistory } from '../support/histories.ts';
import { readNothing } from '../support/inbound.ts';
import { type Sending, startSending } from '../support/sending.ts';
import { silent } from '../support/silent.ts';
import { until } from '../support/until.ts';

/*
 * Records one history of every path through `automation` and `enrollment` from the real server, which suggests to continue
 * as new after few events, so that the paths of long histories are short ones too.
 */

/** More than any of the other paths needs. */
const SUGGESTED_AFTER_EVENTS = 60;
const NAMESPACE = 'record';

let account: TestAccount;
let server: TemporalServer;
let connection: Connection;
let native: NativeConnection;
let client: Client;
let sending: Sending;
let relay: Relay;
/** Answers the calls with these in turn, and with the last from then on. */
let answers: number[] = [204];
const receiver = createServer((_, response) => {
  const status = answers.length > 1 ? answers.shift()! : answers[0]!;
  response.writeHead(status).end();
});
beforeAll(async () => {
  account = await createTestAccount();
  server = await startTemporal({
    binary: await ensureTemporal(loadEmbeddedConfig(), () => {}),
    namespace: NAMESPACE,
    logFile: join(tmpdir(), `heed-record-${process.pid}.log`),
    dynamicConfig: { 'limit.historyCount.suggestContinueAsNew': SUGGESTED_AFTER_EVENTS },
    temporary: true,
  });
  const { address } = server;
  connection = await Connection.connect({ address });
  native = await NativeConnection.connect({ address });
  client = new Client({ connection, namespace: NAMESPACE });
  sending = await startSending(account, { client, connection: native, namespace: NAMESPACE });
  relay = startRelay({ db: account.db, processes: sending.processes, readInbound: readNothing, log: silent });
  receiver.listen(0, '127.0.0.1');
  await once(receiver, 'listening');
});
afterAll(async () => {
  receiver.close();
  await relay?.stop();
  await sending?.close();
  await native?.close();
  await connection?.close();
  await server?.stop();
  await account?.close();
});

let counter = 0;

async function enter(steps: readonly object[], when: object = {}) {
  counter += 1;
  await account.prospect(`record${counter}.person@example.net`);
  const who = addressBegins(`record${counter}.`);
  const automationId = await newAutomation(account, steps, { who, when });
  await transition(account, automationId, 'activate');
  const [enrollment] = await until('somebody has entered', async () => {
    const entered = await enrollmentsOf(account, automationId);
    return entered.length > 0 && entered;
  });
  const handle = client.workflow.getHandle(workflowIdOf(enrollment!.id, 1));
  await until('its workflow has started', () => handle.describe());
  return { automationId, enrollmentId: enrollment!.id, handle, who };
}

function waits(enrollmentId: string, step: string) {
  return until(`it shows ${step}`, async () => (await shownSteps(account, enrollmentId)).includes(step));
}

const change = (what: typeof removeEnrollment, enrollmentId: string) =>
  account.db.transaction((tx) => what(tx, ORIGIN, new Date(), enrollmentId));
const rest = (id: string, seconds = 1) => ({ id, type: 'wait', seconds });
const mark = { id: 'set', type: 'setField', field: 'title', value: 'Dr.' };
const hook = () => `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;

describe('enrollment', () => {
  it('an email, a wait, a webhook, a field', async () => {
    const { handle, automationId } = await enter([
      { id: 'mail', type: 'sendEmail', emailId: await account.email() },
      rest('wait'),
      { id: 'call', type: 'webhook', url: hook() },
      mark,
    ]);
    await keepHistory(handle, 'enrollment', 'through');
    const enrolling = client.workflow.getHandle(automationWorkflowId(automationId, 1));
    await keepHistory(enrolling, 'automation', 'enrolled');
  });

  it('every other action at once, out by leaving', async () => {
    const listId = await account.list();
    const { handle } = await enter([
      { id: 'past', type: 'wait', until: { date: '2020-01-01', time: '09:00' } },
      { id: 'out', type: 'setField', field: 'emailOptOut', value: true },
      { id: 'in', type: 'addToList', listId },
      {
        id: 'if',
        type: 'if',
        criteria: { list: listId, member: true },
        yes: [
          { id: 'off', type: 'removeFromList', listId },
          { id: 'mail', type: 'sendEmail', emailId: await account.email() },
          { id: 'leave', type: 'leave' },
        ],
      },
      mark,
    ]);
    await keepHistory(handle, 'enrollment', 'every-other-action');
  });

  it('a webhook that is called again, and one that is given up', async () => {
    answers = [503, 404, 204];
    const { handle, enrollmentId } = await enter([{ id: 'call', type: 'webhook', url: hook() }, mark]);
    await waits(enrollmentId, 'call: waiting (http_503)');
    await keepHistory(handle, 'enrollment', 'webhook-again');
  });

  it('held back by the kill switch', async () => {
    const pause = (marketingPaused: boolean) =>
      account.db.transaction((tx) => changeSettings(tx, ORIGIN, new Date(), { marketingPaused }));
    await pause(true);
    const steps = [{ id: 'mail', type: 'sendEmail', emailId: await account.email() }, mark];
    const { handle, enrollmentId } = await enter(steps);
    await waits(enrollmentId, 'mail: waiting (marketing_paused)');
    await pause(false);
    await keepHistory(handle, 'enrollment', 'held-back');
  });

  it('removed while it waits, and put back', async () => {
    const { handle, enrollmentId } = await enter([rest('wait', 3600), mark]);
    await waits(enrollmentId, 'wait: waiting (time)');
    await change(removeEnrollment, enrollmentId);
    await keepHistory(handle, 'enrollment', 'removed');
    await account.db.query(
      plain(`update enrollment_step set begun_at = begun_at - interval '2 hours' where enrollment_id = $1`),
      [enrollmentId],
    );
    await change(putEnrollmentBack, enrollmentId);
    const second = client.workflow.getHandle(workflowIdOf(enrollmentId, 2));
    await until('it has started again', () => second.describe());
    await keepHistory(second, 'enrollment', 'put-back');
  });

  it('superseded by another run', async () => {
    const { handle, enrollmentId } = await enter([rest('wait', 3600)]);
    await waits(enrollmentId, 'wait: waiting (time)');
    await account.db.transaction(async (tx) => {
      await removeEnrollment(tx, ORIGIN, new Date(), enrollmentId);
      await putEnrollmentBack(tx, ORIGIN, new Date(), enrollmentId);
    });
    await keepHistory(handle, 'enrollment', 'superseded');
  });

  it('paused and resumed', async () => {
    const { handle, enrollmentId, automationId } = await enter([rest('wait', 2)]);
    await waits(enrollmentId, 'wait: waiting (time)');
    await transition(account, automationId, 'pause');
    await waits(enrollmentId, 'wait: suspended (automation_paused)');
    await transition(account, automationId, 'resume');
    await keepHistory(handle, 'enrollment', 'paused');
  });

  it('stopped with its automation', async () => {
    const { handle, enrollmentId, automationId } = await enter([rest('wait', 3600)]);
    await waits(enrollmentId, 'wait: waiting (time)');
    await transition(account, automationId, 'stop');
    await keepHistory(handle, 'enrollment', 'stopped');
  });

  it('moved to a new version while it waits', async () => {
    const { handle, enrollmentId, automationId, who } = await enter([rest('wait', 3600)]);
    await waits(enrollmentId, 'wait: waiting (time)');
    const definition = await definitionOf(account, [rest('wait', 1), mark], { who });
    await account.db.transaction((tx) =>
      addAutomationVersion(tx, ORIGIN, new Date(), automationId, definition, true),
    );
    await keepHistory(handle, 'enrollment', 'moved');
  });

  it('continued as new, since its history has grown long', async () => {
    const steps = Array.from({ length: 10 }, (_, n) => rest(`wait${n}`));
    const { handle, enrollmentId } = await enter(steps);
    const { runId } = await handle.describe();
    await handle.result();
    const first = client.workflow.getHandle(workflowIdOf(enrollmentId, 1), runId);
    await writeHistory(first, 'enrollment', 'continues-as-new');
    await keepHistory(handle, 'enrollment', 'continued');
  });
});

describe('automation', () => {
  const leave = [{ id: 'leave', type: 'leave' }];

  it('stopped before its start', async () => {
    const startAt = { date: '2999-01-01', time: '09:00' };
    const automationId = await newAutomation(account, leave, { who: { all: [] }, when: { startAt } });
    await transition(account, automationId, 'activate');
    const handle = client.workflow.getHandle(automationWorkflowId(automationId, 1));
    await until('it waits for its start', async () => {
      const history = await handle.fetchHistory();
      return history.events?.some((event) => event.timerStartedEventAttributes);
    });
    await transition(account, automationId, 'stop');
    await keepHistory(handle, 'automation', 'stopped');
  });

  it('waits for a time, then enrolls', async () => {
    const automationId = await newAutomation(account, leave, { who: addressBegins('record1.') });
    // Whoever changed something before it was activated is waited for.
    await account.db.transaction(async (tx) => {
      await tx.query(plain('select pg_current_xact_id()'));
      await transition(account, automationId, 'activate');
      const handle = client.workflow.getHandle(automationWorkflowId(automationId, 1));
      await until('it waits', async () => {
        const history = await handle.fetchHistory();
        return history.events?.some((event) => event.timerStartedEventAttributes);
      });
    });
    await keepHistory(
      client.workflow.getHandle(automationWorkflowId(automationId, 1)),
      'automation',
      'waited',
    );
  });

  it('continued as new, since somebody else has had a transaction open for long', async () => {
    const automationId = await newAutomation(account, leave, { who: addressBegins('record1.') });
    const handle = client.workflow.getHandle(automationWorkflowId(automationId, 1));
    let firstRunId = '';
    await account.db.transaction(async (tx) => {
      await tx.query(plain('select pg_current_xact_id()'));
      await transition(account, automationId, 'activate');
      firstRunId = (await until('it has started', () => handle.describe())).runId;
      await until('it goes on anew', async () => (await handle.describe()).runId !== firstRunId, 60_000);
    });
    const first = client.workflow.getHandle(automationWorkflowId(automationId, 1), firstRunId);
    await writeHistory(first, 'automation', 'waits-continues-as-new');
    await keepHistory(handle, 'automation', 'waits-continued');
  });

  it('continued as new, since there are many pages', async () => {
    // A page is 500 prospects and 6 events.
    const pages = SUGGESTED_AFTER_EVENTS / 6 + 1;
    await account.db.query(
      plain(`with a as (
               insert into address (id, email, domain, hash, created_at)
               select gen_random_uuid(), 'many' || n || '@example.net', 'example.net', sha256(n::text::bytea), now()
               from generate_series(1, $1) n returning id, email)
             insert into prospect (id, address_id, email, created_at, updated_at)
             select gen_random_uuid(), id, email, now(), now() from a`),
      [pages * 500],
    );
    const automationId = await newAutomation(account, leave, { who: addressBegins('many') });
    // They need not be carried through: what is recorded is their being enrolled.
    await relay.stop();
    await transition(account, automationId, 'activate');
    await sending.processes.startAutomation({ automationId, run: 1 });
    const handle = client.workflow.getHandle(automationWorkflowId(automationId, 1));
    const { runId } = await handle.describe();
    await handle.result();
    const first = client.workflow.getHandle(automationWorkflowId(automationId, 1), runId);
    await writeHistory(first, 'automation', 'continues-as-new');
    await keepHistory(handle, 'automation', 'continued');
  });
});
