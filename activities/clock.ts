import { performance } from 'node:perf_hooks';

/**
 * The time, as it decides: the workflow's, carried forward by a monotonic clock; or this machine's where that is ahead
 * (the task may have waited for a worker, and a test's workflow time is ahead of every machine's).
 *
 * @param workflowNow milliseconds of the epoch
 */
export function clockFrom(workflowNow: number): () => Date {
  const startedAt = performance.now();
  return () => new Date(Math.max(Date.now(), Math.round(workflowNow + (performance.now() - startedAt))));
}
