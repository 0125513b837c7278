import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { plain } from '../../../db/connection.ts';
import { removeEnrollment } from '../../../db/queries/enrollmentChanges.ts';
import { enrollmentId as workflowIdOf } from '../../../domain/processes.ts';
import { enrollmentStanding } from '../../../workflows/enrollment.ts';
import { ORIGIN } from '../../support/account.ts';
import { shownSteps, transition } from '../../support/automating.ts';
import { type AutomationWorld, startAutomationWorld } from '../../support/automationWorld.ts';

let world: AutomationWorld;
beforeAll(async () => {
  world = await startAutomationWorld();
});
afterAll(() => world?.close());

/** A receiver that answers each call with the next of these, and with the last from then on. */
async function receiver(...answers: number[]) {
  const calls: { request: IncomingMessage; body: string }[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (part) => {
      body += part;
    });
    request.on('end', () => {
      calls.push({ request, body });
      const status = answers[Math.min(calls.length, answers.length) - 1]!;
      response.writeHead(status, status === 301 ? { location: '/other' } : {}).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { calls, url: `http://127.0.0.1:${port}/hook`, close: () => server.close() };
}

const call = (url: string) => ({ id: 'call', type: 'webhook', url });
const mark = { id: 'mark', type: 'setField', field: 'title', value: 'went on' };

async function triesOf(enrollmentId: string): Promise<number> {
  const [row] = await world.account.db.query<{ tries: number }>(
    plain(`select tries from enrollment_step where enrollment_id = $1 and step_id = 'call'`),
    [enrollmentId],
  );
  return row!.tries;
}

it('is called with a signature, again while the receiver is in trouble, and told only ids', async () => {
  const { who, prospect, address } = await world.somebody();
  const { url, calls, close } = await receiver(503, 429, 204);
  const { enrollmentId, automationId } = await world.enter([call(url), mark], { who });
  await world.shows(enrollmentId, 'call: waiting (http_503)');
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  close();
  expect(await shownSteps(world.account, enrollmentId)).toEqual([
    'call: applied (http_204)',
    'mark: applied',
  ]);
  const handle = world.client.workflow.getHandle(workflowIdOf(enrollmentId, 1));
  expect((await handle.query(enrollmentStanding)).steps).toEqual([
    { id: 'call', state: 'applied', reason: 'http_204' },
    { id: 'mark', state: 'applied', reason: null },
  ]);
  expect(calls).toHaveLength(3);
  for (const { request, body } of calls) {
    expect(JSON.parse(body)).toEqual({
      type: 'automation.step',
      automationId,
      enrollmentId,
      stepId: 'call',
      prospectId: prospect.id,
    });
    expect(body).not.toContain(address);
    const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': given } = request.headers;
    expect(id).toBe(`${enrollmentId}.call`);
    const signature = createHmac('sha256', 'secret').update(`${id}.${timestamp}.${body}`).digest('base64');
    expect(given).toBe(`v1,${signature}`);
  }
});

it('that says no for good is Skipped at once', async () => {
  const { who } = await world.somebody();
  const { url, calls, close } = await receiver(301);
  const { enrollmentId } = await world.enter([call(url), mark], { who });
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  close();
  expect(calls).toHaveLength(1);
  expect(await shownSteps(world.account, enrollmentId)).toEqual([
    'call: skipped (http_301)',
    'mark: applied',
  ]);
});

it('that never answers is tried fifteen times within a day, then Skipped, and the enrollment goes on', async () => {
  const { who } = await world.somebody();
  const { url, close } = await receiver(200);
  close();
  const began = await world.now();
  const { enrollmentId } = await world.enter([call(url), mark], { who });
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  expect(await shownSteps(world.account, enrollmentId)).toEqual([
    'call: skipped (ECONNREFUSED)',
    'mark: applied',
  ]);
  expect(await triesOf(enrollmentId)).toBe(15);
  const hours = ((await world.now()).getTime() - began.getTime()) / 3600_000;
  expect(hours).toBeGreaterThan(23);
  expect(hours).toBeLessThan(24);
});

it('is not called again for who was taken out while it waited for the next try', async () => {
  const { who, prospect } = await world.somebody();
  const { url, calls, close } = await receiver(503);
  const { enrollmentId } = await world.enter([call(url), mark], { who });
  await world.shows(enrollmentId, 'call: waiting (http_503)');
  const at = await world.now();
  await world.account.db.transaction((tx) => removeEnrollment(tx, ORIGIN, at, enrollmentId));
  // The workflow ends now, not at the time of the next try.
  expect(await world.result(enrollmentId)).toEqual({ state: 'removed' });
  const before = calls.length;
  await world.pass(24 * 3600);
  close();
  expect(calls).toHaveLength(before);
  expect(await world.prospectRow(prospect.id)).toMatchObject({ title: null });
});

it('waits while the automation is paused, and is called once it is resumed', async () => {
  const { who } = await world.somebody();
  const { url, calls, close } = await receiver(503, 204);
  const { enrollmentId, automationId } = await world.enter([call(url)], { who });
  await world.shows(enrollmentId, 'call: waiting (http_503)');
  await transition(world.account, automationId, 'pause', await world.now());
  await world.pass(3600);
  await world.shows(enrollmentId, 'call: suspended (automation_paused)');
  expect(calls).toHaveLength(1);
  await transition(world.account, automationId, 'resume', await world.now());
  expect(await world.result(enrollmentId)).toEqual({ state: 'done' });
  close();
  expect(await shownSteps(world.account, enrollmentId)).toEqual(['call: applied (http_204)']);
});
