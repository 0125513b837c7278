import type { CustomValue } from '../prospectFields.ts';
import type { ProspectFacts } from './facts.ts';
import { fold } from './fold.ts';
import {
  type Condition,
  type Criteria,
  type FieldCondition,
  type FieldName,
  type HistoryCondition,
  isStandardField,
  type SuppressionCondition,
} from './shape.ts';
import { daysAfter, daysBefore } from './window.ts';

/**
 * Whether the criteria holds for a prospect. `db/queries/criteria.ts` decides the same in SQL for everybody; one table of
 * cases and a property test hold the two to the same answer.
 *
 * @param facts everything that the criteria asks: `readProspectFacts` loads it
 */
export function matches(criteria: Criteria, facts: ProspectFacts, now: Date): boolean {
  if ('all' in criteria) return criteria.all.every((one) => matches(one, facts, now));
  if ('any' in criteria) return criteria.any.some((one) => matches(one, facts, now));
  if ('none' in criteria) return !criteria.none.some((one) => matches(one, facts, now));
  return holds(criteria, facts, now);
}

function holds(condition: Condition, facts: ProspectFacts, now: Date): boolean {
  if ('field' in condition) return fieldHolds(condition, readField(condition.field, facts), now);
  if ('suppressed' in condition) return isSuppressed(condition, facts) === condition.suppressed;
  if ('list' in condition) return facts.lists.has(condition.list) === condition.member;
  return happened(condition, facts, now) === condition.happened;
}

/** Times as ISO 8601 in UTC with milliseconds, as custom fields keep them. */
function readField(field: FieldName, facts: ProspectFacts): CustomValue | null {
  if (isStandardField(field)) return facts.fields[field];
  if (field === 'createdAt' || field === 'updatedAt') return facts[field].toISOString();
  if (field === 'email' || field === 'emailDomain' || field === 'emailOptOut' || field === 'bounced')
    return facts[field];
  const key = field.slice('custom.'.length);
  return Object.hasOwn(facts.custom, key) ? facts.custom[key]! : null;
}

function fieldHolds(condition: FieldCondition, value: CustomValue | null, now: Date): boolean {
  switch (condition.operator) {
    case 'isEmpty':
      return value === null || value === '';
    case 'isNotEmpty':
      return value !== null && value !== '';
    case 'equals':
      return isSame(value, condition.value);
    case 'notEquals':
      return !isSame(value, condition.value);
    case 'in':
      return condition.value.some((one) => isSame(value, one));
    case 'contains':
      return typeof value === 'string' && fold(value).includes(fold(condition.value));
    case 'startsWith':
      return typeof value === 'string' && fold(value).startsWith(fold(condition.value));
    case 'greaterThan':
      return typeof value === 'number' && value > condition.value;
    case 'lessThan':
      return typeof value === 'number' && value < condition.value;
    case 'between':
      return isBetween(value, condition.value);
    case 'before':
      return typeof value === 'string' && value < condition.value;
    case 'after':
      return typeof value === 'string' && value > condition.value;
    // A date sorts before every moment of its day, as the midnight that it counts as.
    case 'withinLast':
      return isWithin(value, daysBefore(now, condition.days), now);
    case 'withinNext':
      return isWithin(value, now, daysAfter(now, condition.days));
  }
}

function isSame(value: CustomValue | null, wanted: CustomValue): boolean {
  if (typeof value === 'string' && typeof wanted === 'string') return fold(value) === fold(wanted);
  return value === wanted;
}

function isBetween(value: CustomValue | null, [from, to]: readonly [CustomValue, CustomValue]): boolean {
  return value !== null && typeof value === typeof from && value >= from && value <= to;
}

function isWithin(value: CustomValue | null, after: Date, until: Date): boolean {
  return typeof value === 'string' && value > after.toISOString() && value <= until.toISOString();
}

function isSuppressed({ reasons }: SuppressionCondition, { suppressedFor }: ProspectFacts): boolean {
  if (reasons === undefined) return suppressedFor.size > 0;
  return reasons.some(
    (reason) => suppressedFor.has(reason) || (reason === 'manual' && suppressedFor.has('domain')),
  );
}

function happened(condition: HistoryCondition, { history }: ProspectFacts, now: Date): boolean {
  const { emailId, listId, automationId, withinDays, atLeast = 1 } = condition;
  const after = withinDays === undefined ? null : daysBefore(now, withinDays);
  const subjects = new Set<string>();
  for (const event of history) {
    if (event.kind !== condition.history) continue;
    if (emailId !== undefined && event.emailId !== emailId) continue;
    if (listId !== undefined && !event.listIds.includes(listId)) continue;
    if (automationId !== undefined && event.automationId !== automationId) continue;
    if (after !== null && (event.at <= after || event.at > now)) continue;
    subjects.add(event.subject);
  }
  return subjects.size >= atLeast;
}
