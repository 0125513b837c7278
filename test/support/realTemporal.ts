import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { inject } from 'vitest';
import { ensureNamespace } from '../../adapters/temporal/namespace.ts';
import { ensureSearchAttributes } from '../../adapters/temporal/searchAttributes.ts';

/** The run's real Temporal server, with a namespace of one's own, so that test files do not take each other's tasks. */
export interface RealTemporal {
  readonly address: string;
  readonly namespace: string;
  readonly client: Client;
  readonly connection: NativeConnection;
  close(): Promise<void>;
}

export async function connectToTemporal(address = inject('temporalAddress')): Promise<RealTemporal> {
  const namespace = `test-${randomBytes(6).toString('hex')}`;
  const connection = await Connection.connect({ address });
  const native = await NativeConnection.connect({ address });
  await ensureNamespace(connection, namespace);
  // The server knows a new namespace everywhere only after some seconds.
  for (let tries = 0; ; tries += 1) {
    try {
      await ensureSearchAttributes(connection, namespace);
      await connection.workflowService.listWorkflowExecutions({ namespace, query: `HeedState = 'waiting'` });
      break;
    } catch (error) {
      if (tries > 100) throw error;
      await delay(200);
    }
  }
  return {
    address,
    namespace,
    client: new Client({ connection, namespace }),
    connection: native,
    async close() {
      await native.close();
      await connection.close();
    },
  };
}
