import type { FieldMapping } from './mapping.ts';
import { fieldsToRead } from './record.ts';
import type { SalesforceObject, SyncDirection } from './words.ts';

/** What describe tells of a field. */
export interface DescribedField {
  readonly name: string;
  readonly updateable: boolean;
  readonly createable: boolean;
  /** `string`, `picklist`, `address` … (Object Reference, field_types.htm). */
  readonly type: string;
  /** The compound field that it is a part of. */
  readonly compoundFieldName: string | null;
}

/**
 * Types whose values are several in one, which no field of a prospect can hold and nobody can write: Object Reference,
 * compound_fields.htm.
 */
const COMPOUND_TYPES: readonly string[] = ['address', 'location'];

/**
 * What is wrong with mapping this field, where it is a compound one; else `null`.
 *
 * @param described all fields of its object
 */
export function compoundProblem(field: string, described: readonly DescribedField[]): string | null {
  const found = described.find((each) => each.name.toLowerCase() === field.toLowerCase());
  if (found === undefined || !COMPOUND_TYPES.includes(found.type)) return null;
  const parts = described.filter((each) => each.compoundFieldName === found.name).map((each) => each.name);
  const instead = parts.length === 0 ? '' : `: ${parts.join(', ')}`;
  return `${found.name} is a compound field (${found.type}), whose value is several in one. Map its parts instead${instead}.`;
}

/** What the sync is to do with the fields of an object. */
export interface WantedAccess {
  readonly optOutDirection: SyncDirection;
  readonly mappings: readonly FieldMapping[];
  /** Whether prospects become records of this object. */
  readonly creates: boolean;
}

/**
 * What the integration user lacks to read and write the fields of an object, one sentence each: a field that is hidden
 * by field-level security is missing from describe. Empty where nothing is lacking.
 */
export function lackingAccess(
  object: SalesforceObject,
  described: readonly DescribedField[],
  wanted: WantedAccess,
): string[] {
  const byName = new Map(described.map((field) => [field.name.toLowerCase(), field]));
  const lacking: string[] = [];
  const tell = (field: string, permission: 'Read' | 'Edit') =>
    lacking.push(
      `${object}.${field}: the integration user needs the permission "${permission} Access" on this field.`,
    );
  for (const field of fieldsToRead(object, wanted.mappings)) {
    const name = byName.get(field.toLowerCase())?.name;
    if (name === undefined) tell(field, 'Read');
    else if (name !== field) {
      lacking.push(
        `${object}.${field}: Salesforce calls this field ${name}. Spell it so in the mapping table.`,
      );
    }
  }
  const compound = new Set<string>();
  for (const { object: of, salesforceField } of wanted.mappings) {
    const problem = of === object ? compoundProblem(salesforceField, described) : null;
    if (problem === null) continue;
    compound.add(salesforceField);
    lacking.push(`${object}.${salesforceField}: ${problem}`);
  }
  for (const field of fieldsToWrite(object, wanted)) {
    // Nobody has the permission to write these.
    if (compound.has(field)) continue;
    const found = byName.get(field.toLowerCase());
    if (found !== undefined && !found.updateable) tell(field, 'Edit');
  }
  return lacking;
}

function fieldsToWrite(object: SalesforceObject, wanted: WantedAccess): string[] {
  const mapped = wanted.mappings.filter(
    (each) => each.object === object && (wanted.creates || each.direction !== 'from_salesforce'),
  );
  return [
    ...(wanted.optOutDirection === 'from_salesforce' ? [] : ['HasOptedOutOfEmail']),
    'EmailBouncedReason',
    'EmailBouncedDate',
    'Email',
    ...(wanted.creates ? ['LastName', 'Company'] : []),
    ...mapped.map((each) => each.salesforceField),
  ];
}
