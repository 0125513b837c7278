import { allQuery, changesQuery, newestQuery, PAGE } from '../adapters/salesforce/soql.ts';
import { exclusively } from '../db/queries/salesforceConnection.ts';
import { followSuccessors, forgetVanished } from '../db/queries/salesforceFollow.ts';
import { pageWithoutRecord } from '../db/queries/salesforcePush.ts';
import { queuePushes, wakeOverduePushes } from '../db/queries/salesforceQueue.ts';
import {
  advanceRun,
  endRun,
  lastRun,
  markRun,
  moveCursor,
  type RunPlace,
  readCursor,
  readRun,
  type SalesforceRun,
  startRun,
} from '../db/queries/salesforceRuns.ts';
import { applyRecords, previewRecords, type SyncContext, sumCounts } from '../db/queries/salesforceSync.ts';
import { fieldsToRead, readRecord, type SalesforceRecord } from '../domain/salesforce/record.ts';
import { SALESFORCE_OBJECTS, type SalesforceObject } from '../domain/salesforce/words.ts';
import { type SalesforceDeps, withSalesforce } from './salesforceAccess.ts';

/**
 * How far behind the last change that was read the next reading begins, and for how long: SystemModstamp is set while a
 * transaction runs, and one that is long is seen only once it has ended. Milliseconds.
 */
const OVERLAP_MS = 2 * 60_000;
/** Of SystemModstamp. */
const RESOLUTION_MS = 1_000;
const SAMPLES = 200;
const NO_ID = '00000000-0000-0000-0000-000000000000';

/** How a run stands after some work on it. */
export type RunStanding =
  | { readonly kind: 'over'; readonly state: SalesforceRun['state'] }
  | { readonly kind: 'paused'; readonly until: Date };

/**
 * Carries a reconciliation through from where it is, page by page, to its end or until Salesforce has to be left alone.
 * Safe to do again after a crash at any line: a page that was applied once more finds nothing to do.
 *
 * @param betweenPages called before each page; throws to stop there
 */
export async function reconcile(
  deps: SalesforceDeps,
  clock: () => Date,
  runId: string,
  betweenPages: () => Promise<void>,
): Promise<RunStanding> {
  const { db } = deps;
  const run = await readRun(db, runId);
  if (run === null) throw new Error(`there is no run ${runId}`);
  if (run.finishedAt !== null) return { kind: 'over', state: run.state };
  await startRun(db, clock(), runId);
  const outcome = await withSalesforce(deps, clock(), async (context, { allowedAt }) => {
    const cursors = await Promise.all(SALESFORCE_OBJECTS.map((object) => readCursor(db, object)));
    const isFirst = run.mode === 'changes' && cursors.some((cursor) => cursor === null);
    if ((run.mode !== 'dry_run' && allowedAt === null) || isFirst) return 'not_allowed' as const;
    await carryThrough(deps, context, clock, run, betweenPages);
    return 'done' as const;
  });
  if (outcome.kind === 'paused') return outcome;
  const [state, failure] =
    outcome.kind === 'stopped' ? (['stopped', outcome.why] as const) : [outcome.result, null];
  await endRun(db, clock(), runId, state, failure);
  await db.transaction((tx) => wakeOverduePushes(tx, clock()));
  return { kind: 'over', state };
}

async function carryThrough(
  deps: SalesforceDeps,
  context: SyncContext,
  clock: () => Date,
  run: SalesforceRun,
  betweenPages: () => Promise<void>,
): Promise<void> {
  let place = run.place ?? (await begin(deps, run));
  let progress: Pick<SalesforceRun, 'counts' | 'samples'> = run;
  const marks = (await readRun(deps.db, run.id))?.marks ?? {};
  for (;;) {
    await betweenPages();
    const before = deps.client.requests();
    const current: RunPlace = place;
    const next = await exclusively(deps.db, async (stillHeld) => {
      const now = clock();
      const records = await readPage(deps, context, run, current);
      // What was read without the lock may be older than a write of ours.
      await stillHeld();
      const reconciled =
        run.mode === 'dry_run'
          ? await previewRecords(context, now, records)
          : await applyRecords(context, now, records, true);
      progress = {
        counts: sumCounts(progress.counts, reconciled.counts),
        samples: [...progress.samples, ...reconciled.samples].slice(0, SAMPLES),
      };
      const after = nextPlace(run, current, records);
      await deps.db.transaction(async (tx) => {
        if (run.mode === 'full') await forgetPassed(tx, now, current, records);
        const last = records.at(-1);
        if (run.mode === 'changes' && last !== undefined) {
          await moveCursor(tx, now, current.object, timeOf(last.systemModstamp));
        }
        await advanceRun(tx, run.id, { place: after, ...progress }, deps.client.requests() - before);
      });
      return after;
    });
    if (run.mode !== 'dry_run') await followSuccessors(deps.db, clock());
    if (next === null) break;
    place = next;
  }
  if (run.mode !== 'full') return;
  for (const object of SALESFORCE_OBJECTS) {
    await moveCursor(deps.db, clock(), object, timeOf(marks[object] ?? '1970-01-01T00:00:00.000+0000'));
  }
  if (context.settings.createsLeads) await queueMissingLeads(deps, clock);
}

/** Where a run begins. A full one notes how far changes had come, so that none made while it ran is missed after it. */
async function begin(deps: SalesforceDeps, run: SalesforceRun): Promise<RunPlace> {
  const place = { object: SALESFORCE_OBJECTS[0], after: null };
  if (run.mode === 'changes') return place;
  const marks: Partial<Record<SalesforceObject, string>> = {};
  for (const object of SALESFORCE_OBJECTS) {
    const [newest] = await deps.client.query(newestQuery(object), 'all');
    if (newest !== undefined) marks[object] = String(newest.SystemModstamp);
  }
  await markRun(deps.db, run.id, marks, place);
  return place;
}

/** Deleted records come too: those of an opt-out that nobody had read yet, and those to be followed. */
async function readPage(
  deps: SalesforceDeps,
  { settings }: SyncContext,
  run: SalesforceRun,
  place: RunPlace,
): Promise<SalesforceRecord[]> {
  const { object } = place;
  const fields = fieldsToRead(object, settings.mappings);
  const soql =
    run.mode === 'changes'
      ? changesQuery(object, fields, await changesFrom(deps, place))
      : allQuery(object, fields, place.after);
  const rows = await deps.client.query(soql, 'all');
  return rows.map((row) => readRecord(object, settings.mappings, row));
}

async function changesFrom(
  deps: SalesforceDeps,
  { object, after }: RunPlace,
): Promise<{ modstamp: Date; afterId: string | null }> {
  if (after !== null) {
    const [time, id] = after.split(' ');
    return { modstamp: timeOf(time!), afterId: id! };
  }
  const cursor = (await readCursor(deps.db, object))!;
  // What is older than the cursor was read again, after every transaction that could have been late: time alone does not
  // tell that, for Heed or Salesforce may have been down since.
  const readAgainAt = (await lastRun(deps.db, 'changes'))?.startedAt?.getTime() ?? 0;
  const isSettled = readAgainAt - cursor.movedAt.getTime() > OVERLAP_MS;
  const from = cursor.modstamp.getTime() + (isSettled ? RESOLUTION_MS : -OVERLAP_MS);
  return { modstamp: new Date(Math.max(0, from)), afterId: null };
}

/** Behind the last record of the page; the next object where the page was the last of its own. */
function nextPlace(
  run: SalesforceRun,
  { object }: RunPlace,
  records: readonly SalesforceRecord[],
): RunPlace | null {
  const last = records.at(-1);
  if (last !== undefined && records.length >= PAGE) {
    return { object, after: run.mode === 'changes' ? `${last.systemModstamp} ${last.id}` : last.id };
  }
  const following = SALESFORCE_OBJECTS[SALESFORCE_OBJECTS.indexOf(object) + 1];
  return following === undefined ? null : { object: following, after: null };
}

async function forgetPassed(
  tx: Parameters<typeof forgetVanished>[0],
  now: Date,
  { object, after }: RunPlace,
  records: readonly SalesforceRecord[],
): Promise<void> {
  const last = records.length >= PAGE ? records.at(-1)!.id : null;
  const met = records.map((record) => record.id);
  await forgetVanished(tx, now, object, { after: after ?? '', last }, met);
}

async function queueMissingLeads({ db }: SalesforceDeps, clock: () => Date): Promise<void> {
  for (let after = NO_ID; ; ) {
    const ids = await pageWithoutRecord(db, after, PAGE);
    await db.transaction((tx) =>
      queuePushes(
        tx,
        clock(),
        ids.map((id) => `prospect:${id}`),
      ),
    );
    if (ids.length < PAGE) return;
    after = ids.at(-1)!;
  }
}

function timeOf(modstamp: string): Date {
  return new Date(modstamp.replace('+0000', 'Z'));
}
