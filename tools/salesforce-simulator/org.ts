import { noSuchColumn, SalesforceError } from './errors.ts';
import {
  customField,
  DEFAULTED,
  type Field,
  type FieldType,
  OBJECTS,
  type ObjectName,
  STANDARD_FIELDS,
} from './fields.ts';
import { fullId, recordId } from './ids.ts';
import type { Row, Value } from './soql.ts';

export type RecordValues = Readonly<Record<string, unknown>>;

/** What a user may do with a field: profile or permission set, "Field-Level Security". */
export type FieldAccess = 'hidden' | 'readonly' | 'edit';

/** Refuses a record whose field is as told. */
export interface ValidationRule {
  readonly object: ObjectName;
  readonly field: string;
  /** Refused where the field has this value; `null`: where it is empty. */
  readonly refuses: Value;
  readonly message: string;
}

/** Who saves, and with which headers. */
export interface SaveOptions {
  readonly by?: string;
  /** Sforce-Duplicate-Rule-Header: allowSave=true (headers_duplicaterules.htm). */
  readonly allowDuplicates?: boolean;
}

type Stored = Record<string, Value>;

/** What is kept of an org while it does not run. */
export interface OrgSnapshot {
  readonly next: number;
  readonly records: Readonly<Record<ObjectName, readonly Row[]>>;
}

const SECOND = 1_000;

/**
 * The records of an org and the rules that they are saved by. Everything is in memory. Methods throw
 * {@link SalesforceError} as the API would answer.
 */
export class Org {
  readonly id = recordId('00D', 1);
  readonly users = { integration: recordId('005', 1), sales: recordId('005', 2) } as const;
  /** Milliseconds that the clock of the org is ahead. */
  clockOffset = 0;
  /** Whether a duplicate rule on Email acts, and whether `allowSave` passes it. */
  duplicateRule: 'none' | 'alert' | 'block' = 'none';
  validationRules: ValidationRule[] = [];
  readonly #records: Readonly<Record<ObjectName, Map<string, Stored>>> = {
    Lead: new Map(),
    Contact: new Map(),
  };
  readonly #fields: Record<ObjectName, Map<string, Field>>;
  readonly #access = new Map<string, FieldAccess>();
  readonly #locks = new Map<string, number>();
  #next = 1;

  constructor() {
    this.#fields = Object.fromEntries(
      Object.entries(STANDARD_FIELDS).map(([object, fields]) => [
        object,
        new Map(fields.map((each) => [each.name, each])),
      ]),
    ) as Record<ObjectName, Map<string, Field>>;
  }

  /** All records, for {@link restore}. */
  snapshot(): OrgSnapshot {
    const records = (Object.keys(OBJECTS) as ObjectName[]).map(
      (object) => [object, [...this.#records[object].values()]] as const,
    );
    return { next: this.#next, records: Object.fromEntries(records) as OrgSnapshot['records'] };
  }

  /** The records of an earlier org take the place of what there is. */
  restore(snapshot: OrgSnapshot): void {
    this.#next = snapshot.next;
    for (const object of Object.keys(OBJECTS) as ObjectName[]) {
      this.#records[object].clear();
      for (const record of snapshot.records[object]) {
        this.#records[object].set(String(record.Id), { ...record });
      }
    }
  }

  addCustomField(object: ObjectName, name: string, type: FieldType, length?: number): void {
    this.#fields[object].set(name, customField(name, type, length));
  }

  /** Field-level security of the integration user. */
  setAccess(object: ObjectName, field: string, access: FieldAccess): void {
    this.#access.set(`${object}.${field}`, access);
  }

  /** The next `times` attempts to save a record meet somebody else's lock. */
  lock(id: string, times: number): void {
    this.#locks.set(id, times);
  }

  /** Fields that the integration user sees, with what it may do to them. */
  visibleFields(object: ObjectName): Map<string, Field> {
    const visible = new Map<string, Field>();
    for (const [name, field] of this.#fields[object]) {
      const access = this.#access.get(`${object}.${name}`) ?? 'edit';
      if (access === 'hidden') continue;
      visible.set(name, access === 'edit' ? field : { ...field, createable: false, updateable: false });
    }
    return visible;
  }

  rows(object: ObjectName): Iterable<Row> {
    return this.#records[object].values();
  }

  /** The record, deleted ones too. @returns `null` where there is none */
  find(object: ObjectName, id: string): Row | null {
    return this.#records[object].get(fullId(id) ?? '') ?? null;
  }

  /**
   * Times have a resolution of a second, though they are written with milliseconds: Object Reference, "Primitive Data
   * Types" (primitive_data_types.htm).
   */
  now(): string {
    const time = Math.floor((Date.now() + this.clockOffset) / SECOND) * SECOND;
    return toSalesforceTime(new Date(time));
  }

  /** create(): dome_sobject_create.htm. @returns the id */
  create(object: ObjectName, values: RecordValues, options: SaveOptions = {}): string {
    const by = options.by ?? this.users.sales;
    const isIntegration = by === this.users.integration;
    const given = this.#read(object, values, 'createable', isIntegration);
    const record: Stored = Object.fromEntries([...this.#fields[object].keys()].map((name) => [name, null]));
    Object.assign(record, { HasOptedOutOfEmail: false, IsDeleted: false, IsEmailBounced: false });
    if (object === 'Lead') Object.assign(record, { Status: 'Open - Not Contacted', IsConverted: false });
    Object.assign(record, given);
    this.#validate(object, record, options);
    const id = recordId(OBJECTS[object], this.#next);
    this.#next += 1;
    const now = this.now();
    Object.assign(record, { Id: id, CreatedDate: now, CreatedById: by });
    touch(record, by, now);
    this.#records[object].set(id, record);
    return id;
  }

  /** update(): dome_update_fields.htm. */
  update(object: ObjectName, id: string, values: RecordValues, options: SaveOptions = {}): void {
    const by = options.by ?? this.users.sales;
    const record = this.#open(object, id);
    if (record.IsConverted === true && by === this.users.integration) {
      // "Set Audit Fields" aside, nobody changes one through the API: Object Reference, Lead, "Converted Leads".
      throw new SalesforceError('CANNOT_UPDATE_CONVERTED_LEAD', 'cannot reference converted lead');
    }
    const given = this.#read(object, values, 'updateable', by === this.users.integration);
    const after = { ...record, ...given };
    this.#validate(object, after, options, record);
    Object.assign(record, after);
    touch(record, by, this.now());
  }

  /** delete(): into the Recycle Bin, from which undelete takes it back (sforce_api_calls_undelete.htm). */
  delete(object: ObjectName, id: string, options: SaveOptions = {}): void {
    const record = this.#open(object, id);
    record.IsDeleted = true;
    touch(record, options.by ?? this.users.sales, this.now());
  }

  undelete(object: ObjectName, id: string, options: SaveOptions = {}): void {
    const record = this.#records[object].get(fullId(id) ?? '');
    if (record === undefined || record.IsDeleted !== true || record.MasterRecordId !== null) {
      throw new SalesforceError('UNDELETE_FAILED', 'Entity is not in the recycle bin');
    }
    record.IsDeleted = false;
    touch(record, options.by ?? this.users.sales, this.now());
  }

  /** Out of the Recycle Bin for good: queryAll finds it no more (sforce_api_calls_emptyrecyclebin.htm). */
  purge(object: ObjectName, id: string): void {
    this.#records[object].delete(fullId(id) ?? '');
  }

  /**
   * merge(): up to two others go into the master and the Recycle Bin, with MasterRecordId telling where to
   * (sforce_api_calls_merge.htm).
   */
  merge(object: ObjectName, masterId: string, otherIds: readonly string[], values: RecordValues = {}): void {
    const master = this.#open(object, masterId);
    const others = otherIds.map((id) => this.#open(object, id));
    const now = this.now();
    for (const other of others) {
      Object.assign(other, { IsDeleted: true, MasterRecordId: master.Id });
      touch(other, this.users.sales, now);
    }
    Object.assign(master, this.#read(object, values, 'updateable', false));
    touch(master, this.users.sales, now);
  }

  /**
   * convertLead(): the lead stays, read-only, and names its contact. A new contact takes the fields of the lead over; of
   * one that exists only empty fields are filled (sforce_api_calls_convertlead.htm).
   *
   * @returns the id of the contact
   */
  convert(leadId: string, contactId?: string): string {
    const lead = this.#open('Lead', leadId);
    if (lead.IsConverted === true) {
      throw new SalesforceError('CANNOT_UPDATE_CONVERTED_LEAD', 'The lead has been converted');
    }
    const taken = Object.fromEntries(
      ['FirstName', 'LastName', 'Title', 'Email', 'Phone', 'LeadSource'].map((name) => [name, lead[name]]),
    );
    let id = contactId;
    if (id === undefined) {
      id = this.create('Contact', { ...taken, HasOptedOutOfEmail: lead.HasOptedOutOfEmail });
    } else {
      const contact = this.#open('Contact', id);
      for (const [name, value] of Object.entries(taken)) contact[name] ??= value ?? null;
      touch(contact, this.users.sales, this.now());
    }
    const now = this.now();
    Object.assign(lead, {
      IsConverted: true,
      ConvertedContactId: id,
      ConvertedDate: now.slice(0, 10),
      Status: 'Closed - Converted',
    });
    touch(lead, this.users.sales, now);
    return id;
  }

  /** @throws where it cannot be changed: error codes of errorcodes.htm */
  #open(object: ObjectName, id: string): Stored {
    const full = fullId(id);
    if (full === null) throw new SalesforceError('MALFORMED_ID', `malformed id ${id}`, 400, ['Id']);
    const record = this.#records[object].get(full);
    if (record === undefined) {
      throw new SalesforceError('INVALID_CROSS_REFERENCE_KEY', 'invalid cross reference id', 404);
    }
    const locks = this.#locks.get(full) ?? 0;
    if (locks > 0) {
      this.#locks.set(full, locks - 1);
      throw new SalesforceError(
        'UNABLE_TO_LOCK_ROW',
        `unable to obtain exclusive access to this record or 1 records: ${full}`,
      );
    }
    if (record.IsDeleted === true) throw new SalesforceError('ENTITY_IS_DELETED', 'entity is deleted', 404);
    return record;
  }

  /** Reads values into the types of their fields, and nothing more. @throws SalesforceError JSON_PARSER_ERROR */
  parse(object: ObjectName, values: RecordValues): void {
    for (const [name, value] of Object.entries(values)) {
      const field = this.#fields[object].get(name);
      if (field !== undefined && name !== 'Id') checkType(field, value);
    }
  }

  /** Values as they are stored. @throws for fields that are not there, not writable, or not of their type */
  #read(
    object: ObjectName,
    values: RecordValues,
    right: 'createable' | 'updateable',
    checked: boolean,
  ): Stored {
    const fields = checked ? this.visibleFields(object) : this.#fields[object];
    const read: Stored = {};
    for (const [name, value] of Object.entries(values)) {
      if (name === 'attributes' || name.toLowerCase() === 'id') continue;
      const field = fields.get(name);
      if (field === undefined) throw noSuchColumn(name, object);
      if (checked && !field[right]) {
        throw new SalesforceError(
          'INVALID_FIELD_FOR_INSERT_UPDATE',
          `Unable to create/update fields: ${name}. Please check the security settings of this field and verify that it is read/write for your profile or permission set.`,
          400,
          [name],
        );
      }
      read[name] = readValue(field, value);
    }
    return read;
  }

  #validate(object: ObjectName, record: Stored, options: SaveOptions, before?: Stored): void {
    const missing = [...this.#fields[object].values()]
      .filter(
        (field) =>
          !field.nillable && field.createable && !DEFAULTED.has(field.name) && isEmpty(record[field.name]),
      )
      .map((field) => field.name);
    if (missing.length > 0) {
      throw new SalesforceError(
        'REQUIRED_FIELD_MISSING',
        `Required fields are missing: [${missing.join(', ')}]`,
        400,
        missing,
      );
    }
    record.IsEmailBounced = !isEmpty(record.EmailBouncedReason);
    for (const rule of this.validationRules) {
      const value = record[rule.field] ?? null;
      if (rule.object === object && (rule.refuses === null ? isEmpty(value) : value === rule.refuses)) {
        throw new SalesforceError('FIELD_CUSTOM_VALIDATION_EXCEPTION', rule.message, 400, [rule.field]);
      }
    }
    const blocks =
      this.duplicateRule === 'block' || (this.duplicateRule === 'alert' && !options.allowDuplicates);
    const email = record.Email;
    // Duplicate rules act on create, and on edit where a matched field changed: "Duplicate Rules" (DuplicateRule.htm).
    if (!blocks || isEmpty(email) || before?.Email === email) return;
    for (const objectName of Object.keys(OBJECTS) as ObjectName[]) {
      for (const other of this.#records[objectName].values()) {
        if (other.Id !== record.Id && other.IsDeleted === false && other.Email === email) {
          throw new SalesforceError('DUPLICATES_DETECTED', 'Use one of these records?');
        }
      }
    }
  }
}

function isEmpty(value: Value | undefined): boolean {
  return value === null || value === undefined || value === '';
}

/** Audit fields: "System Fields" (system_fields.htm). SystemModstamp also moves where Salesforce itself changes it. */
function touch(record: Stored, by: string, now: string): void {
  Object.assign(record, { LastModifiedDate: now, LastModifiedById: by, SystemModstamp: now });
}

export function toSalesforceTime(time: Date): string {
  return time.toISOString().replace('Z', '+0000');
}

const EMAIL = /^[^\s@<>(),;:"[\]\\]+@[^\s@<>(),;:"[\]\\]+\.[^\s@.]+$/;

/** @throws SalesforceError JSON_PARSER_ERROR for a value that is not of the field's type */
function checkType(field: Field, value: unknown): asserts value is Value {
  if (field.type === 'boolean') {
    if (typeof value === 'boolean') return;
  } else if (value === null || value === '') return;
  else if (field.type === 'double') {
    if (typeof value === 'number') return;
  } else if (typeof value === 'string') {
    if (field.type !== 'datetime' || !Number.isNaN(Date.parse(value))) return;
  }
  throw wrongType(field, value);
}

function readValue(field: Field, value: unknown): Value {
  checkType(field, value);
  if (typeof value !== 'string') return value;
  if (value === '') return null;
  if (field.type === 'datetime') {
    return toSalesforceTime(new Date(Math.floor(Date.parse(value) / SECOND) * SECOND));
  }
  if (field.length > 0 && value.length > field.length) {
    throw new SalesforceError(
      'STRING_TOO_LONG',
      `${field.label}: data value too large: ${value} (max length=${field.length})`,
      400,
      [field.name],
    );
  }
  if (field.type === 'email' && !EMAIL.test(value)) {
    throw new SalesforceError(
      'INVALID_EMAIL_ADDRESS',
      `${field.label}: invalid email address: ${value}`,
      400,
      [field.name],
    );
  }
  return value;
}

function wrongType(field: Field, value: unknown): SalesforceError {
  return new SalesforceError(
    'JSON_PARSER_ERROR',
    `Cannot deserialize instance of ${field.type} from ${typeof value} value`,
  );
}
