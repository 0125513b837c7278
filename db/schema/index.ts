export * from './automation.ts';
export * from './broadcast.ts';
export * from './bulkUpdate.ts';
export * from './inbound.ts';
export * from './operations.ts';
export * from './people.ts';
export * from './send.ts';
export * from './suppression.ts';
