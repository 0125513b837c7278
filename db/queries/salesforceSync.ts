import { v7 as uuidv7 } from 'uuid';
import { maskAddresses, type ParsedAddress } from '../../domain/address.ts';
import {
  changesHeed,
  changesOf,
  changesSalesforce,
  countOf,
  isQuiet,
  type KnownBase,
  type OurSide,
  type Plan,
  type PlanCounts,
  type PlanSample,
  planRecord,
  type SyncRules,
} from '../../domain/salesforce/plan.ts';
import type { SalesforceRecord } from '../../domain/salesforce/record.ts';
import type { RecordState } from '../../domain/salesforce/words.ts';
import type { Origin } from '../../domain/words.ts';
import { type Database, plain, type Transaction } from '../connection.ts';
import { type AddressHasher, ensureAddresses, reviveAddresses } from './addresses.ts';
import { type AuditFact, addAuditEntries } from './audit.ts';
import { lockAddressesWithProspects, Restart } from './locks.ts';
import {
  changedFields,
  emptyProspect,
  insertProspects,
  type Prospect,
  rewriteProspects,
  withFields,
} from './prospectRows.ts';
import { updateProspect } from './prospects.ts';
import { addFailures, clearFailures, type NewFailure } from './salesforceFailures.ts';
import { queuePushes } from './salesforceQueue.ts';
import type { SalesforceSettings } from './salesforceSettings.ts';
import { type KnownRecord, ourSide, World } from './salesforceWorld.ts';
import { addSuppressionsLocked, removeSuppressions, type SuppressionEntry } from './suppressions.ts';

/** What the sync works with. */
export interface SyncContext {
  readonly db: Database;
  readonly hasher: AddressHasher;
  readonly settings: SalesforceSettings;
  readonly rules: SyncRules;
}

/** What is to be written to a record. */
export interface Outgoing {
  readonly record: SalesforceRecord;
  readonly plan: Plan;
  readonly ours: OurSide;
  /** The address that the prospect has now; `null` where Email stays. */
  readonly email: { readonly given: string; readonly addressId: string } | null;
}

/** What came of some records. */
export interface Reconciled {
  readonly counts: PlanCounts;
  readonly samples: readonly PlanSample[];
  /** What is still to be written to Salesforce. */
  readonly outgoing: readonly Outgoing[];
}

/** Prospects and addresses that a transaction locks at once, so that no gate waits long. */
const CHUNK = 500;
const SAMPLES = 200;

const ORIGIN: Origin = { way: 'salesforce', actor: 'salesforce', reason: 'reconciliation' };

/** While it is set, what changes is not queued by the triggers: it is compared with all records of the person here. */
const APPLYING = plain(`select set_config('heed.salesforce', 'applying', true)`);
const UPSERT = plain(`
  insert into salesforce_record as r (id, object, state, address_id, prospect_id, successor_id, base, opted_out, synced_at)
  select n.id, n.object, n.state, n.address_id, n.prospect_id, n.successor_id, n.base, n.opted_out, $2
  from jsonb_to_recordset($1::jsonb) as n(id text, object text, state text, address_id uuid, prospect_id uuid,
    successor_id text, base jsonb, opted_out boolean)
  order by n.id
  on conflict (id) do update set state = excluded.state, address_id = excluded.address_id, prospect_id = excluded.prospect_id,
    successor_id = excluded.successor_id, base = excluded.base, written = null, opted_out = excluded.opted_out,
    synced_at = excluded.synced_at`);

/**
 * Brings Heed in step with some records as they were just read, and tells what is to be written to Salesforce. Most
 * records are so already: they are compared without a lock and nothing is written. The caller holds `exclusively`.
 *
 * @param queueOutgoing whether what is to be written is queued with the change; else the caller writes it at once
 */
export async function applyRecords(
  context: SyncContext,
  now: Date,
  records: readonly SalesforceRecord[],
  queueOutgoing: boolean,
): Promise<Reconciled> {
  const tally = new Tally();
  const outgoing: Outgoing[] = [];
  const world = await World.read(context.db, context.hasher, records);
  const toDo: SalesforceRecord[] = [];
  for (const record of records) {
    tally.count('records');
    const side = sideOf(world, record);
    if (isInStep(side, context, world)) continue;
    if (side.moveTo !== null) await moveProspect(context, now, side.prospect!.id, side.moveTo, tally);
    toDo.push(record);
  }
  for (let first = 0; first < toDo.length; first += CHUNK) {
    const chunk = toDo.slice(first, first + CHUNK);
    const applied = await context.db.transaction((tx) => applyLocked(tx, context, now, chunk, queueOutgoing));
    tally.add(applied.tally);
    outgoing.push(...applied.outgoing);
  }
  return { counts: tally.counts, samples: [], outgoing };
}

/** What {@link applyRecords} would do, without doing any of it. */
export async function previewRecords(
  context: SyncContext,
  now: Date,
  records: readonly SalesforceRecord[],
): Promise<Reconciled> {
  const tally = new Tally();
  const world = await World.read(context.db, context.hasher, records);
  const change = new Change(context, world, now, tally);
  for (const record of records) {
    tally.count('records');
    change.carryOut(record);
  }
  const outgoing = change.outgoing;
  return { counts: tally.counts, samples: tally.samples, outgoing };
}

/** Counts and samples of changes. */
class Tally {
  readonly counts: PlanCounts = {};
  readonly samples: PlanSample[] = [];

  count(what: keyof PlanCounts, by = 1): void {
    this.counts[what] = (this.counts[what] ?? 0) + by;
  }

  add(other: Tally): void {
    for (const [what, by] of Object.entries(other.counts)) this.count(what as keyof PlanCounts, by);
  }

  change(record: SalesforceRecord, change: Omit<PlanSample, 'recordId' | 'object'>): void {
    this.count(countOf(change));
    if (this.samples.length < SAMPLES)
      this.samples.push({ recordId: record.id, object: record.object, ...change });
  }
}

/** Sums of the pages of a run. */
export function sumCounts(one: PlanCounts, other: PlanCounts): PlanCounts {
  const sum: PlanCounts = { ...one };
  for (const [what, by] of Object.entries(other) as [keyof PlanCounts, number][])
    sum[what] = (sum[what] ?? 0) + by;
  return sum;
}

/** A record with who it belongs to. */
interface Side {
  readonly record: SalesforceRecord;
  readonly known: KnownRecord | null;
  /** Of its Email. */
  readonly addressId: string | null;
  readonly prospect: Prospect | null;
  readonly base: KnownBase;
  /** Its Email was changed, and the person at the old one had said no, which the record does not tell yet. */
  readonly inheritsOptOut: boolean;
  /** Its Email was changed, so that the prospect's address is to be, too. */
  readonly moveTo: ParsedAddress | null;
  /** The prospect's address was changed, so that its Email is to be, too. */
  readonly movesOut: boolean;
}

/**
 * Whose record it is: by its address first, by what it was linked to before where nobody has that address. What was in
 * step before is no base any more where the record has another address and person now, or was restored.
 */
function sideOf(world: World, record: SalesforceRecord): Side {
  const known = world.known.get(record.id) ?? null;
  const addressId = world.addressIdOf(record.address);
  const here = world.prospectAt(addressId);
  const linked = world.prospects.get(known?.prospectId ?? '') ?? null;
  const restored = known !== null && known.state !== 'active' && record.state === 'active';
  const side = (more: Partial<Side>): Side => ({
    record,
    known,
    addressId,
    prospect: here,
    base: restored ? {} : (known?.base ?? {}),
    inheritsOptOut: false,
    moveTo: null,
    movesOut: false,
    ...more,
  });
  if (known === null || known.addressId === null || record.address === null) return side({});
  // Whose Email was emptied is still the person whose record it was when another one comes.
  const isRefilled = known.state === 'no_address' && addressId !== known.addressId;
  if (restored) return side({ inheritsOptOut: isRefilled && hasUntoldOptOut(world, known, linked) });
  if (addressId === known.addressId) {
    const base =
      here !== null && linked !== null && here.id !== linked.id ? flagsOnly(known.base) : known.base;
    if (here === null && linked !== null) return side({ base, prospect: linked, movesOut: true });
    return side({ base });
  }
  // A bounce is of the old address, and stays the base: it is cleared where the new one has none.
  const { bounced } = known.base;
  const base: KnownBase = bounced === undefined ? {} : { bounced };
  if (here !== null && here.id === known.prospectId) return side({ base: known.base });
  if (here !== null) return side({ base, inheritsOptOut: hasUntoldOptOut(world, known, linked) });
  const inheritsOptOut = world.reasonsOf(known.addressId).optOut !== null;
  if (linked === null) return side({ base, inheritsOptOut });
  if (linked.addressId !== known.addressId && linked.updatedAt.getTime() > record.modifiedAt) {
    return side({ base: known.base, prospect: linked, movesOut: true });
  }
  const others = world.recordsOf(known.addressId, null).filter((each) => each.id !== record.id);
  if (others.length > 0) return side({ base, inheritsOptOut });
  return side({ base: known.base, prospect: linked, moveTo: record.address });
}

/**
 * Whether the person of a record has said no in Heed, by the record's address or their own, and Salesforce was not told.
 * Told in time it would have come to the record's new address with the record, whoever has that in Heed.
 */
function hasUntoldOptOut(world: World, known: KnownRecord, linked: Prospect | null): boolean {
  return [known.addressId, linked?.addressId ?? null].some((id) => {
    const { optOut } = world.reasonsOf(id);
    return optOut !== null && (known.base.optOut !== true || optOut.at > known.syncedAt);
  });
}

function flagsOnly({ fields: _, ...flags }: KnownBase): KnownBase {
  return flags;
}

function planOf(
  world: World,
  side: Side,
  rules: SyncRules,
): { plan: Plan; ours: OurSide; ourAddressId: string | null } {
  const { record, known, prospect } = side;
  const ourAddressId = prospect?.addressId ?? side.addressId;
  const ours = ourSide(world, ourAddressId, prospect);
  const others = world.recordsOf(ourAddressId, prospect?.id ?? null);
  const input = {
    record,
    base: side.base,
    written: known?.written ?? null,
    syncedAt: known?.syncedAt.getTime() ?? 0,
    ours: side.inheritsOptOut ? { ...ours, optedOut: true } : ours,
    otherRecordSaysYes: others.some((each) => each.id !== record.id && each.optedOut),
  };
  const plan = planRecord(input, rules);
  if (!side.inheritsOptOut || ours.optedOut) return { plan, ours, ourAddressId };
  return { plan: { ...plan, heed: { ...plan.heed, optOut: true } }, ours, ourAddressId };
}

/** Whether nothing is to be done, nor written down. */
function isInStep(side: Side, { rules, settings }: SyncContext, world: World): boolean {
  const { known, record } = side;
  if (known === null) return record.address === null && !(record.addressUnreadable && record.optedOut);
  if (known.state !== standingOf(record)) return false;
  if (record.state !== 'active') return true;
  if (record.address === null) {
    return !(record.addressUnreadable && record.optedOut) && known.optedOut === record.optedOut;
  }
  if (known.addressId !== side.addressId || known.prospectId !== (side.prospect?.id ?? null)) return false;
  if (known.written !== null || known.optedOut !== record.optedOut || side.movesOut || side.moveTo !== null)
    return false;
  if (becomesProspect(side, settings, world)) return false;
  const { plan } = planOf(world, side, rules);
  return isQuiet(plan) && plan.problems.length === 0 && isSameBase(plan.base, known.base);
}

/** Where the account wants that, nobody has the address, and nobody with it was erased: the sync brings nobody back. */
function becomesProspect(side: Side, settings: SalesforceSettings, world: World): boolean {
  if (side.prospect !== null || side.inheritsOptOut || world.isErased(side.addressId)) return false;
  return settings.prospectsFrom.includes(side.record.object);
}

function standingOf(record: SalesforceRecord): RecordState {
  return record.state === 'active' && record.address === null ? 'no_address' : record.state;
}

function isSameBase(one: KnownBase, other: KnownBase): boolean {
  if (one.optOut !== other.optOut || one.bounced !== other.bounced) return false;
  const [fields, others] = [Object.entries(one.fields ?? {}), other.fields ?? {}];
  return (
    fields.length === Object.keys(others).length && fields.every(([name, mark]) => others[name] === mark)
  );
}

/** The prospect follows its record to another address, with its opt-outs and without its bounce (I4). */
async function moveProspect(
  { db, hasher }: SyncContext,
  now: Date,
  prospectId: string,
  address: ParsedAddress,
  tally: Tally,
): Promise<void> {
  const moved = await db.transaction(async (tx) => {
    await tx.query(APPLYING);
    return updateProspect(tx, hasher, ORIGIN, now, prospectId, null, { address });
  });
  if (moved.kind === 'updated') tally.count('heedAddresses');
}

async function applyLocked(
  tx: Transaction,
  context: SyncContext,
  now: Date,
  records: readonly SalesforceRecord[],
  queueOutgoing: boolean,
): Promise<{ tally: Tally; outgoing: readonly Outgoing[] }> {
  await tx.query(APPLYING);
  const addresses = records.flatMap((record) => record.address ?? []);
  await ensureAddresses(tx, context.hasher, now, addresses);
  const seen = (await World.read(tx, context.hasher, records)).ids;
  await lockAddressesWithProspects(tx, seen.addressIds, seen.prospectIds);
  const world = await World.read(tx, context.hasher, records);
  const locked = new Set([...seen.addressIds, ...seen.prospectIds]);
  const late = [...world.ids.addressIds, ...world.ids.prospectIds].filter((id) => !locked.has(id));
  if (late.length > 0) throw new Restart('a prospect came or changed its address meanwhile');

  const tally = new Tally();
  const change = new Change(context, world, now, tally);
  for (const record of records) change.carryOut(record);
  await change.write(tx, queueOutgoing);
  return { tally, outgoing: change.outgoing };
}

/** What carrying out the plans of some records comes to, first in the world as it was read, then in the database. */
class Change {
  readonly outgoing: Outgoing[] = [];
  readonly #context: SyncContext;
  readonly #world: World;
  readonly #now: Date;
  readonly #tally: Tally;
  readonly #before = new Map<string, Prospect>();
  readonly #created = new Map<string, { prospect: Prospect; address: ParsedAddress }>();
  /** Flags of addresses that are to be set or cleared, the last word of each. */
  readonly #flags = new Map<string, { entry: SuppressionEntry; value: boolean }>();
  readonly #rows: object[] = [];
  readonly #failures: NewFailure[] = [];
  readonly #worked: string[] = [];
  readonly #queue = new Set<string>();

  constructor(context: SyncContext, world: World, now: Date, tally: Tally) {
    this.#context = context;
    this.#world = world;
    this.#now = now;
    this.#tally = tally;
    for (const prospect of world.prospects.values()) this.#before.set(prospect.id, prospect);
  }

  carryOut(record: SalesforceRecord): void {
    const side = sideOf(this.#world, record);
    if (side.known === null && record.state === 'active') this.#tally.count('newRecords');
    if (record.address === null) this.#noAddress(side);
    else if (record.state !== 'active') this.#gone(side);
    else this.#active(this.#withProspect(side));
  }

  #withProspect(side: Side): Side {
    const { record, addressId } = side;
    if (!becomesProspect(side, this.#context.settings, this.#world)) return side;
    const { optOut, bounce } = this.#world.reasonsOf(addressId);
    const prospect: Prospect = {
      ...emptyProspect(uuidv7()),
      addressId: addressId!,
      email: record.address!.given,
      emailOptOut: optOut !== null,
      bounced: bounce !== null,
      version: 1,
      createdAt: this.#now,
      // Older than anything, so that what Salesforce says fills it.
      updatedAt: new Date(0),
    };
    this.#created.set(prospect.id, { prospect, address: record.address! });
    this.#world.setProspect(prospect);
    this.#tally.change(record, { side: 'heed', subject: 'prospect', change: 'create' });
    return { ...side, prospect };
  }

  #active(side: Side): void {
    const { record, known, prospect, addressId } = side;
    const { plan, ours, ourAddressId } = planOf(this.#world, side, this.#context.rules);
    for (const each of changesOf(plan)) this.#tally.change(record, each);
    this.#setFlags(record, ourAddressId, plan);
    if (prospect !== null) this.#setFields(prospect, plan);
    this.#world.meet(record, prospect?.id ?? null);
    const changes = changesHeed(plan);
    if (changes) {
      for (const each of this.#world.recordsOf(ourAddressId, prospect?.id ?? null)) {
        if (each.id !== record.id) this.#queue.add(each.id);
      }
    }
    const email =
      side.movesOut && prospect !== null ? { given: prospect.email, addressId: prospect.addressId } : null;
    if (email !== null)
      this.#tally.change(record, { side: 'salesforce', subject: 'address', change: 'change' });
    if (changesSalesforce(plan) || email !== null) {
      const { optOut, bounce } = this.#world.reasonsOf(ourAddressId);
      this.outgoing.push({ record, plan, email, ours: { ...ours, optedOut: optOut !== null, bounce } });
    }
    for (const { field, code, message } of plan.problems) {
      this.#tally.count('problems');
      this.#failures.push({
        key: record.id,
        side: 'heed',
        kind: 'refused',
        code,
        message: `${field}: ${message}`,
      });
    }
    if (plan.problems.length === 0 && known !== null) this.#worked.push(record.id);
    this.#keep(record, 'active', addressId, prospect?.id ?? null, plan.base);
  }

  /** Deleted, merged or converted: nothing is written to it any more. An opt-out that only it knew holds all the same. */
  #gone(side: Side): void {
    const { record, known, addressId } = side;
    this.#tally.count('gone');
    if (addressId !== null) this.#takeOptOut(side, addressId);
    this.#keep(record, record.state, addressId, known?.prospectId ?? side.prospect?.id ?? null, {});
  }

  /** An opt-out that only the record knows, which is not written to any more, holds for an address. */
  #takeOptOut({ record, known }: Side, addressId: string): void {
    const isNew = this.#world.reasonsOf(addressId).optOut === null && known?.base.optOut !== true;
    if (!record.optedOut || !isNew || this.#context.rules.direction === 'to_salesforce') return;
    this.#tally.change(record, { side: 'heed', subject: 'emailOptOut', change: 'set' });
    this.#setFlag(record, addressId, 'opt_out', true, null);
    for (const each of this.#world.recordsOf(addressId, known?.prospectId ?? null)) this.#queue.add(each.id);
  }

  #noAddress(side: Side): void {
    const { record, known } = side;
    this.#tally.count('withoutAddress');
    // A no that comes with Email emptied, or later, is of the person who had the address that stood there.
    const left = this.#world.prospects.get(known?.prospectId ?? '')?.addressId ?? known?.addressId ?? null;
    if (left !== null) this.#takeOptOut(side, left);
    if (record.addressUnreadable && record.optedOut && record.state === 'active') {
      this.#failures.push({
        key: record.id,
        side: 'heed',
        kind: 'refused',
        code: 'unreadable_address',
        message: 'The record is opted out, and what stands in Email is no address that could be suppressed.',
      });
    }
    if (known === null) return;
    // Whose it was is kept. Of the base only that its no was heard, so that one taken back in Heed is not set anew.
    const heard = known.base.optOut === true || this.#world.reasonsOf(left).optOut !== null;
    if (record.state !== 'active') this.#keep(record, record.state, null, null, {});
    else {
      const base = record.optedOut && heard ? { optOut: true } : {};
      this.#keep(record, 'no_address', known.addressId, known.prospectId, base);
    }
  }

  #setFlags(record: SalesforceRecord, addressId: string | null, { heed }: Plan): void {
    if (heed.optOut !== undefined) this.#setFlag(record, addressId, 'opt_out', heed.optOut, null);
    if (heed.bounced !== undefined) {
      const reason = record.bouncedReason === null ? null : maskAddresses(record.bouncedReason);
      this.#setFlag(record, addressId, 'bounced', heed.bounced, reason);
    }
  }

  #setFlag(
    record: SalesforceRecord,
    addressId: string | null,
    reason: 'opt_out' | 'bounced',
    value: boolean,
    said: string | null,
  ): void {
    const id = addressId!;
    const before = this.#world.reasonsOf(id);
    const at = this.#now;
    this.#world.setReasons(
      id,
      reason === 'opt_out'
        ? { ...before, optOut: value ? { at, byPerson: false } : null }
        : { ...before, bounce: value ? { at, reason: said } : null },
    );
    const note = said ?? `${record.object} ${record.id}`;
    this.#flags.set(`${id} ${reason}`, { entry: { addressId: id, reason, note }, value });
  }

  #setFields(prospect: Prospect, { heed }: Plan): void {
    const after = withFields(prospect, heed);
    if (changedFields(prospect, after).length === 0) return;
    this.#world.setProspect({ ...after, updatedAt: this.#now });
  }

  #keep(
    record: SalesforceRecord,
    state: RecordState,
    addressId: string | null,
    prospectId: string | null,
    base: KnownBase,
  ): void {
    this.#rows.push({
      id: record.id,
      object: record.object,
      state,
      address_id: addressId,
      prospect_id: prospectId,
      successor_id: record.successorId,
      base,
      opted_out: record.optedOut,
    });
  }

  /** Writes it all. The caller holds the locks of every prospect and address of the world. */
  async write(tx: Transaction, queueOutgoing: boolean): Promise<void> {
    await this.#writeProspects(tx);
    const flags = [...this.#flags.values()];
    const [set, cleared] = [flags.filter((each) => each.value), flags.filter((each) => !each.value)];
    const entries = (of: typeof flags) => of.map((each) => each.entry);
    if (set.length > 0) await addSuppressionsLocked(tx, ORIGIN, this.#now, entries(set));
    if (cleared.length > 0) await removeSuppressions(tx, ORIGIN, this.#now, entries(cleared));
    // One record may have come twice in a page that was read while it changed: the last one counts.
    const rows = new Map(this.#rows.map((row) => [(row as { id: string }).id, row]));
    await tx.query(UPSERT, [JSON.stringify([...rows.values()]), this.#now]);
    const failed = new Set(this.#failures.map((each) => each.key));
    await clearFailures(
      tx,
      'heed',
      this.#worked.filter((key) => !failed.has(key)),
    );
    await addFailures(tx, this.#now, this.#failures);
    if (queueOutgoing) for (const { record } of this.outgoing) this.#queue.add(record.id);
    await queuePushes(tx, this.#now, [...this.#queue]);
  }

  async #writeProspects(tx: Transaction): Promise<void> {
    const facts: AuditFact[] = [];
    const current = (id: string) => this.#world.prospects.get(id)!;
    const created = [...this.#created.keys()].map(current);
    // Their flags follow from the reasons that are written after them.
    const flagsAsRead = (id: string) => {
      const { emailOptOut, bounced } = this.#before.get(id) ?? this.#created.get(id)!.prospect;
      return { emailOptOut, bounced };
    };
    await reviveAddresses(
      tx,
      this.#context.hasher,
      [...this.#created.values()].map((each) => each.address),
    );
    await insertProspects(
      tx,
      this.#now,
      created.map((each) => ({ ...each, ...flagsAsRead(each.id) })),
    );
    for (const { id, addressId } of created) {
      facts.push({ action: 'prospect.created', prospectId: id, addressId, after: flagsAsRead(id) });
    }
    const changed: Prospect[] = [];
    for (const [id, before] of this.#before) {
      const after = current(id);
      const fields = changedFields(before, after);
      if (fields.length === 0) continue;
      changed.push({ ...after, ...flagsAsRead(id) });
      facts.push({
        action: 'prospect.updated',
        prospectId: id,
        addressId: after.addressId,
        after: { fields },
      });
    }
    await rewriteProspects(tx, this.#now, changed);
    await addAuditEntries(tx, ORIGIN, this.#now, facts);
  }
}
