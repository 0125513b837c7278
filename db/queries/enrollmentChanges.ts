import { landing } from '../../domain/automation/program.ts';
import type { AutomationState, EnrollmentState } from '../../domain/automation/words.ts';
import type { Origin } from '../../domain/words.ts';
import { type Database, plain, type Session, type Transaction } from '../connection.ts';
import { addAuditEntries } from './audit.ts';
import type { Programs } from './automations.ts';
import { lockProspects } from './locks.ts';
import { addToOutbox, enrollmentAggregate, type OutboxMessage } from './outbox.ts';
import { cancelSendsOfEnrollment, letSendOfStepGoOn } from './sends.ts';

interface Standing extends Record<string, unknown> {
  id: string;
  prospect_id: string;
  automation_id: string;
  automation_state: AutomationState;
  version: number;
  state: EnrollmentState;
  position: string | null;
  run: number;
}

const PROSPECT_OF = plain('select prospect_id from enrollment where id = $1');
const LOCK = plain('select 1 from enrollment where id = $1 for no key update');
const READ = plain(`
  select e.id, e.prospect_id, e.automation_id, e.version, e.state, e.position, e.run, a.state as automation_state
  from enrollment e join automation a on a.id = e.automation_id where e.id = $1`);
const FINISH = plain('update enrollment set state = $2, reason = $3, finished_at = $4 where id = $1');
const SUSPEND_STEPS = plain(
  `update enrollment_step set state = 'suspended', at = $2 where enrollment_id = any($1::uuid[]) and state = 'waiting'`,
);
const NEXT_RUN = plain(
  `update enrollment set run = run + 1, state = 'running', reason = null, finished_at = null where id = $1 returning run`,
);

/** The prospect first, as everybody locks. */
async function lockAndRead(tx: Transaction, id: string): Promise<Standing | null> {
  const [of] = await tx.query<{ prospect_id: string }>(PROSPECT_OF, [id]);
  if (of === undefined) return null;
  await lockProspects(tx, [of.prospect_id]);
  await tx.query(LOCK, [id]);
  const [row] = await tx.query<Standing>(READ, [id]);
  return row ?? null;
}

const isUnfinished = ({ state }: { readonly state: EnrollmentState }): boolean =>
  state === 'running' || state === 'suspended';

/** Tells the run that an enrollment has now: by the time that it is told, there may be a next one. */
function wake({ id, run }: { readonly id: string; readonly run: number }): {
  aggregate: string;
  message: OutboxMessage;
} {
  return {
    aggregate: enrollmentAggregate(id),
    message: { type: 'wakeEnrollment', enrollmentId: id, run },
  };
}

export type EnrollmentChange = 'done' | 'not_found' | 'wrong_state' | 'automation_stopped';

/** Takes a prospect out: what waits is ended, and so are its unfinished sends. */
export async function removeEnrollment(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
): Promise<EnrollmentChange> {
  const row = await lockAndRead(tx, id);
  if (row === null) return 'not_found';
  if (!isUnfinished(row)) return 'wrong_state';
  await cancelSendsOfEnrollment(tx, origin, now, id);
  await tx.query(FINISH, [id, 'removed', null, now]);
  await tx.query(SUSPEND_STEPS, [[id], now]);
  await addToOutbox(tx, now, [wake(row)]);
  await addAuditEntries(tx, origin, now, [
    { action: 'enrollment.removed', prospectId: row.prospect_id, subject: id, before: { state: row.state } },
  ]);
  return 'done';
}

/** Puts back who was taken out: what was not applied is carried out from where the prospect stood, by what holds then. */
export async function putEnrollmentBack(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
): Promise<EnrollmentChange> {
  const row = await lockAndRead(tx, id);
  if (row === null) return 'not_found';
  if (row.state !== 'removed') return 'wrong_state';
  if (row.automation_state === 'stopped') return 'automation_stopped';
  if (row.position !== null) await letSendOfStepGoOn(tx, id, row.position);
  await startNextEnrollmentRun(tx, now, id);
  await addAuditEntries(tx, origin, now, [
    { action: 'enrollment.put_back', prospectId: row.prospect_id, subject: id },
  ]);
  return 'done';
}

async function startNextEnrollmentRun(tx: Transaction, now: Date, id: string): Promise<void> {
  const [row] = await tx.query<{ run: number }>(NEXT_RUN, [id]);
  await addToOutbox(tx, now, [
    {
      aggregate: enrollmentAggregate(id),
      message: { type: 'startEnrollment', enrollmentId: id, run: row!.run },
    },
  ]);
}

const RUN_OF = plain('select run from enrollment where id = $1');

/** Which workflow run has the enrollment; `null` where there is none. */
export async function readEnrollmentRun(on: Session, id: string): Promise<number | null> {
  const [row] = await on.query<{ run: number }>(RUN_OF, [id]);
  return row?.run ?? null;
}

/**
 * Gives an enrollment that is unfinished and still on this run, whose workflow was lost, a new one.
 *
 * @returns whether it did
 */
export async function restartEnrollment(db: Database, now: Date, id: string, run: number): Promise<boolean> {
  return db.transaction(async (tx) => {
    const row = await lockAndRead(tx, id);
    if (row === null || !isUnfinished(row) || row.run !== run) return false;
    await startNextEnrollmentRun(tx, now, id);
    return true;
  });
}

interface Run extends Record<string, unknown> {
  id: string;
  run: number;
}

const END_OF_PROSPECTS = plain(`
  update enrollment set state = 'ended', reason = $2, finished_at = $3
  where prospect_id = any($1::uuid[]) and state in ('running', 'suspended', 'removed') returning id, run`);

/** Ends the enrollments of prospects that are taken away, whose locks the caller holds. */
export async function endEnrollmentsOfProspects(
  tx: Transaction,
  now: Date,
  prospectIds: readonly string[],
  reason: string,
): Promise<void> {
  const rows = await tx.query<Run>(END_OF_PROSPECTS, [prospectIds, reason, now]);
  if (rows.length === 0) return;
  await tx.query(SUSPEND_STEPS, [rows.map((row) => row.id), now]);
  await addToOutbox(tx, now, rows.map(wake));
}

const OF_BOTH = plain(`
  select e.id, e.run, e.automation_id, e.prospect_id, e.state,
    (select count(*)::int from enrollment_step s where s.enrollment_id = e.id and s.state in ('applied', 'skipped')) as taken
  from enrollment e where e.prospect_id = any($1::uuid[]) and e.reason is distinct from 'merged' order by e.id`);
const SUPERSEDE = plain(`
  update enrollment set state = case when state in ('running', 'suspended', 'removed') then 'ended' else state end, reason = 'merged',
    finished_at = coalesce(finished_at, $2) where id = $1`);
const TAKE_OVER = plain('update enrollment set prospect_id = $2 where id = $1');

/**
 * The enrollments of two prospects that become one, whose locks the caller holds: of two in one automation, the one that
 * is further on continues, with the winner (I4); one that is over is as far on as can be.
 */
export async function mergeEnrollments(
  tx: Transaction,
  origin: Origin,
  now: Date,
  winnerId: string,
  loserId: string,
): Promise<void> {
  const rows = await tx.query<{
    id: string;
    run: number;
    automation_id: string;
    prospect_id: string;
    state: EnrollmentState;
    taken: number;
  }>(OF_BOTH, [[winnerId, loserId]]);
  const stepsTaken = ({ state, taken }: { state: EnrollmentState; taken: number }): number =>
    state === 'running' || state === 'suspended' || state === 'removed' ? taken : Number.POSITIVE_INFINITY;
  for (const same of Map.groupBy(rows, (row) => row.automation_id).values()) {
    const kept = same.reduce((best, row) => {
      const [of, than] = [stepsTaken(row), stepsTaken(best)];
      return of > than || (of === than && row.prospect_id === winnerId) ? row : best;
    });
    const superseded = same.filter((row) => row !== kept);
    for (const row of superseded) {
      // What it has not sent is for the other one to send, where that comes to it.
      if (isUnfinished(row)) await cancelSendsOfEnrollment(tx, origin, now, row.id);
      await tx.query(SUPERSEDE, [row.id, now]);
      await tx.query(SUSPEND_STEPS, [[row.id], now]);
    }
    const takenOver = kept.prospect_id !== winnerId;
    if (takenOver) await tx.query(TAKE_OVER, [kept.id, winnerId]);
    // What it waits for may come at another time on the clock of its new prospect.
    const told = takenOver && isUnfinished(kept) ? [...superseded, kept] : superseded;
    await addToOutbox(tx, now, told.map(wake));
  }
}

const STATE_OF = plain('select state from automation where id = $1');
const TO_FOLLOW = plain(`
  select id, run from enrollment where automation_id = $1 and state = any($2::text[]) and id > $3 order by id limit $4`);
/** By each reason in its own order, as the index has it. */
const HELD_BACK = plain(`
  select e.id, e.run from unnest(array['marketing_paused', 'frequency_cap', 'quiet_hours']) as r(reason)
  cross join lateral (
    select s.enrollment_id from enrollment_step s
    where s.state = 'waiting' and s.reason = r.reason and s.enrollment_id > $1 order by s.enrollment_id limit $2
  ) s join enrollment e on e.id = s.enrollment_id
  order by e.id limit $2`);

async function wakePage(
  tx: Transaction,
  now: Date,
  rows: readonly Run[],
  limit: number,
): Promise<string | null> {
  await addToOutbox(tx, now, rows.map(wake));
  return rows.length < limit ? null : rows.at(-1)!.id;
}

/**
 * Wakes a page of the enrollments that a resumed or stopped automation concerns; each then sees for itself.
 *
 * @returns the last one, to go on from, or `null` when there were no more
 */
export async function followAutomation(
  tx: Transaction,
  now: Date,
  automationId: string,
  afterId: string,
  limit: number,
): Promise<string | null> {
  const [automation] = await tx.query<{ state: AutomationState }>(STATE_OF, [automationId]);
  if (automation?.state !== 'active' && automation?.state !== 'stopped') return null;
  const states = automation.state === 'active' ? ['suspended'] : ['suspended', 'running'];
  return wakePage(tx, now, await tx.query<Run>(TO_FOLLOW, [automationId, states, afterId, limit]), limit);
}

/** Wakes a page of those whose email the account's settings hold back. Returns as {@link followAutomation}. */
export async function wakeHeldBack(
  tx: Transaction,
  now: Date,
  afterId: string,
  limit: number,
): Promise<string | null> {
  return wakePage(tx, now, await tx.query<Run>(HELD_BACK, [afterId, limit]), limit);
}

const TO_MOVE = plain(`
  select id from enrollment where automation_id = $1 and state in ('running', 'suspended', 'removed') and version < $2 and id > $3
  order by id limit $4`);
const MOVE = plain('update enrollment set version = $2, position = $3 where id = $1');
/** What waits at a step that is not theirs any more; a send that was made for it, and not cancelled, is its own matter. */
const LEAVE_BEHIND = plain(`
  update enrollment_step s set reason = 'moved', waiting_until = null, at = $3,
    state = case when exists (select from send where enrollment_id = s.enrollment_id and step_id = s.step_id
      and outcome is distinct from 'cancelled') then 'applied' else 'skipped' end
  where s.enrollment_id = $1 and s.state in ('waiting', 'suspended') and s.step_id is distinct from $2`);

/** Moves a page of those inside to a version. Returns as {@link followAutomation}. */
export async function moveEnrollments(
  db: Database,
  programs: Programs,
  now: Date,
  automationId: string,
  version: number,
  afterId: string,
  limit: number,
): Promise<string | null> {
  const rows = await db.query<{ id: string }>(TO_MOVE, [automationId, version, afterId, limit]);
  const to = await programs.read(db, automationId, version);
  for (const { id } of rows) {
    await db.transaction(async (tx) => {
      const row = (await lockAndRead(tx, id))!;
      if (row.version >= version || (!isUnfinished(row) && row.state !== 'removed')) return;
      const from = await programs.read(tx, automationId, row.version);
      const position = landing(from.program, to.program, row.position);
      await tx.query(MOVE, [id, version, position]);
      await tx.query(LEAVE_BEHIND, [id, position, now]);
      if (isUnfinished(row)) await addToOutbox(tx, now, [wake(row)]);
    });
  }
  return rows.length < limit ? null : rows.at(-1)!.id;
}
