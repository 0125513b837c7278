import type { Origin } from '../../domain/words.ts';
import { type Database, plain, type Transaction } from '../connection.ts';
import { lockAddressesWithProspects } from './locks.ts';
import { readPersonalReasons } from './personalReasons.ts';
import { mergeProspects } from './prospectMerge.ts';
import { queuePushes } from './salesforceQueue.ts';
import { addSuppressionsLocked } from './suppressions.ts';

const ORIGIN: Origin = {
  way: 'salesforce',
  actor: 'salesforce',
  reason: 'merged or converted in Salesforce',
};

const PAGE = 200;
const TO_FOLLOW = plain(`
  select l.id, l.address_id as "addressId", l.prospect_id as "prospectId", s.id as "successorId",
    s.address_id as "successorAddressId", s.prospect_id as "successorProspectId",
    exists (select from salesforce_record o where o.state = 'active' and o.prospect_id = l.prospect_id) as "hasOthers"
  from salesforce_record l join salesforce_record s on s.id = l.successor_id and s.state = 'active'
  where l.successor_id is not null and s.address_id is not null order by l.id limit ${PAGE}`);
const FOLLOWED = plain('update salesforce_record set successor_id = null where id = $1');
const NEXT = plain(`
  update salesforce_record l set successor_id = s.successor_id from salesforce_record s
  where s.id = l.successor_id and s.state <> 'active' and s.successor_id is not null`);
/** Records that are gone from Salesforce without a trace: none of this page of ids, in their order. */
const VANISHED = plain(`
  update salesforce_record set state = 'deleted', base = '{}', written = null, synced_at = $5
  where object = $1 and state in ('active', 'no_address') and (id collate "C") > $2 and ($3::text is null or (id collate "C") <= $3)
    and id <> all($4::text[]) returning id`);

interface ToFollow extends Record<string, unknown> {
  readonly id: string;
  readonly addressId: string | null;
  readonly prospectId: string | null;
  readonly successorId: string;
  readonly successorAddressId: string;
  readonly successorProspectId: string | null;
  readonly hasOthers: boolean;
}

/**
 * Follows merged and converted records to what they became, once that was met: who said no at the old address has said
 * it at the new one too, and where both have a prospect, the two are one person.
 */
export async function followSuccessors(db: Database, now: Date): Promise<number> {
  let followed = 0;
  for (;;) {
    await db.query(NEXT);
    const page = await db.query<ToFollow>(TO_FOLLOW);
    for (const each of page) await db.transaction((tx) => follow(tx, now, each));
    followed += page.length;
    if (page.length < PAGE) return followed;
  }
}

async function follow(tx: Transaction, now: Date, lost: ToFollow): Promise<void> {
  const { addressId, prospectId, successorAddressId, successorProspectId } = lost;
  const isOnePerson =
    prospectId !== null &&
    successorProspectId !== null &&
    prospectId !== successorProspectId &&
    !lost.hasOthers;
  // Either may be gone by now: deleted, or merged into another. What was said no to holds all the same.
  const merged =
    isOnePerson && (await mergeProspects(tx, ORIGIN, now, successorProspectId, prospectId)).kind === 'merged';
  if (!merged && addressId !== null && addressId !== successorAddressId) {
    await lockAddressesWithProspects(tx, [addressId, successorAddressId]);
    const reasons = await readPersonalReasons(tx, [addressId]);
    await addSuppressionsLocked(
      tx,
      ORIGIN,
      now,
      reasons.map((entry) => ({ ...entry, addressId: successorAddressId })),
    );
  }
  await tx.query(FOLLOWED, [lost.id]);
  await queuePushes(tx, now, [lost.successorId]);
}

/**
 * Takes records for deleted that a full reconciliation passed by without meeting them.
 *
 * @param span ids behind `after` up to `last`, or all that follow where that is `null`
 */
export async function forgetVanished(
  tx: Transaction,
  now: Date,
  object: string,
  span: { readonly after: string; readonly last: string | null },
  met: readonly string[],
): Promise<number> {
  return (await tx.query(VANISHED, [object, span.after, span.last, met, now])).length;
}
