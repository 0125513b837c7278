import { afterAll, beforeAll, it } from 'vitest';
import { appendImportChunk, beginImport, finishUpload } from '../../db/queries/imports.ts';
import { importFileId, TASK_QUEUES } from '../../domain/processes.ts';
import { importFile } from '../../workflows/importFile.ts';
import { createTestAccount, type TestAccount } from '../support/account.ts';
import { keepHistory } from '../support/histories.ts';
import { connectToTemporal, type RealTemporal } from '../support/realTemporal.ts';
import { type Sending, startSending } from '../support/sending.ts';

let account: TestAccount;
let temporal: RealTemporal;
let sending: Sending;
beforeAll(async () => {
  account = await createTestAccount();
  temporal = await connectToTemporal();
  sending = await startSending(account, temporal);
});
afterAll(async () => {
  await sending?.close();
  await temporal?.close();
  await account?.close();
});

async function begin(rows: number) {
  const now = new Date();
  const importId = await beginImport(account.db, now, {
    kind: 'prospects',
    fileName: 'people.csv',
    mapping: {},
    actor: 'test',
  });
  const lines = Array.from({ length: rows }, (_, index) => `person${index}@example.net,Person ${index}`);
  let offset = 0;
  const content = Buffer.from(`email,First name\n${lines.join('\n')}\n`);
  for (let from = 0; from < content.length; from += 500_000) {
    const piece = content.subarray(from, from + 500_000);
    await appendImportChunk(account.db, importId, offset, piece);
    offset += piece.length;
  }
  await account.db.transaction((tx) => finishUpload(tx, now, importId));
  return temporal.client.workflow.start(importFile, {
    workflowId: importFileId(importId),
    taskQueue: TASK_QUEUES.operations,
    args: [{ importId }],
  });
}

it('importFile: taken in', async () => {
  await keepHistory(await begin(10), 'importFile', 'done');
});

it('importFile: cancelled while it is taken in', async () => {
  const handle = await begin(50_000);
  while ((await handle.describe()).raw.pendingActivities?.length === 0)
    await new Promise((r) => setTimeout(r, 50));
  await handle.cancel();
  await keepHistory(handle, 'importFile', 'cancelled');
});
