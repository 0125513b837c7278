import type { Connection } from '@temporalio/client';
import { isGrpcServiceError } from '@temporalio/client';
import { msToNumber, msToTs, optionalTsToMs } from '@temporalio/common/lib/time.js';

/** How long closed workflows stay readable, and their ids taken: the outbox relies on it. */
const RETENTION = '30 days';

/** gRPC status codes. */
const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;

/**
 * Registers the namespace with a retention of 30 days, or raises its retention to that; a longer one is left alone.
 * A newly registered namespace may take the server some seconds to know everywhere.
 */
export async function ensureNamespace(
  connection: Pick<Connection, 'workflowService'>,
  namespace: string,
): Promise<void> {
  const { workflowService } = connection;
  const retention = msToTs(RETENTION);
  try {
    const { config } = await workflowService.describeNamespace({ namespace });
    const kept = optionalTsToMs(config?.workflowExecutionRetentionTtl) ?? 0;
    if (kept < msToNumber(RETENTION)) {
      await workflowService.updateNamespace({
        namespace,
        config: { workflowExecutionRetentionTtl: retention },
      });
    }
  } catch (error) {
    if (!isGrpcServiceError(error) || error.code !== NOT_FOUND) throw error;
    await workflowService
      .registerNamespace({ namespace, workflowExecutionRetentionPeriod: retention })
      .catch((failure: unknown) => {
        // Another process was faster.
        if (!isGrpcServiceError(failure) || failure.code !== ALREADY_EXISTS) throw failure;
      });
  }
}
