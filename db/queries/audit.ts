import type { Origin } from '../../domain/words.ts';
import { plain, type Session } from '../connection.ts';

/** What the audit trail tells of (I6). */
export const AUDIT_ACTIONS = [
  'prospect.created',
  'prospect.updated',
  'prospect.address_changed',
  'prospect.deleted',
  'prospect.merged',
  'prospect.erased',
  'flag.changed',
  'suppression.added',
  'suppression.removed',
  'domain_suppression.added',
  'domain_suppression.removed',
  'send.refused',
  'send.cancelled',
  'send.cancel_requested',
  'send.retry_requested',
  'send.settled',
  'send.resent',
  'attempt.gated',
  'attempt.finished',
  'automation.activated',
  'automation.paused',
  'automation.resumed',
  'automation.stopped',
  'automation.version_added',
  'enrollment.removed',
  'enrollment.put_back',
  'broadcast.started',
  'broadcast.paused',
  'broadcast.resumed',
  'broadcast.cancelled',
  'broadcast.changed',
  'bulk_update.created',
  'bulk_update.paused',
  'bulk_update.resumed',
  'bulk_update.cancelled',
  'bulk_update.failed',
  'setting.changed',
  'api_key.created',
  'api_key.revoked',
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

/** One thing to be written down. Addresses and people are named by id only, never by their text. */
export interface AuditFact {
  readonly action: AuditAction;
  readonly prospectId?: string | null;
  readonly addressId?: string | null;
  readonly sendId?: string | null;
  readonly subject?: string | null;
  readonly before?: unknown;
  readonly after?: unknown;
}

const INSERT = plain(`
  insert into audit_entry (at, action, way, actor, reason, request_id, prospect_id, address_id, send_id, subject, before, after)
  select $1, f.action, $2, $3, $4, $5, f.prospect_id, f.address_id, f.send_id, f.subject, f.before, f.after
  from jsonb_to_recordset($6::jsonb) as f(action text, prospect_id uuid, address_id uuid, send_id uuid, subject text, before jsonb, after jsonb)`);

/** Adds entries in the transaction of what they tell about. */
export async function addAuditEntries(
  on: Session,
  origin: Origin,
  now: Date,
  facts: readonly AuditFact[],
): Promise<void> {
  if (facts.length === 0) return;
  const rows = facts.map((fact) => ({
    action: fact.action,
    prospect_id: fact.prospectId ?? null,
    address_id: fact.addressId ?? null,
    send_id: fact.sendId ?? origin.sendId ?? null,
    subject: fact.subject ?? null,
    before: fact.before ?? null,
    after: fact.after ?? null,
  }));
  await on.query(INSERT, [
    now,
    origin.way,
    origin.actor,
    origin.reason,
    origin.requestId ?? null,
    JSON.stringify(rows),
  ]);
}
