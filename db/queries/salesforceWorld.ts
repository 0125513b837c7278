import type { ParsedAddress } from '../../domain/address.ts';
import type { KnownBase, OurSide, SyncRules } from '../../domain/salesforce/plan.ts';
import type { SalesforceRecord } from '../../domain/salesforce/record.ts';
import type { RecordState, SalesforceObject } from '../../domain/salesforce/words.ts';
import { OWN_WAYS, type Way } from '../../domain/words.ts';
import { plain, type Session } from '../connection.ts';
import { type AddressHasher, findAddresses } from './addresses.ts';
import { readCustomFields } from './customFields.ts';
import { PROSPECT_COLUMNS, type Prospect, toProspect } from './prospectRows.ts';
import type { SalesforceSettings } from './salesforceSettings.ts';

/** A record as Heed last met it. */
export interface KnownRecord {
  readonly id: string;
  readonly object: SalesforceObject;
  readonly state: RecordState;
  readonly addressId: string | null;
  readonly prospectId: string | null;
  readonly base: KnownBase;
  readonly written: KnownBase | null;
  readonly optedOut: boolean;
  readonly syncedAt: Date;
}

/** What an address is suppressed for, as far as Salesforce has a word for it. */
export interface AddressReasons {
  readonly optOut: { readonly at: Date; readonly byPerson: boolean } | null;
  readonly bounce: { readonly reason: string | null; readonly at: Date } | null;
}

/** An active record of a person, and what it says of Email Opt Out. */
interface RecordOfPerson {
  readonly id: string;
  readonly addressId: string | null;
  readonly prospectId: string | null;
  readonly optedOut: boolean;
}

const NO_REASONS: AddressReasons = { optOut: null, bounce: null };

const KNOWN = plain(`
  select id, object, state, address_id as "addressId", prospect_id as "prospectId", base, written,
    opted_out as "optedOut", synced_at as "syncedAt" from salesforce_record where id = any($1::text[])`);
// In two halves, each with an index of its own.
const PROSPECTS = plain(`
  select ${PROSPECT_COLUMNS} from prospect p where p.address_id = any($1::uuid[]) and p.deleted_at is null
  union all select ${PROSPECT_COLUMNS} from prospect p where p.id = any($2::uuid[]) and p.deleted_at is null
    and p.address_id <> all($1::uuid[])`);
const REASONS = plain(`
  select address_id, reason, way, note, created_at from suppression
  where address_id = any($1::uuid[]) and list_id is null and reason in ('opt_out', 'bounced')`);
const ERASED = plain('select id from address where id = any($1::uuid[]) and email is null');
const RECORDS = plain(`
  select id, address_id as "addressId", prospect_id as "prospectId", opted_out as "optedOut"
  from salesforce_record where state = 'active' and address_id = any($1::uuid[])
  union select id, address_id, prospect_id, opted_out
  from salesforce_record where state = 'active' and prospect_id = any($2::uuid[])`);

/**
 * Everything that decides about some records: what is known of them, their people, what those said. It changes as plans
 * are carried out in it, so that the next record of the same person meets what the one before has changed.
 */
export class World {
  readonly known: ReadonlyMap<string, KnownRecord>;
  readonly prospects: Map<string, Prospect>;
  readonly #addressIds: ReadonlyMap<string, string>;
  readonly #reasons: Map<string, AddressReasons>;
  readonly #prospectAt: Map<string, string>;
  readonly #erased: ReadonlySet<string>;
  readonly #records = new Map<string, RecordOfPerson>();
  /** Ids of active records by address and by prospect. */
  readonly #recordsBy = new Map<string, Set<string>>();

  private constructor(parts: {
    known: readonly KnownRecord[];
    prospects: readonly Prospect[];
    addressIds: ReadonlyMap<string, string>;
    reasons: Map<string, AddressReasons>;
    records: readonly RecordOfPerson[];
    erased: readonly string[];
  }) {
    this.#erased = new Set(parts.erased);
    this.known = new Map(parts.known.map((each) => [each.id, each]));
    this.prospects = new Map(parts.prospects.map((each) => [each.id, each]));
    this.#prospectAt = new Map(parts.prospects.map((each) => [each.addressId, each.id]));
    this.#addressIds = parts.addressIds;
    this.#reasons = parts.reasons;
    for (const record of parts.records) this.#note(record);
  }

  /** Reads it, without locks. */
  static async read(
    on: Session,
    hasher: AddressHasher,
    records: readonly SalesforceRecord[],
  ): Promise<World> {
    const [known, addressIds] = await Promise.all([
      readKnown(
        on,
        records.map((record) => record.id),
      ),
      findAddresses(
        on,
        hasher,
        records.flatMap((record) => record.address ?? []),
      ),
    ]);
    const world = await World.#around(on, known, addressIds);
    for (const record of records) if (record.state === 'active') world.meet(record);
    return world;
  }

  /** What there is to some records that are not read anew. */
  static async readKnown(on: Session, ids: readonly string[]): Promise<World> {
    return World.#around(on, await readKnown(on, ids), new Map());
  }

  static async #around(
    on: Session,
    known: readonly KnownRecord[],
    addressIds: ReadonlyMap<string, string>,
  ): Promise<World> {
    const met = [...new Set([...addressIds.values(), ...known.flatMap((each) => each.addressId ?? [])])];
    const linked = known.flatMap((each) => each.prospectId ?? []);
    const prospects = (await on.query(PROSPECTS, [met, linked])).map(toProspect);
    const all = [...new Set([...met, ...prospects.map((each) => each.addressId)])];
    const [reasons, erased, records] = await Promise.all([
      readReasons(on, all),
      on.query<{ id: string }>(ERASED, [all]),
      on.query<RecordOfPerson & Record<string, unknown>>(RECORDS, [all, prospects.map((each) => each.id)]),
    ]);
    return new World({ known, prospects, addressIds, reasons, records, erased: erased.map((row) => row.id) });
  }

  /** Id of an address, or what stands for it where Heed never met it; `null` where there is none. */
  addressIdOf(address: ParsedAddress | null): string | null {
    if (address === null) return null;
    return this.#addressIds.get(address.comparisonForm) ?? `new ${address.comparisonForm}`;
  }

  /** Whether the person who had it was erased, and nobody has come with it since. */
  isErased(addressId: string | null): boolean {
    return this.#erased.has(addressId ?? '');
  }

  prospectAt(addressId: string | null): Prospect | null {
    return this.prospects.get(this.#prospectAt.get(addressId ?? '') ?? '') ?? null;
  }

  reasonsOf(addressId: string | null): AddressReasons {
    return this.#reasons.get(addressId ?? '') ?? NO_REASONS;
  }

  setReasons(addressId: string, reasons: AddressReasons): void {
    this.#reasons.set(addressId, reasons);
  }

  setProspect(prospect: Prospect): void {
    this.prospects.set(prospect.id, prospect);
    this.#prospectAt.set(prospect.addressId, prospect.id);
  }

  /** Notes what an active record says and whose it is. */
  meet(record: SalesforceRecord, prospectId: string | null = null): void {
    this.#note({
      id: record.id,
      addressId: this.addressIdOf(record.address),
      prospectId: prospectId ?? this.#records.get(record.id)?.prospectId ?? null,
      optedOut: record.optedOut,
    });
  }

  #note(record: RecordOfPerson): void {
    const before = this.#records.get(record.id);
    for (const key of [before?.addressId, before?.prospectId])
      this.#recordsBy.get(key ?? '')?.delete(record.id);
    this.#records.set(record.id, record);
    for (const key of [record.addressId, record.prospectId]) {
      if (key === null) continue;
      const ids = this.#recordsBy.get(key) ?? new Set();
      this.#recordsBy.set(key, ids.add(record.id));
    }
  }

  /** The active records of an address or a prospect. */
  recordsOf(addressId: string | null, prospectId: string | null): RecordOfPerson[] {
    const ids = [addressId, prospectId].flatMap((key) => [...(this.#recordsBy.get(key ?? '') ?? [])]);
    return [...new Set(ids)].map((id) => this.#records.get(id)!);
  }

  /** Every prospect and address that it was decided on. */
  get ids(): { readonly prospectIds: string[]; readonly addressIds: string[] } {
    const known = [...this.known.values()].flatMap((each) => each.addressId ?? []);
    const addressIds = [
      ...this.#addressIds.values(),
      ...known,
      ...[...this.prospects.values()].map((each) => each.addressId),
    ];
    return { prospectIds: [...this.prospects.keys()], addressIds: [...new Set(addressIds)] };
  }
}

function readKnown(on: Session, ids: readonly string[]): Promise<KnownRecord[]> {
  return on.query<KnownRecord & Record<string, unknown>>(KNOWN, [ids]);
}

async function readReasons(on: Session, addressIds: readonly string[]): Promise<Map<string, AddressReasons>> {
  const rows = await on.query<{
    address_id: string;
    reason: 'opt_out' | 'bounced';
    way: Way;
    note: string | null;
    created_at: Date;
  }>(REASONS, [addressIds]);
  const reasons = new Map<string, AddressReasons>();
  for (const row of rows) {
    const before = reasons.get(row.address_id) ?? NO_REASONS;
    reasons.set(
      row.address_id,
      row.reason === 'opt_out'
        ? { ...before, optOut: { at: row.created_at, byPerson: OWN_WAYS.some((way) => way === row.way) } }
        : { ...before, bounce: { reason: row.note, at: row.created_at } },
    );
  }
  return reasons;
}

/** Our side of a record, for its plan. */
export function ourSide(world: World, addressId: string | null, prospect: Prospect | null): OurSide {
  const { optOut, bounce } = world.reasonsOf(addressId);
  return {
    optedOut: optOut !== null,
    optedOutAt: optOut?.at.getTime() ?? 0,
    byPerson: optOut?.byPerson ?? false,
    bounce,
    prospect,
  };
}

/** The account's rules, for plans. */
export async function readSyncRules(
  on: Session,
  hasher: AddressHasher,
  settings: SalesforceSettings,
  ownUserId: string | null,
): Promise<SyncRules> {
  const customFields = new Map((await readCustomFields(on)).map((each) => [each.key, each]));
  const hashes = new Map<unknown, string>();
  return {
    direction: settings.optOutDirection,
    mayTakeBack: settings.mayTakeBack,
    mappings: settings.mappings,
    customFields,
    ownUserId,
    hash(value) {
      let hash = hashes.get(value);
      if (hash === undefined) {
        // Twelve bytes tell two values of one field apart as surely as is needed.
        hash = hasher
          .hash(`field ${JSON.stringify(value)}`)
          .toString('base64url')
          .slice(0, 16);
        // Countries and titles come again and again, names do not.
        if (hashes.size < 20_000) hashes.set(value, hash);
      }
      return hash;
    },
  };
}
