import type { HistoryKind, SuppressedFor } from '../../../domain/criteria/criteria.ts';
import type { HistoryEvent, ProspectFacts } from '../../../domain/criteria/facts.ts';
import type { CustomField, CustomValue } from '../../../domain/prospectFields.ts';
import { STANDARD_FIELDS, type StandardField, type SuppressionReason } from '../../../domain/words.ts';

/** The moment at which the cases are decided; a day of the week later is a round number of hours. */
export const NOW = new Date('2026-03-02T10:00:00.000Z');

export const CUSTOM_FIELDS: readonly CustomField[] = [
  { key: 'note', label: 'Note', type: 'text', choices: [] },
  { key: 'score', label: 'Score', type: 'number', choices: [] },
  { key: 'vip', label: 'VIP', type: 'boolean', choices: [] },
  { key: 'renewal', label: 'Renewal', type: 'date', choices: [] },
  { key: 'lastVisit', label: 'Last visit', type: 'datetime', choices: [] },
  { key: 'plan', label: 'Plan', type: 'choice', choices: ['Gold', 'Silver'] },
];

const uuid = (kind: string, number: number) =>
  `019a0000-0000-7000-8${kind}00-${String(number).padStart(12, '0')}`;
export const EMAILS = [uuid('1', 1), uuid('1', 2)] as const;
export const LISTS = [uuid('2', 1), uuid('2', 2)] as const;
export const AUTOMATIONS = [uuid('3', 1), uuid('3', 2)] as const;
export const NOWHERE = uuid('9', 9);

/** A domain that is suppressed, with everything below it. */
export const BLOCKED_DOMAIN = 'blocked.example';

/** A prospect and all that happened to it; what is left out is as ordinary as can be. */
export interface Person {
  readonly localPart?: string;
  readonly domain?: string;
  readonly fields?: Partial<Record<StandardField, string>>;
  readonly custom?: Readonly<Record<string, CustomValue>>;
  readonly emailOptOut?: boolean;
  readonly bounced?: boolean;
  readonly createdAt?: Date;
  readonly updatedAt?: Date;
  readonly suppressed?: readonly SuppressionReason[];
  /** Suppressed within a list, which puts nobody on the Global Suppression List. */
  readonly suppressedWithin?: readonly string[];
  readonly lists?: readonly string[];
  /** When it entered an automation, by its id. */
  readonly entered?: Readonly<Record<string, Date>>;
  readonly history?: readonly PastEvent[];
}

export interface PastEvent {
  readonly kind: Exclude<HistoryKind, 'entered_automation'>;
  readonly at: Date;
  readonly emailId: string;
  readonly listId?: string;
  /** One that the person entered. */
  readonly automationId?: string;
  /** It happened again to the same send. */
  readonly again?: readonly Date[];
}

const ORDINARY = new Date('2025-06-01T00:00:00.000Z');
export const createdAtOf = (person: Person) => person.createdAt ?? ORDINARY;
export const updatedAtOf = (person: Person) => person.updatedAt ?? ORDINARY;
export const domainOf = (person: Person) => person.domain ?? 'example.net';

/** @param number tells people apart who have no local part of their own */
export const emailOf = (person: Person, number: number) =>
  `${person.localPart ?? 'person'}.${number}@${domainOf(person)}`;

/** What is known of the person, worked out from the description alone. */
export function factsOf(person: Person, number: number, dynamicLists: readonly string[] = []): ProspectFacts {
  const suppressedFor = new Set<SuppressedFor>(person.suppressed);
  if (`.${domainOf(person)}`.endsWith(`.${BLOCKED_DOMAIN}`)) suppressedFor.add('domain');
  return {
    email: emailOf(person, number),
    emailDomain: domainOf(person),
    fields: Object.fromEntries(
      STANDARD_FIELDS.map((field) => [field, person.fields?.[field] ?? null]),
    ) as ProspectFacts['fields'],
    custom: person.custom ?? {},
    emailOptOut: person.emailOptOut ?? false,
    bounced: person.bounced ?? false,
    createdAt: createdAtOf(person),
    updatedAt: updatedAtOf(person),
    suppressedFor,
    lists: new Set([...(person.lists ?? []), ...dynamicLists]),
    history: [...entrances(person), ...(person.history ?? []).flatMap(eventsOf)],
  };
}

function entrances(person: Person): HistoryEvent[] {
  return Object.entries(person.entered ?? {}).map(([automationId, at]) => ({
    kind: 'entered_automation',
    subject: automationId,
    at,
    emailId: null,
    listIds: [],
    automationId,
  }));
}

function eventsOf(event: PastEvent, index: number): HistoryEvent[] {
  return [event.at, ...(event.again ?? [])].map((at) => ({
    kind: event.kind,
    subject: event.kind === 'unsubscribed' ? at.toISOString() : `send ${index}`,
    at,
    emailId: event.emailId,
    listIds: event.listId === undefined ? [] : [event.listId],
    automationId: event.automationId ?? null,
  }));
}
