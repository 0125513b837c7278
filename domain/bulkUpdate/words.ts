/** Where a bulk update stands. `queued` until who matches is decided; `paused` until somebody resumes it. */
export const BULK_UPDATE_STATES = ['queued', 'running', 'paused', 'done', 'cancelled', 'failed'] as const;
export type BulkUpdateState = (typeof BULK_UPDATE_STATES)[number];

/** What became of one row. */
export const ROW_OUTCOMES = ['changed', 'already_so', 'refused'] as const;
export type RowOutcome = (typeof ROW_OUTCOMES)[number];

/**
 * Why a row was refused. `gone`: the prospect was deleted or merged away meanwhile; `no_longer_matches`: it was changed
 * meanwhile; `own_opt_out`: the person said no by link, one-click, mail or complaint, which only the person takes back;
 * `changed_since`: it is not as the bulk update that is undone has left it.
 */
export const REFUSALS = ['gone', 'no_longer_matches', 'own_opt_out', 'changed_since'] as const;
export type Refusal = (typeof REFUSALS)[number];
