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

/** What a person may do with one that is under way. */
export const BULK_UPDATE_COMMANDS = ['pause', 'resume', 'cancel'] as const;
export type BulkUpdateCommand = (typeof BULK_UPDATE_COMMANDS)[number];

/** To which state a command leads, from where it is allowed. */
export const AFTER_COMMAND: Readonly<
  Record<BulkUpdateCommand, { from: readonly BulkUpdateState[]; to: BulkUpdateState }>
> = {
  pause: { from: ['queued', 'running'], to: 'paused' },
  resume: { from: ['paused'], to: 'running' },
  cancel: { from: ['queued', 'running', 'paused'], to: 'cancelled' },
};

/** Whether nothing more will be done. */
export function isOver(state: BulkUpdateState): boolean {
  return state === 'done' || state === 'cancelled' || state === 'failed';
}
