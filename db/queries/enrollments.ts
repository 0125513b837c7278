import {
  asFields,
  type Definition,
  type FieldValue,
  isFlag,
  type Step,
  type WaitFor,
} from '../../domain/automation/definition.ts';
import { type HeldBack, heldBack } from '../../domain/automation/holding.ts';
import { isTimeZone } from '../../domain/automation/localTime.ts';
import { type Decision, nextStep, type Program } from '../../domain/automation/program.ts';
import { endOfWait, nextRunTime } from '../../domain/automation/waiting.ts';
import type { AutomationState, EnrollmentState, StepState } from '../../domain/automation/words.ts';
import {
  type EmailKind,
  type Origin,
  OWN_WAYS,
  type SendOutcome,
  type SendState,
} from '../../domain/words.ts';
import { type Database, plain, prepared, type Session, type Transaction } from '../connection.ts';
import type { AddressHasher } from './addresses.ts';
import type { Programs } from './automations.ts';
import { matchingByNow } from './criteria.ts';
import { ListsRefused } from './criteriaSql.ts';
import { addListMembers, existingLists, removeListMembers } from './lists.ts';
import { lockProspects, Restart } from './locks.ts';
import { updateProspect } from './prospects.ts';
import { cancelSendsOfEnrollment, createSend, ENROLLMENT_REMOVED, makeSendAnew } from './sends.ts';
import { holdSettings, readSettings, type Settings } from './settings.ts';

/** A step as its note now says: ids and codes, nothing personal. */
export interface NotedStep {
  readonly id: string;
  readonly state: StepState;
  readonly reason: string | null;
}

/** How far one step, or as many as can be taken at once, brought an enrollment. */
export type Advance =
  /** The next step can be taken at once. */
  | { readonly kind: 'on' }
  /** It waits; with `until` also for a time, else for something that happens alone. */
  | { readonly kind: 'wait'; readonly until: Date | null; readonly reason: string }
  /** The call to a webhook is to be made next. */
  | { readonly kind: 'webhook'; readonly stepId: string }
  /** There is nothing more to do; `superseded`: another workflow run has it now. */
  | { readonly kind: 'over'; readonly state: EnrollmentState | 'superseded' };

/** What carrying out a step needs beside the enrollment. */
export interface AdvanceParts {
  readonly db: Database;
  readonly hasher: AddressHasher;
  readonly programs: Programs;
  /** Right side of the Message-IDs of its sends. */
  readonly messageIdDomain: string;
}

const PROSPECT_OF = prepared('prospect_of_enrollment', 'select prospect_id from enrollment where id = $1');
const LOCK = prepared('lock_enrollment', 'select 1 from enrollment where id = $1 for no key update');
const READ = prepared(
  'enrollment_to_advance',
  `select e.id, e.automation_id, e.version, e.prospect_id, e.state, e.position, e.run, a.state as automation_state, a.name as automation_name,
     p.deleted_at is not null as prospect_gone, p.time_zone, s.state as step_state, s.reason as step_reason, s.begun_at,
     s.waiting_until, s.tries
   from enrollment e join automation a on a.id = e.automation_id join prospect p on p.id = e.prospect_id
   left join enrollment_step s on s.enrollment_id = e.id and s.step_id = e.position
   where e.id = $1`,
);
/** A step that was applied or skipped stays so, whoever comes late. */
const NOTE = prepared(
  'note_step',
  `insert into enrollment_step (enrollment_id, step_id, state, reason, waiting_until, begun_at, at)
   values ($1, $2, $3, $4, $5, $6, $6)
   on conflict (enrollment_id, step_id) do update
     set state = excluded.state, reason = excluded.reason, waiting_until = excluded.waiting_until, at = excluded.at
     where enrollment_step.state in ('waiting', 'suspended')`,
);
/** Whoever resumes it waits for this transaction, and then wakes whom it suspended. */
const STILL_PAUSED = plain(`select 1 from automation where id = $1 and state = 'paused' for share`);
const MOVE = prepared(
  'move_enrollment',
  `update enrollment set position = $2, state = $3, reason = $4, finished_at = $5 where id = $1`,
);

interface Row extends Record<string, unknown> {
  id: string;
  automation_id: string;
  version: number;
  prospect_id: string;
  state: EnrollmentState;
  position: string | null;
  run: number;
  automation_state: AutomationState;
  automation_name: string;
  prospect_gone: boolean;
  time_zone: string | null;
  step_state: StepState | null;
  step_reason: string | null;
  begun_at: Date | null;
  waiting_until: Date | null;
  tries: number | null;
}

/** Whether an enrollment still has somewhere to go. */
export function isUnfinished(state: EnrollmentState): boolean {
  return state === 'running' || state === 'suspended';
}

/**
 * Takes the next step of an enrollment: the action and the note that it was applied are one transaction, so each is
 * applied once whatever crashes or is done twice.
 *
 * @param run the workflow run that asks
 * @returns what comes next, and the steps that were noted on the way
 */
export async function advance(
  parts: AdvanceParts,
  now: Date,
  enrollmentId: string,
  run: number,
): Promise<{ next: Advance; noted: readonly NotedStep[] }> {
  return parts.db.transaction(async (tx) => {
    const [of] = await tx.query<{ prospect_id: string }>(PROSPECT_OF, [enrollmentId]);
    if (of === undefined) throw new Error(`there is no enrollment ${enrollmentId}`);
    // The prospect first, as everybody locks; what is decided on is read in a statement after the locks.
    const [, , [row]] = await Promise.all([
      lockProspects(tx, [of.prospect_id]),
      tx.query(LOCK, [enrollmentId]),
      tx.query<Row>(READ, [enrollmentId]),
    ]);
    const enrollment = row!;
    if (enrollment.prospect_id !== of.prospect_id) throw new Restart('the prospect was merged meanwhile');
    if (enrollment.run !== run) return { next: { kind: 'over', state: 'superseded' }, noted: [] };
    if (!isUnfinished(enrollment.state))
      return { next: { kind: 'over', state: enrollment.state }, noted: [] };
    const { definition, program } = await parts.programs.read(
      tx,
      enrollment.automation_id,
      enrollment.version,
    );
    const taking = new Taking(parts, tx, now, enrollment, definition, program);
    return { next: await taking.take(), noted: taking.noted };
  });
}

/** One step of one enrollment, within its transaction. */
class Taking {
  readonly noted: NotedStep[] = [];
  readonly #parts: AdvanceParts;
  readonly #tx: Transaction;
  readonly #now: Date;
  readonly #row: Row;
  readonly #definition: Definition;
  readonly #program: Program;
  readonly #origin: Origin;
  /** The prospect's; `null` also where the runtime's IANA database does not have it (any more). */
  readonly #timeZone: string | null;

  constructor(
    parts: AdvanceParts,
    tx: Transaction,
    now: Date,
    row: Row,
    definition: Definition,
    program: Program,
  ) {
    this.#parts = parts;
    this.#tx = tx;
    this.#now = now;
    this.#row = row;
    this.#definition = definition;
    this.#program = program;
    this.#timeZone = row.time_zone !== null && isTimeZone(row.time_zone) ? row.time_zone : null;
    this.#origin = {
      way: 'automation',
      actor: `automation:${row.automation_id}`,
      reason: row.automation_name,
    };
  }

  async take(): Promise<Advance> {
    const { position, automation_state: automation, prospect_gone: gone } = this.#row;
    if (gone) return this.#end('ended', 'prospect_deleted');
    if (automation === 'stopped') return this.#end('stopped', 'automation_stopped');
    if (position === null) return this.#end('done', null);
    if (automation !== 'active') return this.#suspend(position);
    // Resumed: it may go on waiting here for long.
    if (this.#row.state === 'suspended')
      await this.#tx.query(MOVE, [this.#row.id, position, 'running', null, null]);
    const place = this.#program.steps.get(position);
    if (place === undefined) throw new Error(`there is no step ${position}`);
    const { step_state: state, step_reason: reason } = this.#row;
    if (state === 'applied' || state === 'skipped') {
      // It was done before the enrollment came here in another version, or by a webhook's call.
      this.noted.push({ id: position, state, reason });
      return this.#goOn(place.step, reason === 'yes' || reason === 'no' ? reason : 'on');
    }
    return this.#carryOut(place.step);
  }

  async #carryOut(step: Step): Promise<Advance> {
    if (step.type === 'wait') return this.#wait(step);
    if (step.type === 'leave') return this.#apply(step, null);
    // What is on its way already goes on whatever the hour.
    const sent = step.type === 'sendEmail' ? await this.#sendOf(step) : null;
    // The prospect was taken out before the email was sent, and was put back: it is sent like any other.
    const anew = sent?.outcome === 'cancelled' && sent.outcome_reason === ENROLLMENT_REMOVED ? sent.id : null;
    if (step.type === 'sendEmail' && sent !== null && anew === null) return this.#afterSend(step, sent);
    const opening = nextRunTime(this.#definition.when, this.#now.getTime());
    if (opening > this.#now.getTime()) return this.#holdBack(step, 'run_hours', opening);
    switch (step.type) {
      case 'sendEmail':
        return this.#send(step, anew);
      case 'setField':
        return this.#setField(step, step.field, step.value);
      case 'addToList': {
        const added = await addListMembers(this.#tx, this.#now, step.listId, [this.#row.prospect_id]);
        return added.kind === 'added' ? this.#apply(step, null) : this.#skip(step, added.kind);
      }
      case 'removeFromList': {
        const isThere = (await existingLists(this.#tx, [step.listId])).has(step.listId);
        if (!isThere) return this.#skip(step, 'no_list');
        await removeListMembers(this.#tx, step.listId, [this.#row.prospect_id]);
        return this.#apply(step, null);
      }
      case 'if':
        return this.#branch(step);
      case 'webhook':
        return this.#callWebhook(step);
    }
  }

  async #branch(step: Step & { type: 'if' }): Promise<Advance> {
    const { prospect_id: prospectId } = this.#row;
    try {
      const found = await matchingByNow(this.#tx, step.criteria, this.#now, [prospectId]);
      const branch = found.has(prospectId) ? 'yes' : 'no';
      return await this.#apply(step, branch, branch);
    } catch (error) {
      // Not the database refused it, so its transaction goes on. It would be so each time, and nobody would get further.
      if (error instanceof ListsRefused) return this.#skip(step, 'lists_refused');
      throw error;
    }
  }

  /** The call itself is made outside of any transaction; while its receiver is in trouble, it waits for the next try. */
  async #callWebhook(step: Step): Promise<Advance> {
    const { tries, step_reason: reason, waiting_until: until } = this.#row;
    if (tries !== null && tries > 0 && until !== null && until > this.#now)
      return this.#holdBack(step, reason!, until.getTime());
    await this.#note(step.id, 'waiting', 'webhook', null);
    return { kind: 'webhook', stepId: step.id };
  }

  async #wait(step: Step & WaitFor): Promise<Advance> {
    const begunAt = this.#row.begun_at ?? this.#now;
    const timeZone = this.#timeZone ?? this.#definition.when.timeZone;
    const until = endOfWait(step, timeZone, begunAt.getTime());
    return until <= this.#now.getTime() ? this.#apply(step, null) : this.#holdBack(step, 'time', until);
  }

  async #setField(step: Step, field: string, value: FieldValue): Promise<Advance> {
    // What is done to everybody who matches never takes back what one of them has said (decision 0010).
    if (field === 'emailOptOut' && value === false && (await this.#saidNo()))
      return this.#skip(step, 'own_opt_out');
    const patch = isFlag(field) ? { [field]: value as boolean } : asFields(field, value);
    const updated = await updateProspect(
      this.#tx,
      this.#parts.hasher,
      this.#origin,
      this.#now,
      this.#row.prospect_id,
      null,
      patch,
    );
    // The field may have been taken away since the version was made.
    return updated.kind === 'updated' ? this.#apply(step, null) : this.#skip(step, 'invalid_value');
  }

  /** Whether the opt-out is the person's own. Unsubscribing takes the prospect's lock, too, so that this stays so. */
  async #saidNo(): Promise<boolean> {
    return (await this.#tx.query(OWN_OPT_OUT, [this.#row.prospect_id, OWN_WAYS])).length > 0;
  }

  async #sendOf(step: Step): Promise<SendRow | null> {
    const [send] = await this.#tx.query<SendRow>(SEND_OF_STEP, [this.#row.id, step.id]);
    return send ?? null;
  }

  /** The step's state comes from its send's own gate and first attempt. */
  async #afterSend(step: Step, send: SendRow): Promise<Advance> {
    switch (send.outcome) {
      case null:
        break;
      case 'suppressed':
        return this.#skip(step, send.outcome_reason ?? 'suppressed');
      case 'cancelled':
        // Not its reason, which may be a person's words: this one is shown in Temporal, and stays after an erasure.
        return this.#skip(step, 'cancelled');
      default:
        return this.#apply(step, send.outcome);
    }
    // Its first attempt was made, and what follows is the send's own matter.
    if (send.state === 'waiting') return this.#apply(step, 'soft_bounce');
    await this.#note(step.id, 'waiting', 'first_attempt', null);
    return { kind: 'wait', until: null, reason: 'first_attempt' };
  }

  /** @param anew the send that is made anew */
  async #send(step: Step & { type: 'sendEmail' }, anew: string | null): Promise<Advance> {
    const { prospect_id: prospectId, automation_id: automationId } = this.#row;
    const [email] = await this.#tx.query<{ kind: EmailKind }>(EMAIL_KIND, [step.emailId]);
    if (email === undefined) return this.#skip(step, 'no_email');
    const before = await this.#tx.query(SENT_BEFORE, [prospectId, step.id, automationId, this.#row.id]);
    // Somebody who was deleted and created again is a new prospect at an address that has its copy.
    if (before.length > 0) return this.#skip(step, 'duplicate');
    if (email.kind === 'marketing') {
      const held = await this.#heldBack(prospectId);
      if (held !== null) return this.#holdBack(step, held.reason, held.until);
    }
    const request = { emailId: step.emailId, prospectId, listId: step.listId ?? null };
    const made =
      anew === null
        ? await createSend(
            this.#tx,
            this.#parts.hasher,
            this.#now,
            { ...request, step: { enrollmentId: this.#row.id, stepId: step.id } },
            this.#parts.messageIdDomain,
          )
        : await makeSendAnew(this.#tx, this.#now, anew, request);
    if (made.kind !== 'created') return this.#skip(step, made.kind);
    await this.#note(step.id, 'waiting', 'first_attempt', null);
    return { kind: 'wait', until: null, reason: 'first_attempt' };
  }

  async #heldBack(prospectId: string): Promise<HeldBack | null> {
    const held = await this.#heldBackBy(await readSettings(this.#tx), prospectId);
    return held === null ? null : this.#heldBackBy(await holdSettings(this.#tx), prospectId);
  }

  async #heldBackBy(limits: Settings, prospectId: string): Promise<HeldBack | null> {
    const sent =
      limits.frequencyCap === null
        ? []
        : await this.#tx.query<{ at: Date; pending: boolean }>(MARKETING_SENT, [
            prospectId,
            new Date(this.#now.getTime() - limits.frequencyCap.days * 24 * 3600_000),
            this.#now,
          ]);
    return heldBack(
      limits,
      sent.map(({ at, pending }) => ({ at: at.getTime(), pending })),
      this.#timeZone,
      this.#now.getTime(),
    );
  }

  async #holdBack(step: Step, reason: string, until: number | null): Promise<Advance> {
    const at = until === null ? null : new Date(until);
    await this.#note(step.id, 'waiting', reason, at);
    return { kind: 'wait', until: at, reason };
  }

  async #apply(step: Step, reason: string | null, decision: Decision = 'on'): Promise<Advance> {
    await this.#note(step.id, 'applied', reason, null);
    return this.#goOn(step, decision);
  }

  async #skip(step: Step, reason: string): Promise<Advance> {
    await this.#note(step.id, 'skipped', reason, null);
    return this.#goOn(step, 'on');
  }

  async #goOn(step: Step, decision: Decision): Promise<Advance> {
    if (step.type === 'leave') return this.#end('left', null);
    const next = nextStep(this.#program, step.id, decision);
    if (next === null) return this.#end('done', null);
    await this.#tx.query(MOVE, [this.#row.id, next, 'running', null, null]);
    return { kind: 'on' };
  }

  async #suspend(position: string): Promise<Advance> {
    // Resumed or stopped since it was read: nobody would wake it any more.
    if ((await this.#tx.query(STILL_PAUSED, [this.#row.automation_id])).length === 0) return { kind: 'on' };
    if (this.#row.step_state !== 'applied' && this.#row.step_state !== 'skipped')
      await this.#note(position, 'suspended', 'automation_paused', null);
    await this.#tx.query(MOVE, [this.#row.id, position, 'suspended', null, null]);
    return { kind: 'wait', until: null, reason: 'automation_paused' };
  }

  async #end(
    state: Extract<EnrollmentState, 'done' | 'left' | 'ended' | 'stopped'>,
    reason: string | null,
  ): Promise<Advance> {
    const position = state === 'done' ? null : this.#row.position;
    if (state === 'stopped' || state === 'ended') {
      await this.#tx.query(SUSPEND_STEPS, [this.#row.id, this.#now]);
      await cancelSendsOfEnrollment(this.#tx, this.#origin, this.#now, this.#row.id);
    }
    await this.#tx.query(MOVE, [this.#row.id, position, state, reason, this.#now]);
    return { kind: 'over', state };
  }

  async #note(stepId: string, state: StepState, reason: string | null, until: Date | null): Promise<void> {
    await this.#tx.query(NOTE, [this.#row.id, stepId, state, reason, until, this.#now]);
    this.noted.push({ id: stepId, state, reason });
  }
}

const SUSPEND_STEPS = plain(
  `update enrollment_step set state = 'suspended', at = $2 where enrollment_id = $1 and state = 'waiting'`,
);
const OWN_OPT_OUT = plain(`
  select 1 from prospect p join suppression s on s.address_id = p.address_id
  where p.id = $1 and s.reason = 'opt_out' and s.list_id is null and s.way = any($2::text[])`);
const EMAIL_KIND = prepared('email_kind', 'select kind from email where id = $1 and archived_at is null');

interface SendRow extends Record<string, unknown> {
  id: string;
  state: SendState;
  outcome: SendOutcome | null;
  outcome_reason: string | null;
}

const SEND_OF_STEP = prepared(
  'send_of_step',
  'select id, state, outcome, outcome_reason from send where enrollment_id = $1 and step_id = $2',
);
const SENT_BEFORE = prepared(
  'sent_before',
  `select 1 from prospect p join send s on s.address_id = p.address_id join enrollment e on e.id = s.enrollment_id
   where p.id = $1 and s.step_id = $2 and e.automation_id = $3 and e.id <> $4
     and coalesce(s.outcome, '') not in ('suppressed', 'cancelled')
   limit 1`,
);
/**
 * Of the person: those merged into it, and whoever was at its address before. What has still to go out is counted as of
 * now, however long it has been held back, also where a first attempt was begun and broken off.
 */
const MARKETING_SENT = prepared(
  'marketing_sent',
  `with recursive person(id) as (
     select $1::uuid union select p.id from person r join prospect p on p.merged_into = r.id
   ), sent as (
     select s.id, s.kind, s.test, s.state, s.outcome, s.first_attempt_at, s.created_at
       from person r join send s on s.prospect_id = r.id
     union
     select s.id, s.kind, s.test, s.state, s.outcome, s.first_attempt_at, s.created_at
       from prospect p join send s on s.address_id = p.address_id where p.id = $1
   ), counted as (
     select case when pending then $3::timestamptz else coalesce(first_attempt_at, created_at) end as at, pending
     from (select *, state in ('queued', 'held') or state <> 'final' and first_attempt_at is null as pending from sent) s
      where kind = 'marketing' and not test and coalesce(outcome, '') not in ('suppressed', 'cancelled')
   )
   select at, pending from counted where at > $2`,
);

/** What a call to a webhook tells. */
export interface WebhookCall {
  readonly url: string;
  readonly secret: string;
  readonly automationId: string;
  readonly prospectId: string;
  readonly stepId: string;
  /** How often it was called before. */
  readonly tries: number;
}

const WEBHOOK = plain(`
  select e.automation_id, e.version, e.prospect_id, a.webhook_secret, s.tries from enrollment e
  join automation a on a.id = e.automation_id
  join enrollment_step s on s.enrollment_id = e.id and s.step_id = e.position
  where e.id = $1 and e.run = $2 and e.position = $3 and e.state = 'running' and a.state = 'active' and s.state = 'waiting'`);

/** @returns `null` where the call is not to be made any more */
export async function readWebhookCall(
  on: Session,
  programs: Programs,
  enrollmentId: string,
  run: number,
  stepId: string,
): Promise<WebhookCall | null> {
  const [row] = await on.query<{
    automation_id: string;
    version: number;
    prospect_id: string;
    webhook_secret: string;
    tries: number;
  }>(WEBHOOK, [enrollmentId, run, stepId]);
  if (row === undefined) return null;
  const { program } = await programs.read(on, row.automation_id, row.version);
  const step = program.steps.get(stepId)?.step;
  if (step?.type !== 'webhook') return null;
  return {
    url: step.url,
    secret: row.webhook_secret,
    automationId: row.automation_id,
    prospectId: row.prospect_id,
    stepId,
    tries: row.tries,
  };
}

const WEBHOOK_CALLED = plain(`
  update enrollment_step set state = $3, reason = $4, waiting_until = null, tries = tries + 1, at = $5
  where enrollment_id = $1 and step_id = $2 and state in ('waiting', 'suspended')`);
const WEBHOOK_TO_BE_TRIED = plain(`
  update enrollment_step set reason = $3, waiting_until = $4, tries = tries + 1, at = $5
  where enrollment_id = $1 and step_id = $2 and state = 'waiting'`);

/** Notes how the call of a webhook ended. Told twice, the first answer stays. */
export async function noteWebhook(
  on: Session,
  now: Date,
  enrollmentId: string,
  stepId: string,
  state: 'applied' | 'skipped',
  reason: string,
): Promise<void> {
  await on.query(WEBHOOK_CALLED, [enrollmentId, stepId, state, reason, now]);
}

/** Notes when a webhook is called again, and why. */
export async function noteWebhookRetry(
  on: Session,
  now: Date,
  enrollmentId: string,
  stepId: string,
  reason: string,
  until: Date,
): Promise<void> {
  await on.query(WEBHOOK_TO_BE_TRIED, [enrollmentId, stepId, reason, until, now]);
}
