/**
 * Downloads Temporal's dev server or time-skipping test server with the SDK's own code into a folder:
 * `node sdkDownload.ts dev-server|time-skipping VERSION FOLDER`. A process of its own, since the SDK's download cannot be
 * called off. The SDK downloads only to start, so that the server is started and ended once.
 */
import { TestWorkflowEnvironment } from '@temporalio/testing';

const [kind, version, downloadDir] = process.argv.slice(2) as [string, string, string];
const server = { executable: { type: 'cached-download', version: `v${version}`, downloadDir } } as const;
const environment = await (kind === 'dev-server'
  ? TestWorkflowEnvironment.createLocal({ server })
  : TestWorkflowEnvironment.createTimeSkipping({ server }));
await environment.teardown();
