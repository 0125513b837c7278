import type { Database } from '../../db/connection.ts';
import type { OwnedSend } from '../../db/queries/broadcastGate.ts';
import { recordDeliveries } from '../../db/queries/broadcastOutcome.ts';
import { readHold } from '../../db/queries/holds.ts';
import { type AttemptEnd, recordOutcome } from '../../db/queries/outcome.ts';
import { persistently } from '../persistently.ts';
import type { Gated } from './outgoing.ts';

/** Outcomes that are no deliveries are recorded one by one, so many at a time. */
const OUTCOMES_AT_A_TIME = 4;

/** A recipient whose conversation has ended. */
export interface Ended {
  readonly gated: Gated;
  readonly end: AttemptEnd;
}

/**
 * Writes down how attempts ended, deliveries all together. What the servers said is known only here: while this process
 * lives it keeps trying.
 *
 * @returns how many were deliveries; until when a fault of ours, told by one of the others, holds the way out back
 */
export async function recordEnded(
  db: Database,
  clock: () => Date,
  ended: readonly Ended[],
): Promise<{ readonly deliveries: number; readonly heldUntil: Date | null }> {
  const deliveries = ended
    .filter(({ end }) => end.outcome === 'delivered')
    .map(({ gated, end }) => ({ ...owned(gated), end }));
  if (deliveries.length > 0) {
    const recorded = await persistently(() => recordDeliveries(db, clock(), deliveries));
    if (recorded < deliveries.length) for (const { gated } of ended) gated.work.mayHaveOrphans = true;
  }
  const others = ended.filter(({ end }) => end.outcome !== 'delivered');
  let heldUntil: Date | null = null;
  await Promise.all(
    Array.from({ length: OUTCOMES_AT_A_TIME }, async () => {
      for (let one = others.pop(); one !== undefined; one = others.pop()) {
        heldUntil = (await recordOther(db, clock, one)) ?? heldUntil;
      }
    }),
  );
  return { deliveries: deliveries.length, heldUntil };
}

async function recordOther(db: Database, clock: () => Date, { gated, end }: Ended): Promise<Date | null> {
  const after = await persistently(() => recordOutcome(db, gated.item, gated.attempt, end, clock()));
  if (after === null) gated.work.mayHaveOrphans = true;
  return end.holdsBack ? ((await readHold(db, end.destination))?.until ?? null) : null;
}

/** The send of a recipient, and who owns its attempt. */
export function owned({ item, attempt }: Gated): OwnedSend {
  return { sendId: item.sendId, attempt };
}
