import type { Connection } from '@temporalio/client';
import type { ApiDeps } from './context.ts';

/** How long the server may take to answer whether it is there. Milliseconds. */
const PATIENCE = 1500;

/**
 * What the API asks of Temporal: whether it is there, and where its UI shows a workflow. Everything else goes through
 * the outbox.
 *
 * @param uiUrl beginning of links into the UI, without a slash at the end; `null`: no links
 */
export function createTemporalView(
  connection: Connection,
  namespace: string,
  uiUrl: string | null,
): ApiDeps['temporal'] {
  return {
    uiLinkOf: (workflowId) =>
      uiUrl === null
        ? null
        : `${uiUrl}/namespaces/${encodeURIComponent(namespace)}/workflows/${encodeURIComponent(workflowId)}`,
    ready: async () => {
      try {
        await connection.withDeadline(Date.now() + PATIENCE, () =>
          connection.workflowService.describeNamespace({ namespace }),
        );
        return true;
      } catch {
        return false;
      }
    },
  };
}
