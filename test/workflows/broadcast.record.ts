import { afterAll, beforeAll, it } from 'vitest';
import { changeBroadcast, readBroadcast } from '../../db/queries/broadcasts.ts';
import type { BroadcastCommand } from '../../domain/broadcast/words.ts';
import { broadcastId as workflowIdOf } from '../../domain/processes.ts';
import { type Relay, startRelay } from '../../worker/relay.ts';
import {
  broadcastProgress,
  cancelBroadcast,
  pauseBroadcast,
  resumeBroadcast,
} from '../../workflows/broadcast.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { listOf, newBroadcast } from '../support/broadcasting.ts';
import { keepHistory } from '../support/histories.ts';
import { readNothing } from '../support/inbound.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { type Sending, startSending } from '../support/sending.ts';
import { silent } from '../support/silent.ts';
import { until } from '../support/until.ts';

/* Records one history of every path through `broadcast` from the real server. */

let account: TestAccount;
let temporal: RealTemporal;
let sending: Sending;
let relay: Relay;
let counter = 0;
beforeAll(async () => {
  account = await createTestAccount();
  temporal = await connectToTemporal();
  sending = await startSending(account, temporal);
  relay = startRelay({ db: account.db, processes: sending.processes, readInbound: readNothing, log: silent });
});
afterAll(async () => {
  await relay?.stop();
  await sending?.close();
  await temporal?.close();
  await account?.close();
});

async function begin(count: number, options: { perMinute?: number; startsIn?: number } = {}) {
  counter += 1;
  const emails = Array.from({ length: count }, (_, index) => `r${index}@record${counter}.example.net`);
  const { listId } = await listOf(account, emails);
  const id = await newBroadcast(account, { listIds: [listId], excludeListIds: [] }, options);
  const startAt = options.startsIn === undefined ? null : new Date(Date.now() + options.startsIn);
  await command(id, 'start', startAt);
  const handle = temporal.client.workflow.getHandle(workflowIdOf(id, 1));
  await until('its workflow has started', () => handle.describe());
  return { id, handle };
}

async function command(id: string, what: BroadcastCommand, startAt: Date | null = null) {
  await account.db.transaction((tx) => changeBroadcast(tx, ORIGIN, new Date(), id, what, startAt));
}

const untilState = (id: string, state: string) =>
  until(`it is ${state}`, async () => (await readBroadcast(account.db, id))!.state === state);

it('sent, in several lanes', async () => {
  const { handle } = await begin(1_200);
  await keepHistory(handle, 'broadcast', 'sent');
});

it('sent at a time', async () => {
  const { handle } = await begin(3, { startsIn: 1_500 });
  await keepHistory(handle, 'broadcast', 'at-a-time');
});

it('sent so slowly that its lanes go on after their minute', async () => {
  const { handle } = await begin(9, { perMinute: 6 });
  await keepHistory(handle, 'broadcast', 'slowly');
}, 180_000);

it('paused and resumed through the API', async () => {
  const { id, handle } = await begin(60, { perMinute: 1_200 });
  await command(id, 'pause');
  await until('it is paused', async () => (await handle.query(broadcastProgress)).doing === 'paused');
  await command(id, 'resume');
  await keepHistory(handle, 'broadcast', 'paused');
});

it('paused, resumed and cancelled at the Temporal UI', async () => {
  const { id, handle } = await begin(300, { perMinute: 600 });
  await until('it sends', async () => (await handle.query(broadcastProgress)).doing === 'send');
  await handle.signal(pauseBroadcast);
  await untilState(id, 'paused');
  await handle.signal(resumeBroadcast);
  await untilState(id, 'sending');
  await handle.signal(cancelBroadcast);
  await keepHistory(handle, 'broadcast', 'commanded');
});

it('cancelled before its time, with its workflow', async () => {
  const { handle } = await begin(3, { startsIn: 3_600_000 });
  await until('it waits', async () => (await handle.query(broadcastProgress)).until !== null);
  await handle.cancel();
  await keepHistory(handle, 'broadcast', 'cancelled');
});
