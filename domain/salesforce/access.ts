import type { FieldMapping } from './mapping.ts';
import { fieldsToRead } from './record.ts';
import type { SalesforceObject, SyncDirection } from './words.ts';

/** What describe tells of a field. */
export interface DescribedField {
  readonly name: string;
  readonly updateable: boolean;
  readonly createable: boolean;
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
  for (const field of fieldsToWrite(object, wanted)) {
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
