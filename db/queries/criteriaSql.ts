import {
  type Condition,
  type Criteria,
  type FieldCondition,
  type FieldName,
  type HistoryCondition,
  type HistoryKind,
  isStandardField,
  type SuppressionCondition,
} from '../../domain/criteria/criteria.ts';
import { fold } from '../../domain/criteria/fold.ts';
import { daysAfter, daysBefore } from '../../domain/criteria/window.ts';
import { SUPPRESSION_REASONS } from '../../domain/words.ts';
import { beginsWith } from './keyset.ts';
import { standardColumn } from './prospectRows.ts';

/**
 * How many prospects a statement looks at. `everybody`: subqueries are worked out once and looked up; `few`: they are
 * asked for each prospect, through indexes. Both decide the same.
 */
export type Reach = 'everybody' | 'few';

/** Criteria of the dynamic lists that a criteria names, and of those that these name. */
export type DynamicLists = ReadonlyMap<string, Criteria>;

/** Criteria as SQL: all that came from outside is among `values`, and never in the text. */
export interface CriteriaSql {
  /** `from` clause, with the prospect as `p`. */
  readonly from: string;
  /** A condition on `p`; true, or else false or null. */
  readonly where: string;
  readonly values: unknown[];
}

/** With ever more joins a statement takes the planner longer than it takes to ask for each prospect. */
const MAX_JOINS = 16;

/** More conditions than this, those of the dynamic lists counted wherever they are named, are refused. */
export const MAX_CONDITIONS = 2000;
/** Dynamic lists, each named by the one before; PostgreSQL and the runtime have a stack, and nobody could follow more. */
export const MAX_LISTS_DEEP = 20;

/** The criteria cannot be worked out because of the dynamic lists that it names. */
export class ListsRefused extends Error {
  override readonly name = 'ListsRefused';
  readonly kind: keyof typeof REFUSED;

  /** @param of whose criteria they are, where it is not plain */
  constructor(kind: keyof typeof REFUSED, of?: string) {
    super(of === undefined ? REFUSED[kind] : `${of}: ${REFUSED[kind]}`);
    this.kind = kind;
  }
}

const REFUSED = {
  circle: 'The dynamic lists name each other in a circle.',
  too_deep: `More than ${MAX_LISTS_DEEP} dynamic lists name one another in a row.`,
  too_large: `The criteria and the dynamic lists that it names have more than ${MAX_CONDITIONS} conditions in all.`,
} as const;

/** `fold` of domain/criteria/fold.ts in SQL; indexes are on exactly this expression. */
export const folded = (expression: string): string =>
  `replace(lower(${expression} collate "pg_c_utf8"), 'ς', 'σ')`;

export interface CriteriaSqlOptions {
  /** How many values the statement has before these. */
  readonly valuesBefore?: number;
  /** Where windows of the last days end, when they began to count from an earlier `now`. */
  readonly until?: Date;
  /** The statement asks for prospects beyond this one only. */
  readonly beyond?: { readonly id: string; readonly operator: '<' | '>' } | undefined;
}

/** @throws ListsRefused */
export function criteriaSql(
  criteria: Criteria,
  lists: DynamicLists,
  now: Date,
  reach: Reach,
  options: CriteriaSqlOptions = {},
): CriteriaSql {
  const writer = new Writer(lists, now, reach, options);
  const where = writer.write(criteria);
  const address = writer.needsAddress ? ' join address a on a.id = p.address_id' : '';
  return { from: `prospect p${address}${writer.joins.join('')}`, where, values: writer.values };
}

/** Which sends count, and when it happened. */
const SENDS: Readonly<Record<'sent' | 'delivered' | 'hard_bounced', { is: string; at: string }>> = {
  sent: { is: 's.first_attempt_at is not null', at: 's.first_attempt_at' },
  delivered: { is: `s.outcome = 'delivered'`, at: 's.finished_at' },
  hard_bounced: { is: `s.outcome = 'bounced'`, at: 's.finished_at' },
};

/** Where events of a kind are found. Test sends are nobody's history. */
export interface HistorySource {
  readonly from: string;
  readonly is: string;
  /** Of whom: the column of the events that is equal to this column of the prospect. */
  readonly owner: string;
  readonly ownedBy: 'id' | 'address_id';
  /** What counts once. */
  readonly subject: string;
  readonly at: string;
  readonly emailId: string;
  /** May be null, both of them. */
  readonly listIds: readonly [string, string];
  readonly automationId: string;
}

const NONE = 'null::uuid';
/** The automation that made a send. */
const OF_SEND = '(select n.automation_id from enrollment n where n.id = s.enrollment_id)';

export function historySource(kind: HistoryKind): HistorySource {
  const ofSend = {
    owner: 's.prospect_id',
    ownedBy: 'id',
    subject: 's.id',
    emailId: 's.email_id',
    listIds: ['s.list_id', NONE],
    automationId: OF_SEND,
  } as const;
  switch (kind) {
    case 'unsubscribed':
      return {
        from: 'audit_entry e left join send s on s.id = e.send_id',
        is: `e.action = 'suppression.added' and e.subject = 'opt_out' and e.way in ('unsubscribe_link', 'one_click', 'unsubscribe_mail')`,
        owner: 'e.address_id',
        ownedBy: 'address_id',
        subject: 'e.at',
        at: 'e.at',
        emailId: 's.email_id',
        // Guarded: a condition beside it need not be looked at first.
        listIds: [
          's.list_id',
          `case when e.action = 'suppression.added' then (e.after ->> 'listId')::uuid end`,
        ],
        automationId: OF_SEND,
      };
    case 'entered_automation':
      return {
        from: 'enrollment e',
        is: 'true',
        owner: 'e.prospect_id',
        ownedBy: 'id',
        subject: 'e.id',
        at: 'e.entered_at',
        emailId: NONE,
        listIds: [NONE, NONE],
        automationId: 'e.automation_id',
      };
    case 'soft_bounced':
      return {
        ...ofSend,
        // A smart host that took it and gave up later leaves no attempt that soft-bounced. A fault of ours counts against nobody.
        from: `send s cross join lateral (
          select t.finished_at as at from attempt t where t.send_id = s.id and t.outcome = 'soft_bounce' and not t.fault_ours
          union all select s.finished_at where s.outcome = 'exhausted' and not s.fault_ours) b`,
        is: 'not s.test and b.at is not null',
        at: 'b.at',
      };
    default: {
      const { is, at } = SENDS[kind];
      return { ...ofSend, from: 'send s', is: `not s.test and ${is} and ${at} is not null`, at };
    }
  }
}

/** The domain of an address `a`, or one that it is below, is suppressed: one look at an index for each of its labels. */
export const COVERED_BY_DOMAIN = `exists (select from domain_suppression d where d.domain = any(array(
  select array_to_string((string_to_array(a.domain, '.'))[n:], '.')
  from generate_series(1, cardinality(string_to_array(a.domain, '.'))) n)))`;

/** The domains that are suppressed, or below one that is; there are far fewer domains than addresses. */
const COVERED_DOMAINS = `(select a.domain from (select distinct domain from address) a where ${COVERED_BY_DOMAIN})`;

/**
 * Writes conditions that are true, or else false or null: an index fits a plain comparison only, and null reads as false
 * wherever nothing is negated. Whatever is negated is so by `is not true`.
 */
class Writer {
  readonly values: unknown[] = [];
  needsAddress = false;
  /** What is worked out once for everybody: joins that find one row or none, whatever the planner takes their size for. */
  readonly joins: string[] = [];
  /** Names of the joins by what they work out: what is asked for again is not worked out again. */
  readonly #joined = new Map<string, string>();
  readonly #valuesBefore: number;
  readonly #lists: DynamicLists;
  readonly #now: Date;
  readonly #until: Date;
  readonly #reach: Reach;
  readonly #beyond: CriteriaSqlOptions['beyond'];
  #conditions = 0;
  /** Within how many negations and alternatives the condition at hand stands. */
  #inside = 0;
  /** The dynamic lists that the condition at hand stands within. */
  readonly #leadingHere: string[] = [];

  constructor(lists: DynamicLists, now: Date, reach: Reach, options: CriteriaSqlOptions) {
    this.#valuesBefore = options.valuesBefore ?? 0;
    this.#lists = lists;
    this.#now = now;
    this.#until = options.until ?? now;
    this.#reach = reach;
    this.#beyond = options.beyond;
  }

  write(criteria: Criteria): string {
    if ('all' in criteria) return this.#join(criteria.all, 'and', 'true');
    if ('any' in criteria) return this.#within(() => this.#join(criteria.any, 'or', 'false'));
    if ('none' in criteria) return not(this.#within(() => this.#join(criteria.none, 'or', 'false')));
    this.#conditions += 1;
    if (this.#conditions > MAX_CONDITIONS) throw new ListsRefused('too_large');
    return this.#condition(criteria);
  }

  #join(members: readonly Criteria[], word: string, empty: string): string {
    return members.length === 0 ? empty : `(${members.map((one) => this.write(one)).join(` ${word} `)})`;
  }

  #value(value: unknown, type: string): string {
    this.values.push(value);
    return `$${this.#valuesBefore + this.values.length}::${type}`;
  }

  #condition(condition: Condition): string {
    if ('field' in condition) return this.#field(condition);
    if ('suppressed' in condition)
      return this.#whether(condition.suppressed, () => this.#suppressed(condition));
    if ('list' in condition) return this.#whether(condition.member, () => this.#member(condition.list));
    return this.#whether(condition.happened, () => this.#happened(condition));
  }

  #whether(wanted: boolean, condition: () => string): string {
    return wanted ? condition() : not(this.#within(condition));
  }

  #within(write: () => string): string {
    this.#inside += 1;
    const sql = write();
    this.#inside -= 1;
    return sql;
  }

  /**
   * PostgreSQL makes a join of what is asked of everybody who is to match. Of anything else it would gather all rows before
   * it looks at the first prospect, for each page anew; with an offset, it looks for each prospect's own.
   */
  #exists(rows: string): string {
    return `exists (${rows}${this.#reach === 'few' && this.#inside > 0 ? ' offset 0' : ''})`;
  }

  #field(condition: FieldCondition): string {
    const { field } = condition;
    if (field === 'emailOptOut' || field === 'bounced') {
      return this.#flag(field === 'bounced' ? 'p.bounced' : 'p.email_opt_out', condition);
    }
    if (field === 'createdAt' || field === 'updatedAt') {
      return this.#moment(field === 'createdAt' ? 'p.created_at' : 'p.updated_at', condition);
    }
    if (field.startsWith('custom.')) return this.#custom(field.slice('custom.'.length), condition);
    return this.#text(this.#column(field), condition);
  }

  #column(field: FieldName): { value: string; folded: string } {
    if (isStandardField(field)) {
      const value = `p.${standardColumn(field)}`;
      return { value, folded: folded(value) };
    }
    this.needsAddress = true;
    // Comparison forms are in lower case.
    const value = field === 'email' ? 'a.email' : 'a.domain';
    return { value, folded: value };
  }

  #text(column: { value: string; folded: string }, condition: FieldCondition): string {
    switch (condition.operator) {
      case 'isEmpty':
        return `coalesce(${column.value}, '') = ''`;
      case 'isNotEmpty':
        return `${column.value} <> ''`;
      case 'equals':
        return `${column.folded} = ${this.#value(fold(String(condition.value)), 'text')}`;
      case 'notEquals':
        return not(`${column.folded} = ${this.#value(fold(String(condition.value)), 'text')}`);
      case 'in': {
        const wanted = condition.value.map((one) => fold(String(one)));
        return `${column.folded} = any(${this.#value(wanted, 'text[]')})`;
      }
      case 'contains':
        return `strpos(${column.folded}, ${this.#value(fold(condition.value), 'text')}) > 0`;
      case 'startsWith':
        return `${column.folded} like ${this.#value(beginsWith(fold(condition.value)), 'text')}`;
      default:
        throw unfit(condition);
    }
  }

  #flag(column: string, condition: FieldCondition): string {
    switch (condition.operator) {
      case 'equals':
        return condition.value ? column : `not ${column}`;
      case 'notEquals':
        return condition.value ? `not ${column}` : column;
      default:
        throw unfit(condition);
    }
  }

  #moment(column: string, condition: FieldCondition): string {
    const at = (value: string | number) => this.#value(new Date(value), 'timestamptz');
    switch (condition.operator) {
      case 'before':
        return `${column} < ${at(condition.value)}`;
      case 'after':
        return `${column} > ${at(condition.value)}`;
      case 'between':
        return `${column} between ${at(condition.value[0])} and ${at(condition.value[1])}`;
      case 'withinLast':
      case 'withinNext': {
        const [after, until] = this.#window(condition.operator, condition.days);
        return `(${column} > ${this.#value(after, 'timestamptz')} and ${column} <= ${this.#value(until, 'timestamptz')})`;
      }
      default:
        throw unfit(condition);
    }
  }

  #window(operator: 'withinLast' | 'withinNext', days: number): [Date, Date] {
    return operator === 'withinLast'
      ? [daysBefore(this.#now, days), this.#until]
      : [this.#now, daysAfter(this.#now, days)];
  }

  /** A value of another type than the field's holds for nothing; comparisons of jsonb never fail. */
  #custom(key: string, condition: FieldCondition): string {
    const name = this.#value(key, 'text');
    const json = `p.custom -> ${name}`;
    const text = `(p.custom ->> ${name})`;
    const typed = (type: string, test: string) => `(jsonb_typeof(${json}) = '${type}' and ${test})`;
    const toJson = (value: unknown) => this.#value(JSON.stringify(value), 'jsonb');
    const inOrder = (test: (toSql: (value: string | Date) => string) => string) =>
      typed(
        'string',
        test((value) => this.#value(value instanceof Date ? value.toISOString() : value, 'text')),
      );
    const ordered = `${text} collate "C"`;
    switch (condition.operator) {
      case 'isEmpty':
      case 'isNotEmpty':
        return this.#text({ value: text, folded: text }, condition);
      case 'equals':
      case 'notEquals': {
        const same =
          typeof condition.value === 'string'
            ? typed(
                'string',
                this.#text({ value: text, folded: folded(text) }, { ...condition, operator: 'equals' }),
              )
            : `${json} = ${toJson(condition.value)}`;
        return condition.operator === 'equals' ? same : not(same);
      }
      case 'in':
        if (typeof condition.value[0] === 'number') {
          return `${json} = any(${this.#value(
            condition.value.map((one) => JSON.stringify(one)),
            'jsonb[]',
          )})`;
        }
        return typed('string', this.#text({ value: text, folded: folded(text) }, condition));
      case 'contains':
      case 'startsWith':
        return typed('string', this.#text({ value: text, folded: folded(text) }, condition));
      case 'greaterThan':
        return typed('number', `${json} > ${toJson(condition.value)}`);
      case 'lessThan':
        return typed('number', `${json} < ${toJson(condition.value)}`);
      case 'between': {
        const [from, to] = condition.value;
        return typeof from === 'number'
          ? typed('number', `${json} between ${toJson(from)} and ${toJson(to)}`)
          : inOrder((sql) => `${ordered} between ${sql(from)} and ${sql(to as string)}`);
      }
      case 'before':
        return inOrder((sql) => `${ordered} < ${sql(condition.value)}`);
      case 'after':
        return inOrder((sql) => `${ordered} > ${sql(condition.value)}`);
      case 'withinLast':
      case 'withinNext': {
        const [after, until] = this.#window(condition.operator, condition.days);
        return inOrder((sql) => `${ordered} > ${sql(after)} and ${ordered} <= ${sql(until)}`);
      }
    }
  }

  #suppressed({ reasons }: SuppressionCondition): string {
    const wanted = reasons ?? [...SUPPRESSION_REASONS, 'domain'];
    const ofAddress = wanted.filter((reason) => reason !== 'domain');
    const byAddress = () =>
      this.#exists(`select from suppression x where x.address_id = p.address_id and x.list_id is null
        and x.reason = any(${this.#value(ofAddress, 'text[]')})`);
    if (!wanted.includes('domain') && !wanted.includes('manual')) return byAddress();
    if (ofAddress.length === 0) return this.#coveredByDomain();
    return `(${this.#within(byAddress)} or ${this.#coveredByDomain()})`;
  }

  #coveredByDomain(): string {
    this.needsAddress = true;
    return this.#reach === 'everybody'
      ? this.#found('domain', () => COVERED_DOMAINS, 'domain', 'a.domain')
      : COVERED_BY_DOMAIN;
  }

  /** Whether the rows, of which no two have the same key, have one for this prospect. */
  #found(what: string, rows: () => string, key: string, mine: string): string {
    const known = this.#joined.get(what);
    if (known !== undefined) return `${known}.${key} is not null`;
    const name = `j${this.joins.length}`;
    this.#joined.set(what, name);
    this.joins.push(` left join ${rows()} ${name} on ${name}.${key} = ${mine}`);
    return `${name}.${key} is not null`;
  }

  #member(listId: string): string {
    const criteria = this.#lists.get(listId);
    if (criteria === undefined) {
      return this.#exists(`select from list_member m
        where m.list_id = ${this.#value(listId, 'uuid')} and m.prospect_id = p.id${this.#beyondToo('m.prospect_id')}`);
    }
    if (this.#leadingHere.includes(listId)) throw new ListsRefused('circle');
    if (this.#leadingHere.length === MAX_LISTS_DEEP) throw new ListsRefused('too_deep');
    this.#leadingHere.push(listId);
    const sql = this.write(criteria);
    this.#leadingHere.pop();
    return sql;
  }

  /**
   * PostgreSQL does not conclude the bound of what is equal to the prospect's id. Without it, it merges all members from
   * the first one for each page: a list of a million took a second a page at its end.
   */
  #beyondToo(column: string): string {
    return this.#beyond === undefined
      ? ''
      : ` and ${column} ${this.#beyond.operator} ${this.#value(this.#beyond.id, 'uuid')}`;
  }

  #happened(condition: HistoryCondition): string {
    const { atLeast = 1 } = condition;
    const source = historySource(condition.history);
    const mine = `from ${source.from} where ${source.owner} = p.${source.ownedBy}`;
    if (atLeast === 1) return this.#exists(`select ${mine} and ${this.#testsOf(condition, source)}`);
    const times = `count(distinct ${source.subject})`;
    const atLeastTimes = () => this.#value(atLeast, 'int');
    const what = JSON.stringify({ ...condition, happened: true });
    if (this.#reach === 'few' || (!this.#joined.has(what) && this.joins.length >= MAX_JOINS)) {
      return `(select ${times} ${mine} and ${this.#testsOf(condition, source)}) >= ${atLeastTimes()}`;
    }
    const owners = () => `(select ${source.owner} as owner from ${source.from}
      where ${this.#testsOf(condition, source)} group by ${source.owner} having ${times} >= ${atLeastTimes()})`;
    return this.#found(what, owners, 'owner', `p.${source.ownedBy}`);
  }

  #testsOf({ emailId, listId, automationId, withinDays }: HistoryCondition, source: HistorySource): string {
    const tests = [source.is];
    if (emailId !== undefined) tests.push(`${source.emailId} = ${this.#value(emailId, 'uuid')}`);
    if (listId !== undefined) {
      const id = this.#value(listId, 'uuid');
      tests.push(`(${source.listIds.map((column) => `${column} = ${id}`).join(' or ')})`);
    }
    if (automationId !== undefined)
      tests.push(`${source.automationId} = ${this.#value(automationId, 'uuid')}`);
    if (withinDays !== undefined) {
      const [after, until] = this.#window('withinLast', withinDays);
      tests.push(
        `${source.at} > ${this.#value(after, 'timestamptz')} and ${source.at} <= ${this.#value(until, 'timestamptz')}`,
      );
    }
    return tests.join(' and ');
  }
}

function not(condition: string): string {
  return `((${condition}) is not true)`;
}

function unfit(condition: FieldCondition): Error {
  return new Error(`criteria that were never read in: ${condition.operator} of ${condition.field}`);
}
