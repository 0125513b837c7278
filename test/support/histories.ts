import { mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { WorkflowHandle } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';

/** Recorded histories, replayed by `test/workflows/replay.test.ts`. */
export const HISTORIES = fileURLToPath(new URL('../workflows/histories/', import.meta.url));

/** Which released shape of the workflows is recorded. Raise it for a new one; the files of the old ones stay. */
const SHAPE = '2';

/** Waits for the end of a workflow and writes its history down as `<workflow>-<shape>-<path>.json`. */
export async function keepHistory(handle: WorkflowHandle, workflow: string, path: string): Promise<void> {
  await handle.result();
  await writeHistory(handle, workflow, path);
}

/** {@link keepHistory} of one run that is over, where the workflow goes on in others. */
export async function writeHistory(handle: WorkflowHandle, workflow: string, path: string): Promise<void> {
  mkdirSync(HISTORIES, { recursive: true });
  const history = historyToJSON(await handle.fetchHistory());
  writeFileSync(
    `${HISTORIES}${workflow}-${SHAPE}-${path}.json`,
    `${JSON.stringify(JSON.parse(history), nameless, 1)}\n`,
  );
}

/** Which machine recorded it is nobody's business. */
function nameless(key: string, value: unknown): unknown {
  if (key === 'identity') return 'recorder';
  return typeof value === 'string' ? value.replaceAll(hostname(), 'recorder') : value;
}
