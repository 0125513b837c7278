import type { ErrorKind } from '../../domain/salesforce/errorKind.ts';
import { hasChanged, type KnownBase, type SyncRules } from '../../domain/salesforce/plan.ts';
import type { SalesforceObject } from '../../domain/salesforce/words.ts';
import { type Database, plain, type Session, type Transaction } from '../connection.ts';
import { PROSPECT_COLUMNS, type Prospect, toProspect } from './prospectRows.ts';
import { addFailures, clearFailures } from './salesforceFailures.ts';
import { finishPushes, putOffPushes, type QueuedPush, queuePushes } from './salesforceQueue.ts';
import { ourSide, World } from './salesforceWorld.ts';

const FAILED = plain('select key from salesforce_failure where key = any($1::text[])');
const INTEND = plain(`
  update salesforce_record r set written = w.written
  from jsonb_to_recordset($1::jsonb) as w(id text, written jsonb) where r.id = w.id`);
const WRITTEN = plain(`
  update salesforce_record r set base = w.base, written = null, opted_out = coalesce(w.opted_out, r.opted_out),
    address_id = coalesce(w.address_id, r.address_id), synced_at = $2
  from jsonb_to_recordset($1::jsonb) as w(id text, base jsonb, opted_out boolean, address_id uuid) where r.id = w.id`);
const GONE = plain(`
  update salesforce_record set state = 'deleted', base = '{}', written = null where id = any($1::text[]) and state = 'active'`);
const WITHOUT_RECORD = plain(`
  select ${PROSPECT_COLUMNS} from prospect p where p.id = any($1::uuid[]) and p.deleted_at is null
    and not exists (select from salesforce_record r where r.state = 'active'
      and (r.prospect_id = p.id or r.address_id = p.address_id))`);
const PROSPECTS_WITHOUT_RECORD = plain(`
  select p.id from prospect p where p.deleted_at is null and p.id > $1
    and not exists (select from salesforce_record r where r.state = 'active'
      and (r.prospect_id = p.id or r.address_id = p.address_id)) order by p.id limit $2`);

/**
 * Those of the records that have something to be pushed, or that something is not settled of. An entry of the queue says
 * only that a prospect or an address has changed; what of it matters to Salesforce is known from the base, without asking.
 */
export async function recordsToAsk(
  on: Session,
  ids: readonly string[],
  rules: SyncRules,
): Promise<Map<string, SalesforceObject>> {
  const [world, failed] = await Promise.all([
    World.readKnown(on, ids),
    on.query<{ key: string }>(FAILED, [ids]),
  ]);
  const unsettled = new Set(failed.map((row) => row.key));
  const asked = [...world.known.values()].filter((known) => {
    if (unsettled.has(known.id) || known.state !== 'active' || known.written !== null) return true;
    const here = world.prospectAt(known.addressId);
    if ((here?.id ?? null) !== known.prospectId) return true;
    const ours = ourSide(world, known.addressId, here);
    return hasChanged(known.object, known.base, known.syncedAt.getTime(), ours, rules);
  });
  return new Map(asked.map((known) => [known.id, known.object]));
}

/** Writes down what is about to be written, so that it is known when it comes back though the answer was lost. */
export async function intendWrites(
  on: Session,
  writes: readonly { readonly id: string; readonly written: KnownBase }[],
): Promise<void> {
  await on.query(INTEND, [JSON.stringify(writes)]);
}

/** What Salesforce took. */
export interface TakenWrite {
  readonly id: string;
  readonly base: KnownBase;
  readonly optedOut: boolean | null;
  /** The address that its Email is now; `null` where that stayed. */
  readonly addressId: string | null;
}

/** What Salesforce refused of one record. */
export interface FailedWrite {
  readonly key: string;
  readonly kind: ErrorKind;
  readonly code: string;
  readonly message: string;
}

/** Writes down what came of a batch: bases, queue and failures, in one transaction. */
export async function recordWrites(
  db: Database,
  now: Date,
  results: {
    readonly taken: readonly TakenWrite[];
    readonly failed: readonly FailedWrite[];
    readonly gone: readonly string[];
    readonly done: readonly QueuedPush[];
    readonly putOff: readonly { readonly push: QueuedPush; readonly dueAt: Date }[];
  },
): Promise<void> {
  await db.transaction(async (tx: Transaction) => {
    const rows = results.taken.map(({ id, base, optedOut, addressId }) => ({
      id,
      base,
      opted_out: optedOut,
      address_id: addressId,
    }));
    await tx.query(WRITTEN, [JSON.stringify(rows), now]);
    await tx.query(GONE, [results.gone]);
    await finishPushes(tx, results.done);
    await putOffPushes(tx, results.putOff);
    await clearFailures(
      tx,
      'salesforce',
      results.done.map(({ key }) => key),
    );
    await addFailures(
      tx,
      now,
      results.failed.map((each) => ({ ...each, side: 'salesforce' as const })),
    );
  });
}

const CREATED = plain(`
  insert into salesforce_record (id, object, state, address_id, prospect_id, base, opted_out, synced_at)
  select c.id, 'Lead', 'active', c.address_id, c.prospect_id, '{}', c.opted_out, $2
  from jsonb_to_recordset($1::jsonb) as c(id text, address_id uuid, prospect_id uuid, opted_out boolean)
  on conflict (id) do nothing`);

/** Writes down leads that prospects have become; each is read once more, and linked by that. */
export async function recordCreatedLeads(
  tx: Transaction,
  now: Date,
  created: readonly { readonly id: string; readonly prospect: Prospect }[],
): Promise<void> {
  const rows = created.map(({ id, prospect }) => ({
    id,
    address_id: prospect.addressId,
    prospect_id: prospect.id,
    opted_out: prospect.emailOptOut,
  }));
  await tx.query(CREATED, [JSON.stringify(rows), now]);
  await queuePushes(
    tx,
    now,
    created.map(({ id }) => id),
  );
}

/** Those of the prospects that no record belongs to. */
export async function prospectsWithoutRecord(on: Session, ids: readonly string[]): Promise<Prospect[]> {
  return (await on.query(WITHOUT_RECORD, [ids])).map(toProspect);
}

/** A page of all prospects that no record belongs to, in the order of their ids. */
export async function pageWithoutRecord(on: Session, after: string, limit: number): Promise<string[]> {
  return (await on.query<{ id: string }>(PROSPECTS_WITHOUT_RECORD, [after, limit])).map((row) => row.id);
}
