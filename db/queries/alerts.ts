import { plain, type Session } from '../connection.ts';

/** Something that a person has to look at, or had to. */
export interface Alert {
  readonly id: string;
  readonly key: string;
  readonly kind: string;
  readonly detail: string;
  readonly count: number;
  readonly raisedAt: Date;
  readonly lastSeenAt: Date;
  readonly clearedAt: Date | null;
}

const LIST = plain(`
  select id, key, kind, detail, count, raised_at as "raisedAt", last_seen_at as "lastSeenAt", cleared_at as "clearedAt"
  from alert where ($1 or cleared_at is null) and ($2::uuid is null or id < $2) order by id desc limit $3`);

/**
 * Alerts, newest first.
 *
 * @param cleared whether those that are over are wanted too
 */
export async function listAlerts(
  on: Session,
  cleared: boolean,
  beforeId: string | null,
  limit: number,
): Promise<Alert[]> {
  return on.query<Alert & Record<string, unknown>>(LIST, [cleared, beforeId, limit]);
}
