import type { RecordToSave, SaveResult } from '../adapters/salesforce/client.ts';
import { amongQuery } from '../adapters/salesforce/soql.ts';
import { SalesforceTrouble } from '../adapters/salesforce/trouble.ts';
import { exclusively } from '../db/queries/salesforceConnection.ts';
import {
  type FailedWrite,
  intendWrites,
  prospectsWithoutRecord,
  recordCreatedLeads,
  recordsToAsk,
  recordWrites,
  type TakenWrite,
} from '../db/queries/salesforcePush.ts';
import { nextPushAt, type QueuedPush, readDuePushes } from '../db/queries/salesforceQueue.ts';
import { applyRecords, type Outgoing, type SyncContext } from '../db/queries/salesforceSync.ts';
import { errorKindOf, pauseAfter } from '../domain/salesforce/errorKind.ts';
import { isStandard, type SalesforceValue } from '../domain/salesforce/mapping.ts';
import { baseAfterWriting, writtenFields } from '../domain/salesforce/plan.ts';
import { fieldsToRead, readRecord, type SalesforceRecord } from '../domain/salesforce/record.ts';
import { SALESFORCE_OBJECTS } from '../domain/salesforce/words.ts';
import { type SalesforceDeps, withSalesforce } from './salesforceAccess.ts';

/** Records of one collection: REST API, resources_composite_sobjects_collections.htm. */
const BATCH = 200;
/** Addresses of one query: 50 of 80 characters, encoded, stay well below 16,384 bytes. */
const ADDRESSES = 50;
/** Of an address, encoded: with so many, a query stays below what a URI may have. Salesforce keeps up to 80 characters. */
const ADDRESS_BYTES = 240;
/** How often a batch is halved, so that values of the wrong type cost few requests however many there are. */
const HALVINGS = 16;
const STOPPED_MS = 60_000;
const PROSPECT = 'prospect:';
/** Salesforce wants these of every lead; web-to-lead writes the same where a form leaves them out. */
const NOT_PROVIDED = '[not provided]';
/** Fields that are tried by themselves where the rest of a record is refused. */
const FLAG_FIELDS = ['HasOptedOutOfEmail', 'EmailBouncedReason', 'EmailBouncedDate'];

/**
 * Pushes everything that is due, in batches of 200: each record is read first and brought in step both ways, so that
 * order and repetition of the entries do no harm, and nobody's newer change is overwritten.
 *
 * @param betweenBatches called before each batch; throws to stop there
 * @returns when there is something to do again; `null` where nothing waits
 */
export async function pushDue(
  deps: SalesforceDeps,
  clock: () => Date,
  betweenBatches: () => Promise<void>,
): Promise<Date | null> {
  for (;;) {
    await betweenBatches();
    const now = clock();
    if ((await readDuePushes(deps.db, now, 1)).length === 0) return nextPushAt(deps.db);
    const outcome = await withSalesforce(deps, now, async (context, { allowedAt }) => {
      if (allowedAt === null) return false;
      await exclusively(deps.db, (stillHeld) => new Batch(deps, context, clock(), stillHeld).push());
      return true;
    });
    if (outcome.kind === 'paused') return outcome.until;
    if (outcome.kind === 'stopped' || !outcome.result) return new Date(now.getTime() + STOPPED_MS);
  }
}

/** One batch of entries on its way. */
class Batch {
  readonly #deps: SalesforceDeps;
  readonly #context: SyncContext;
  readonly #now: Date;
  readonly #stillHeld: () => Promise<void>;
  readonly #taken: TakenWrite[] = [];
  readonly #failed: FailedWrite[] = [];
  readonly #gone: string[] = [];
  #halved = 0;

  constructor(deps: SalesforceDeps, context: SyncContext, now: Date, stillHeld: () => Promise<void>) {
    this.#deps = deps;
    this.#context = context;
    this.#now = now;
    this.#stillHeld = stillHeld;
  }

  async push(): Promise<void> {
    const { db } = this.#deps;
    const due = await readDuePushes(db, this.#now, BATCH);
    const isProspect = (push: QueuedPush) => push.key.startsWith(PROSPECT);
    const prospects = due.filter(isProspect).slice(0, ADDRESSES);
    const records = due.filter((push) => !isProspect(push));
    let trouble: SalesforceTrouble | null = null;
    try {
      await this.#pushRecords(records.map((push) => push.key));
      await this.#createLeads(prospects.map((push) => push.key.slice(PROSPECT.length)));
    } catch (error) {
      // What was taken before the trouble is written down; the rest stays due.
      if (!(error instanceof SalesforceTrouble)) throw error;
      trouble = error;
    }
    const failures = new Map(this.#failed.map((failure) => [failure.key, failure]));
    const settled = trouble === null ? [...records, ...prospects] : this.#takenOf(records);
    await recordWrites(db, this.#now, {
      taken: this.#taken,
      failed: this.#failed,
      gone: this.#gone,
      done: settled.filter((push) => !failures.has(push.key)),
      putOff: [...records, ...prospects].flatMap((push) => {
        const failure = failures.get(push.key);
        if (failure === undefined) return [];
        const pause = pauseAfter(failure.kind, push.failures + 1);
        return [{ push, dueAt: new Date(this.#now.getTime() + pause) }];
      }),
    });
    if (trouble !== null) throw trouble;
    const denied = this.#failed.find((failure) => /^INVALID_FIELD/.test(failure.code));
    if (denied !== undefined) throw new SalesforceTrouble('access', denied.code, denied.message);
  }

  #takenOf(records: readonly QueuedPush[]): QueuedPush[] {
    const taken = new Set(this.#taken.map((each) => each.id));
    return records.filter((push) => taken.has(push.key));
  }

  async #pushRecords(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const { db, client } = this.#deps;
    const { settings } = this.#context;
    const objects = await recordsToAsk(db, ids, this.#context.rules);
    const records: SalesforceRecord[] = [];
    for (const object of SALESFORCE_OBJECTS) {
      const among = ids.filter((id) => objects.get(id) === object);
      if (among.length === 0) continue;
      const rows = await client.query(
        amongQuery(object, fieldsToRead(object, settings.mappings), 'Id', among),
        'all',
      );
      records.push(...rows.map((row) => readRecord(object, settings.mappings, row)));
    }
    const met = new Set(records.map((record) => record.id));
    this.#gone.push(...[...objects.keys()].filter((id) => !met.has(id)));
    await this.#stillHeld();
    const { outgoing } = await applyRecords(this.#context, this.#now, records, false);
    await this.#write(outgoing);
  }

  async #write(outgoing: readonly Outgoing[]): Promise<void> {
    if (outgoing.length === 0) return;
    const { rules } = this.#context;
    await intendWrites(
      this.#deps.db,
      outgoing.map(({ record, plan }) => ({ id: record.id, written: baseAfterWriting(plan, record, rules) })),
    );
    const results = await this.#save(outgoing.map((each) => toSave(each)));
    const again: Outgoing[] = [];
    for (const [index, each] of outgoing.entries()) {
      const result = results[index]!;
      if (result.ok) this.#took(each, true);
      else if (this.#mayTakeFlags(each, result)) again.push(each);
      else this.#refused(each.record.id, result);
    }
    if (again.length === 0) return;
    const flagsAlone = await this.#save(again.map((each) => flagsOf(toSave(each))));
    for (const [index, each] of again.entries()) {
      if (flagsAlone[index]!.ok) this.#took(each, false);
      this.#refused(each.record.id, results[outgoing.indexOf(each)]!);
    }
  }

  /**
   * Saves records, each by itself. For one value of a wrong type Salesforce refuses all of them: they are parted, flags
   * from the rest and then in halves, until it is alone and holds no other up.
   */
  async #save(records: readonly RecordToSave[]): Promise<SaveResult[]> {
    await this.#stillHeld();
    try {
      return await this.#deps.client.save(records);
    } catch (error) {
      if (!(error instanceof SalesforceTrouble) || error.kind !== 'refused') throw error;
      const { code, message } = error;
      if (records.length === 1 || this.#halved >= HALVINGS) {
        return records.map(() => ({ ok: false, code, message }));
      }
    }
    this.#halved += 1;
    const results = new Map<RecordToSave, SaveResult>();
    for (const part of partsOf(records)) {
      const saved = await this.#save(part);
      for (const [index, record] of part.entries()) results.set(record, saved[index]!);
    }
    return records.map((record) => results.get(record)!);
  }

  /** Whether something else of the record is refused, which is not to hold its flags up. */
  #mayTakeFlags(each: Outgoing, result: SaveResult): boolean {
    if (result.ok || !['refused', 'duplicate'].includes(errorKindOf(result.code, result.message)))
      return false;
    const { fields } = toSave(each);
    const flags = Object.keys(flagsOf(toSave(each)).fields).length;
    return flags > 0 && flags < Object.keys(fields).length;
  }

  #took({ record, plan, email }: Outgoing, all: boolean): void {
    const { rules } = this.#context;
    const { optOut, bounced } = plan.salesforce;
    const flags = {
      ...plan.base,
      ...(optOut === undefined ? {} : { optOut }),
      ...(bounced === undefined ? {} : { bounced }),
    };
    this.#taken.push({
      id: record.id,
      base: all ? baseAfterWriting(plan, record, rules) : flags,
      optedOut: optOut ?? null,
      addressId: all ? (email?.addressId ?? null) : null,
    });
  }

  #refused(key: string, result: SaveResult): void {
    if (result.ok) return;
    const { code, message } = result;
    this.#failed.push({ key, kind: errorKindOf(code, message), code, message });
  }

  /** Prospects become leads; who is in Salesforce already, also by a request whose answer was lost, is linked instead. */
  async #createLeads(ids: readonly string[]): Promise<void> {
    if (ids.length === 0 || !this.#context.settings.createsLeads) return;
    const { db, client } = this.#deps;
    const { settings } = this.#context;
    const wanted = await prospectsWithoutRecord(db, ids);
    if (wanted.length === 0) return;
    for (const object of SALESFORCE_OBJECTS) {
      const emails = wanted.flatMap(({ email }) =>
        encodeURIComponent(email).length <= ADDRESS_BYTES ? email : [],
      );
      if (emails.length === 0) break;
      const fields = fieldsToRead(object, settings.mappings);
      const rows = await client.query(amongQuery(object, fields, 'Email', emails), 'existing');
      const records = rows.map((row) => readRecord(object, settings.mappings, row));
      await applyRecords(this.#context, this.#now, records, true);
    }
    const missing = await prospectsWithoutRecord(db, ids);
    if (missing.length === 0) return;
    const results = await this.#save(
      missing.map((prospect) => ({ object: 'Lead', fields: this.#leadOf(prospect) })),
    );
    const created = missing.flatMap((prospect, index) => {
      const result = results[index]!;
      if (!result.ok) this.#refused(`${PROSPECT}${prospect.id}`, result);
      return result.ok ? [{ id: result.id, prospect }] : [];
    });
    await db.transaction((tx) => recordCreatedLeads(tx, this.#now, created));
  }

  #leadOf(
    prospect: Awaited<ReturnType<typeof prospectsWithoutRecord>>[number],
  ): Record<string, SalesforceValue> {
    const fields: Record<string, SalesforceValue> = { LastName: NOT_PROVIDED, Company: NOT_PROVIDED };
    for (const { object, salesforceField, field } of this.#context.settings.mappings) {
      const value = isStandard(field)
        ? prospect.fields[field]
        : prospect.custom[field.slice('custom.'.length)];
      if (object === 'Lead' && value !== null && value !== undefined) fields[salesforceField] = value;
    }
    return { ...fields, Email: prospect.email, HasOptedOutOfEmail: prospect.emailOptOut };
  }
}

function toSave({ record, plan, ours, email }: Outgoing): RecordToSave {
  const { id, object } = record;
  return {
    id,
    object,
    fields: { ...writtenFields(plan, ours), ...(email === null ? {} : { Email: email.given }) },
  };
}

/** Those with flags alone and the others; where there is one sort only, its halves. */
function partsOf(records: readonly RecordToSave[]): RecordToSave[][] {
  const isFlagsAlone = ({ fields }: RecordToSave) =>
    Object.keys(fields).every((name) => FLAG_FIELDS.includes(name));
  const flags = records.filter(isFlagsAlone);
  if (flags.length > 0 && flags.length < records.length) {
    return [flags, records.filter((record) => !isFlagsAlone(record))];
  }
  const middle = Math.ceil(records.length / 2);
  return [records.slice(0, middle), records.slice(middle)];
}

function flagsOf({ fields, ...record }: RecordToSave): RecordToSave {
  return {
    ...record,
    fields: Object.fromEntries(Object.entries(fields).filter(([name]) => FLAG_FIELDS.includes(name))),
  };
}
