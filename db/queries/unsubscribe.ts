import type { EventResult } from '../../domain/inbound.ts';
import { type Choice, type ListStanding, oneStepChoice, type Standing } from '../../domain/unsubscribing.ts';
import { type OneClickScope, type Origin, OWN_WAYS } from '../../domain/words.ts';
import { plain, type Session, type Transaction } from '../connection.ts';
import { lockAddressesWithProspects, Restart } from './locks.ts';
import { addSuppressionsLocked, removeSuppressions, type SuppressionEntry } from './suppressions.ts';

/** Which way a recipient says no, or takes it back. */
export interface RecipientsWay {
  readonly way: Extract<Origin['way'], 'unsubscribe_link' | 'one_click' | 'unsubscribe_mail'>;
  readonly requestId?: string;
  /** What there is to say about it, in codes: `provider` where it came by a link of the mail provider's own. */
  readonly reason?: string;
}

/** How the person stands that a send went to, and what a page about it has to say. */
export interface Subscription extends Standing {
  /** Domain of the address that the email came from. */
  readonly senderDomain: string;
  /** Whether the account's transactional mail goes on after an opt-out. */
  readonly transactionalGoesOn: boolean;
}

/**
 * The records of the person that a send went to: its prospect, then whom that was merged into, and so on. Deleted ones
 * count, for their addresses are still that person's. A test send went to nobody's prospect: only its address counts.
 */
const PERSON = `
  with recursive record(id, address_id, merged_into, n) as (
    select p.id, p.address_id, p.merged_into, 0 from send s join prospect p on p.id = s.prospect_id
    where s.id = $1 and not s.test
    union all
    select p.id, p.address_id, p.merged_into, r.n + 1 from record r join prospect p on p.id = r.merged_into
  )`;
const READ_PERSON = plain(`${PERSON}
  select s.address_id, s.list_id, s.test, setting.one_click_scope,
    coalesce((select jsonb_agg(jsonb_build_object('id', r.id, 'addressId', r.address_id) order by r.n) from record r), '[]') as records
  from send s cross join setting where s.id = $1`);
const READ_SUBSCRIPTION = plain(`${PERSON}, person as (
    select coalesce((select r.address_id from record r order by r.n desc limit 1), s.address_id) as address_id, s.list_id,
      s.email_id, s.email_version
    from send s where s.id = $1
  )
  select v.from_address, setting.transactional_passes_opt_out,
    exists (select from suppression x where x.address_id = a.id and x.reason = 'opt_out' and x.list_id is null) as opted_out,
    exists (select from suppression x where x.address_id = a.id and x.reason = 'opt_out' and x.list_id is null and x.way = any($2::text[]))
      as by_themselves,
    exists (select from suppression x where x.address_id = a.id and x.reason <> 'opt_out' and x.list_id is null)
      or exists (select from domain_suppression d where right('.' || a.domain, length(d.domain) + 1) = '.' || d.domain)
      as otherwise_suppressed
  from person join address a on a.id = person.address_id
    join email_version v on v.email_id = person.email_id and v.version = person.email_version
    cross join setting`);
const READ_LISTS = plain(`${PERSON}, person as (
    select coalesce((select r.address_id from record r order by r.n desc limit 1), s.address_id) as address_id, s.list_id
    from send s where s.id = $1
  ), standing as (
    select l.id, l.name, l.private, l.id is not distinct from person.list_id as "sentTo",
      exists (select from suppression x
        where x.address_id = person.address_id and x.reason = 'opt_out' and x.list_id = l.id) as "optedOut",
      exists (select from list_member m join prospect p on p.id = m.prospect_id
        where m.list_id = l.id and p.address_id = person.address_id and p.deleted_at is null) as member
    from person cross join list l
  )
  select id, name, private, "sentTo", "optedOut" from standing where "sentTo" or "optedOut" or member`);

interface Person {
  readonly listId: string | null;
  readonly test: boolean;
  readonly oneClickScope: OneClickScope;
  readonly recordIds: readonly string[];
  /** The address that the send went to, and those of all records, once each. */
  readonly addressIds: readonly string[];
  /** Where the person is reached now, or was when it was deleted. */
  readonly currentAddressId: string;
}

async function readPerson(on: Session, sendId: string): Promise<Person | null> {
  const [row] = await on.query<{
    address_id: string;
    list_id: string | null;
    test: boolean;
    one_click_scope: OneClickScope;
    records: { id: string; addressId: string }[];
  }>(READ_PERSON, [sendId]);
  if (row === undefined) return null;
  return {
    listId: row.list_id,
    test: row.test,
    oneClickScope: row.one_click_scope,
    recordIds: row.records.map((record) => record.id),
    addressIds: [...new Set([row.address_id, ...row.records.map((record) => record.addressId)])],
    currentAddressId: row.records.at(-1)?.addressId ?? row.address_id,
  };
}

/** How the person stands that this send went to. @returns `null` where there is no such send */
export async function readSubscription(on: Session, sendId: string): Promise<Subscription | null> {
  const [row] = await on.query<{
    from_address: string;
    transactional_passes_opt_out: boolean;
    opted_out: boolean;
    by_themselves: boolean;
    otherwise_suppressed: boolean;
  }>(READ_SUBSCRIPTION, [sendId, OWN_WAYS]);
  if (row === undefined) return null;
  return {
    senderDomain: row.from_address.slice(row.from_address.lastIndexOf('@') + 1),
    transactionalGoesOn: row.transactional_passes_opt_out,
    optedOut: row.opted_out,
    byThemselves: row.by_themselves,
    otherwiseSuppressed: row.otherwise_suppressed,
    lists: await on.query<ListStanding & Record<string, unknown>>(READ_LISTS, [sendId]),
  };
}

/**
 * Unsubscribes the person that a send went to, at the address of the send and at every address of the person's records
 * (I4): it holds also where the person has moved to another address, was deleted, or was merged into another record.
 * Waiting sends that it applies to end in the same transaction (I1). Whoever is unsubscribed already stays so; what
 * somebody else had said for the person is the person's own word from now on, which is written down once.
 *
 * @returns false where there is no such send
 */
export async function unsubscribe(
  tx: Transaction,
  recipient: RecipientsWay,
  now: Date,
  sendId: string,
  choice: Choice,
): Promise<boolean> {
  const person = await lockPerson(tx, sendId);
  if (person === null) return false;
  await add(tx, originOf(recipient, person, sendId), now, person, choice);
  return true;
}

/**
 * Unsubscribes in one step, where no page asks what from: the account's setting says it (RFC 8058, RFC 2369).
 *
 * @returns `unmatched` where there is no such send
 */
export async function unsubscribeInOneStep(
  tx: Transaction,
  recipient: RecipientsWay,
  now: Date,
  sendId: string,
): Promise<EventResult> {
  const person = await lockPerson(tx, sendId);
  if (person === null) return 'unmatched';
  const choice = oneStepChoice(person.oneClickScope, person.listId);
  const added = await add(tx, originOf(recipient, person, sendId), now, person, choice);
  return added > 0 ? 'applied' : 'no_change';
}

/**
 * Takes opt-outs back, whichever way they came. They are taken off the person's current address only (I4), so nothing is
 * ever taken back for somebody who has an address now that once was this person's; complaints, bounces and manual
 * entries stay.
 *
 * @returns false where there is no such send
 */
export async function takeBack(
  tx: Transaction,
  recipient: RecipientsWay,
  now: Date,
  sendId: string,
  choice: Choice,
): Promise<boolean> {
  const person = await lockPerson(tx, sendId);
  if (person === null) return false;
  const entries = entriesOf([person.currentAddressId], choice);
  await removeSuppressions(tx, originOf(recipient, person, sendId), now, entries);
  return true;
}

async function add(
  tx: Transaction,
  origin: Origin,
  now: Date,
  person: Person,
  choice: Choice,
): Promise<number> {
  const entries = entriesOf(person.addressIds, choice);
  return entries.length === 0 ? 0 : addSuppressionsLocked(tx, origin, now, entries);
}

/**
 * Locks every record and address of the person that a send went to; who changed meanwhile is read and locked anew.
 *
 * @returns `null` where there is no such send
 */
export async function lockPerson(tx: Transaction, sendId: string): Promise<Person | null> {
  const seen = await readPerson(tx, sendId);
  if (seen === null) return null;
  await lockAddressesWithProspects(tx, seen.addressIds, seen.recordIds);
  const locked = await readPerson(tx, sendId);
  const same = [locked?.recordIds, locked?.addressIds].join() === [seen.recordIds, seen.addressIds].join();
  if (!same) throw new Restart('the person was merged or changed its address meanwhile');
  return locked;
}

function entriesOf(addressIds: readonly string[], choice: Choice): SuppressionEntry[] {
  const listIds = [...(choice.everything ? [null] : []), ...choice.listIds];
  return addressIds.flatMap((addressId) =>
    listIds.map((listId) => ({ addressId, reason: 'opt_out' as const, listId })),
  );
}

function originOf(recipient: RecipientsWay, person: Person, sendId: string): Origin {
  // A test send is no part of anybody's history.
  return { reason: null, ...recipient, actor: 'recipient', ...(!person.test && { sendId }) };
}
