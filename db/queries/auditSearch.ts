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

/** Written with every attempt, and found by its send alone: they are by far the most. */
const OF_ATTEMPTS = `('attempt.gated', 'attempt.finished')`;

/** Entries, newest first. */
export async function searchAudit(
  on: Session,
  filter: AuditFilter,
  beforeId: number | undefined,
  limit: number,
): Promise<AuditEntry[]> {
  const { prospectId, addressId, ...rest } = filter;
  const conditions = new Conditions();
  const all = (...also: string[]) => {
    const and = conditions.where === '' ? 'where' : `${conditions.where} and`;
    return also.length === 0 ? conditions.where : `${and} ${also.join(' and ')}`;
  };
  conditions.add('send_id = ?', rest.sendId);
  conditions.add('action = ?', rest.action);
  conditions.add('way = ?', rest.way);
  conditions.add('at >= ?', rest.from);
  conditions.add('at < ?', rest.to);
  conditions.add('id < ?', beforeId);
  const who = [
    ...conditions.numbered('prospect_id = ?', prospectId),
    ...conditions.numbered('address_id = ?', addressId),
  ];
  const newest = `order by id desc ${conditions.limit(limit)}`;
  const entries = (where: string) => `select ${AUDIT_COLUMNS} from audit_entry ${where} ${newest}`;
  const rows = await on.query<AuditRow>(
    plain(
      who.length === 0
        ? entries(all())
        : `select * from (
             (${entries(all(...who, `action not in ${OF_ATTEMPTS}`))})
             union all
             (${entries(all(...who, `send_id in (select id from send where ${who.join(' and ')})`, `action in ${OF_ATTEMPTS}`))})
           ) found ${newest}`,
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
