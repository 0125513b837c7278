import { type Criteria, parseCriteria } from '../criteria/criteria.ts';
import { type CustomField, type FieldProblem, readFields } from '../prospectFields.ts';
import { STANDARD_FIELDS, type StandardField } from '../words.ts';
import { type Hours, isTimeZone, type LocalTime, WEEKDAYS, type Weekday } from './localTime.ts';
import { AUTOMATION_MODES, type AutomationMode } from './words.ts';

/** An automation as a person defines it; it is the JSON that the API takes and that is stored. Read it in with {@link parseDefinition}. */
export interface Definition {
  readonly who: Criteria;
  readonly steps: readonly Step[];
  readonly when: When;
}

export interface When {
  readonly mode: AutomationMode;
  /** Zone of the start and of the run days and hours, and of prospects who have none of their own. */
  readonly timeZone: string;
  /** Not before this. */
  readonly startAt?: LocalTime;
  /** On these days alone is anything done. */
  readonly runDays?: readonly Weekday[];
  /** In these hours alone is anything done. */
  readonly runHours?: Hours;
}

export type Step =
  | { readonly id: string; readonly type: 'sendEmail'; readonly emailId: string; readonly listId?: string }
  | ({ readonly id: string; readonly type: 'wait' } & WaitFor)
  | { readonly id: string; readonly type: 'setField'; readonly field: string; readonly value: FieldValue }
  | { readonly id: string; readonly type: 'addToList' | 'removeFromList'; readonly listId: string }
  | {
      readonly id: string;
      readonly type: 'if';
      readonly criteria: Criteria;
      readonly yes: readonly Step[];
      readonly no: readonly Step[];
    }
  | { readonly id: string; readonly type: 'webhook'; readonly url: string }
  | { readonly id: string; readonly type: 'leave' };
export type StepType = Step['type'];

/** Seconds of real time; or a time on the prospect's wall, passed over where it is past; or the next such hour there. */
export type WaitFor =
  | { readonly seconds: number }
  | { readonly until: LocalTime }
  | { readonly weekdays: readonly Weekday[]; readonly time: string };

export type FieldValue = string | number | boolean | null;

/** One fault: `path` is the JSON Pointer (RFC 6901) into the definition. */
export interface DefinitionProblem {
  readonly path: string;
  readonly message: string;
}

export type ParsedDefinition =
  | { readonly ok: true; readonly definition: Definition }
  | { readonly ok: false; readonly problems: readonly DefinitionProblem[] };

export const STEP_TYPES = [
  'sendEmail',
  'wait',
  'setField',
  'addToList',
  'removeFromList',
  'if',
  'webhook',
  'leave',
] as const satisfies readonly StepType[];

/** Steps of one automation, those in branches included. */
export const MAX_STEPS = 200;
/** If/else within if/else. */
export const MAX_NESTING = 8;
/** A wait of two years is a slip of the pen. */
export const MAX_WAIT_SECONDS = 2 * 366 * 24 * 3600;

const STEP_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$/;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const TIME = /^(?:[01]\d|2[0-3]):[0-5]\d$/;
const MAX_URL = 2000;

/**
 * Reads a definition from JSON. All faults are told, each with its place.
 *
 * @param customFields the account's; a field that is not among them is refused
 */
export function parseDefinition(value: unknown, customFields: readonly CustomField[]): ParsedDefinition {
  const reader = new Reader(customFields);
  const definition = reader.definition(value);
  return reader.problems.length === 0 && definition !== undefined
    ? { ok: true, definition }
    : { ok: false, problems: reader.problems };
}

/** All steps, those in branches included, each with its JSON Pointer. */
export function stepsOf(steps: readonly Step[], path = '/steps'): { step: Step; path: string }[] {
  return steps.flatMap((step, index) => {
    const here = `${path}/${index}`;
    return step.type === 'if'
      ? [{ step, path: here }, ...stepsOf(step.yes, `${here}/yes`), ...stepsOf(step.no, `${here}/no`)]
      : [{ step, path: here }];
  });
}

type JsonObject = Readonly<Record<string, unknown>>;
type Maybe<T> = T | undefined;

class Reader {
  readonly problems: DefinitionProblem[] = [];
  readonly #customFields: readonly CustomField[];
  readonly #ids = new Set<string>();
  #steps = 0;

  constructor(customFields: readonly CustomField[]) {
    this.#customFields = customFields;
  }

  definition(value: unknown): Maybe<Definition> {
    if (!isObject(value)) return this.#fault('', 'Must be an object.');
    this.#onlyKeys(value, '', ['who', 'steps', 'when']);
    const who = this.#criteria(value.who, '/who');
    const steps = this.#list(value.steps, '/steps', 1);
    const when = this.#when(value.when, '/when');
    return who === undefined || when === undefined ? undefined : { who, steps, when };
  }

  #criteria(value: unknown, path: string): Maybe<Criteria> {
    const parsed = parseCriteria(value, this.#customFields);
    if (parsed.ok) return parsed.criteria;
    for (const problem of parsed.problems) this.#fault(`${path}${problem.path}`, problem.message);
    return undefined;
  }

  #when(value: unknown, path: string): Maybe<When> {
    if (!isObject(value)) return this.#fault(path, 'Must be an object.');
    this.#onlyKeys(value, path, ['mode', 'timeZone', 'startAt', 'runDays', 'runHours']);
    const mode = AUTOMATION_MODES.find((one) => one === value.mode);
    if (mode === undefined)
      return this.#fault(`${path}/mode`, `Must be one of ${AUTOMATION_MODES.join(', ')}.`);
    const { timeZone } = value;
    if (typeof timeZone !== 'string' || timeZone.length > 64 || !isTimeZone(timeZone)) {
      return this.#fault(
        `${path}/timeZone`,
        'Must be a time zone of the IANA database, such as Europe/Berlin.',
      );
    }
    return {
      mode,
      timeZone,
      ...optional('startAt', value.startAt, (given) => this.#localTime(given, `${path}/startAt`)),
      ...optional('runDays', value.runDays, (given) => this.#weekdays(given, `${path}/runDays`)),
      ...optional('runHours', value.runHours, (given) => this.#hours(given, `${path}/runHours`)),
    };
  }

  #list(value: unknown, path: string, depth: number): Step[] {
    if (!Array.isArray(value)) {
      this.#fault(path, 'Must be a list of steps.');
      return [];
    }
    if (depth === 1 && value.length === 0) this.#fault(path, 'Needs at least one step.');
    return value.flatMap((step, index) => this.#step(step, `${path}/${index}`, depth) ?? []);
  }

  #step(value: unknown, path: string, depth: number): Maybe<Step> {
    this.#steps += 1;
    if (this.#steps > MAX_STEPS) {
      return this.#steps === MAX_STEPS + 1
        ? this.#fault(path, `There are more than ${MAX_STEPS} steps in all.`)
        : undefined;
    }
    if (!isObject(value)) return this.#fault(path, 'Must be an object: a step.');
    const id = this.#stepId(value.id, `${path}/id`);
    if (id === undefined) return undefined;
    switch (value.type as StepType) {
      case 'sendEmail': {
        this.#onlyKeys(value, path, ['id', 'type', 'emailId', 'listId']);
        const emailId = this.#uuid(value.emailId, `${path}/emailId`);
        const list = optional('listId', value.listId, (given) => this.#uuid(given, `${path}/listId`));
        return emailId === undefined ? undefined : { id, type: 'sendEmail', emailId, ...list };
      }
      case 'wait': {
        const wait = this.#wait(value, path);
        return wait === undefined ? undefined : { id, type: 'wait', ...wait };
      }
      case 'setField':
        return this.#setField(id, value, path);
      case 'addToList':
      case 'removeFromList': {
        this.#onlyKeys(value, path, ['id', 'type', 'listId']);
        const listId = this.#uuid(value.listId, `${path}/listId`);
        const type = value.type as 'addToList' | 'removeFromList';
        return listId === undefined ? undefined : { id, type, listId };
      }
      case 'if': {
        this.#onlyKeys(value, path, ['id', 'type', 'criteria', 'yes', 'no']);
        if (depth > MAX_NESTING)
          return this.#fault(path, `An if/else is nested deeper than ${MAX_NESTING} levels.`);
        const criteria = this.#criteria(value.criteria, `${path}/criteria`);
        const yes = this.#list(value.yes ?? [], `${path}/yes`, depth + 1);
        const no = this.#list(value.no ?? [], `${path}/no`, depth + 1);
        return criteria === undefined ? undefined : { id, type: 'if', criteria, yes, no };
      }
      case 'webhook': {
        this.#onlyKeys(value, path, ['id', 'type', 'url']);
        const url = this.#url(value.url, `${path}/url`);
        return url === undefined ? undefined : { id, type: 'webhook', url };
      }
      case 'leave':
        this.#onlyKeys(value, path, ['id', 'type']);
        return { id, type: 'leave' };
      default:
        return this.#fault(`${path}/type`, `Must be one of ${STEP_TYPES.join(', ')}.`);
    }
  }

  #stepId(value: unknown, path: string): Maybe<string> {
    if (typeof value !== 'string' || !STEP_ID.test(value)) {
      return this.#fault(
        path,
        'Must be a name of its own for the step: 1 to 50 letters, digits, hyphens and underscores.',
      );
    }
    if (this.#ids.has(value)) return this.#fault(path, 'Another step has this id.');
    this.#ids.add(value);
    return value;
  }

  #wait(value: JsonObject, path: string): Maybe<WaitFor> {
    const ways = ['seconds', 'until', 'weekdays'].filter((key) => Object.hasOwn(value, key));
    if (ways.length !== 1)
      return this.#fault(path, 'Must have exactly one of seconds, until and weekdays (with time).');
    if (ways[0] === 'seconds') {
      this.#onlyKeys(value, path, ['id', 'type', 'seconds']);
      const { seconds } = value;
      const fits =
        typeof seconds === 'number' &&
        Number.isInteger(seconds) &&
        seconds >= 1 &&
        seconds <= MAX_WAIT_SECONDS;
      return fits
        ? { seconds }
        : this.#fault(`${path}/seconds`, `Must be a whole number from 1 to ${MAX_WAIT_SECONDS}.`);
    }
    if (ways[0] === 'until') {
      this.#onlyKeys(value, path, ['id', 'type', 'until']);
      const until = this.#localTime(value.until, `${path}/until`);
      return until === undefined ? undefined : { until };
    }
    this.#onlyKeys(value, path, ['id', 'type', 'weekdays', 'time']);
    const weekdays = this.#weekdays(value.weekdays, `${path}/weekdays`);
    const time = this.#time(value.time, `${path}/time`);
    return weekdays === undefined || time === undefined ? undefined : { weekdays, time };
  }

  #setField(id: string, value: JsonObject, path: string): Maybe<Step> {
    this.#onlyKeys(value, path, ['id', 'type', 'field', 'value']);
    const { field } = value;
    if (typeof field !== 'string') return this.#fault(`${path}/field`, 'Must be the name of a field.');
    const given = value.value as FieldValue;
    if (given === undefined) return this.#fault(`${path}/value`, 'Is missing; null empties the field.');
    if (isFlag(field)) {
      return typeof given === 'boolean'
        ? { id, type: 'setField', field, value: given }
        : this.#fault(`${path}/value`, 'Must be true or false.');
    }
    const problem = fieldProblem(this.#customFields, field, given);
    if (problem === null) return { id, type: 'setField', field, value: given };
    return problem.code === 'unknown_field'
      ? this.#fault(`${path}/field`, 'There is no such field.')
      : this.#fault(`${path}/value`, problem.message);
  }

  #localTime(value: unknown, path: string): Maybe<LocalTime> {
    if (!isObject(value)) return this.#fault(path, 'Must be an object with date and time.');
    this.#onlyKeys(value, path, ['date', 'time']);
    const { date } = value;
    const time = this.#time(value.time, `${path}/time`);
    if (typeof date !== 'string' || !isDate(date))
      return this.#fault(`${path}/date`, 'Must be a date such as 2026-12-31.');
    return time === undefined ? undefined : { date, time };
  }

  #weekdays(value: unknown, path: string): Maybe<Weekday[]> {
    const fits = Array.isArray(value) && value.length > 0 && value.every((day) => WEEKDAYS.includes(day));
    return fits
      ? WEEKDAYS.filter((day) => value.includes(day))
      : this.#fault(path, `Must be a list of at least one of ${WEEKDAYS.join(', ')}.`);
  }

  #hours(value: unknown, path: string): Maybe<Hours> {
    if (!isObject(value)) return this.#fault(path, 'Must be an object with from and to.');
    this.#onlyKeys(value, path, ['from', 'to']);
    const from = this.#time(value.from, `${path}/from`);
    const to = this.#time(value.to, `${path}/to`);
    return from === undefined || to === undefined ? undefined : { from, to };
  }

  #time(value: unknown, path: string): Maybe<string> {
    return typeof value === 'string' && TIME.test(value)
      ? value
      : this.#fault(path, 'Must be a time of day such as 09:30.');
  }

  #uuid(value: unknown, path: string): Maybe<string> {
    return typeof value === 'string' && UUID.test(value)
      ? value.toLowerCase()
      : this.#fault(path, 'Must be an id (a UUID).');
  }

  #url(value: unknown, path: string): Maybe<string> {
    if (typeof value !== 'string' || value.length > MAX_URL || !URL.canParse(value))
      return this.#fault(path, 'Must be a URL.');
    const url = new URL(value);
    if (url.protocol !== 'https:' && url.protocol !== 'http:')
      return this.#fault(path, 'Must begin with https:// or http://.');
    if (url.username !== '' || url.password !== '')
      return this.#fault(path, 'Must not carry a user name or password: calls are signed instead.');
    return url.href;
  }

  #onlyKeys(value: JsonObject, path: string, known: readonly string[]): void {
    for (const key of Object.keys(value)) {
      if (!known.includes(key)) {
        this.#fault(
          `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`,
          'There is no such field here.',
        );
      }
    }
  }

  #fault(path: string, message: string): undefined {
    this.problems.push({ path, message });
    return undefined;
  }
}

/** Whether a field is one of the two flags. */
export function isFlag(field: string): field is 'emailOptOut' | 'bounced' {
  return field === 'emailOptOut' || field === 'bounced';
}

/** A field other than a flag and its value, as a change of a prospect takes them. */
export function asFields(
  field: string,
  value: FieldValue,
): { fields: Partial<Record<StandardField, string | null>> } | { custom: Record<string, unknown> } {
  return field.startsWith('custom.')
    ? { custom: { [field.slice('custom.'.length)]: value } }
    : { fields: { [field as StandardField]: value as string | null } };
}

function fieldProblem(
  customFields: readonly CustomField[],
  field: string,
  value: FieldValue,
): Pick<FieldProblem, 'code' | 'message'> | null {
  if (!field.startsWith('custom.')) {
    if (!(STANDARD_FIELDS as readonly string[]).includes(field))
      return { code: 'unknown_field', message: '' };
    if (value !== null && typeof value !== 'string')
      return { code: 'wrong_type', message: 'Must be a text or null.' };
  }
  return readFields(customFields, asFields(field, value)).problems[0] ?? null;
}

function isDate(value: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(value)) return false;
  const at = new Date(`${value}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(value);
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function optional<Key extends string, T>(
  key: Key,
  value: unknown,
  read: (given: unknown) => Maybe<T>,
): { [K in Key]?: T } {
  const one = value === undefined ? undefined : read(value);
  return (one === undefined ? {} : { [key]: one }) as { [K in Key]?: T };
}
