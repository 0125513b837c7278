import type { EnrollmentState, StepState } from '../../domain/automation/words.ts';
import { plain, type Session } from '../connection.ts';

/** One prospect's way through one automation, as people see it. */
export interface EnrollmentView {
  readonly id: string;
  readonly automationId: string;
  readonly version: number;
  readonly prospectId: string;
  readonly state: EnrollmentState;
  readonly reason: string | null;
  readonly position: string | null;
  readonly run: number;
  readonly enteredAt: Date;
  readonly finishedAt: Date | null;
  /** Steps that were come to, in that order. */
  readonly steps: readonly EnrollmentStepView[];
}

export interface EnrollmentStepView {
  readonly id: string;
  readonly state: StepState;
  readonly reason: string | null;
  /** RFC 3339. */
  readonly waitingUntil: string | null;
  readonly sendId: string | null;
  /** RFC 3339. */
  readonly begunAt: string;
  readonly at: string;
}

const TIME = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
/** What waits in an automation that is paused, waits for a person: it is Suspended, whatever it waited for before. */
export const SHOWN_STATE = `case when e.state = 'running' and a.state = 'paused' then 'suspended' else e.state end`;
/** A send that was made and is held back before its first attempt says what for. */
const SELECT = `
  select e.id, e.automation_id as "automationId", e.version, e.prospect_id as "prospectId", ${SHOWN_STATE} as state,
    e.reason, e.position, e.run, e.entered_at as "enteredAt", e.finished_at as "finishedAt",
    coalesce((select jsonb_agg(jsonb_build_object('id', s.step_id,
        'state', case when s.state = 'waiting' and a.state = 'paused' then 'suspended' else s.state end,
        'reason', case when s.state = 'waiting' and d.state = 'held' then coalesce(d.held_reason, s.reason) else s.reason end,
        'waitingUntil', ${TIME('s.waiting_until')}, 'sendId', d.id,
        'begunAt', ${TIME('s.begun_at')}, 'at', ${TIME('s.at')}) order by s.begun_at, s.at)
      from enrollment_step s left join send d on d.enrollment_id = s.enrollment_id and d.step_id = s.step_id
      where s.enrollment_id = e.id), '[]') as steps
  from enrollment e join automation a on a.id = e.automation_id`;
const ONE = plain(`${SELECT} where e.id = $1`);
const OF_AUTOMATION = plain(`
  ${SELECT} where e.automation_id = $1 and ($2::text is null or (e.state in ($2, 'running') and ${SHOWN_STATE} = $2)) and ($3::uuid is null or e.id > $3)
  order by e.id limit $4`);
const OF_PROSPECT = plain(`${SELECT} where e.prospect_id = $1 order by e.id`);

export async function readEnrollment(on: Session, id: string): Promise<EnrollmentView | null> {
  const [row] = await on.query<EnrollmentView & Record<string, unknown>>(ONE, [id]);
  return row ?? null;
}

/** Enrollments of an automation in the order in which they entered. */
export async function listEnrollments(
  on: Session,
  automationId: string,
  state: EnrollmentState | null,
  afterId: string | null,
  limit: number,
): Promise<EnrollmentView[]> {
  return on.query<EnrollmentView & Record<string, unknown>>(OF_AUTOMATION, [
    automationId,
    state,
    afterId,
    limit,
  ]);
}

/** Every automation that a prospect entered, at the most one enrollment each. */
export async function readEnrollmentsOfProspect(on: Session, prospectId: string): Promise<EnrollmentView[]> {
  return on.query<EnrollmentView & Record<string, unknown>>(OF_PROSPECT, [prospectId]);
}
