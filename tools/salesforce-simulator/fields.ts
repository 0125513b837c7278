/** Objects that the simulator has, with the key prefixes of their ids. */
export const OBJECTS = { Lead: '00Q', Contact: '003' } as const;
export type ObjectName = keyof typeof OBJECTS;

export type FieldType =
  | 'id'
  | 'string'
  | 'email'
  | 'phone'
  | 'url'
  | 'picklist'
  | 'textarea'
  | 'boolean'
  | 'double'
  | 'date'
  | 'datetime'
  | 'reference'
  | 'address';

/** One field of an object, as describe tells it. */
export interface Field {
  readonly name: string;
  readonly label: string;
  readonly type: FieldType;
  /** Characters, for texts. */
  readonly length: number;
  readonly nillable: boolean;
  readonly createable: boolean;
  readonly updateable: boolean;
  readonly custom: boolean;
  /** The compound field that it is a part of: Object Reference, compound_fields.htm. */
  readonly compoundFieldName: string | null;
}

function field(name: string, type: FieldType, length = 0, more: Partial<Field> = {}): Field {
  const label = name
    .replace(/__c$/, '')
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .replaceAll('_', ' ');
  return {
    name,
    label,
    type,
    length,
    nillable: true,
    createable: true,
    updateable: true,
    custom: false,
    compoundFieldName: null,
    ...more,
  };
}

/** An address with its parts, which alone can be written: Object Reference, compound_fields_address.htm. */
function address(prefix: '' | 'Mailing'): Field[] {
  const compoundFieldName = `${prefix}Address`;
  return [
    field(`${prefix}Street`, 'textarea', 255, { compoundFieldName }),
    field(`${prefix}City`, 'string', 40, { compoundFieldName }),
    field(`${prefix}State`, 'string', 80, { compoundFieldName }),
    field(`${prefix}PostalCode`, 'string', 20, { compoundFieldName }),
    field(`${prefix}Country`, 'string', 80, { compoundFieldName }),
    field(compoundFieldName, 'address', 0, { createable: false, updateable: false }),
  ];
}

const SYSTEM = { nillable: false, createable: false, updateable: false };

/**
 * Standard fields with their types, lengths and properties.
 *
 * Source: Object Reference, Lead (sforce_api_objects_lead.htm) and Contact (sforce_api_objects_contact.htm); Salesforce
 * Field Reference Guide (salesforce_field_reference_Lead.htm); "System Fields" (system_fields.htm). EmailBouncedReason
 * and EmailBouncedDate have Update and no Create among their properties, IsEmailBounced neither.
 */
const COMMON: readonly Field[] = [
  field('Id', 'id', 18, SYSTEM),
  field('IsDeleted', 'boolean', 0, SYSTEM),
  field('MasterRecordId', 'reference', 18, { ...SYSTEM, nillable: true }),
  field('FirstName', 'string', 40),
  field('LastName', 'string', 80, { nillable: false }),
  field('Title', 'string', 128),
  field('Email', 'email', 80),
  field('Phone', 'phone', 40),
  field('LeadSource', 'picklist', 255),
  field('HasOptedOutOfEmail', 'boolean', 0, { nillable: false, label: 'Email Opt Out' }),
  field('EmailBouncedReason', 'string', 255, { createable: false }),
  field('EmailBouncedDate', 'datetime', 0, { createable: false }),
  field('IsEmailBounced', 'boolean', 0, SYSTEM),
  field('CreatedDate', 'datetime', 0, SYSTEM),
  field('CreatedById', 'reference', 18, SYSTEM),
  field('LastModifiedDate', 'datetime', 0, SYSTEM),
  field('LastModifiedById', 'reference', 18, SYSTEM),
  field('SystemModstamp', 'datetime', 0, SYSTEM),
];

export const STANDARD_FIELDS: Readonly<Record<ObjectName, readonly Field[]>> = {
  Lead: [
    ...COMMON,
    field('Company', 'string', 255, { nillable: false }),
    field('Status', 'picklist', 255, { nillable: false }),
    ...address(''),
    field('Website', 'url', 255),
    field('IsConverted', 'boolean', 0, { ...SYSTEM }),
    field('ConvertedDate', 'date', 0, { ...SYSTEM, nillable: true }),
    field('ConvertedContactId', 'reference', 18, { ...SYSTEM, nillable: true }),
    field('ConvertedAccountId', 'reference', 18, { ...SYSTEM, nillable: true }),
  ],
  Contact: [...COMMON, ...address('Mailing'), field('AccountId', 'reference', 18)],
};

/** A custom field, whose name ends in `__c`. */
export function customField(name: string, type: FieldType, length = 255): Field {
  return field(name, type, type === 'string' || type === 'textarea' ? length : 0, { custom: true });
}

/** Fields that a new record gets a value for by itself. */
export const DEFAULTED: ReadonlySet<string> = new Set(['HasOptedOutOfEmail', 'Status']);
