import {
  type CustomField,
  type CustomValue,
  type Read,
  readCustomValue,
  readStandardValue,
} from '../prospectFields.ts';
import { STANDARD_FIELDS, type StandardField } from '../words.ts';
import type { EmptyRule } from './resolve.ts';
import type { SalesforceObject, SyncDirection } from './words.ts';

/** One line of the mapping table. */
export interface FieldMapping {
  readonly object: SalesforceObject;
  /** Name of the field in Salesforce, custom ones with `__c`. */
  readonly salesforceField: string;
  /** A standard field of a prospect, or `custom.<key>`. */
  readonly field: string;
  readonly direction: SyncDirection;
  readonly empty: EmptyRule;
}

/** A value as Salesforce's REST API has it. */
export type SalesforceValue = string | number | boolean | null;

const DEFAULT_FIELDS: readonly (readonly [StandardField, string | null, string | null])[] = [
  ['firstName', 'FirstName', 'FirstName'],
  ['lastName', 'LastName', 'LastName'],
  ['company', 'Company', null],
  ['title', 'Title', 'Title'],
  ['phone', 'Phone', 'Phone'],
  ['country', 'Country', 'MailingCountry'],
  ['state', 'State', 'MailingState'],
  ['city', 'City', 'MailingCity'],
  ['postalCode', 'PostalCode', 'MailingPostalCode'],
  ['website', 'Website', null],
  ['leadSource', 'LeadSource', 'LeadSource'],
];

/** The mapping table of a new account: Salesforce tells who people are, and what it does not know stays. */
export const DEFAULT_MAPPINGS: readonly FieldMapping[] = DEFAULT_FIELDS.flatMap(([field, lead, contact]) =>
  (
    [
      ['Lead', lead],
      ['Contact', contact],
    ] as const
  ).flatMap(([object, salesforceField]) =>
    salesforceField === null
      ? []
      : [{ object, salesforceField, field, direction: 'from_salesforce' as const, empty: 'keep' as const }],
  ),
);

/** Fields that the sync itself reads and writes, which no mapping may name. */
const OWN_FIELDS = new Set([
  'id',
  'email',
  'hasoptedoutofemail',
  'emailbouncedreason',
  'emailbounceddate',
  'isemailbounced',
  'systemmodstamp',
  'lastmodifieddate',
  'lastmodifiedbyid',
  'isdeleted',
  'masterrecordid',
  'isconverted',
  'convertedcontactid',
]);

/** What is wrong with a line of the mapping table. */
export interface MappingProblem {
  readonly index: number;
  readonly property: 'salesforceField' | 'field';
  readonly message: string;
}

/** Checks a mapping table against the account's custom fields; every problem is told. */
export function checkMappings(
  mappings: readonly FieldMapping[],
  customFields: readonly CustomField[],
): MappingProblem[] {
  const problems: MappingProblem[] = [];
  const seen = new Map<string, number>();
  const once = (key: string, index: number, property: MappingProblem['property']) => {
    const earlier = seen.get(key);
    if (earlier === undefined) seen.set(key, index);
    else problems.push({ index, property, message: `Is mapped already, in line ${earlier + 1}.` });
  };
  for (const [index, { object, salesforceField, field }] of mappings.entries()) {
    if (OWN_FIELDS.has(salesforceField.toLowerCase())) {
      problems.push({
        index,
        property: 'salesforceField',
        message: 'Is synced by itself, and not to be mapped.',
      });
    }
    if (!isStandard(field) && !customFields.some(({ key }) => field === `custom.${key}`)) {
      problems.push({ index, property: 'field', message: 'Is neither a standard field nor a custom one.' });
    }
    once(`${object} sf ${salesforceField.toLowerCase()}`, index, 'salesforceField');
    once(`${object} heed ${field}`, index, 'field');
  }
  return problems;
}

export function isStandard(field: string): field is StandardField {
  return (STANDARD_FIELDS as readonly string[]).includes(field);
}

/** Reads a value of Salesforce into the form that Heed keeps it in. */
export function fromSalesforce(
  field: string,
  customFields: ReadonlyMap<string, CustomField>,
  value: SalesforceValue,
): Read<CustomValue> {
  if (value === null || value === '') return { value: null };
  if (isStandard(field)) return readStandardValue(field, String(value));
  const definition = customFields.get(field.slice('custom.'.length));
  if (definition === undefined) {
    return { problem: { code: 'unknown_field', message: 'There is no such custom field.' } };
  }
  if (definition.type === 'number' || definition.type === 'boolean')
    return readCustomValue(definition, value);
  return readCustomValue(definition, String(value).replace(/\+0000$/, 'Z'));
}
