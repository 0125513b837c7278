import { type Origin, STANDARD_FIELDS } from '../../domain/words.ts';
import { plain, type Transaction } from '../connection.ts';
import { addAuditEntries } from './audit.ts';
import { lockAddressesWithProspects, lockOutOfTurn } from './locks.ts';
import { standardColumn } from './prospectRows.ts';
import { removeProspects } from './prospects.ts';
import { cancelSend, cancelSendsOfProspects } from './sends.ts';

/**
 * The records of one person: the prospect, those merged into it, and deleted ones with the same address, which are the
 * same person by definition. Found again until there are no more.
 */
const RECORDS = plain(`
  with recursive record(id, address_id) as (
    select id, address_id from prospect where id = $1
    union
    select p.id, p.address_id from record r join prospect p
      on p.merged_into = r.id or (p.address_id = r.address_id and p.deleted_at is not null)
  ) select id from record order by id`);
/** Every address that one of the records ever had, less those that somebody else has now. */
const ADDRESSES = plain(`
  select id from (
    select address_id as id from prospect where id = any($1::uuid[])
    union select address_id from send where prospect_id = any($1::uuid[]) and not test
    union select (before->>'addressId')::uuid from audit_entry
      where prospect_id = any($1::uuid[]) and action = 'prospect.address_changed'
  ) had
  where not exists (select from prospect p where p.address_id = had.id and p.deleted_at is null and p.id <> all($1::uuid[]))
  order by id`);
const CURRENT = plain('select id from prospect where id = any($1::uuid[]) and deleted_at is null');
const UNFINISHED_TESTS = plain(
  `select id from send where address_id = any($1::uuid[]) and state <> 'final' and test order by id`,
);
const ERASE_PROSPECTS = plain(`
  update prospect set email = '', ${STANDARD_FIELDS.map((field) => `${standardColumn(field)} = null`).join(', ')},
    custom = '{}', updated_at = $2 where id = any($1::uuid[])`);
const ERASE_ADDRESSES = plain(
  'update address set email = null, domain = null, erased_at = $2 where id = any($1::uuid[])',
);
const ERASE_VALUES = plain(`
  update bulk_update_row set before = null, after = null, note = null where prospect_id = any($1::uuid[]) and outcome = 'changed'`);
const ERASE_NOTES = plain('update suppression set note = null where address_id = any($1::uuid[])');
// By address in two halves, each with an index of its own.
const SENDS = `
  select id from send where prospect_id = any($1::uuid[]) and not test
  union select id from send where address_id = any($2::uuid[]) and state = 'final'
  union select id from send where address_id = any($2::uuid[]) and state <> 'final'`;
const ERASE_REPLIES = plain(`update attempt set reply_text = null where send_id in (${SENDS})`);
const ERASE_EVENTS = plain(`update delivery_event set diagnostic = null where send_id in (${SENDS})`);
// A provider's batch tells of other people too; what was understood of it stays with their events.
const ERASE_INBOUND = plain(`
  update inbound set content = '', recipients = '{}' where applied_at is not null
    and id in (select inbound_id from delivery_event where send_id in (${SENDS}))`);
const ERASE_SENDS = plain(`update send set recipient = null where id in (${SENDS})`);

export type ErasedProspect =
  /** How many records of the person there were, and of how many addresses only the hash is left. */
  | { readonly kind: 'erased'; readonly prospects: number; readonly addresses: number }
  | { readonly kind: 'not_found' };

/**
 * Erases a person for good: the prospect, deleted before or not, with the records merged into it and earlier ones of the
 * same address. What remains are ids, codes and times, the domain that each send went to, and of the addresses, unless
 * somebody else has one now, the keyed hash with what it is suppressed for: the gate honours it, and whoever comes with
 * that address again is opted out at once (I4, I6).
 */
export async function eraseProspect(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
): Promise<ErasedProspect> {
  const { ids, addressIds } = await lockPerson(tx, id);
  if (ids.length === 0) return { kind: 'not_found' };

  await cancelSendsOfProspects(tx, origin, now, ids, 'prospect_erased');
  for (const sendId of await readIds(tx, UNFINISHED_TESTS, addressIds))
    await cancelSend(tx, origin, now, sendId);
  await removeProspects(tx, now, await readIds(tx, CURRENT, ids), null);
  await Promise.all([
    tx.query(ERASE_PROSPECTS, [ids, now]),
    tx.query(ERASE_ADDRESSES, [addressIds, now]),
    tx.query(ERASE_VALUES, [ids]),
    tx.query(ERASE_NOTES, [addressIds]),
    tx.query(ERASE_REPLIES, [ids, addressIds]),
    tx.query(ERASE_EVENTS, [ids, addressIds]),
    tx.query(ERASE_INBOUND, [ids, addressIds]),
    tx.query(ERASE_SENDS, [ids, addressIds]),
    addAuditEntries(
      tx,
      origin,
      now,
      ids.map((prospectId) => ({ action: 'prospect.erased', prospectId })),
    ),
  ]);
  return { kind: 'erased', prospects: ids.length, addresses: addressIds.length };
}

async function readIds(tx: Transaction, statement: { text: string }, value: unknown): Promise<string[]> {
  return (await tx.query<{ id: string }>(statement, [value])).map((row) => row.id);
}

/** Locks the records of a person and their addresses. What came to them before the locks were had is locked too. */
async function lockPerson(tx: Transaction, id: string): Promise<{ ids: string[]; addressIds: string[] }> {
  let ids = await readIds(tx, RECORDS, id);
  let addressIds = await readIds(tx, ADDRESSES, ids);
  await lockAddressesWithProspects(tx, addressIds, ids);
  const locked = new Set([...ids, ...addressIds]);
  for (;;) {
    ids = await readIds(tx, RECORDS, id);
    addressIds = await readIds(tx, ADDRESSES, ids);
    const late = (all: string[]) => all.filter((each) => !locked.has(each));
    if (late([...ids, ...addressIds]).length === 0) return { ids, addressIds };
    await lockOutOfTurn(tx, late(ids), late(addressIds));
    for (const each of [...ids, ...addressIds]) locked.add(each);
  }
}
