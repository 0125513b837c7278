import { isAddressProblem, type ParsedAddress, parseAddress } from '../address.ts';
import type { FieldMapping, SalesforceValue } from './mapping.ts';
import type { RecordState, SalesforceObject } from './words.ts';

/** A record of Salesforce as it was read. */
export interface SalesforceRecord {
  readonly id: string;
  readonly object: SalesforceObject;
  readonly state: Exclude<RecordState, 'no_address'>;
  /** The record that it became, where it was merged or converted. */
  readonly successorId: string | null;
  /** `null` where there is none that can be read. */
  readonly address: ParsedAddress | null;
  /** Whether something stands in Email that is no address. */
  readonly addressUnreadable: boolean;
  readonly optedOut: boolean;
  readonly bounced: boolean;
  /** Only one of the two fields of a bounce is set, so that the other is to be set or cleared. */
  readonly bounceIncomplete: boolean;
  readonly bouncedReason: string | null;
  /** Values of the mapped fields, by their names in Salesforce. */
  readonly values: Readonly<Record<string, SalesforceValue>>;
  /** Milliseconds of the epoch. */
  readonly modifiedAt: number;
  readonly modifiedBy: string;
  /** As Salesforce wrote it, with the resolution of a second. */
  readonly systemModstamp: string;
}

const COMMON = [
  'Id',
  'Email',
  'HasOptedOutOfEmail',
  'EmailBouncedReason',
  'EmailBouncedDate',
  'IsEmailBounced',
  'LastModifiedDate',
  'LastModifiedById',
  'SystemModstamp',
  'IsDeleted',
  'MasterRecordId',
];

/** Fields that are read of each record of an object. */
export function fieldsToRead(object: SalesforceObject, mappings: readonly FieldMapping[]): string[] {
  const own = object === 'Lead' ? [...COMMON, 'IsConverted', 'ConvertedContactId'] : COMMON;
  return [
    ...new Set([
      ...own,
      ...mappings.filter((each) => each.object === object).map((each) => each.salesforceField),
    ]),
  ];
}

/** A field that was asked for did not come. What is not there is never taken for "not opted out". */
export class FieldMissing extends Error {
  override readonly name = 'FieldMissing';

  constructor(object: SalesforceObject, field: string) {
    super(
      `Salesforce gave no value for ${object}.${field}. Give the integration user Read access to it (field-level security).`,
    );
  }
}

/**
 * Reads a row of a query for {@link fieldsToRead}.
 *
 * @throws FieldMissing where a field is absent, or Email Opt Out is neither true nor false
 */
export function readRecord(
  object: SalesforceObject,
  mappings: readonly FieldMapping[],
  row: Readonly<Record<string, unknown>>,
): SalesforceRecord {
  for (const field of fieldsToRead(object, mappings)) {
    if (row[field] === undefined) throw new FieldMissing(object, field);
  }
  if (typeof row.HasOptedOutOfEmail !== 'boolean') throw new FieldMissing(object, 'HasOptedOutOfEmail');
  const email = textOf(row.Email);
  const address = email === null ? null : parseAddress(email);
  const [reason, date] = [textOf(row.EmailBouncedReason), textOf(row.EmailBouncedDate)];
  const { state, successorId } = standing(row);
  return {
    id: String(row.Id),
    object,
    state,
    successorId,
    address: address === null || isAddressProblem(address) ? null : address,
    addressUnreadable: address !== null && isAddressProblem(address),
    optedOut: row.HasOptedOutOfEmail,
    bounced: reason !== null || date !== null || row.IsEmailBounced === true,
    bounceIncomplete: (reason === null) !== (date === null),
    bouncedReason: reason,
    values: Object.fromEntries(
      mappings
        .filter((each) => each.object === object)
        .map(({ salesforceField }) => [salesforceField, row[salesforceField] as SalesforceValue]),
    ),
    modifiedAt: Date.parse(String(row.LastModifiedDate).replace('+0000', 'Z')),
    modifiedBy: String(row.LastModifiedById),
    systemModstamp: String(row.SystemModstamp),
  };
}

function standing(row: Readonly<Record<string, unknown>>): Pick<SalesforceRecord, 'state' | 'successorId'> {
  const master = textOf(row.MasterRecordId);
  if (row.IsDeleted === true) {
    return master === null
      ? { state: 'deleted', successorId: null }
      : { state: 'merged', successorId: master };
  }
  if (row.IsConverted === true) return { state: 'converted', successorId: textOf(row.ConvertedContactId) };
  return { state: 'active', successorId: null };
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

/** Characters of EmailBouncedReason: Object Reference, Contact and Lead. */
const MAX_BOUNCED_REASON = 255;

/** Fields of a bounce, which are set and cleared together. */
export interface BounceFields {
  readonly EmailBouncedReason: string | null;
  readonly EmailBouncedDate: string | null;
}

/**
 * What Bounced is in Salesforce.
 *
 * @param bounce `null`: it is cleared
 */
export function bounceFields(
  bounce: { readonly reason: string | null; readonly at: Date } | null,
): BounceFields {
  if (bounce === null) return { EmailBouncedReason: null, EmailBouncedDate: null };
  const reason = bounce.reason?.trim() || 'bounced';
  return { EmailBouncedReason: cut(reason, MAX_BOUNCED_REASON), EmailBouncedDate: bounce.at.toISOString() };
}

/** The first `max` UTF-16 units, as Salesforce counts them, without half a surrogate pair at the end. */
function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  const start = text.slice(0, max - 1);
  return `${start.isWellFormed() ? start : start.slice(0, -1)}…`;
}
