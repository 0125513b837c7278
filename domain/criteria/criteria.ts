import { isAddressProblem, parseAddress, parseDomain } from '../address.ts';
import { type CustomField, readCustomValue } from '../prospectFields.ts';
import type { CustomFieldType } from '../words.ts';
import {
  type Criteria,
  type FieldName,
  type FieldOperator,
  HISTORY_KINDS,
  isStandardField,
  MAX_DAYS,
  MAX_DEPTH,
  MAX_NODES,
  MAX_VALUES,
  SUPPRESSED_FOR,
} from './shape.ts';

export * from './shape.ts';

/** One fault: `path` is the JSON Pointer (RFC 6901) into the criteria, `''` for all of it. */
export interface CriteriaProblem {
  readonly path: string;
  readonly message: string;
}

export type ParsedCriteria =
  | { readonly ok: true; readonly criteria: Criteria }
  | { readonly ok: false; readonly problems: readonly CriteriaProblem[] };

/** How the values of a field compare. */
type ValueType = 'text' | 'email' | 'emailDomain' | 'flag' | 'moment' | CustomFieldType;

const EMPTINESS = ['isEmpty', 'isNotEmpty'] as const;
const EQUALITY = ['equals', 'notEquals'] as const;
const OF_TEXT = [...EQUALITY, 'in', 'contains', 'startsWith'] as const;
const OF_TIME = ['before', 'after', 'between', 'withinLast', 'withinNext'] as const;
const OPERATORS: Readonly<Record<ValueType, readonly FieldOperator[]>> = {
  text: [...OF_TEXT, ...EMPTINESS],
  choice: [...OF_TEXT, ...EMPTINESS],
  email: OF_TEXT,
  emailDomain: OF_TEXT,
  flag: EQUALITY,
  boolean: [...EQUALITY, ...EMPTINESS],
  number: [...EQUALITY, 'in', 'greaterThan', 'lessThan', 'between', ...EMPTINESS],
  date: [...EQUALITY, 'in', ...OF_TIME, ...EMPTINESS],
  datetime: [...EQUALITY, 'in', ...OF_TIME, ...EMPTINESS],
  moment: OF_TIME,
};

const GROUPS = ['all', 'any', 'none'] as const;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const MAX_TEXT = 4000;

/** A value that was read, or `undefined` where problems were noted. */
type Maybe<T> = T | undefined;
type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Reads criteria from JSON. All faults are told, each with its place. Values come out as prospects keep them: addresses
 * and domains in their comparison form, times in UTC, choices as they are spelled in the field's definition.
 *
 * @param customFields the account's; a field that is not among them is refused
 */
export function parseCriteria(value: unknown, customFields: readonly CustomField[]): ParsedCriteria {
  const reader = new Reader(customFields);
  const criteria = reader.read(value, '', 1);
  return criteria !== undefined && reader.problems.length === 0
    ? { ok: true, criteria }
    : { ok: false, problems: reader.problems };
}

class Reader {
  readonly problems: CriteriaProblem[] = [];
  readonly #customFields: ReadonlyMap<string, CustomField>;
  #nodes = 0;

  constructor(customFields: readonly CustomField[]) {
    this.#customFields = new Map(customFields.map((field) => [field.key, field]));
  }

  read(value: unknown, path: string, depth: number): Maybe<Criteria> {
    this.#nodes += 1;
    if (this.#nodes > MAX_NODES) {
      if (this.#nodes === MAX_NODES + 1)
        this.#fault(path, `There are more than ${MAX_NODES} groups and conditions in all.`);
      return undefined;
    }
    if (depth > MAX_DEPTH) return this.#fault(path, `Is nested deeper than ${MAX_DEPTH} levels.`);
    if (!isObject(value)) return this.#fault(path, 'Must be an object: a group or a condition.');
    const kinds = [...GROUPS, 'field', 'suppressed', 'list', 'history'].filter((key) =>
      Object.hasOwn(value, key),
    );
    const [kind] = kinds;
    if (kind === undefined || kinds.length > 1) {
      return this.#fault(
        path,
        'Must have exactly one of all, any, none, field, suppressed, list and history.',
      );
    }
    switch (kind) {
      case 'field':
        return this.#field(value, path);
      case 'suppressed':
        return this.#suppression(value, path);
      case 'list':
        return this.#list(value, path);
      case 'history':
        return this.#history(value, path);
      default:
        return this.#group(kind as (typeof GROUPS)[number], value, path, depth);
    }
  }

  #group(kind: (typeof GROUPS)[number], value: JsonObject, path: string, depth: number): Maybe<Criteria> {
    this.#onlyKeys(value, path, [kind]);
    const members = value[kind];
    if (!Array.isArray(members)) return this.#fault(`${path}/${kind}`, 'Must be a list.');
    // "Any of nothing" would be nobody, "none of nothing" everybody: surely slips.
    if (members.length === 0 && kind !== 'all') return this.#fault(`${path}/${kind}`, 'Must not be empty.');
    const read = members.map((member, index) => this.read(member, `${path}/${kind}/${index}`, depth + 1));
    return { [kind]: read } as unknown as Criteria;
  }

  #field(value: JsonObject, path: string): Maybe<Criteria> {
    const { field, operator } = value;
    const type = typeof field === 'string' ? this.#typeOf(field) : undefined;
    if (type === undefined) {
      return this.#fault(
        `${path}/field`,
        typeof field === 'string' ? 'There is no such field.' : 'Must be the name of a field.',
      );
    }
    const operators = OPERATORS[type];
    if (!operators.includes(operator as FieldOperator)) {
      return this.#fault(`${path}/operator`, `Must be one of ${operators.join(', ')} for this field.`);
    }
    const start = { field, operator };
    switch (operator as FieldOperator) {
      case 'isEmpty':
      case 'isNotEmpty':
        this.#onlyKeys(value, path, ['field', 'operator']);
        return start as Criteria;
      case 'withinLast':
      case 'withinNext': {
        this.#onlyKeys(value, path, ['field', 'operator', 'days']);
        const days = this.#whole(value.days, `${path}/days`, MAX_DAYS);
        return days === undefined ? undefined : ({ ...start, days } as Criteria);
      }
      default: {
        this.#onlyKeys(value, path, ['field', 'operator', 'value']);
        const read = this.#values(
          field as FieldName,
          type,
          operator as FieldOperator,
          value.value,
          `${path}/value`,
        );
        return read === undefined ? undefined : ({ ...start, value: read } as Criteria);
      }
    }
  }

  #typeOf(field: string): Maybe<ValueType> {
    if (isStandardField(field as FieldName)) return 'text';
    switch (field) {
      case 'email':
      case 'emailDomain':
        return field;
      case 'emailOptOut':
      case 'bounced':
        return 'flag';
      case 'createdAt':
      case 'updatedAt':
        return 'moment';
      default:
        return field.startsWith('custom.')
          ? this.#customFields.get(field.slice('custom.'.length))?.type
          : undefined;
    }
  }

  /** One value, a list of values for `in`, or two for `between`. */
  #values(field: FieldName, type: ValueType, operator: FieldOperator, value: unknown, path: string): unknown {
    if (operator !== 'in' && operator !== 'between') return this.#value(field, type, operator, value, path);
    if (!Array.isArray(value)) return this.#fault(path, 'Must be a list.');
    if (operator === 'between' && value.length !== 2)
      return this.#fault(path, 'Must have two values, the lowest and the highest.');
    if (value.length === 0) return this.#fault(path, 'Must not be empty.');
    if (value.length > MAX_VALUES) return this.#fault(path, `Has more than ${MAX_VALUES} entries.`);
    const read = value.map((one, index) => this.#value(field, type, operator, one, `${path}/${index}`));
    if (read.includes(undefined)) return undefined;
    if (operator === 'between' && (read[0] as string | number) > (read[1] as string | number))
      return this.#fault(path, 'The lowest value must come first.');
    return read;
  }

  #value(
    field: FieldName,
    type: ValueType,
    operator: FieldOperator,
    value: unknown,
    path: string,
  ): Maybe<string | number | boolean> {
    const whole = operator !== 'contains' && operator !== 'startsWith';
    switch (type) {
      case 'flag':
        return typeof value === 'boolean' ? value : this.#fault(path, 'Must be true or false.');
      case 'email': {
        const text = this.#text(value, path);
        if (text === undefined || !whole) return text;
        const parsed = parseAddress(text);
        return isAddressProblem(parsed) ? this.#fault(path, parsed.message) : parsed.comparisonForm;
      }
      case 'emailDomain': {
        const text = this.#text(value, path);
        if (text === undefined || !whole) return text;
        const parsed = parseDomain(text);
        return isAddressProblem(parsed) ? this.#fault(path, parsed.message) : parsed.domain;
      }
      case 'moment':
        return this.#stored({ key: field, label: field, type: 'datetime', choices: [] }, value, path);
      case 'text':
        return whole ? this.#text(value, path)?.trim() : this.#text(value, path);
      default: {
        const definition = this.#customFields.get(field.slice('custom.'.length))!;
        if (type === 'choice' && !whole) return this.#text(value, path);
        return this.#stored(definition, value, path);
      }
    }
  }

  /** A value as the field would keep it. */
  #stored(definition: CustomField, value: unknown, path: string): Maybe<string | number | boolean> {
    const midnight =
      definition.type === 'datetime' && typeof value === 'string' && /^\d{4}-\d{2}-\d{2}$/.test(value)
        ? `${value}T00:00:00Z`
        : value;
    const read = readCustomValue(definition, midnight ?? null);
    if ('problem' in read) return this.#fault(path, read.problem.message);
    // An offset can push the last moments of 9999 beyond it.
    if (typeof read.value === 'string' && read.value.startsWith('+'))
      return this.#fault(path, 'Must be a time up to the year 9999 in UTC.');
    return read.value ?? this.#fault(path, 'Must not be empty; isEmpty asks for that.');
  }

  #text(value: unknown, path: string): Maybe<string> {
    if (typeof value !== 'string') return this.#fault(path, 'Must be a text.');
    if (value.trim() === '') return this.#fault(path, 'Must not be empty; isEmpty asks for that.');
    if (value.length > MAX_TEXT) return this.#fault(path, `Is longer than ${MAX_TEXT} characters.`);
    if (value.includes('\0') || !value.isWellFormed())
      return this.#fault(path, 'Contains NUL or half a surrogate pair.');
    return value;
  }

  #suppression(value: JsonObject, path: string): Maybe<Criteria> {
    this.#onlyKeys(value, path, ['suppressed', 'reasons']);
    const { suppressed, reasons } = value;
    if (typeof suppressed !== 'boolean') return this.#fault(`${path}/suppressed`, 'Must be true or false.');
    if (reasons === undefined) return { suppressed };
    if (!Array.isArray(reasons) || reasons.length === 0)
      return this.#fault(`${path}/reasons`, 'Must be a list of at least one reason.');
    const unknown = reasons.findIndex((reason) => !SUPPRESSED_FOR.includes(reason));
    if (unknown !== -1)
      return this.#fault(`${path}/reasons/${unknown}`, `Must be one of ${SUPPRESSED_FOR.join(', ')}.`);
    return { suppressed, reasons: [...new Set(reasons)] };
  }

  #list(value: JsonObject, path: string): Maybe<Criteria> {
    this.#onlyKeys(value, path, ['list', 'member']);
    const list = this.#id(value.list, `${path}/list`);
    const { member } = value;
    if (typeof member !== 'boolean') return this.#fault(`${path}/member`, 'Must be true or false.');
    return list === undefined ? undefined : { list, member };
  }

  #history(value: JsonObject, path: string): Maybe<Criteria> {
    const { happened } = value;
    const history = HISTORY_KINDS.find((kind) => kind === value.history);
    if (history === undefined)
      return this.#fault(`${path}/history`, `Must be one of ${HISTORY_KINDS.join(', ')}.`);
    if (typeof happened !== 'boolean') return this.#fault(`${path}/happened`, 'Must be true or false.');
    const by = history === 'entered_automation' ? [] : ['emailId', 'listId'];
    this.#onlyKeys(value, path, ['history', 'happened', ...by, 'automationId', 'atLeast', 'withinDays']);
    const read = <T>(key: string, reading: (given: unknown, place: string) => Maybe<T>) => {
      const one = value[key] === undefined ? undefined : reading(value[key], `${path}/${key}`);
      return one === undefined ? {} : { [key]: one };
    };
    return {
      history,
      happened,
      ...read('emailId', (given, place) => this.#id(given, place)),
      ...read('listId', (given, place) => this.#id(given, place)),
      ...read('automationId', (given, place) => this.#id(given, place)),
      ...read('atLeast', (given, place) => this.#whole(given, place, 1000)),
      ...read('withinDays', (given, place) => this.#whole(given, place, MAX_DAYS)),
    };
  }

  #id(value: unknown, path: string): Maybe<string> {
    return typeof value === 'string' && UUID.test(value)
      ? value.toLowerCase()
      : this.#fault(path, 'Must be an id (a UUID).');
  }

  #whole(value: unknown, path: string, max: number): Maybe<number> {
    return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= max
      ? value
      : this.#fault(path, `Must be a whole number from 1 to ${max}.`);
  }

  #onlyKeys(value: JsonObject, path: string, known: readonly string[]): void {
    for (const key of Object.keys(value)) {
      if (!known.includes(key)) this.#fault(`${path}/${escapePointer(key)}`, 'There is no such field here.');
    }
  }

  #fault(path: string, message: string): undefined {
    this.problems.push({ path, message });
    return undefined;
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function escapePointer(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}
