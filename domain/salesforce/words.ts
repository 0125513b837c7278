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
/** `changes`: what was changed since the last run. `full`: everything. `dry_run`: everything, and nothing is changed. */
export const RUN_MODES = ['changes', 'full', 'dry_run'] as const;

/** `not_allowed`: a first full reconciliation was not allowed yet. `stopped`: Salesforce denies what is needed. */
export const RUN_STATES = ['queued', 'running', 'done', 'failed', 'not_allowed', 'stopped'] as const;

/** Which side a change could not be made on. */
export const FAILURE_SIDES = ['heed', 'salesforce'] as const;
export type FailureSide = (typeof FAILURE_SIDES)[number];
