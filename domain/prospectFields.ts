import { type CustomFieldType, STANDARD_FIELDS, type StandardField } from './words.ts';

/** A typed field that the account added to its prospects. */
export interface CustomField {
  readonly key: string;
  readonly label: string;
  readonly type: CustomFieldType;
  /** The allowed values of a `choice`, else empty. */
  readonly choices: readonly string[];
}

/** Numbers, booleans and texts; a date is `YYYY-MM-DD`, a datetime an ISO 8601 instant in UTC with milliseconds. */
export type CustomValue = string | number | boolean;

/** What is wrong with one field. Messages never repeat the value: they are kept and shown. */
export interface FieldProblem {
  /** Name of a standard field, `custom.<key>`, or whatever the caller calls the field. */
  readonly field: string;
  readonly code: FieldProblemCode;
  readonly message: string;
}

export type FieldProblemCode =
  | 'too_long'
  | 'forbidden_character'
  | 'unknown_time_zone'
  | 'unknown_field'
  | 'wrong_type'
  | 'unknown_choice'
  | 'invalid_number'
  | 'invalid_boolean'
  | 'invalid_date'
  | 'invalid_datetime';

/** Values of standard fields; `null` empties one, an absent one stays. */
export type StandardValues = Partial<Record<StandardField, string | null>>;
/** Values of custom fields by key; `null` empties one, an absent one stays. */
export type CustomValues = Readonly<Record<string, CustomValue | null>>;

/** In UTF-16 code units, with room beyond what the forms of common CRMs allow. */
const MAX_LENGTH: Record<StandardField, number> = {
  firstName: 255,
  lastName: 255,
  company: 255,
  title: 255,
  phone: 64,
  country: 100,
  state: 100,
  city: 100,
  postalCode: 32,
  website: 2048,
  leadSource: 255,
  timeZone: 64,
};
const MAX_CUSTOM_TEXT = 4000;

/** Nothing that breaks a header line or a database text. */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}]/u;
/** Texts of one's own may have several lines. */
const CONTROL_BUT_LAYOUT = /(?![\t\n\r])\p{Cc}/u;

/** A value that was read, or what is wrong with it. */
export type Read<T> = { readonly value: T | null } | { readonly problem: Omit<FieldProblem, 'field'> };

const problem = (code: FieldProblemCode, message: string) => ({ problem: { code, message } });

/** Reads one standard field: trimmed, and `null` where nothing is left. */
export function readStandardValue(field: StandardField, input: string | null): Read<string> {
  const text = input?.trim() ?? '';
  if (text === '') return { value: null };
  if (text.length > MAX_LENGTH[field]) {
    return problem('too_long', `May have ${MAX_LENGTH[field]} characters at the most.`);
  }
  if (CONTROL.test(text) || !text.isWellFormed()) return forbiddenCharacter();
  if (field !== 'timeZone') return { value: text };
  const zone = ianaTimeZone(text);
  return zone === null
    ? problem('unknown_time_zone', 'Is no time zone of the IANA database, such as Europe/Berlin.')
    : { value: zone };
}

function forbiddenCharacter() {
  return problem('forbidden_character', 'Contains a control character.');
}

const timeZones = new Map<string, string | null>();

/**
 * The name as the IANA database writes it, or `null`. Asks the runtime's copy of that database, so it is not for
 * workflows, whose replay may have another copy.
 */
function ianaTimeZone(name: string): string | null {
  let known = timeZones.get(name);
  if (known === undefined) {
    known = lookUpTimeZone(name);
    // Whatever people send in is kept for the next time, but not without end.
    if (timeZones.size < 2000) timeZones.set(name, known);
  }
  return known;
}

function lookUpTimeZone(name: string): string | null {
  // Intl takes offsets such as +01:00 too, which know no summer time.
  if (!/^[A-Za-z]/.test(name)) return null;
  try {
    const resolved = new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone;
    return resolved.toLowerCase() === name.toLowerCase() ? resolved : name;
  } catch {
    return null;
  }
}

/** Reads one custom field from a JSON value of its type. */
export function readCustomValue(definition: CustomField, input: unknown): Read<CustomValue> {
  if (input === null) return { value: null };
  switch (definition.type) {
    case 'number':
      return typeof input === 'number' && Number.isFinite(input)
        ? { value: input }
        : problem('wrong_type', 'Must be a number.');
    case 'boolean':
      return typeof input === 'boolean' ? { value: input } : problem('wrong_type', 'Must be true or false.');
    default:
      if (typeof input !== 'string') return problem('wrong_type', 'Must be a text.');
      return readCustomText(definition, input);
  }
}

/** Reads one custom field from a cell of a file. */
export function readCustomCell(definition: CustomField, cell: string): Read<CustomValue> {
  const text = cell.trim();
  if (text === '') return { value: null };
  if (definition.type === 'number') {
    return /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text) && Number.isFinite(Number(text))
      ? { value: Number(text) }
      : problem('invalid_number', 'Is no number written with digits and a decimal point, such as 1234.5.');
  }
  if (definition.type === 'boolean') {
    const value = readYesNo(text);
    return value === null
      ? problem('invalid_boolean', 'Is neither a yes nor a no (yes, true, 1, x; no, false, 0).')
      : { value };
  }
  return readCustomText(definition, text);
}

function readCustomText(definition: CustomField, input: string): Read<CustomValue> {
  const text = input.trim();
  if (text === '') return { value: null };
  if (CONTROL_BUT_LAYOUT.test(text) || !text.isWellFormed()) return forbiddenCharacter();
  switch (definition.type) {
    case 'date':
      return isCalendarDate(text)
        ? { value: text }
        : problem('invalid_date', 'Is no date written as 2026-11-30.');
    case 'datetime': {
      const instant = readInstant(text);
      return instant === null
        ? problem('invalid_datetime', 'Is no time written as 2026-11-30T09:00:00Z or with an offset.')
        : { value: instant };
    }
    case 'choice': {
      const choice = definition.choices.find((each) => each.toLowerCase() === text.toLowerCase());
      return choice === undefined
        ? problem('unknown_choice', 'Is none of the choices of this field.')
        : { value: choice };
    }
    default:
      return text.length > MAX_CUSTOM_TEXT
        ? problem('too_long', `May have ${MAX_CUSTOM_TEXT} characters at the most.`)
        : { value: text };
  }
}

function isCalendarDate(text: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return false;
  const date = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text);
}

/** RFC 3339 date-time, a space allowed for the T; the offset is required. */
const DATE_TIME = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)([Zz]|[+-]\d{2}:\d{2})$/;

function readInstant(text: string): string | null {
  const parts = DATE_TIME.exec(text);
  if (parts === null || !isCalendarDate(parts[1]!)) return null;
  const date = new Date(`${parts[1]}T${parts[2]}${parts[3]!.toUpperCase()}`);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

const YES = new Set(['yes', 'y', 'true', 't', '1', 'x', 'on']);
const NO = new Set(['no', 'n', 'false', 'f', '0', 'off']);

/** A yes or no as files write it, in any letter case; `null` where it is neither. */
export function readYesNo(text: string): boolean | null {
  const word = text.trim().toLowerCase();
  if (YES.has(word)) return true;
  return NO.has(word) ? false : null;
}

/** Values that are fit to be stored. */
export interface ReadFields {
  readonly fields: StandardValues;
  readonly custom: CustomValues;
  readonly problems: readonly FieldProblem[];
}

/** Reads all fields that somebody gives for a prospect; every problem is told, not only the first. */
export function readFields(
  definitions: readonly CustomField[],
  input: { readonly fields?: StandardValues; readonly custom?: Readonly<Record<string, unknown>> },
): ReadFields {
  const problems: FieldProblem[] = [];
  const fields: StandardValues = {};
  for (const field of STANDARD_FIELDS) {
    const given = input.fields?.[field];
    if (given === undefined) continue;
    const read = readStandardValue(field, given);
    if ('problem' in read) problems.push({ field, ...read.problem });
    else fields[field] = read.value;
  }
  const byKey = new Map(definitions.map((definition) => [definition.key, definition]));
  const custom: [string, CustomValue | null][] = [];
  for (const [key, given] of Object.entries(input.custom ?? {})) {
    const definition = byKey.get(key);
    const read: Read<CustomValue> =
      definition === undefined
        ? problem('unknown_field', 'There is no such custom field.')
        : readCustomValue(definition, given);
    if ('problem' in read) problems.push({ field: `custom.${key}`, ...read.problem });
    else custom.push([key, read.value]);
  }
  return { fields, custom: Object.fromEntries(custom), problems };
}
