import type { Way } from '../../domain/words.ts';
import { plain, type Session } from '../connection.ts';
import type { AuditAction } from './audit.ts';
import { Conditions } from './keyset.ts';

/** An entry of the audit trail (I6). */
export interface AuditEntry {
  readonly id: number;
  readonly at: Date;
  readonly action: AuditAction;
  readonly way: Way;
  readonly actor: string;
  readonly reason: string | null;
  readonly requestId: string | null;
  readonly prospectId: string | null;
  readonly addressId: string | null;
  readonly sendId: string | null;
  readonly subject: string | null;
  readonly before: unknown;
  readonly after: unknown;
}

/** All that is given must hold. */
export interface AuditFilter {
  readonly prospectId?: string | undefined;
  readonly addressId?: string | undefined;
  readonly sendId?: string | undefined;
  readonly action?: AuditAction | undefined;
  readonly way?: Way | undefined;
  /** Not before. */
  readonly from?: Date | undefined;
  /** Before. */
  readonly to?: Date | undefined;
}

export const AUDIT_COLUMNS =
  'id, at, action, way, actor, reason, request_id, prospect_id, address_id, send_id, subject, before, after';

/** Entries, newest first. */
export async function searchAudit(
  on: Session,
  filter: AuditFilter,
  beforeId: number | undefined,
  limit: number,
): Promise<AuditEntry[]> {
  const conditions = new Conditions();
  conditions.add('prospect_id = ?', filter.prospectId);
  conditions.add('address_id = ?', filter.addressId);
  conditions.add('send_id = ?', filter.sendId);
  conditions.add('action = ?', filter.action);
  conditions.add('way = ?', filter.way);
  conditions.add('at >= ?', filter.from);
  conditions.add('at < ?', filter.to);
  conditions.add('id < ?', beforeId);
  const rows = await on.query<AuditRow>(
    plain(
      `select ${AUDIT_COLUMNS} from audit_entry ${conditions.where} order by id desc ${conditions.limit(limit)}`,
    ),
    conditions.values,
  );
  return rows.map(toAuditEntry);
}

/** A row of {@link AUDIT_COLUMNS}. */
export interface AuditRow extends Record<string, unknown> {
  id: string;
  at: Date;
  action: AuditAction;
  way: Way;
  actor: string;
  reason: string | null;
  request_id: string | null;
  prospect_id: string | null;
  address_id: string | null;
  send_id: string | null;
  subject: string | null;
  before: unknown;
  after: unknown;
}

export function toAuditEntry(row: AuditRow): AuditEntry {
  return {
    id: Number(row.id),
    at: row.at,
    action: row.action,
    way: row.way,
    actor: row.actor,
    reason: row.reason,
    requestId: row.request_id,
    prospectId: row.prospect_id,
    addressId: row.address_id,
    sendId: row.send_id,
    subject: row.subject,
    before: row.before,
    after: row.after,
  };
}
