import { v7 as uuidv7 } from 'uuid';
import type { PlanCounts, PlanSample } from '../../domain/salesforce/plan.ts';
import type { RUN_MODES, RUN_STATES, SalesforceObject } from '../../domain/salesforce/words.ts';
import { plain, type Session, type Transaction } from '../connection.ts';
import { addToOutbox } from './outbox.ts';

export type RunMode = (typeof RUN_MODES)[number];
export type RunState = (typeof RUN_STATES)[number];

/** Where the next page of a run begins. */
export interface RunPlace {
  readonly object: SalesforceObject;
  /** Behind this record; `null`: at the beginning. */
  readonly after: string | null;
}

/** One reconciliation. */
export interface SalesforceRun {
  readonly id: string;
  readonly mode: RunMode;
  readonly state: RunState;
  readonly actor: string;
  readonly place: RunPlace | null;
  /** SystemModstamp of the newest record of each object when it began. */
  readonly marks: Readonly<Partial<Record<SalesforceObject, string>>> | null;
  readonly counts: PlanCounts;
  readonly samples: readonly PlanSample[];
  readonly requests: number;
  readonly failure: string | null;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
}

const COLUMNS = `id, mode, state, actor, place, marks, counts, samples, requests, failure, created_at as "createdAt",
  started_at as "startedAt", finished_at as "finishedAt"`;
const INSERT = plain(`
  insert into salesforce_run as r (id, mode, state, actor, counts, created_at, workflow_id)
  values ($1, $2, 'queued', $3, '{}', $4, $5)
  on conflict (id) do update set workflow_id = excluded.workflow_id
  where r.workflow_id is distinct from excluded.workflow_id`);
const READ = plain(`select ${COLUMNS} from salesforce_run where id = $1`);
// In the order of their times: ids of runs that a Schedule began are random.
const LIST = plain(`
  select ${COLUMNS} from salesforce_run where ($1::text is null or mode = $1) and ($2::uuid is null
    or (created_at, id) < (select b.created_at, b.id from salesforce_run b where b.id = $2))
  order by created_at desc, id desc limit $3`);
const LAST = plain(`
  select ${COLUMNS} from salesforce_run where mode = $1 and state = 'done' order by created_at desc, id desc limit 1`);
const SCHEDULE = 'schedule';
const UNFINISHED = plain(`
  select id, mode from salesforce_run where state in ('queued', 'running') and actor <> '${SCHEDULE}'
    and ($1::text is null or mode = $1) and ($2::timestamptz is null or created_at < $2) order by id`);
const SCHEDULED = plain(`
  select id, workflow_id as "workflowId" from salesforce_run
  where state in ('queued', 'running') and actor = '${SCHEDULE}' and created_at < $1
    -- Of those from before their workflow was noted, one that is a day old is none that goes on.
    and (workflow_id is not null or created_at < $1::timestamptz - interval '1 day') order by created_at, id`);
const PENDING = plain('select 1 from outbox where aggregate = $1 limit 1');
const START = plain(`
  update salesforce_run set state = 'running', started_at = coalesce(started_at, $2)
  where id = $1 and state in ('queued', 'running')`);
const MARK = plain('update salesforce_run set marks = $2, place = $3 where id = $1');
const ADVANCE = plain(`
  update salesforce_run set place = $2, counts = $3, samples = $4, requests = requests + $5 where id = $1`);
const END = plain(`
  update salesforce_run set state = $2, failure = $3, finished_at = $4, place = null where id = $1 and finished_at is null`);
/** Runs of changes come every minute; what they did is in the audit trail. */
const FORGET = plain(
  `delete from salesforce_run where mode = 'changes' and finished_at < $1::timestamptz - interval '7 days'`,
);
const CURSOR = plain('select modstamp, moved_at as "movedAt" from salesforce_cursor where object = $1');
const MOVE_CURSOR = plain(`
  insert into salesforce_cursor as c (object, modstamp, moved_at) values ($1, $2, $3)
  on conflict (object) do update set modstamp = excluded.modstamp, moved_at = excluded.moved_at
  where c.modstamp < excluded.modstamp`);

/**
 * Writes a run down that a Schedule began; of one that is there already only by which workflow it is carried through.
 *
 * @param workflowId `null` where it is none
 */
export async function addRun(
  on: Session,
  now: Date,
  id: string,
  mode: RunMode,
  actor: string,
  workflowId: string | null = null,
): Promise<void> {
  await on.query(FORGET, [now]);
  await on.query(INSERT, [id, mode, actor, now, workflowId]);
}

/**
 * Asks for a run by hand.
 *
 * @returns `null` where one of this mode is under way already
 */
export async function requestRun(
  tx: Transaction,
  now: Date,
  mode: RunMode,
  actor: string,
): Promise<string | null> {
  if ((await tx.query(UNFINISHED, [mode, null])).length > 0) return null;
  const id = uuidv7();
  await tx.query(INSERT, [id, mode, actor, now, null]);
  await addToOutbox(tx, now, [startOf(id, mode)]);
  return id;
}

function startOf(runId: string, mode: RunMode) {
  const message = { type: 'startSalesforceRun', runId, mode } as const;
  return { aggregate: `salesforceRun:${runId}`, message };
}

/** Runs that were asked for by hand before that time and are not over. */
export async function readUnfinishedRuns(
  on: Session,
  createdBefore: Date,
): Promise<{ readonly id: string; readonly mode: RunMode }[]> {
  return on.query<{ id: string; mode: RunMode }>(UNFINISHED, [null, createdBefore]);
}

/** Runs that a Schedule began before that time and that are not over, with their workflows as far as these are known. */
export async function readUnfinishedScheduledRuns(
  on: Session,
  createdBefore: Date,
): Promise<{ readonly id: string; readonly workflowId: string | null }[]> {
  return on.query<{ id: string; workflowId: string | null }>(SCHEDULED, [createdBefore]);
}

/**
 * Asks for the workflow of an unfinished run again; it goes on where the last page was committed.
 *
 * @returns whether it was asked for
 */
export async function restartRun(
  tx: Transaction,
  now: Date,
  { id, mode }: { readonly id: string; readonly mode: RunMode },
): Promise<boolean> {
  const again = startOf(id, mode);
  if ((await tx.query(PENDING, [again.aggregate])).length > 0) return false;
  await addToOutbox(tx, now, [again]);
  return true;
}

export async function readRun(on: Session, id: string): Promise<SalesforceRun | null> {
  const [row] = await on.query<SalesforceRun & Record<string, unknown>>(READ, [id]);
  return row ?? null;
}

/** Runs, the newest first. */
export async function listRuns(
  on: Session,
  mode: RunMode | null,
  beforeId: string | null,
  limit: number,
): Promise<SalesforceRun[]> {
  return on.query<SalesforceRun & Record<string, unknown>>(LIST, [mode, beforeId, limit]);
}

/** The last run of a mode that came to its end. */
export async function lastRun(on: Session, mode: RunMode): Promise<SalesforceRun | null> {
  const [row] = await on.query<SalesforceRun & Record<string, unknown>>(LAST, [mode]);
  return row ?? null;
}

export async function startRun(on: Session, now: Date, id: string): Promise<void> {
  await on.query(START, [id, now]);
}

/** Where it begins, and how far changes had come by then. */
export async function markRun(
  on: Session,
  id: string,
  marks: NonNullable<SalesforceRun['marks']>,
  place: RunPlace,
): Promise<void> {
  await on.query(MARK, [id, JSON.stringify(marks), JSON.stringify(place)]);
}

/** Commits how far it is, with what the page has changed. */
export async function advanceRun(
  tx: Session,
  id: string,
  run: Pick<SalesforceRun, 'place' | 'counts' | 'samples'>,
  requests: number,
): Promise<void> {
  await tx.query(ADVANCE, [
    id,
    JSON.stringify(run.place),
    JSON.stringify(run.counts),
    JSON.stringify(run.samples),
    requests,
  ]);
}

export async function endRun(
  on: Session,
  now: Date,
  id: string,
  state: Exclude<RunState, 'queued' | 'running'>,
  failure: string | null,
): Promise<void> {
  await on.query(END, [id, state, failure, now]);
}

/** How far the changes of an object were read; `null` before the first full reconciliation. */
export async function readCursor(
  on: Session,
  object: SalesforceObject,
): Promise<{ readonly modstamp: Date; readonly movedAt: Date } | null> {
  const [row] = await on.query<{ modstamp: Date; movedAt: Date }>(CURSOR, [object]);
  return row ?? null;
}

/** Moves the cursor forward, never back. */
export async function moveCursor(
  on: Session,
  now: Date,
  object: SalesforceObject,
  modstamp: Date,
): Promise<void> {
  await on.query(MOVE_CURSOR, [object, modstamp, now]);
}
