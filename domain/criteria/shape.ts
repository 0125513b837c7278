import { STANDARD_FIELDS, type StandardField, SUPPRESSION_REASONS } from '../words.ts';

/**
 * Which prospects: one condition, or a group of criteria. It is the JSON that the API takes and that is stored; read it
 * in with `parseCriteria`, which also brings values into their stored form. How each condition decides is in
 * docs/filters.md; every condition is either true or false of a prospect, never unknown.
 */
export type Criteria = Group | Condition;

/** All, at least one, or none of them must hold; `{ all: [] }` holds for everybody. */
export type Group =
  | { readonly all: readonly Criteria[] }
  | { readonly any: readonly Criteria[] }
  | { readonly none: readonly Criteria[] };

export type Condition = FieldCondition | SuppressionCondition | ListCondition | HistoryCondition;

/** A standard field, a custom field, the address, a flag, or when the prospect came to be or was changed last. */
export type FieldName =
  | StandardField
  | 'email'
  | 'emailDomain'
  | 'emailOptOut'
  | 'bounced'
  | 'createdAt'
  | 'updatedAt'
  | `custom.${string}`;

/**
 * Texts compare by their folded form (`fold.ts`). Dates are `YYYY-MM-DD` and times ISO 8601 in UTC with milliseconds.
 * A day of `days` has 24 hours; a date counts as its midnight in UTC.
 */
export type FieldCondition = { readonly field: FieldName } & (
  | { readonly operator: 'isEmpty' | 'isNotEmpty' }
  | { readonly operator: 'equals' | 'notEquals'; readonly value: string | number | boolean }
  | { readonly operator: 'in'; readonly value: readonly string[] | readonly number[] }
  | { readonly operator: 'contains' | 'startsWith'; readonly value: string }
  | { readonly operator: 'greaterThan' | 'lessThan'; readonly value: number }
  | { readonly operator: 'between'; readonly value: readonly [number, number] | readonly [string, string] }
  | { readonly operator: 'before' | 'after'; readonly value: string }
  | { readonly operator: 'withinLast' | 'withinNext'; readonly days: number }
);
export type FieldOperator = FieldCondition['operator'];

/** Why an address cannot be emailed: `manual` also where its domain is suppressed, `domain` only then. */
export const SUPPRESSED_FOR = [...SUPPRESSION_REASONS, 'domain'] as const;
export type SuppressedFor = (typeof SUPPRESSED_FOR)[number];

/** Whether the address is on the Global Suppression List, by itself or by its domain; for one of `reasons`, if given. */
export interface SuppressionCondition {
  readonly suppressed: boolean;
  readonly reasons?: readonly SuppressedFor[];
}

/** Whether the prospect stands in the list of this id, static or dynamic. */
export interface ListCondition {
  readonly list: string;
  readonly member: boolean;
}

/** What can have happened to a prospect. */
export const HISTORY_KINDS = [
  'sent',
  'delivered',
  'soft_bounced',
  'hard_bounced',
  'unsubscribed',
  'entered_automation',
] as const;
export type HistoryKind = (typeof HISTORY_KINDS)[number];

/**
 * Whether it happened (or, with `happened: false`, did not): `atLeast` times, by default once; within the last
 * `withinDays` times 24 hours, by default ever; by this email, list or automation, by default any. Only `automationId`
 * goes with `entered_automation`.
 */
export interface HistoryCondition {
  readonly history: HistoryKind;
  readonly happened: boolean;
  readonly emailId?: string;
  readonly listId?: string;
  readonly automationId?: string;
  readonly atLeast?: number;
  readonly withinDays?: number;
}

/** The groups and conditions may be nested so deep, a condition on its own being 1. */
export const MAX_DEPTH = 8;
/** Groups and conditions of one criteria, itself included. */
export const MAX_NODES = 300;
/** Values of one `in`. */
export const MAX_VALUES = 1000;
/** Ten years and then some. */
export const MAX_DAYS = 3660;

const STANDARD: ReadonlySet<string> = new Set(STANDARD_FIELDS);

/** Whether it is a standard field, which holds plain text. */
export function isStandardField(field: FieldName): field is StandardField {
  return STANDARD.has(field);
}

/** All conditions, at whatever depth. */
export function conditionsOf(criteria: Criteria): Condition[] {
  return placesOf(criteria).map(({ condition }) => condition);
}

/** All conditions, each with its place as a JSON Pointer (RFC 6901) into the criteria. */
export function placesOf(criteria: Criteria, path = ''): { path: string; condition: Condition }[] {
  for (const kind of ['all', 'any', 'none'] as const) {
    const members = (criteria as Partial<Record<string, readonly Criteria[]>>)[kind];
    if (members !== undefined)
      return members.flatMap((member, index) => placesOf(member, `${path}/${kind}/${index}`));
  }
  return [{ path, condition: criteria as Condition }];
}

/** Ids of the lists that the criteria asks membership of, once each. */
export function listsNamedIn(criteria: Criteria): string[] {
  return [
    ...new Set(conditionsOf(criteria).flatMap((condition) => ('list' in condition ? [condition.list] : []))),
  ];
}
