import { type Connection, isGrpcServiceError } from '@temporalio/client';
import { SEARCH_ATTRIBUTES } from '../../domain/processes.ts';

/** Numbers of temporal.api.enums.v1.IndexedValueType (temporalio/api, enums/v1/common.proto). */
const INDEXED_VALUE_TYPES = { KEYWORD: 2, INT: 3, DATETIME: 6 } as const;

/** Registers what is missing of Heed's search attributes in the namespace; those of others are left alone. */
export async function ensureSearchAttributes(
  connection: Pick<Connection, 'operatorService'>,
  namespace: string,
): Promise<void> {
  const known = await registered(connection, namespace);
  const missing = Object.entries(SEARCH_ATTRIBUTES).filter(([name]) => !known.has(name));
  if (missing.length === 0) return;
  await connection.operatorService.addSearchAttributes({
    namespace,
    searchAttributes: Object.fromEntries(missing.map(([name, type]) => [name, INDEXED_VALUE_TYPES[type]])),
  });
}

/** gRPC status code: the time-skipping test server takes attributes but cannot list them. */
const UNIMPLEMENTED = 12;

async function registered(
  connection: Pick<Connection, 'operatorService'>,
  namespace: string,
): Promise<Set<string>> {
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    return new Set(Object.keys(customAttributes));
  } catch (error) {
    if (isGrpcServiceError(error) && error.code === UNIMPLEMENTED) return new Set();
    throw error;
  }
}
