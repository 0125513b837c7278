import { type NativeConnection, Worker, type WorkflowBundleOption } from '@temporalio/worker';
import { TASK_QUEUES } from '../domain/processes.ts';
import type { Activities } from './activities.ts';
import { maskFailures } from './maskFailures.ts';

/** How long a worker that is told to stop waits for its attempts: as long as a conversation usually takes. */
const GRACE = '20 seconds';
/** After this it ends whatever still runs: what was begun is gone on with elsewhere, and who stops it waits 30 s. */
const FORCE = '25 seconds';

/** A worker for each task queue: the sends, the automations, the broadcasts, Salesforce, and what works through files and tables. */
export function createWorkers(options: {
  connection: NativeConnection;
  namespace: string;
  workflowBundle: WorkflowBundleOption;
  activities: Activities;
}): Promise<Worker[]> {
  const { connection, namespace, workflowBundle, activities } = options;
  const common = {
    connection,
    namespace,
    interceptors: { activity: [() => ({ inbound: maskFailures })] },
    shutdownGraceTime: GRACE,
    shutdownForceTime: FORCE,
  };
  return Promise.all([
    Worker.create({
      ...common,
      workflowBundle,
      taskQueue: TASK_QUEUES.sends,
      activities: activities.sends,
      maxConcurrentActivityTaskExecutions: 100,
      maxCachedWorkflows: 2_000,
    }),
    Worker.create({
      ...common,
      workflowBundle,
      taskQueue: TASK_QUEUES.automations,
      activities: activities.automations,
      // Short transactions and calls to webhooks.
      maxConcurrentActivityTaskExecutions: 40,
      maxCachedWorkflows: 1_000,
    }),
    Worker.create({
      ...common,
      workflowBundle,
      taskQueue: TASK_QUEUES.broadcasts,
      activities: activities.broadcasts,
      // Short transactions.
      maxConcurrentActivityTaskExecutions: 10,
      maxCachedWorkflows: 50,
    }),
    Worker.create({
      ...common,
      taskQueue: TASK_QUEUES.broadcastPages,
      activities: activities.broadcasts,
      // The lanes of one broadcast, and room for others to begin; each lane makes room once a minute.
      maxConcurrentActivityTaskExecutions: 6,
    }),
    Worker.create({
      ...common,
      workflowBundle,
      taskQueue: TASK_QUEUES.salesforce,
      activities: activities.salesforce,
      // Two reconciliations and the push, which take turns; room for a run by hand.
      maxConcurrentActivityTaskExecutions: 4,
      maxCachedWorkflows: 20,
    }),
    Worker.create({
      ...common,
      workflowBundle,
      taskQueue: TASK_QUEUES.operations,
      activities: activities.operations,
      // Each is long and heavy; two cores have no use for more.
      maxConcurrentActivityTaskExecutions: 4,
      maxCachedWorkflows: 50,
    }),
  ]);
}
