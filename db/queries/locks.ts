import { parentDomains } from '../../domain/address.ts';
import { textArray, uuidArray } from '../arrays.ts';
import { plain, prepared, type Transaction } from '../connection.ts';

/*
 * The gate and every writer of flags or suppressions lock in one order: domains, prospects, addresses, then sends,
 * each sorted, so no two of them can wait for each other in a circle. Rows are taken FOR NO KEY UPDATE by readers and
 * writers alike: they queue fairly, where FOR SHARE would let a stream of gates starve a writer.
 * What is decided on must be read in a statement after the one that locks: a statement keeps the snapshot it began with.
 */

/** Whoever only locks needs no rows. */
const countOf = (locked: string) => `select count(*) from (${locked}) as locked`;

const LOCK_DOMAINS_SHARED = prepared(
  'lock_domains_shared',
  countOf('select pg_advisory_xact_lock_shared(hashtextextended(d, 4801)) from unnest($1::text[]) as d'),
);
const LOCK_DOMAINS_EXCLUSIVE = plain(
  'select pg_advisory_xact_lock(hashtextextended(d, 4801)) from unnest($1::text[]) as d',
);
const LOCK_PROSPECTS = prepared(
  'lock_prospects',
  countOf('select id from prospect where id = any($1::uuid[]) order by id for no key update'),
);
const LOCK_FREE_PROSPECTS = plain(
  'select id from prospect where id = any($1::uuid[]) for no key update skip locked',
);
const LOCK_FREE_ADDRESSES = plain(
  'select id from address where id = any($1::uuid[]) for no key update skip locked',
);
const LOCK_ADDRESSES = prepared(
  'lock_addresses',
  countOf('select id from address where id = any($1::uuid[]) order by id for no key update'),
);
/** Each part waits for the one before it: what a filter asks of another part is worked out before its own first row. */
const LOCK_TO_ATTEMPT = prepared(
  'lock_to_attempt',
  `with domains as materialized (
     select pg_advisory_xact_lock_shared(hashtextextended(d, 4801)) from unnest($1::text[]) as d
   ), prospects as materialized (
     select id from prospect where id = $2 and (select count(*) from domains) >= 0 for no key update
   ), addresses as materialized (
     select id from address where id = $3 and (select count(*) from prospects) >= 0 for no key update
   )
   select id from send where id = $4 and (select count(*) from addresses) >= 0 for no key update`,
);
const LOCK_SENDS = prepared(
  'lock_sends',
  countOf('select id from send where id = any($1::uuid[]) order by id for no key update'),
);
const CURRENT_PROSPECTS = prepared(
  'current_prospects',
  'select id from prospect where address_id = any($1::uuid[]) and deleted_at is null',
);

/** Shares every domain that a suppression of these domains' addresses could name. First of all locks. */
export async function lockDomainsShared(tx: Transaction, domains: readonly string[]): Promise<void> {
  await tx.query(LOCK_DOMAINS_SHARED, [textArray(parentsOf(domains))]);
}

/** Keeps every gate of these domains and below them waiting until this transaction is over. First of all locks. */
export async function lockDomainsExclusive(tx: Transaction, domains: readonly string[]): Promise<void> {
  await tx.query(LOCK_DOMAINS_EXCLUSIVE, [[...new Set(domains)].sort()]);
}

/** Keeps every gate there is waiting until this transaction is over. Before locks that a gate takes. */
export async function lockAllGates(tx: Transaction): Promise<void> {
  await tx.query(LOCK_DOMAINS_EXCLUSIVE, [[ROOT]]);
}

/** After domains, before addresses. */
export async function lockProspects(tx: Transaction, ids: readonly string[]): Promise<void> {
  await tx.query(LOCK_PROSPECTS, [uuidArray(ids)]);
}

/** Everything that decides about one attempt, in the order of all locks, in one statement. */
export async function lockToAttempt(
  tx: Transaction,
  of: { sendId: string; prospectId: string; addressId: string; recipientDomain: string },
): Promise<void> {
  await tx.query(LOCK_TO_ATTEMPT, [parentsOf([of.recipientDomain]), of.prospectId, of.addressId, of.sendId]);
}

/**
 * Everything that decides about the first attempts of many, whose sends are yet to be made, in the order of all locks.
 *
 * @param of.prospectIds as `uuidArray` writes them, like `of.addressIds`
 */
export async function lockPageToAttempt(
  tx: Transaction,
  of: { domains: readonly string[]; prospectIds: Buffer; addressIds: Buffer },
): Promise<void> {
  await Promise.all([
    lockDomainsShared(tx, of.domains),
    tx.query(LOCK_PROSPECTS, [of.prospectIds]),
    tx.query(LOCK_ADDRESSES, [of.addressIds]),
  ]);
}

/** Last of all locks. */
export async function lockSends(tx: Transaction, ids: readonly string[]): Promise<void> {
  await tx.query(LOCK_SENDS, [uuidArray(ids)]);
}

/**
 * Locks addresses together with the prospects whose current addresses they are (and any others named), prospects first.
 * A prospect that came to such an address meanwhile is locked out of turn, which is safe without waiting; where that
 * would mean waiting, the transaction is tried again from its start.
 */
export async function lockAddressesWithProspects(
  tx: Transaction,
  addressIds: readonly string[],
  otherProspectIds: readonly string[] = [],
): Promise<void> {
  const before = await tx.query<{ id: string }>(CURRENT_PROSPECTS, [addressIds]);
  const locked = new Set([...before.map((row) => row.id), ...otherProspectIds]);
  await lockProspects(tx, [...locked]);
  await tx.query(LOCK_ADDRESSES, [uuidArray(addressIds)]);
  const after = await tx.query<{ id: string }>(CURRENT_PROSPECTS, [addressIds]);
  const late = after.map((row) => row.id).filter((id) => !locked.has(id));
  await lockOutOfTurn(tx, late, []);
}

/**
 * Locks what turned out to be needed only after later locks were taken. It waits for nothing, so it cannot be part of a
 * circle; where something is not free, the transaction is tried again from its start.
 */
export async function lockOutOfTurn(
  tx: Transaction,
  prospectIds: readonly string[],
  addressIds: readonly string[],
): Promise<void> {
  for (const [statement, ids] of [
    [LOCK_FREE_PROSPECTS, prospectIds],
    [LOCK_FREE_ADDRESSES, addressIds],
  ] as const) {
    if (ids.length === 0) continue;
    const free = await tx.query(statement, [ids]);
    if (free.length < ids.length) throw new Restart('what is needed too is not free');
  }
}

/** Above all domains. No entry names it; whoever locks domains shares it. */
const ROOT = '';

/** Every domain that an entry could name to catch one of these domains, and the root of them all, sorted. */
export function parentsOf(domains: readonly string[]): string[] {
  return [ROOT, ...[...new Set(domains.flatMap(parentDomains))].sort()];
}

/** Makes `Database.transaction` begin anew, as PostgreSQL's own serialization failure does. */
export class Restart extends Error {
  readonly code = '40001';
}
