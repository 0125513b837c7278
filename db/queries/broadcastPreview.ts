import { type Audience, audienceCriteria, audienceOfList } from '../../domain/broadcast/audience.ts';
import type { EmailKind } from '../../domain/words.ts';
import { plain, type Session } from '../connection.ts';
import { listsOf } from './broadcastPreparing.ts';
import { countMatching, readDynamicLists } from './criteria.ts';
import { COVERED_BY_DOMAIN, criteriaSql } from './criteriaSql.ts';
import { readSettings } from './settings.ts';

/** What keeps somebody from being sent to; one person can have several. */
export const BLOCKED_BECAUSE = [
  'opt_out',
  'bounced',
  'complaint',
  'manual',
  'domain',
  'list_opt_out',
] as const;
export type BlockedBecause = (typeof BLOCKED_BECAUSE)[number];

/** What somebody sees before a broadcast starts, as of now. */
export interface BroadcastPreview {
  /** Different people whom it is meant for. */
  readonly recipients: number;
  /** Memberships beyond the first of those who stand in several of its lists. */
  readonly duplicatesRemoved: number;
  /** People who would be refused, each counted once. */
  readonly blocked: number;
  readonly blockedBecause: readonly { readonly because: BlockedBecause; readonly count: number }[];
  /** At which rate it would leave: its limit, or what the last broadcast reached; `null` where neither is known. */
  readonly messagesPerSecond: number | null;
  /** How long it would take at that rate. */
  readonly seconds: number | null;
}

const LAST_RATE = plain(`
  select (select count(*) from send s where s.broadcast_id = b.id and s.attempt_count > 0 and s.outcome is distinct from 'suppressed')
    / nullif(extract(epoch from b.finished_at - b.started_at)::float8 - b.paused_milliseconds / 1000.0, 0) as rate
  from broadcast b where b.state = 'sent' and b.per_minute is null and b.recipients >= 100 order by b.finished_at desc limit 1`);

/** Counts who would get a broadcast if it started now, and who would not, with the reasons. */
export async function previewBroadcast(
  on: Session,
  now: Date,
  broadcast: { readonly audience: Audience; readonly perMinute: number | null },
  kind: EmailKind,
): Promise<BroadcastPreview> {
  const { audience, perMinute } = broadcast;
  const criteria = audienceCriteria(audience);
  const { transactionalPassesOptOut } = await readSettings(on);
  const passes = kind === 'transactional' && transactionalPassesOptOut;
  const { from, where, values } = criteriaSql(
    criteria,
    await readDynamicLists(on, criteria),
    now,
    'everybody',
  );
  // Each by itself: one person can have several.
  const [row] = await on.query<Record<string, number>>(
    plain(`
      with who as materialized (select p.id, p.address_id, p.email_opt_out, p.bounced from ${from} where p.deleted_at is null and ${where}),
      held as (
        select p.id,
          not ${passes} and (p.email_opt_out or exists (select from suppression x where x.address_id = p.address_id and x.list_id is null and x.reason = 'opt_out')) as opt_out,
          p.bounced or exists (select from suppression x where x.address_id = p.address_id and x.list_id is null and x.reason = 'bounced') as bounced,
          exists (select from suppression x where x.address_id = p.address_id and x.list_id is null and x.reason = 'complaint') as complaint,
          exists (select from suppression x where x.address_id = p.address_id and x.list_id is null and x.reason = 'manual') as manual,
          ${COVERED_BY_DOMAIN} as domain
        from who p join address a on a.id = p.address_id
      )
      select count(*)::int as recipients, count(*) filter (where opt_out)::int as opt_out, count(*) filter (where bounced)::int as bounced,
        count(*) filter (where complaint)::int as complaint, count(*) filter (where manual)::int as manual,
        count(*) filter (where domain)::int as domain,
        count(*) filter (where opt_out or bounced or complaint or manual or domain)::int as blocked
      from held`),
    values,
  );
  const ofLists = await blockedByLists(on, now, audience, passes);
  const recipients = row!.recipients!;
  const rate = perMinute === null ? await lastRate(on) : perMinute / 60;
  const blocked = row!.blocked! + ofLists.alone;
  const counts = { ...row, list_opt_out: ofLists.count } as Record<BlockedBecause, number>;
  return {
    recipients,
    duplicatesRemoved: (await memberships(on, now, audience)) - recipients,
    blocked,
    blockedBecause: BLOCKED_BECAUSE.map((because) => ({ because, count: counts[because] })).filter(
      ({ count }) => count > 0,
    ),
    messagesPerSecond: rate,
    seconds: rate === null ? null : Math.ceil((recipients - blocked) / rate),
  };
}

async function lastRate(on: Session): Promise<number | null> {
  const [row] = await on.query<{ rate: number | null }>(LAST_RATE);
  return row?.rate ? Math.round(row.rate * 10) / 10 : null;
}

async function memberships(on: Session, now: Date, audience: Audience): Promise<number> {
  if (!('listIds' in audience)) return countMatching(on, audienceCriteria(audience), now);
  let sum = 0;
  for (const listId of audience.listIds)
    sum += await countMatching(on, audienceOfList(audience, listId), now);
  return sum;
}

/**
 * Who has unsubscribed from every one of the lists that they stand in: they are few, and are looked at one by one.
 *
 * @returns how many, and how many of them nothing else blocks
 */
async function blockedByLists(
  on: Session,
  now: Date,
  audience: Audience,
  passes: boolean,
): Promise<{ count: number; alone: number }> {
  if (!('listIds' in audience) || passes) return { count: 0, alone: 0 };
  const criteria = audienceCriteria(audience);
  const { from, where, values } = criteriaSql(
    criteria,
    await readDynamicLists(on, criteria),
    now,
    'everybody',
    { valuesBefore: 1 },
  );
  const rows = await on.query<{ id: string; otherwise: boolean; lists: string[] }>(
    plain(`
      with who as materialized (select p.id, p.address_id, p.email_opt_out, p.bounced from ${from} where p.deleted_at is null and ${where})
      select p.id, array_agg(l.list_id) as lists, p.email_opt_out or p.bounced or ${COVERED_BY_DOMAIN}
        or exists (select from suppression x where x.address_id = p.address_id and x.list_id is null) as otherwise
      from who p join address a on a.id = p.address_id
      join suppression l on l.address_id = p.address_id and l.list_id = any($1::uuid[])
      group by p.id, p.address_id, p.email_opt_out, p.bounced, a.domain, a.id`),
    [audience.listIds, ...values],
  );
  const chosen = await listsOf(
    on,
    now,
    audience,
    rows.map((row) => row.id),
  );
  const blocked = rows.filter((row) => row.lists.includes(chosen.get(row.id) ?? ''));
  return { count: blocked.length, alone: blocked.filter((row) => !row.otherwise).length };
}
