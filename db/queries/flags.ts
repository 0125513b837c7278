import type { Origin, SuppressionReason } from '../../domain/words.ts';
import { plain, type Transaction } from '../connection.ts';
import { lockProspects } from './locks.ts';
import { addSuppressions, removeSuppressions } from './suppressions.ts';

/** The two flags of a prospect; a flag that is not named stays as it is. */
export interface FlagChange {
  readonly emailOptOut?: boolean;
  readonly bounced?: boolean;
}

/** Each flag with the reason that goes with it. */
export const FLAG_REASONS = [
  ['emailOptOut', 'opt_out'],
  ['bounced', 'bounced'],
] as const satisfies readonly (readonly [keyof FlagChange, SuppressionReason])[];

const CURRENT_ADDRESS = plain('select address_id from prospect where id = $1 and deleted_at is null');

/**
 * Sets flags of a prospect. Yes puts its current address on the Global Suppression List in the same transaction, No
 * takes that reason off the current address and no other (I3, I4). What is so already is left alone.
 *
 * @returns false where there is no such prospect
 */
export async function setFlags(
  tx: Transaction,
  origin: Origin,
  now: Date,
  prospectId: string,
  change: FlagChange,
): Promise<boolean> {
  await lockProspects(tx, [prospectId]);
  const [prospect] = await tx.query<{ address_id: string }>(CURRENT_ADDRESS, [prospectId]);
  if (prospect === undefined) return false;
  const entries = (wanted: boolean) =>
    FLAG_REASONS.filter(([flag]) => change[flag] === wanted).map(([, reason]) => ({
      addressId: prospect.address_id,
      reason,
      note: origin.reason,
    }));
  await addSuppressions(tx, origin, now, entries(true));
  await removeSuppressions(tx, origin, now, entries(false));
  return true;
}
