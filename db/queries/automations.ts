import { v7 as uuidv7 } from 'uuid';
import type { Definition } from '../../domain/automation/definition.ts';
import { compile, type Program } from '../../domain/automation/program.ts';
import type { AutomationMode, AutomationState } from '../../domain/automation/words.ts';
import type { Origin } from '../../domain/words.ts';
import { plain, prepared, type Session, type Transaction } from '../connection.ts';
import { type AuditAction, addAuditEntries } from './audit.ts';
import { SHOWN_STATE } from './enrollmentSearch.ts';
import { type AutomationMessage, addToOutbox, automationEntry } from './outbox.ts';

/** Who, what and when. */
export interface Automation {
  readonly id: string;
  readonly name: string;
  readonly state: AutomationState;
  readonly mode: AutomationMode;
  /** What it does now, or, while it is a draft, what it is to do. */
  readonly definition: Definition;
  /** 0 until it is activated. */
  readonly version: number;
  readonly run: number;
  /** When everybody who matched at its start was enrolled. */
  readonly enrolledAt: Date | null;
  /** How many prospects are in each state. */
  readonly enrollments: Readonly<Record<string, number>>;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const COLUMNS = `a.id, a.name, a.state, a.mode, a.draft as definition, a.current_version as version, a.run,
  a.enrolled_at as "enrolledAt", a.created_at as "createdAt", a.updated_at as "updatedAt",
  (select coalesce(jsonb_object_agg(c.state, c.count), '{}') from (
    select ${SHOWN_STATE} as state, count(*)::int as count from enrollment e where e.automation_id = a.id group by 1) c) as enrollments`;
const READ = plain(`select ${COLUMNS} from automation a where a.id = $1`);
const LIST = plain(
  `select ${COLUMNS} from automation a where ($1::uuid is null or a.id < $1) and ($2::text is null or a.state = $2)
   order by a.id desc limit $3`,
);
const INSERT = plain(`
  insert into automation (id, name, state, mode, draft, webhook_secret, created_at, updated_at)
  values ($1, $2, 'draft', $3, $4, $5, $6, $6) on conflict (lower(name)) do nothing returning id`);
const LOCK = plain('select state from automation where id = $1 for no key update');
const NAME_TAKEN = plain('select 1 from automation where lower(name) = lower($1) and id <> $2');
const CHANGE = plain('update automation set name = $2, mode = $3, draft = $4, updated_at = $5 where id = $1');
const ADD_VERSION = plain(`
  with changed as (
    update automation set current_version = current_version + 1, draft = $2, mode = $3, updated_at = $4 where id = $1
    returning current_version
  ), added as (
    insert into automation_version (automation_id, version, definition, created_at)
    select $1, current_version, $2, $4 from changed
  )
  select current_version as version from changed`);
/** Who begins to enroll marks when, and reads only once every transaction older than that is over. */
const BEGIN_RUN = plain(`
  update automation set state = 'active', run = run + 1, enrolls_since = null, updated_at = $2,
    activated_xid = null,
    enrolled_at = case when $3 and mode = 'once' then enrolled_at end
  where id = $1 returning run`);
const SET_STATE = plain('update automation set state = $2, updated_at = $3 where id = $1 returning run');
const SET_SECRET = plain('update automation set webhook_secret = $2 where id = $1 returning 1');

export async function readAutomation(on: Session, id: string): Promise<Automation | null> {
  const [row] = await on.query<Automation & Record<string, unknown>>(READ, [id]);
  return row ?? null;
}

/** Automations, newest first. */
export async function listAutomations(
  on: Session,
  state: AutomationState | null,
  afterId: string | null,
  limit: number,
): Promise<Automation[]> {
  return on.query<Automation & Record<string, unknown>>(LIST, [afterId, state, limit]);
}

/**
 * Creates a draft.
 *
 * @param webhookSecret key of the signatures of its webhooks
 * @returns its id, or `null` where another one has the name
 */
export async function createAutomation(
  on: Session,
  now: Date,
  name: string,
  definition: Definition,
  webhookSecret: string,
): Promise<string | null> {
  const id = uuidv7();
  const created = await on.query(INSERT, [
    id,
    name,
    definition.when.mode,
    JSON.stringify(definition),
    webhookSecret,
    now,
  ]);
  return created.length === 0 ? null : id;
}

/**
 * Gives an automation another key for the signatures of its webhooks.
 *
 * @returns false where there is no such automation
 */
export async function setWebhookSecret(on: Session, id: string, secret: string): Promise<boolean> {
  return (await on.query(SET_SECRET, [id, secret])).length > 0;
}

export type Changed = 'done' | 'not_found' | 'name_taken' | 'wrong_state';

/** An automation as it stays until this transaction is over, but for what the transaction itself does. */
export async function lockAutomation(tx: Transaction, id: string): Promise<Automation | null> {
  await tx.query(LOCK, [id]);
  return readAutomation(tx, id);
}

/** Changes a draft; what is not given stays. What has been activated is changed by a new version. */
export async function changeDraft(
  tx: Transaction,
  now: Date,
  id: string,
  change: { readonly name?: string | undefined; readonly definition?: Definition | undefined },
): Promise<Changed> {
  const before = await lockAutomation(tx, id);
  if (before === null) return 'not_found';
  if (before.state !== 'draft') return 'wrong_state';
  const { name = before.name, definition = before.definition } = change;
  if ((await tx.query(NAME_TAKEN, [name, id])).length > 0) return 'name_taken';
  await tx.query(CHANGE, [id, name, definition.when.mode, JSON.stringify(definition), now]);
  return 'done';
}

/** From which states each transition leads. */
const TRANSITIONS = {
  activate: { from: ['draft'], action: 'automation.activated' },
  pause: { from: ['active'], action: 'automation.paused' },
  resume: { from: ['paused'], action: 'automation.resumed' },
  stop: { from: ['active', 'paused'], action: 'automation.stopped' },
} as const satisfies Record<string, { from: readonly AutomationState[]; action: AuditAction }>;
export type Transition = keyof typeof TRANSITIONS;

/**
 * Activates, pauses, resumes or stops an automation. Its enrollments follow page by page right after the commit; an
 * action that is being carried out just then is finished.
 */
export async function changeState(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
  transition: Transition,
): Promise<Exclude<Changed, 'name_taken'>> {
  const [row] = await tx.query<{ state: AutomationState }>(LOCK, [id]);
  if (row === undefined) return 'not_found';
  const { from, action } = TRANSITIONS[transition];
  if (!(from as readonly AutomationState[]).includes(row.state)) return 'wrong_state';
  const entries: AutomationMessage[] = [];
  if (transition === 'activate') {
    const { definition } = (await readAutomation(tx, id))!;
    await addVersion(tx, now, id, definition);
  }
  if (transition === 'activate' || transition === 'resume') {
    // Who was enrolled stays so; only where people come to match later is everybody looked at again.
    entries.push(await beginRun(tx, now, id, true));
    if (transition === 'resume') entries.push({ type: 'followAutomation', automationId: id });
  } else {
    const state = transition === 'pause' ? 'paused' : 'stopped';
    const [changed] = await tx.query<{ run: number }>(SET_STATE, [id, state, now]);
    entries.push({ type: 'wakeAutomation', automationId: id, run: changed!.run });
    if (transition === 'stop') entries.push({ type: 'followAutomation', automationId: id });
  }
  await addToOutbox(tx, now, entries.map(automationEntry));
  await addAuditEntries(tx, origin, now, [{ action, subject: id, before: { state: row.state } }]);
  return 'done';
}

async function addVersion(tx: Transaction, now: Date, id: string, definition: Definition): Promise<number> {
  const [row] = await tx.query<{ version: number }>(ADD_VERSION, [
    id,
    JSON.stringify(definition),
    definition.when.mode,
    now,
  ]);
  return row!.version;
}

/**
 * Begins a new run, in which everybody is looked at again, of an automation whose row the caller has locked.
 *
 * @param keep whether one that enrolls only once, and has done so, is left at that
 * @returns what is to be told to Temporal
 */
export async function beginRun(
  tx: Transaction,
  now: Date,
  id: string,
  keep: boolean,
): Promise<AutomationMessage> {
  const [row] = await tx.query<{ run: number }>(BEGIN_RUN, [id, now, keep]);
  return { type: 'startAutomation', automationId: id, run: row!.run };
}

/**
 * Gives a running automation a new version. Those inside keep theirs, or go over to the new one where `moveEnrolled`
 * says so; everybody is looked at again, since others may match now.
 *
 * @returns the number of the version
 */
export async function addAutomationVersion(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
  definition: Definition,
  moveEnrolled: boolean,
): Promise<number | 'not_found' | 'wrong_state'> {
  const [row] = await tx.query<{ state: AutomationState }>(LOCK, [id]);
  if (row === undefined) return 'not_found';
  if (row.state !== 'active' && row.state !== 'paused') return 'wrong_state';
  const before = (await readAutomation(tx, id))!;
  const version = await addVersion(tx, now, id, definition);
  const entries: AutomationMessage[] = [];
  if (moveEnrolled) entries.push({ type: 'moveEnrollments', automationId: id, version });
  if (row.state === 'active') {
    entries.push({ type: 'wakeAutomation', automationId: id, run: before.run });
    entries.push(await beginRun(tx, now, id, false));
  } else {
    await tx.query(plain('update automation set enrolled_at = null where id = $1'), [id]);
  }
  await addToOutbox(tx, now, entries.map(automationEntry));
  await addAuditEntries(tx, origin, now, [
    {
      action: 'automation.version_added',
      subject: id,
      before: { version: before.version },
      after: { version, moveEnrolled },
    },
  ]);
  return version;
}

const VERSION = prepared(
  'automation_version',
  'select definition from automation_version where automation_id = $1 and version = $2',
);
const MAX_KEPT = 200;

/** Versions never change: those that were read last are kept. */
export class Programs {
  readonly #kept = new Map<string, { definition: Definition; program: Program }>();

  /** @throws where there is no such version */
  async read(
    on: Session,
    automationId: string,
    version: number,
  ): Promise<{ definition: Definition; program: Program }> {
    const key = `${automationId}:${version}`;
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept;
    const [row] = await on.query<{ definition: Definition }>(VERSION, [automationId, version]);
    if (row === undefined) throw new Error(`there is no version ${version} of automation ${automationId}`);
    const read = { definition: row.definition, program: compile(row.definition) };
    if (this.#kept.size >= MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    this.#kept.set(key, read);
    return read;
  }
}
