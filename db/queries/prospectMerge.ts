import type { Origin } from '../../domain/words.ts';
import { plain, type Transaction } from '../connection.ts';
import { addAuditEntries } from './audit.ts';
import { mergeEnrollments } from './enrollmentChanges.ts';
import { lockAddressesWithProspects, Restart } from './locks.ts';
import { readPersonalReasons } from './personalReasons.ts';
import { changedFields, type Prospect, readProspects, rewriteProspects } from './prospectRows.ts';
import { readProspect, removeProspects } from './prospects.ts';
import { cancelSendsOfProspects } from './sends.ts';
import { addSuppressionsLocked } from './suppressions.ts';

export type MergedProspects =
  | { readonly kind: 'merged'; readonly prospect: Prospect }
  | { readonly kind: 'not_found'; readonly prospectId: string }
  | { readonly kind: 'same' };

const JOIN_LISTS = plain(`
  insert into list_member (list_id, prospect_id, added_at)
  select list_id, $1, added_at from list_member where prospect_id = $2 on conflict do nothing`);

/**
 * Merges two prospects that are one person. The winner keeps its address and what stands in its fields; its empty fields
 * and its lists are filled up from the loser, whose unfinished sends are cancelled and who is deleted with a pointer to
 * the winner.
 *
 * The stricter flags hold, as far as they belong to the person: what either said no to (opt-outs, from everything or
 * from one list, and complaints) holds from now on for both addresses, since both are that person's, also when the
 * loser's is imported again. Bounced belongs to an address (I4), so it stays what the winner's current address holds, and
 * the loser's address keeps its own.
 */
export async function mergeProspects(
  tx: Transaction,
  origin: Origin,
  now: Date,
  winnerId: string,
  loserId: string,
): Promise<MergedProspects> {
  if (winnerId === loserId) return { kind: 'same' };
  const ids = [winnerId, loserId];
  const seen = await readProspects(tx, ids);
  const missing = ids.find((id) => !seen.some((prospect) => prospect.id === id));
  if (missing !== undefined) return { kind: 'not_found', prospectId: missing };
  await lockAddressesWithProspects(
    tx,
    seen.map((prospect) => prospect.addressId),
    ids,
  );
  const locked = await readProspects(tx, ids);
  const moved = seen.some(
    ({ id, addressId }) => locked.find((prospect) => prospect.id === id)?.addressId !== addressId,
  );
  if (moved) throw new Restart('a prospect was deleted or changed its address meanwhile');
  const winner = locked.find((prospect) => prospect.id === winnerId)!;
  const loser = locked.find((prospect) => prospect.id === loserId)!;

  const filled = fill(winner, loser);
  const fields = changedFields(winner, filled);
  if (fields.length > 0) await rewriteProspects(tx, now, [filled]);
  await tx.query(JOIN_LISTS, [winnerId, loserId]);
  await cancelSendsOfProspects(tx, origin, now, [loserId], 'prospect_merged');
  await mergeEnrollments(tx, origin, now, winnerId, loserId);
  await removeProspects(tx, now, [loserId], winnerId);
  await addAuditEntries(tx, origin, now, [
    {
      action: 'prospect.merged',
      prospectId: winnerId,
      addressId: winner.addressId,
      subject: 'winner',
      after: { from: loserId, fields },
    },
    {
      action: 'prospect.merged',
      prospectId: loserId,
      addressId: loser.addressId,
      subject: 'loser',
      after: { into: winnerId },
    },
  ]);
  const addressIds = [winner.addressId, loser.addressId];
  const reasons = await readPersonalReasons(tx, addressIds);
  await addSuppressionsLocked(
    tx,
    origin,
    now,
    reasons.flatMap((entry) => addressIds.map((addressId) => ({ ...entry, addressId }))),
  );
  return { kind: 'merged', prospect: (await readProspect(tx, winnerId))! };
}

function fill(winner: Prospect, loser: Prospect): Prospect {
  const given = Object.entries(winner.fields).filter(([, value]) => value !== null);
  return {
    ...winner,
    fields: { ...loser.fields, ...Object.fromEntries(given) },
    custom: { ...loser.custom, ...winner.custom },
  };
}
