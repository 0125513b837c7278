import type { Audience } from '../../domain/broadcast/audience.ts';
import { type BroadcastField, whileIn } from '../../domain/broadcast/editing.ts';
import type { BroadcastState } from '../../domain/broadcast/words.ts';
import type { Origin } from '../../domain/words.ts';
import { plain, type Transaction } from '../connection.ts';
import { addAuditEntries } from './audit.ts';
import { type Broadcast, findEmailInUse, lockBroadcast, wakeOf } from './broadcasts.ts';
import { addToOutbox } from './outbox.ts';

/** What is to be different; what is left out stays. */
export interface BroadcastEdit {
  readonly name?: string;
  readonly emailId?: string;
  readonly audience?: Audience;
  readonly perMinute?: number | null;
  /** At the soonest now. */
  readonly startAt?: Date;
}

export type BroadcastEdited =
  | { readonly kind: 'done' | 'not_found' | 'no_email' }
  /** What it is, and what cannot be changed in that state. */
  | { readonly kind: 'too_late'; readonly state: BroadcastState; readonly field: BroadcastField };

const UPDATE = plain(`
  update broadcast set name = $2, email_id = $3, audience = $4, per_minute = $5, start_at = $6 where id = $1`);

/**
 * Changes what a broadcast is to do, as far as that is not done yet. A limit takes effect within a minute, where it is
 * being sent; a time at once. What is changed after it was started is written down.
 *
 * @param editOf is asked what is to be different from how it is, and stays until the commit
 */
export async function editBroadcast(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
  editOf: (broadcast: Broadcast) => Promise<BroadcastEdit>,
): Promise<BroadcastEdited> {
  const broadcast = await lockBroadcast(tx, id);
  if (broadcast === null) return { kind: 'not_found' };
  const edit = await editOf(broadcast);
  const allowed = whileIn(broadcast.state, broadcast.startAt !== null && broadcast.startedAt === null);
  for (const field of Object.keys(edit) as BroadcastField[]) {
    if (!allowed.includes(field)) return { kind: 'too_late', state: broadcast.state, field };
  }
  if (edit.emailId !== undefined && (await findEmailInUse(tx, edit.emailId)) === null) {
    return { kind: 'no_email' };
  }
  const { name, emailId, audience, perMinute, startAt } = { ...broadcast, ...edit };
  await tx.query(UPDATE, [id, name, emailId, JSON.stringify(audience), perMinute, startAt]);
  if (broadcast.state !== 'draft') await writeDown(tx, origin, now, broadcast, edit);
  if (edit.startAt !== undefined) await addToOutbox(tx, now, [wakeOf(broadcast)]);
  return { kind: 'done' };
}

async function writeDown(
  tx: Transaction,
  origin: Origin,
  now: Date,
  broadcast: Broadcast,
  { name, perMinute, startAt }: BroadcastEdit,
): Promise<void> {
  const edit = { name, perMinute, startAt: startAt?.toISOString() };
  const changed = Object.entries(edit).filter(([, value]) => value !== undefined);
  const old: Record<string, unknown> = { ...broadcast, startAt: broadcast.startAt?.toISOString() };
  const before = Object.fromEntries(changed.map(([field]) => [field, old[field]]));
  await addAuditEntries(tx, origin, now, [
    { action: 'broadcast.changed', subject: broadcast.id, before, after: Object.fromEntries(changed) },
  ]);
}
