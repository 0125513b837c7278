import type { Way } from '../../domain/words.ts';
import { plain, type Session } from '../connection.ts';
import type { AuditAction } from './audit.ts';

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

const CONDITIONS = {
  prospectId: 'prospect_id =',
  addressId: 'address_id =',
  sendId: 'send_id =',
  action: 'action =',
  way: 'way =',
  from: 'at >=',
  to: 'at <',
} as const satisfies Record<keyof AuditFilter, string>;

/** Entries, newest first. */
export async function searchAudit(
  on: Session,
  filter: AuditFilter,
  beforeId: number | null,
  limit: number,
): Promise<AuditEntry[]> {
  const values: unknown[] = [limit];
  const conditions = (Object.keys(CONDITIONS) as (keyof AuditFilter)[])
    .filter((key) => filter[key] !== undefined)
    .map((key) => `${CONDITIONS[key]} $${values.push(filter[key])}`);
  if (beforeId !== null) conditions.push(`id < $${values.push(beforeId)}`);
  const where = conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`;
  const rows = await on.query<AuditRow>(
    plain(`select ${AUDIT_COLUMNS} from audit_entry ${where} order by id desc limit $1`),
    values,
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
