import { OWN_WAYS, type SuppressionReason, type Way } from '../../domain/words.ts';
import { plain, type Transaction } from '../connection.ts';
import type { SuppressionEntry } from './suppressions.ts';

/**
 * Reasons that belong to the person as well as to the address (I4): an opt-out, from everything or from one list, and a
 * complaint, which counts like an opt-out. A bounce tells of the mailbox and a manual entry of the address: they stay.
 */
const PERSONAL_REASONS = ['opt_out', 'complaint'] as const satisfies readonly SuppressionReason[];

const READ = plain(`
  select distinct on (reason, list_id) reason, list_id, note, way from suppression
  where address_id = any($1::uuid[]) and reason = any($2::text[])
  order by reason, list_id, way = any($3::text[]) desc, way = 'bulk_update', id`);

/**
 * What the people at these addresses said no to, once each and by which way, their own before that of others; the caller
 * holds the locks of the addresses.
 */
export async function readPersonalReasons(
  tx: Transaction,
  addressIds: readonly string[],
): Promise<Omit<SuppressionEntry, 'addressId'>[]> {
  const rows = await tx.query<{
    reason: SuppressionReason;
    list_id: string | null;
    note: string | null;
    way: Way;
  }>(READ, [addressIds, PERSONAL_REASONS, OWN_WAYS]);
  return rows.map(({ reason, list_id: listId, note, way }) => ({ reason, listId, note, way }));
}
