import type { CustomValue, ReadFields } from '../../domain/prospectFields.ts';
import { STANDARD_FIELDS, type StandardField, type SuppressionReason } from '../../domain/words.ts';
import { plain, type Session, type Transaction } from '../connection.ts';

/** A person who may be emailed. */
export interface Prospect {
  readonly id: string;
  readonly addressId: string;
  /** As it was given. */
  readonly email: string;
  readonly fields: Readonly<Record<StandardField, string | null>>;
  readonly custom: Readonly<Record<string, CustomValue>>;
  readonly emailOptOut: boolean;
  readonly bounced: boolean;
  /** Goes up with every change, a flag's included. */
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** What is written of a prospect. */
export type ProspectValues = Omit<Prospect, 'version' | 'createdAt' | 'updatedAt'>;

/** Column of a standard field. */
export const standardColumn = (field: StandardField): string =>
  field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const FIELD_COLUMNS = STANDARD_FIELDS.map((field) => [field, standardColumn(field)] as const);
const WRITTEN = [
  'address_id',
  'email',
  ...FIELD_COLUMNS.map(([, name]) => name),
  'custom',
  'email_opt_out',
  'bounced',
];
const RECORD = `r(id uuid, address_id uuid, email text, ${FIELD_COLUMNS.map(([, name]) => `${name} text`).join(', ')},
  custom jsonb, email_opt_out boolean, bounced boolean)`;

/** Columns of a prospect for {@link toProspect}, of a table named `p`. */
export const PROSPECT_COLUMNS = ['id', ...WRITTEN, 'version', 'created_at', 'updated_at']
  .map((name) => `p.${name}`)
  .join(', ');

const INSERT = plain(`
  insert into prospect (id, ${WRITTEN.join(', ')}, version, created_at, updated_at)
  select id, ${WRITTEN.join(', ')}, 1, $2, $2 from jsonb_to_recordset($1::jsonb) as ${RECORD}`);
const UPDATE = plain(`
  update prospect p set ${WRITTEN.map((name) => `${name} = r.${name}`).join(', ')}, version = p.version + 1, updated_at = $2
  from jsonb_to_recordset($1::jsonb) as ${RECORD} where p.id = r.id`);
const CURRENT = plain(
  `select ${PROSPECT_COLUMNS} from prospect p where p.id = any($1::uuid[]) and p.deleted_at is null`,
);

/** Row of {@link PROSPECT_COLUMNS} as a prospect. */
export function toProspect(row: Record<string, unknown>): Prospect {
  return {
    id: row.id as string,
    addressId: row.address_id as string,
    email: row.email as string,
    fields: Object.fromEntries(
      FIELD_COLUMNS.map(([field, name]) => [field, (row[name] as string | null) ?? null]),
    ) as Record<StandardField, string | null>,
    custom: row.custom as Record<string, CustomValue>,
    emailOptOut: row.email_opt_out as boolean,
    bounced: row.bounced as boolean,
    version: row.version as number,
    createdAt: row.created_at as Date,
    updatedAt: row.updated_at as Date,
  };
}

function toJson(prospects: readonly ProspectValues[]): string {
  return JSON.stringify(
    prospects.map((prospect) => ({
      id: prospect.id,
      address_id: prospect.addressId,
      email: prospect.email,
      ...Object.fromEntries(FIELD_COLUMNS.map(([field, name]) => [name, prospect.fields[field]])),
      custom: prospect.custom,
      email_opt_out: prospect.emailOptOut,
      bounced: prospect.bounced,
    })),
  );
}

/** Adds prospects as they are. The caller holds the locks of their addresses. */
export async function insertProspects(
  tx: Transaction,
  now: Date,
  prospects: readonly ProspectValues[],
): Promise<void> {
  if (prospects.length > 0) await tx.query(INSERT, [toJson(prospects), now]);
}

/** Writes prospects as they are now. The caller holds their locks and those of their addresses, old and new. */
export async function rewriteProspects(
  tx: Transaction,
  now: Date,
  prospects: readonly ProspectValues[],
): Promise<void> {
  if (prospects.length > 0) await tx.query(UPDATE, [toJson(prospects), now]);
}

/** Current prospects by id; deleted ones are not among them. */
export async function readProspects(on: Session, ids: readonly string[]): Promise<Prospect[]> {
  return (await on.query(CURRENT, [ids])).map(toProspect);
}

/** {@link readProspects} in the order of their ids. */
export async function readProspectsInOrder(on: Session, ids: readonly string[]): Promise<Prospect[]> {
  return (await readProspects(on, ids)).toSorted((one, other) => (one.id < other.id ? -1 : 1));
}

/** What an address says about whoever has it. */
export interface AddressState {
  readonly addressId: string;
  /** Its text was erased. */
  readonly erased: boolean;
  /** The prospect whose current address it is. */
  readonly prospectId: string | null;
  /** Why it is on the Global Suppression List. */
  readonly reasons: readonly SuppressionReason[];
  /** Those of the reasons that hold only by a bulk update, which can be undone. */
  readonly bulkReasons: readonly SuppressionReason[];
}

const ADDRESS_STATES = plain(`
  select a.id, a.email is null as erased, p.id as prospect_id,
    array(select s.reason from suppression s where s.address_id = a.id and s.list_id is null) as reasons,
    array(select s.reason from suppression s where s.address_id = a.id and s.list_id is null and s.way = 'bulk_update') as bulk_reasons
  from address a left join prospect p on p.address_id = a.id and p.deleted_at is null
  where a.id = any($1::uuid[])`);

/** State of addresses whose locks the caller holds. */
export async function readAddressStates(
  tx: Transaction,
  addressIds: readonly string[],
): Promise<Map<string, AddressState>> {
  const rows = await tx.query<{
    id: string;
    erased: boolean;
    prospect_id: string | null;
    reasons: SuppressionReason[];
    bulk_reasons: SuppressionReason[];
  }>(ADDRESS_STATES, [addressIds]);
  return new Map(
    rows.map((row) => [
      row.id,
      {
        addressId: row.id,
        erased: row.erased,
        prospectId: row.prospect_id,
        reasons: row.reasons,
        bulkReasons: row.bulk_reasons,
      },
    ]),
  );
}

/** The flags that an address gives to whoever has it (I4). */
export function flagsOf(reasons: readonly SuppressionReason[]): { emailOptOut: boolean; bounced: boolean } {
  return { emailOptOut: reasons.includes('opt_out'), bounced: reasons.includes('bounced') };
}

/** A prospect with nothing in it yet. */
export function emptyProspect(id: string): ProspectValues {
  const fields = Object.fromEntries(STANDARD_FIELDS.map((field) => [field, null]));
  return {
    id,
    addressId: '',
    email: '',
    fields: fields as Record<StandardField, null>,
    custom: {},
    emailOptOut: false,
    bounced: false,
  };
}

/** A prospect with some of its fields changed; `null` empties one. */
export function withFields<Values extends ProspectValues>(
  prospect: Values,
  read: Pick<ReadFields, 'fields' | 'custom'>,
): Values {
  const custom = Object.entries({ ...prospect.custom, ...read.custom }).filter(
    (entry): entry is [string, CustomValue] => entry[1] !== null,
  );
  return { ...prospect, fields: { ...prospect.fields, ...read.fields }, custom: Object.fromEntries(custom) };
}

/** Names of the fields in which two states of a prospect differ, `email` for its spelling. */
export function changedFields(
  before: Pick<ProspectValues, 'email' | 'fields' | 'custom'>,
  after: Pick<ProspectValues, 'email' | 'fields' | 'custom'>,
): string[] {
  const keys = new Set([...Object.keys(before.custom), ...Object.keys(after.custom)]);
  return [
    ...(before.email === after.email ? [] : ['email']),
    ...STANDARD_FIELDS.filter((field) => before.fields[field] !== after.fields[field]),
    ...[...keys].filter((key) => before.custom[key] !== after.custom[key]).map((key) => `custom.${key}`),
  ];
}
