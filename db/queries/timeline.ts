import { plain, type Session } from '../connection.ts';
import { AUDIT_COLUMNS, type AuditEntry, type AuditRow, toAuditEntry } from './auditSearch.ts';
import { ATTEMPT_COLUMNS, type AttemptView, readSends, type SendView } from './sendSearch.ts';

/** Something that happened to a prospect. */
export type TimelineEvent =
  | { readonly type: 'audit'; readonly at: Date; readonly entry: AuditEntry }
  | { readonly type: 'send'; readonly at: Date; readonly send: SendView }
  | { readonly type: 'attempt'; readonly at: Date; readonly sendId: string; readonly attempt: AttemptView };

/** Where an event stands in the timeline: its time, then its type, then its key within the type. */
export interface TimelinePosition {
  /** Milliseconds of the epoch. */
  readonly at: number;
  readonly type: TimelineEvent['type'];
  /** Id of the audit entry or the send; for an attempt the send's id. */
  readonly id: string;
  /** Number of the attempt, else 0. */
  readonly number: number;
}

/** What happened in the same millisecond: the send was made before its attempt. */
const RANK: Readonly<Record<TimelineEvent['type'], number>> = { send: 0, audit: 1, attempt: 2 };

const EXISTS = plain('select 1 from prospect where id = $1');

/*
 * Each source gives its own newest events before the position; what they have in common is merged below. A test send
 * borrows the prospect's fields but goes to somebody else, so it is no part of what happened to the prospect.
 * An attempt tells more than the audit entries about it, which are left out.
 */
const AUDIT = plain(`
  with held as (
    select address_id from prospect where id = $1
    union select address_id from audit_entry
    where prospect_id = $1 and address_id is not null and (action like 'prospect.%' or action = 'flag.changed')
  )
  select ${AUDIT_COLUMNS} from audit_entry a
  where (a.prospect_id = $1 or (a.prospect_id is null and a.address_id in (select address_id from held)))
    and a.action not in ('attempt.gated', 'attempt.finished')
    and not exists (select from send s where s.id = a.send_id and s.test)
    and ($2::timestamptz is null or a.at < $2 or (a.at = $2 and $3::bigint is not null and a.id < $3))
  order by a.at desc, a.id desc limit $4`);
const SENDS = plain(`
  select id from send
  where prospect_id = $1 and not test
    and ($2::timestamptz is null or created_at < $2 or (created_at = $2 and $3::uuid is not null and id < $3))
  order by created_at desc, id desc limit $4`);
const ATTEMPTS = plain(`
  select send_id as "sendId", ${ATTEMPT_COLUMNS}
  from attempt a
  where send_id in (select id from send where prospect_id = $1 and not test)
    and ($2::timestamptz is null or gated_at < $2
      or (gated_at = $2 and $3::uuid is not null and (send_id, number) < ($3, $4::int)))
  order by gated_at desc, send_id desc, number desc limit $5`);

/**
 * Everything that happened to a prospect, newest first: changes of it and its flags, what its addresses were
 * suppressed for, its sends and their attempts. A deleted prospect has a timeline too.
 *
 * @returns `null` where there never was such a prospect
 */
export async function readTimeline(
  on: Session,
  prospectId: string,
  before: TimelinePosition | null,
  limit: number,
): Promise<TimelineEvent[] | null> {
  const bound = (type: TimelineEvent['type']) => boundOf(before, type);
  const [exists, audit, sendIds, attempts] = await Promise.all([
    on.query(EXISTS, [prospectId]),
    on.query<AuditRow>(AUDIT, [prospectId, bound('audit').at, bound('audit').id, limit]),
    on.query<{ id: string }>(SENDS, [prospectId, bound('send').at, bound('send').id, limit]),
    on.query<AttemptView & { sendId: string } & Record<string, unknown>>(ATTEMPTS, [
      prospectId,
      bound('attempt').at,
      bound('attempt').id,
      before?.number ?? 0,
      limit,
    ]),
  ]);
  if (exists.length === 0) return null;
  const sends = await readSends(
    on,
    sendIds.map((row) => row.id),
  );
  const events: TimelineEvent[] = [
    ...audit.map((row) => ({ type: 'audit' as const, at: row.at, entry: toAuditEntry(row) })),
    ...sends.map((send) => ({ type: 'send' as const, at: send.createdAt, send })),
    ...attempts.map(({ sendId, ...attempt }) => ({
      type: 'attempt' as const,
      at: attempt.gatedAt,
      sendId,
      attempt,
    })),
  ];
  return events.sort(newestFirst).slice(0, limit);
}

/** Up to which time the events of this type are wanted, and before which key of that very time. */
function boundOf(
  before: TimelinePosition | null,
  type: TimelineEvent['type'],
): { at: Date | null; id: string | null } {
  if (before === null) return { at: null, id: null };
  if (RANK[type] === RANK[before.type]) return { at: new Date(before.at), id: before.id };
  // Of a lower rank, all of that very millisecond are still to come; times have no finer part.
  return { at: new Date(before.at + (RANK[type] < RANK[before.type] ? 1 : 0)), id: null };
}

/** Position of an event, to go on from. */
export function positionOf(event: TimelineEvent): TimelinePosition {
  const at = event.at.getTime();
  switch (event.type) {
    case 'audit':
      return { at, type: event.type, id: String(event.entry.id), number: 0 };
    case 'send':
      return { at, type: event.type, id: event.send.id, number: 0 };
    case 'attempt':
      return { at, type: event.type, id: event.sendId, number: event.attempt.number };
  }
}

function newestFirst(a: TimelineEvent, b: TimelineEvent): number {
  const [one, other] = [positionOf(a), positionOf(b)];
  return (
    other.at - one.at ||
    RANK[other.type] - RANK[one.type] ||
    (one.type === 'audit' ? Number(other.id) - Number(one.id) : compare(other.id, one.id)) ||
    other.number - one.number
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
