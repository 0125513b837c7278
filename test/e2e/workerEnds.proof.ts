import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTestAccount, type TestAccount } from '../support/account.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { startWorkerProcess } from '../support/workerProcess.ts';

let account: TestAccount;
let temporal: RealTemporal;
beforeAll(async () => {
  account = await createTestAccount();
  temporal = await connectToTemporal();
});
afterAll(async () => {
  await temporal?.close();
  await account?.close();
});

// Temporal's server takes two minutes to have its workers know that their namespace is gone.
it('a worker that can work no more ends with a status that has it started anew', async () => {
  const worker = await startWorkerProcess({
    databaseUrl: account.url,
    temporal,
    smtpPort: 9,
    addressKey: account.addressKey,
  });
  try {
    await temporal.client.connection.operatorService.deleteNamespace({ namespace: temporal.namespace });
    expect(await worker.ended).toEqual({ code: 1, signal: null });
    expect(worker.output()).toMatch(/namespace/i);
  } finally {
    await worker.stop();
  }
}, 240_000);
