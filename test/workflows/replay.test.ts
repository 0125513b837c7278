import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { bundleWorkflowCode, Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { describe, expect, it } from 'vitest';
import * as workflows from '../../workflows/index.ts';
import { HISTORIES } from '../support/histories.ts';
import { workflowBundle } from '../support/sending.ts';

/*
 * What was recorded from the real server must replay with today's workflows: workflows that are waiting somewhere for
 * their next attempt go on with the new code.
 */

const files = readdirSync(HISTORIES).filter((name) => name.endsWith('.json'));

function history(file: string): unknown {
  return historyFromJSON(JSON.parse(readFileSync(`${HISTORIES}${file}`, 'utf8')));
}

describe('replay of recorded histories', () => {
  it('there are histories, and every workflow has some', () => {
    const recorded = new Set(files.map((name) => name.split('-')[0]));
    expect([...recorded].sort()).toEqual(Object.keys(workflows).sort());
    expect(files.length).toBeGreaterThan(12);
  });

  it.each(files)('%s', async (file) => {
    await Worker.runReplayHistory({ workflowBundle: await workflowBundle() }, history(file), file);
  });

  it('a change that is not deterministic is caught', async () => {
    const changed = await bundleWorkflowCode({
      workflowsPath: fileURLToPath(new URL('./fixtures/changedWorkflows.ts', import.meta.url)),
      logger: { log() {}, trace() {}, debug() {}, info() {}, warn() {}, error() {} },
    });
    const file = files.find((name) => name.startsWith('emailSend-') && name.includes('retried'))!;
    await expect(Worker.runReplayHistory({ workflowBundle: changed }, history(file), file)).rejects.toThrow(
      DeterminismViolationError,
    );
  });
});
