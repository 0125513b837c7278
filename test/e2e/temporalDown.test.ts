import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadEmbeddedConfig } from '../../config/config.ts';
import { plain } from '../../db/connection.ts';
import { createApiKey } from '../../db/queries/apiKeys.ts';
import { freePort } from '../../tools/embedded/service.ts';
import { ensureTemporal, startTemporal, type TemporalServer } from '../../tools/embedded/temporal.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { type ApiProcess, startApiProcess } from '../support/apiProcess.ts';
import type { HeedProcess } from '../support/childProcess.ts';
import { type MailServer, startMailServer } from '../support/mailServer.ts';
import { until } from '../support/until.ts';
import { type ProcessSettings, startWorkerProcess } from '../support/workerProcess.ts';

const NAMESPACE = 'heed';

let folder: string;
let account: TestAccount;
let mail: MailServer;
let settings: ProcessSettings;
let api: ApiProcess;
let startOfTemporal: () => Promise<TemporalServer>;
let temporal: TemporalServer | undefined;
let worker: HeedProcess | undefined;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'heed-temporal-down-'));
  chmodSync(folder, 0o755);
  account = await createTestAccount();
  mail = await startMailServer();
  const port = await freePort();
  settings = {
    databaseUrl: account.url,
    temporal: { address: `127.0.0.1:${port}`, namespace: NAMESPACE },
    smtpPort: mail.port,
    addressKey: account.addressKey,
  };
  const binary = await ensureTemporal(loadEmbeddedConfig(), () => {});
  startOfTemporal = () =>
    startTemporal({
      binary,
      namespace: NAMESPACE,
      port,
      dbFile: join(folder, 'temporal.db'),
      logFile: join(folder, 'temporal.log'),
    });
  const { key } = await account.db.transaction((tx) =>
    createApiKey(tx, ORIGIN, new Date(), 'the test', 'write'),
  );
  api = await startApiProcess(settings, key);
});
afterAll(async () => {
  await Promise.all([api?.stop(), worker?.stop()]);
  await temporal?.stop();
  await mail?.close();
  await account?.close();
  rmSync(folder, { recursive: true, force: true });
});

let counter = 0;

/** Asks the API for a send and expects that it is taken. */
async function acceptedSend(): Promise<{ id: string; address: string }> {
  const address = `person${++counter}@example.net`;
  const prospect = await account.prospect(address);
  const emailId = await account.email();
  const { status, body } = await api.call(
    'POST',
    '/sends',
    { emailId, prospectId: prospect.id },
    { 'Idempotency-Key': address },
  );
  expect({ status, state: body.state }).toEqual({ status: 201, state: 'queued' });
  return { id: body.id, address };
}

async function expectDelivered(sends: readonly { id: string; address: string }[]): Promise<void> {
  for (const { id, address } of sends) {
    await until(`${address} is delivered`, async () => {
      const { body } = await api.call('GET', `/sends/${id}`);
      return body.outcome === 'delivered';
    });
    expect(mail.accepted.filter((to) => to === address)).toHaveLength(1);
  }
}

it('the API accepts while Temporal is down, says so, and what it accepted is delivered without a person (I7)', async () => {
  const early = [await acceptedSend(), await acceptedSend(), await acceptedSend()];
  const down = await api.call('GET', '/readyz');
  expect(down).toMatchObject({
    status: 200,
    body: { status: 'degraded', parts: { database: 'up', temporal: 'down', outbox: { entries: 3 } } },
  });
  const rows = await account.db.query(plain('select state from send'));
  expect(rows).toEqual(early.map(() => ({ state: 'queued' })));

  // The worker comes up first and waits for Temporal as well.
  const starting = startWorkerProcess(settings);
  temporal = await startOfTemporal();
  worker = await starting;
  await expectDelivered(early);
  await until('all is well', async () => (await api.call('GET', '/readyz')).body.status === 'ready');

  // Lost in the middle of everything: neither process is started anew.
  process.kill(temporal.pid, 'SIGKILL');
  await until('it is noticed', async () => (await api.call('GET', '/readyz')).body.parts.temporal === 'down');
  const late = [await acceptedSend(), await acceptedSend()];
  expect((await api.call('GET', '/readyz')).body).toMatchObject({ status: 'degraded' });
  temporal = await startOfTemporal();
  await expectDelivered(late);
  await until('all is well again', async () => (await api.call('GET', '/readyz')).body.status === 'ready');
  expect(await Promise.all([api.stop(), worker.stop()])).toEqual([
    { code: 0, signal: null },
    { code: 0, signal: null },
  ]);
}, 300_000);
