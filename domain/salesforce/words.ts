/** Words of the sync with Salesforce, for tables, routes and workflows alike. */

/** Objects that are synced. A person may be several records of both. */
export const SALESFORCE_OBJECTS = ['Lead', 'Contact'] as const;
export type SalesforceObject = (typeof SALESFORCE_OBJECTS)[number];

/** Which way changes go. */
export const SYNC_DIRECTIONS = ['both', 'to_salesforce', 'from_salesforce'] as const;
export type SyncDirection = (typeof SYNC_DIRECTIONS)[number];

/** Where a record of Salesforce stands. Only those that are `active` are written to. */
export const RECORD_STATES = ['active', 'no_address', 'deleted', 'merged', 'converted'] as const;
export type RecordState = (typeof RECORD_STATES)[number];
