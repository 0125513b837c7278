import { v7 as uuidv7 } from 'uuid';
import { nextRunTime, settlePause, startOf } from '../../domain/automation/waiting.ts';
import type { AutomationState } from '../../domain/automation/words.ts';
import { type Database, plain, type Transaction } from '../connection.ts';
import type { Programs } from './automations.ts';
import { matchingByNow, readMatchingPage } from './criteria.ts';
import { addToOutbox, enrollmentAggregate } from './outbox.ts';

/** Prospects a transaction. */
const PAGE = 500;

const READ = plain(`
  select state, run, current_version as version, enrolled_at, updated_at as begun_at,
    activated_xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint as settled
  from automation where id = $1`);
/**
 * Older than this are all that may not have seen that it is active. It is one that begins after the activation was
 * committed: those that began between the activation and its commit did not see it either.
 */
const MARK = plain(`
  update automation set activated_xid = pg_current_xact_id()::text::bigint
  where id = $1 and run = $2 and state = 'active' and activated_xid is null`);
const ENROLLS = plain(
  `update automation set enrolls_since = coalesce(enrolls_since, $3) where id = $1 and run = $2 and state = 'active'`,
);
const ENROLLED = plain(
  `update automation set enrolled_at = coalesce(enrolled_at, $3) where id = $1 and run = $2 and state = 'active'`,
);
const CONTINUOUS = plain(`
  select id, current_version as version from automation
  where mode = 'continuous' and state = 'active' and enrolls_since is not null for key share`);
const STILL = plain(`select 1 from automation where id = $1 and run = $2 and state = 'active' for share`);
const STILL_CONTINUOUS = plain(`
  select 1 from automation where id = $1 and current_version = $2 and mode = 'continuous' and state = 'active' for share`);
const INSERT = plain(`
  insert into enrollment (id, automation_id, version, prospect_id, state, position, entered_at)
  select n.id, $1, $2, n.prospect_id, 'running', $3, $4 from unnest($5::uuid[], $6::uuid[]) as n(id, prospect_id)
  on conflict do nothing returning id`);

interface AutomationRow extends Record<string, unknown> {
  state: AutomationState;
  run: number;
  version: number;
  enrolled_at: Date | null;
  /** When this run began: what is changed later ends it. */
  begun_at: Date;
  settled: boolean;
}

/** What its workflow does next: wait, enroll page by page, or nothing more. */
export type EnrollmentPass =
  | { readonly kind: 'wait'; readonly until: Date }
  | { readonly kind: 'page'; readonly enrolled: number; readonly next: string | null }
  | { readonly kind: 'over' };

/**
 * Enrolls the next page of those who match, within its run days and hours. From its start on, whatever the hour, changed
 * prospects are enrolled by {@link enrollChanged}.
 *
 * @param after the last prospect looked at; `null` at the start
 */
export async function enrollPage(
  db: Database,
  programs: Programs,
  now: Date,
  automation: { readonly id: string; readonly run: number },
  after: string | null,
): Promise<EnrollmentPass> {
  await db.query(MARK, [automation.id, automation.run]);
  const [row] = await db.query<AutomationRow>(READ, [automation.id]);
  if (row === undefined || row.state !== 'active' || row.run !== automation.run) return { kind: 'over' };
  const { definition } = await programs.read(db, automation.id, row.version);
  if (definition.when.mode === 'once' && row.enrolled_at !== null) return { kind: 'over' };
  const waitUntil = (time: number): EnrollmentPass => ({ kind: 'wait', until: new Date(time) });
  const start = startOf(definition.when, now.getTime());
  if (start > now.getTime()) return waitUntil(start);
  // A change whose transaction did not see the activation told nobody: who matches is read once all of them are over.
  if (!row.settled) return waitUntil(now.getTime() + settlePause(now.getTime() - row.begun_at.getTime()));
  await db.query(ENROLLS, [automation.id, automation.run, now]);
  const opening = nextRunTime(definition.when, now.getTime());
  if (opening > now.getTime()) return waitUntil(opening);
  const found = await readMatchingPage(db, definition.who, now, after, PAGE);
  const enrolled = await db.transaction(async (tx) => {
    if ((await tx.query(STILL, [automation.id, automation.run])).length === 0) return null;
    return enroll(tx, programs, now, automation.id, row.version, found);
  });
  if (enrolled === null) return { kind: 'over' };
  const next = found.length < PAGE ? null : found.at(-1)!;
  if (next === null) await db.query(ENROLLED, [automation.id, automation.run, now]);
  return { kind: 'page', enrolled, next };
}

/** Enrolls those of the changed prospects who match a running continuous automation now. */
export async function enrollChanged(
  db: Database,
  programs: Programs,
  now: Date,
  prospectIds: readonly string[],
): Promise<void> {
  const automations = await db.query<{ id: string; version: number }>(CONTINUOUS);
  const failures: unknown[] = [];
  for (const automation of automations) {
    // One that cannot be worked out keeps nobody out of the others.
    await enrollMatching(db, programs, now, automation, prospectIds).catch((error) => failures.push(error));
  }
  if (failures.length > 0) throw failures[0];
}

async function enrollMatching(
  db: Database,
  programs: Programs,
  now: Date,
  { id, version }: { readonly id: string; readonly version: number },
  prospectIds: readonly string[],
): Promise<void> {
  const { definition } = await programs.read(db, id, version);
  for (let from = 0; from < prospectIds.length; from += PAGE) {
    const page = prospectIds.slice(from, from + PAGE);
    const found = await matchingByNow(db, definition.who, now, page);
    if (found.size === 0) continue;
    await db.transaction(async (tx) => {
      // What was changed meanwhile has everybody looked at again, once it enrolls.
      if ((await tx.query(STILL_CONTINUOUS, [id, version])).length === 0) return;
      await enroll(tx, programs, now, id, version, [...found].sort());
    });
  }
}

/** @returns how many were not enrolled before */
async function enroll(
  tx: Transaction,
  programs: Programs,
  now: Date,
  automationId: string,
  version: number,
  prospectIds: readonly string[],
): Promise<number> {
  if (prospectIds.length === 0) return 0;
  const { program } = await programs.read(tx, automationId, version);
  const rows = await tx.query<{ id: string }>(INSERT, [
    automationId,
    version,
    program.first,
    now,
    prospectIds.map(() => uuidv7()),
    prospectIds,
  ]);
  await addToOutbox(
    tx,
    now,
    rows.map(({ id }) => ({
      aggregate: enrollmentAggregate(id),
      message: { type: 'startEnrollment', enrollmentId: id, run: 1 },
    })),
  );
  return rows.length;
}
