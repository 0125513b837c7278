import { TestWorkflowEnvironment } from '@temporalio/testing';
import { inject } from 'vitest';

const TRIES = 12;

/** A server whose time skips, of one's own. The SDK gives it five seconds to come up, too few on a busy machine. */
export async function startTimeSkipping(): Promise<TestWorkflowEnvironment> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await TestWorkflowEnvironment.createTimeSkipping({
        server: { executable: { type: 'existing-path', path: inject('testServerPath') } },
      });
    } catch (error) {
      if (tried === TRIES || !/did not start within/.test(String(error))) throw error;
    }
  }
}
