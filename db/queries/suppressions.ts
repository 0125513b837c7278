import { v7 as uuidv7 } from 'uuid';
import { type Origin, OWN_WAYS, type SuppressionReason, type Way } from '../../domain/words.ts';
import { plain, type Transaction } from '../connection.ts';
import { type AuditFact, addAuditEntries } from './audit.ts';
import { endSuppressedSends } from './ending.ts';
import { lockAddressesWithProspects, lockDomainsExclusive } from './locks.ts';
import { lookAgainForDomains } from './lookingAgain.ts';
import { addToOutbox } from './outbox.ts';

/** One reason on one address; with a list it holds for that list alone. */
export interface SuppressionEntry {
  readonly addressId: string;
  readonly reason: SuppressionReason;
  readonly listId?: string | null;
  readonly note?: string | null;
  /** By which way it was said at first, where the origin only carries it to another address. */
  readonly way?: Way;
}

/*
 * An entry that holds already is left as it is, but for one thing: what a bulk update said can be taken back for
 * thousands at once, so whoever else says the same makes the entry theirs; and so do the recipients themselves.
 */
const INSERT = plain(`
  insert into suppression as held (id, address_id, reason, list_id, way, actor, note, created_at)
  select e.id, e.address_id, e.reason, e.list_id, coalesce(e.way, $2), $3, e.note, $4
  from jsonb_to_recordset($1::jsonb) as e(id uuid, address_id uuid, reason text, list_id uuid, note text, way text)
  on conflict on constraint suppression_once do update set way = excluded.way, actor = excluded.actor, note = excluded.note
    where (held.way = 'bulk_update' and excluded.way <> 'bulk_update')
      or (held.way <> all($5::text[]) and excluded.way = any($5::text[]))
  returning address_id, reason, list_id`);
const DELETE = plain(`
  delete from suppression s using jsonb_to_recordset($1::jsonb) as e(address_id uuid, reason text, list_id uuid)
  where s.address_id = e.address_id and s.reason = e.reason and s.list_id is not distinct from e.list_id
  returning s.address_id, s.reason, s.list_id`);
const SET_EMAIL_OPT_OUT = plain(`
  update prospect set email_opt_out = $2, version = version + 1, updated_at = $3
  where address_id = any($1::uuid[]) and deleted_at is null and email_opt_out <> $2 returning id, address_id`);
const SET_BOUNCED = plain(`
  update prospect set bounced = $2, version = version + 1, updated_at = $3
  where address_id = any($1::uuid[]) and deleted_at is null and bounced <> $2 returning id, address_id`);

interface Changed extends Record<string, unknown> {
  address_id: string;
  reason: SuppressionReason;
  list_id: string | null;
}

/**
 * Puts addresses on the Global Suppression List (or suppresses them for a list), sets the flags that go with it, writes
 * it all down, and ends the waiting sends that it applies to. What holds already is left as it is.
 *
 * The flags follow the reasons: `opt_out` sets Email Opt Out and `bounced` sets Bounced of the prospect whose current
 * address it is, and no reason ever touches the other flag (I3).
 *
 * @returns how many entries were new, or have another's way now
 */
export async function addSuppressions(
  tx: Transaction,
  origin: Origin,
  now: Date,
  entries: readonly SuppressionEntry[],
): Promise<number> {
  if (entries.length === 0) return 0;
  const addressIds = [...new Set(entries.map((entry) => entry.addressId))];
  await lockAddressesWithProspects(tx, addressIds);
  return addSuppressionsLocked(tx, origin, now, entries);
}

/** {@link addSuppressions} for a caller that holds the locks of the addresses and their prospects already. */
export async function addSuppressionsLocked(
  tx: Transaction,
  origin: Origin,
  now: Date,
  entries: readonly SuppressionEntry[],
): Promise<number> {
  const rows = entries.map((entry) => ({
    id: uuidv7(),
    address_id: entry.addressId,
    reason: entry.reason,
    list_id: entry.listId ?? null,
    note: entry.note ?? null,
    way: entry.way ?? null,
  }));
  const added = await tx.query<Changed>(INSERT, [
    JSON.stringify(distinct(rows)),
    origin.way,
    origin.actor,
    now,
    OWN_WAYS,
  ]);
  const flags = await setFlags(tx, now, globally(entries), true);
  await addAuditEntries(tx, origin, now, [
    ...added.map((row) => suppressionFact('suppression.added', row)),
    ...flags,
  ]);
  await endSuppressedSends(tx, origin, now, { addressIds: [...new Set(added.map((row) => row.address_id))] });
  return added.length;
}

/**
 * Takes reasons off addresses, and no other reason with them; the flag that goes with a reason is cleared (I3, I4).
 *
 * @returns how many entries there were
 */
export async function removeSuppressions(
  tx: Transaction,
  origin: Origin,
  now: Date,
  entries: readonly Omit<SuppressionEntry, 'note'>[],
): Promise<number> {
  if (entries.length === 0) return 0;
  await lockAddressesWithProspects(tx, [...new Set(entries.map((entry) => entry.addressId))]);
  return removeSuppressionsLocked(tx, origin, now, entries);
}

/** {@link removeSuppressions} for a caller that holds the locks of the addresses and their prospects already. */
export async function removeSuppressionsLocked(
  tx: Transaction,
  origin: Origin,
  now: Date,
  entries: readonly Omit<SuppressionEntry, 'note'>[],
): Promise<number> {
  const rows = entries.map((entry) => ({
    address_id: entry.addressId,
    reason: entry.reason,
    list_id: entry.listId ?? null,
  }));
  const removed = await tx.query<Changed>(DELETE, [JSON.stringify(rows)]);
  const flags = await setFlags(tx, now, globally(entries), false);
  await addAuditEntries(tx, origin, now, [
    ...removed.map((row) => suppressionFact('suppression.removed', row)),
    ...flags,
  ]);
  return removed.length;
}

/** One entry for each address, reason and list: one statement cannot touch the same twice. */
function distinct<Row extends { address_id: string; reason: string; list_id: string | null }>(
  rows: readonly Row[],
): Row[] {
  const groups = Map.groupBy(rows, (row) => `${row.address_id} ${row.reason} ${row.list_id}`);
  return [...groups.values()].map(([first]) => first!);
}

function globally<Entry extends Omit<SuppressionEntry, 'note'>>(entries: readonly Entry[]): Entry[] {
  return entries.filter((entry) => !entry.listId);
}

async function setFlags(
  tx: Transaction,
  now: Date,
  entries: readonly Omit<SuppressionEntry, 'note'>[],
  value: boolean,
): Promise<AuditFact[]> {
  const facts: AuditFact[] = [];
  for (const [reason, flag, statement] of [
    ['opt_out', 'emailOptOut', SET_EMAIL_OPT_OUT],
    ['bounced', 'bounced', SET_BOUNCED],
  ] as const) {
    const addressIds = entries.filter((entry) => entry.reason === reason).map((entry) => entry.addressId);
    if (addressIds.length === 0) continue;
    const changed = await tx.query<{ id: string; address_id: string }>(statement, [addressIds, value, now]);
    facts.push(
      ...changed.map((row) => ({
        action: 'flag.changed' as const,
        prospectId: row.id,
        addressId: row.address_id,
        subject: flag,
        before: !value,
        after: value,
      })),
    );
  }
  return facts;
}

function suppressionFact(action: 'suppression.added' | 'suppression.removed', row: Changed): AuditFact {
  const held = action === 'suppression.added' ? 'after' : 'before';
  return {
    action,
    addressId: row.address_id,
    subject: row.reason,
    [held]: row.list_id === null ? { reason: row.reason } : { reason: row.reason, listId: row.list_id },
  };
}

const INSERT_DOMAINS = plain(`
  insert into domain_suppression (id, domain, way, actor, note, created_at)
  select e.id, e.domain, $2, $3, e.note, $4 from jsonb_to_recordset($1::jsonb) as e(id uuid, domain text, note text)
  on conflict (domain) do nothing returning domain`);
const DELETE_DOMAIN = plain('delete from domain_suppression where domain = $1 returning id');

/** A domain in A-labels, as `parseDomain` gives it. */
export interface DomainSuppressionEntry {
  readonly domain: string;
  readonly note: string | null;
}

/**
 * Suppresses whole domains and everything below them. Their waiting sends are ended page by page right after the commit.
 *
 * @returns the domains that were not suppressed before
 */
export async function addDomainSuppressions(
  tx: Transaction,
  origin: Origin,
  now: Date,
  entries: readonly DomainSuppressionEntry[],
): Promise<string[]> {
  if (entries.length === 0) return [];
  await lockDomainsExclusive(
    tx,
    entries.map((entry) => entry.domain),
  );
  const rows = entries.map((entry) => ({ id: uuidv7(), ...entry }));
  const inserted = await tx.query<{ domain: string }>(INSERT_DOMAINS, [
    JSON.stringify(rows),
    origin.way,
    origin.actor,
    now,
  ]);
  const added = inserted.map((row) => row.domain);
  await addAuditEntries(
    tx,
    origin,
    now,
    added.map((domain) => ({
      action: 'domain_suppression.added',
      subject: domain,
      after: { reason: 'manual' },
    })),
  );
  await addToOutbox(
    tx,
    now,
    added.map((domain) => ({
      aggregate: `domain:${domain}`,
      message: { type: 'endSendsOfDomain', domain },
    })),
  );
  if (added.length > 0) await lookAgainForDomains(tx, now);
  return added;
}

/**
 * Suppresses one whole domain.
 *
 * @returns false where it was suppressed already
 */
export async function addDomainSuppression(
  tx: Transaction,
  origin: Origin,
  now: Date,
  domain: string,
  note: string | null,
): Promise<boolean> {
  return (await addDomainSuppressions(tx, origin, now, [{ domain, note }])).length > 0;
}

/** @returns false where it was not suppressed */
export async function removeDomainSuppression(
  tx: Transaction,
  origin: Origin,
  now: Date,
  domain: string,
): Promise<boolean> {
  await lockDomainsExclusive(tx, [domain]);
  const removed = await tx.query(DELETE_DOMAIN, [domain]);
  if (removed.length === 0) return false;
  await addAuditEntries(tx, origin, now, [
    { action: 'domain_suppression.removed', subject: domain, before: { reason: 'manual' } },
  ]);
  await lookAgainForDomains(tx, now);
  return true;
}
