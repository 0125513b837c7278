import { setTimeout as delay } from 'node:timers/promises';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createImportActivities } from '../../activities/import.ts';
import { plain } from '../../db/connection.ts';
import {
  appendImportChunk,
  beginImport,
  cancelImport,
  finishUpload,
  readImport,
} from '../../db/queries/imports.ts';
import { importFileId, TASK_QUEUES } from '../../domain/processes.ts';
import { importFile } from '../../workflows/importFile.ts';
import { createTestAccount, type TestAccount } from '../support/account.ts';
import { workflowBundle } from '../support/sending.ts';
import { startTimeSkipping } from '../support/timeSkipping.ts';

let account: TestAccount;
let environment: TestWorkflowEnvironment;
let worker: Worker;
let running: Promise<void>;
/** What happens before each start of the activity; throws to make it fail. */
let beforeActivity: () => Promise<void> = async () => {};

beforeAll(async () => {
  account = await createTestAccount();
  environment = await startTimeSkipping();
  const activities = createImportActivities(account);
  worker = await Worker.create({
    connection: environment.nativeConnection,
    ...(environment.namespace && { namespace: environment.namespace }),
    taskQueue: TASK_QUEUES.operations,
    workflowBundle: await workflowBundle(),
    activities: {
      ...activities,
      takeInFile: async (input: Parameters<typeof activities.takeInFile>[0]) => {
        await beforeActivity();
        return activities.takeInFile(input);
      },
    },
  });
  running = worker.run();
});
afterAll(async () => {
  worker?.shutdown();
  await running;
  await environment?.teardown();
  await account?.close();
});

async function upload(rows: number): Promise<string> {
  const importId = await beginImport(account.db, new Date(), {
    kind: 'prospects',
    fileName: 'people.csv',
    mapping: {},
    actor: 'test',
  });
  const lines = Array.from({ length: rows }, (_, row) => `${importId}.${row}@example.com,secret-${row}`);
  await appendImportChunk(account.db, importId, 0, Buffer.from(`Email,Company\n${lines.join('\n')}\n`));
  await account.db.transaction((tx) => finishUpload(tx, new Date(), importId));
  return importId;
}

function start(importId: string) {
  return environment.client.workflow.start(importFile, {
    workflowId: importFileId(importId),
    taskQueue: TASK_QUEUES.operations,
    args: [{ importId }],
  });
}

async function created(importId: string): Promise<number> {
  const [row] = await account.db.query<{ count: number }>(
    plain(`select count(*)::int as count from prospect where email like $1 || '.%'`),
    [importId],
  );
  return row!.count;
}

describe('importFile', () => {
  it('takes a file in, and nothing of it reaches Temporal', async () => {
    const importId = await upload(1200);
    const handle = await start(importId);
    expect(await handle.result()).toEqual({ state: 'done' });
    expect(await readImport(account.db, importId)).toMatchObject({
      state: 'done',
      rows: 1200,
      created: 1200,
    });
    const history = JSON.stringify(await handle.fetchHistory()).replaceAll(
      /"data":"([^"]*)"/g,
      (_, payload: string) => Buffer.from(payload, 'base64').toString('utf8'),
    );
    expect(history).toContain(importId);
    expect(history).not.toMatch(/example\.com|secret/);
  });

  it('I7: goes on after faults, however long they last', async () => {
    const importId = await upload(1200);
    let faults = 20;
    beforeActivity = async () => {
      faults -= 1;
      if (faults > 0) throw new Error('the database is away');
    };
    const handle = await start(importId);
    expect(await handle.result()).toEqual({ state: 'done' });
    beforeActivity = async () => {};
    expect(faults).toBe(0);
    expect(await created(importId)).toBe(1200);
  });

  it('ends when the import is cancelled through the API, at once also while it waits after a fault', async () => {
    const importId = await upload(10);
    let started = false;
    beforeActivity = async () => {
      started = true;
      throw new Error('the database is away');
    };
    const handle = await start(importId);
    while (!started) await delay(20);
    await account.db.transaction((tx) => cancelImport(tx, new Date(), importId));
    // What the relay does with the outbox entry.
    await handle.cancel();
    expect(await handle.result()).toEqual({ state: 'cancelled' });
    beforeActivity = async () => {};
    expect(await created(importId)).toBe(0);
  });

  it('cancels the import when somebody cancels its workflow', async () => {
    const importId = await upload(10);
    let started = false;
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    beforeActivity = async () => {
      started = true;
      await held;
    };
    const handle = await start(importId);
    while (!started) await delay(20);
    await handle.cancel();
    expect(await handle.result()).toEqual({ state: 'cancelled' });
    letGo();
    beforeActivity = async () => {};
    expect(await readImport(account.db, importId)).toMatchObject({ state: 'cancelled', rows: 0 });
    expect(await created(importId)).toBe(0);
  });
});
