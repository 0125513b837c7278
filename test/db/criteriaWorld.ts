import { v7 as uuidv7 } from 'uuid';
import { type Database, plain } from '../../db/connection.ts';
import { ensureAddresses } from '../../db/queries/addresses.ts';
import type { ParsedAddress } from '../../domain/address.ts';
import { STANDARD_FIELDS } from '../../domain/words.ts';
import {
  AUTOMATIONS,
  BLOCKED_DOMAIN,
  CUSTOM_FIELDS,
  createdAtOf,
  domainOf,
  emailOf,
  LISTS,
  NOW,
  type PastEvent,
  type Person,
  updatedAtOf,
} from '../domain/criteria/person.ts';
import { parsed, type TestAccount } from '../support/account.ts';

type Row = Record<string, unknown>;

/** Adds rows to a table; those of one call have the same columns. */
export async function insertRows(db: Database, table: string, rows: readonly Row[]): Promise<void> {
  if (rows.length === 0) return;
  const columns = Object.keys(rows[0]!).join(', ');
  await db.query(
    plain(
      `insert into ${table} (${columns}) select ${columns} from jsonb_populate_recordset(null::${table}, $1)`,
    ),
    [JSON.stringify(rows)],
  );
}

/** The lists, automations, custom fields and the suppressed domain that people are described by. */
export async function prepareWorld(db: Database): Promise<void> {
  const created_at = NOW;
  await insertRows(
    db,
    'custom_field',
    CUSTOM_FIELDS.map(({ key, label, type, choices }) => ({ key, label, type, choices, created_at })),
  );
  await insertRows(
    db,
    'list',
    LISTS.map((id) => ({ id, name: id, private: false, created_at })),
  );
  await insertRows(
    db,
    'automation',
    AUTOMATIONS.map((id) => ({
      id,
      name: id,
      state: 'draft',
      mode: 'once',
      draft: {},
      current_version: 0,
      run: 0,
      webhook_secret: 'x',
      created_at,
      updated_at: created_at,
    })),
  );
  await insertRows(db, 'domain_suppression', [
    { id: uuidv7(), domain: BLOCKED_DOMAIN, way: 'person', actor: 'test', created_at },
  ]);
}

interface Placed {
  readonly person: Person;
  readonly id: string;
  readonly addressId: string;
  readonly address: ParsedAddress;
}

/**
 * Puts people into the database as they are described, past the rules by which they came to be so.
 *
 * @param firstNumber number of the first of them
 * @returns their ids
 */
export async function place(
  { db, hasher }: TestAccount,
  people: readonly Person[],
  firstNumber: number,
): Promise<string[]> {
  const addresses = people.map((person, index) => parsed(emailOf(person, firstNumber + index)));
  const addressIds = await ensureAddresses(db, hasher, NOW, addresses);
  const placed = people.map(
    (person, index): Placed => ({
      person,
      id: uuidv7(),
      address: addresses[index]!,
      addressId: addressIds.get(addresses[index]!.comparisonForm)!,
    }),
  );
  await insertRows(db, 'prospect', placed.map(prospectRow));
  await insertRows(db, 'suppression', placed.flatMap(suppressionRows));
  await insertRows(
    db,
    'list_member',
    placed.flatMap(({ person, id }) =>
      (person.lists ?? []).map((list_id) => ({ list_id, prospect_id: id, added_at: NOW })),
    ),
  );
  const enrollments = placed.flatMap(enrollmentRows);
  await insertRows(db, 'enrollment', enrollments);
  const enrollmentOf = (prospectId: string, automationId: string | undefined) =>
    enrollments.find((row) => row.prospect_id === prospectId && row.automation_id === automationId)?.id ??
    null;
  const past = placed.flatMap((one) =>
    (one.person.history ?? []).map((event) => ({
      event,
      send: sendRow(one, event, enrollmentOf(one.id, event.automationId)),
    })),
  );
  await insertRows(
    db,
    'send',
    past.map(({ send }) => send),
  );
  await insertRows(db, 'attempt', past.flatMap(attemptRows));
  await insertRows(db, 'audit_entry', past.flatMap(unsubscribeRows));
  return placed.map(({ id }) => id);
}

function prospectRow({ person, id, addressId, address }: Placed): Row {
  const fields = STANDARD_FIELDS.map((field) => [
    field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    person.fields?.[field] ?? null,
  ]);
  return {
    id,
    address_id: addressId,
    email: address.given,
    ...Object.fromEntries(fields),
    custom: person.custom ?? {},
    email_opt_out: person.emailOptOut ?? false,
    bounced: person.bounced ?? false,
    version: 1,
    created_at: createdAtOf(person),
    updated_at: updatedAtOf(person),
  };
}

function suppressionRows({ person, addressId }: Placed): Row[] {
  const held = [
    ...(person.suppressed ?? []).map((reason) => ({ reason, list_id: null })),
    ...(person.suppressedWithin ?? []).map((list_id) => ({ reason: 'opt_out', list_id })),
  ];
  return held.map((one) => ({
    id: uuidv7(),
    address_id: addressId,
    ...one,
    way: 'person',
    actor: 'test',
    created_at: NOW,
  }));
}

function enrollmentRows({ person, id }: Placed): Row[] {
  return Object.entries(person.entered ?? {}).map(([automation_id, entered_at]) => ({
    id: uuidv7(),
    automation_id,
    version: 1,
    prospect_id: id,
    state: 'finished',
    run: 1,
    entered_at,
  }));
}

function sendRow({ person, id, addressId, address }: Placed, event: PastEvent, enrollmentId: unknown): Row {
  const outcome = { delivered: 'delivered', hard_bounced: 'bounced' }[event.kind as string] ?? 'cancelled';
  return {
    id: uuidv7(),
    email_id: event.emailId,
    email_version: 1,
    kind: 'marketing',
    prospect_id: id,
    address_id: addressId,
    recipient: address.given,
    recipient_domain: domainOf(person),
    list_id: event.listId ?? null,
    enrollment_id: enrollmentId,
    step_id: enrollmentId === null ? null : uuidv7(),
    test: false,
    message_id: uuidv7(),
    schedule_seconds: [0],
    state: 'final',
    outcome,
    fault_ours: false,
    run: 1,
    attempt_count: 1,
    slot: 0,
    // Events are told apart, so that a test of one of them does not hold because of another.
    first_attempt_at: event.kind === 'sent' ? event.at : null,
    created_at: event.at,
    finished_at: event.at,
  };
}

function attemptRows({ event, send }: { event: PastEvent; send: Row }): Row[] {
  if (event.kind !== 'soft_bounced') return [];
  return [event.at, ...(event.again ?? [])].map((at, index) => ({
    send_id: send.id,
    number: index + 1,
    epoch: 1,
    state: 'finished',
    trigger: 'schedule',
    outcome: 'soft_bounce',
    fault_ours: false,
    gated_at: at,
    finished_at: at,
  }));
}

function unsubscribeRows({ event, send }: { event: PastEvent; send: Row }): Row[] {
  if (event.kind !== 'unsubscribed') return [];
  return [event.at, ...(event.again ?? [])].map((at) => ({
    at,
    action: 'suppression.added',
    way: 'one_click',
    actor: 'recipient',
    address_id: send.address_id,
    send_id: send.id,
    subject: 'opt_out',
    after: event.listId === undefined ? { reason: 'opt_out' } : { reason: 'opt_out', listId: event.listId },
  }));
}
