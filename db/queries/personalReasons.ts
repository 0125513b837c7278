import type { SuppressionReason } from '../../domain/words.ts';
import { plain, type Transaction } from '../connection.ts';
import type { SuppressionEntry } from './suppressions.ts';

/**
 * Reasons that belong to the person as well as to the address (I4): an opt-out, from everything or from one list, and a
 * complaint, which counts like an opt-out. A bounce tells of the mailbox and a manual entry of the address: they stay.
 */
const PERSONAL_REASONS = ['opt_out', 'complaint'] as const satisfies readonly SuppressionReason[];

const READ = plain(`
  select distinct on (reason, list_id) reason, list_id, note from suppression
  where address_id = any($1::uuid[]) and reason = any($2::text[]) order by reason, list_id, id`);

/** What the people at these addresses said no to, once each; the caller holds the locks of the addresses. */
export async function readPersonalReasons(
  tx: Transaction,
  addressIds: readonly string[],
): Promise<Omit<SuppressionEntry, 'addressId'>[]> {
  const rows = await tx.query<{ reason: SuppressionReason; list_id: string | null; note: string | null }>(
    READ,
    [addressIds, PERSONAL_REASONS],
  );
  return rows.map((row) => ({ reason: row.reason, listId: row.list_id, note: row.note }));
}
