import { type Database, plain, type Transaction } from '../connection.ts';
import { beginRun } from './automations.ts';
import { restartEnrollment } from './enrollmentChanges.ts';
import { addToOutbox, automationAggregate, automationEntry, enrollmentAggregate } from './outbox.ts';

/** What is late though nothing holds it: it waits for no time to come, or for one that is past. */
const LATE = plain(`
  select e.id, e.run from enrollment e
  left join enrollment_step s on s.enrollment_id = e.id and s.state = 'waiting'
  where e.state = 'running' and e.id > $1 and e.entered_at < $2
    and (s.step_id is null or s.waiting_until < $2 or (s.waiting_until is null and s.at < $2))
  order by e.id limit $3`);
const ENROLLING = plain(`
  select id, run from automation where state = 'active' and enrolled_at is null and updated_at < $1 order by id`);
const STILL = plain(
  `select 1 from automation where id = $1 and run = $2 and state = 'active' for no key update`,
);
const PENDING = plain('select 1 from outbox where aggregate = $1 limit 1');

interface Run {
  readonly id: string;
  readonly run: number;
}

/**
 * A page of enrollments that should have gone on before that time. Whatever waits for a later time needs no workflow
 * until then, and what is suspended is given one when it is resumed.
 */
export async function readLateEnrollments(
  db: Database,
  afterId: string,
  before: Date,
  limit: number,
): Promise<Run[]> {
  return db.query<Run & Record<string, unknown>>(LATE, [afterId, before, limit]);
}

/** Automations that have not enrolled everybody yet, unchanged since that time. */
export async function readEnrollingAutomations(db: Database, before: Date): Promise<Run[]> {
  return db.query<Run & Record<string, unknown>>(ENROLLING, [before]);
}

/** Gives an enrollment whose workflow was lost a new one, unless one is on its way. @returns whether it did */
export async function restartLostEnrollment(db: Database, now: Date, { id, run }: Run): Promise<boolean> {
  return !(await isPending(db, enrollmentAggregate(id))) && restartEnrollment(db, now, id, run);
}

/** Gives an automation whose workflow was lost a new one, unless one is on its way. @returns whether it did */
export async function restartLostAutomation(db: Database, now: Date, { id, run }: Run): Promise<boolean> {
  return db.transaction(async (tx) => {
    if ((await tx.query(STILL, [id, run])).length === 0) return false;
    if (await isPending(tx, automationAggregate(id))) return false;
    const message = await beginRun(tx, now, id, true);
    await addToOutbox(tx, now, [automationEntry(message)]);
    return true;
  });
}

async function isPending(on: Database | Transaction, aggregate: string): Promise<boolean> {
  return (await on.query(PENDING, [aggregate])).length > 0;
}
