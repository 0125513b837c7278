import {
  describeRate,
  isOverLimit,
  RATE_ALERTS,
  RATE_WINDOW_MS,
  type RateAlert,
  type RateSample,
  REFUSED_AT_DOMAIN,
  refusedAtKey,
} from '../../domain/alerting.ts';
import { type Database, plain, type Session, type Transaction } from '../connection.ts';
import { clearAlert, raiseAlert } from './alerts.ts';
import { HEED } from './gate.ts';
import { changeSettings, readSettings } from './settings.ts';

/** Attempts are counted by when they began, which the table is in the order of; a test send counts for nothing. */
const COUNT = plain(`
  with attempts as (
    select count(*) filter (where a.outcome in ('delivered', 'hard_bounce', 'soft_bounce', 'rejected')) as judged,
      count(*) filter (where a.outcome = 'delivered') as delivered,
      count(*) filter (where a.outcome = 'hard_bounce') as dead,
      count(*) filter (where a.fault_ours and a.category in ('reputation', 'authentication')) as refused
    from attempt a join send s on s.id = a.send_id
    where a.gated_at >= $1 and a.state = 'finished' and not s.test
  ), events as (
    select count(distinct e.send_id) filter (where e.kind = 'complaint') as complaints,
      count(distinct e.send_id) filter (where e.kind = 'hard_bounce') as dead,
      count(distinct e.send_id) filter (where e.fault_ours and e.category in ('reputation', 'authentication')) as refused
    from delivery_event e join send s on s.id = e.send_id
    where e.at >= $1 and not s.test
  )
  select judged, delivered, complaints, attempts.dead + events.dead as dead, attempts.refused + events.refused as refused
  from attempts cross join events`);

/** Recipient domains that refused us, those that did it most often first. */
const COUNT_REFUSED = plain(`
  with judged as (
    select s.recipient_domain as domain, 1 as sample,
      case when a.fault_ours and a.category in ('reputation', 'authentication') then 1 else 0 end as refused
    from attempt a join send s on s.id = a.send_id
    where a.gated_at >= $1 and a.state = 'finished' and not s.test
      and a.outcome in ('delivered', 'hard_bounce', 'soft_bounce', 'rejected')
    union all
    select s.recipient_domain, 0, 1 from (
      select distinct e.send_id from delivery_event e
      where e.at >= $1 and e.fault_ours and e.category in ('reputation', 'authentication')
    ) e join send s on s.id = e.send_id
    where not s.test
  )
  select domain, sum(sample)::int as samples, sum(refused)::int as hits from judged group by domain
  having sum(refused) > 0 order by hits desc, domain limit $2`);
/** More of them are one trouble, which the share of all tells. */
const MOST_DOMAINS = 20;
const OPEN_OF_KIND = plain('select key from alert where kind = $1 and cleared_at is null');

/** What happened within the window that ends now. */
export async function readRates(on: Session, now: Date): Promise<Record<RateAlert, RateSample>> {
  const [row] = await on.query<Record<'judged' | 'delivered' | 'complaints' | 'dead' | 'refused', string>>(
    COUNT,
    [new Date(now.getTime() - RATE_WINDOW_MS)],
  );
  const { judged, delivered, complaints, dead, refused } = row!;
  return {
    complaint_rate: { hits: Number(complaints), samples: Number(delivered) },
    hard_bounce_rate: { hits: Number(dead), samples: Number(judged) },
    own_address_refused: { hits: Number(refused), samples: Number(judged) },
  };
}

/**
 * Raises the alerts whose share is over its limit, and clears the others. A new one pauses marketing where the account
 * wants that; whoever ends the pause while the alert still stands is not overruled.
 *
 * @returns those that stand
 */
export async function judgeRates(db: Database, now: Date): Promise<RateAlert[]> {
  const rates = await readRates(db, now);
  return db.transaction(async (tx) => {
    const standing: RateAlert[] = [];
    for (const kind of Object.keys(RATE_ALERTS) as RateAlert[]) {
      if (isOverLimit(rates[kind], RATE_ALERTS[kind])) {
        standing.push(kind);
        const isNew = await raiseAlert(tx, now, { key: kind, kind, detail: describeRate(rates[kind]) });
        if (isNew) await pauseMarketing(tx, now, kind);
      } else {
        await clearAlert(tx, now, kind);
      }
    }
    await judgeDomains(tx, now);
    return standing;
  });
}

/** Each domain that refuses us has an alert of its own: it may be the only one that knows of a listing. */
async function judgeDomains(tx: Transaction, now: Date): Promise<void> {
  const since = new Date(now.getTime() - RATE_WINDOW_MS);
  const [refused, open] = await Promise.all([
    tx.query<{ domain: string; hits: number; samples: number }>(COUNT_REFUSED, [since, MOST_DOMAINS]),
    tx.query<{ key: string }>(OPEN_OF_KIND, ['own_address_refused']),
  ]);
  const standing = refused.filter((sample) => isOverLimit(sample, REFUSED_AT_DOMAIN));
  const keys = new Set(standing.map(({ domain }) => refusedAtKey(domain)));
  for (const { domain, ...sample } of standing) {
    await raiseAlert(tx, now, {
      key: refusedAtKey(domain),
      kind: 'own_address_refused',
      detail: `at ${domain}: ${describeRate(sample)}`,
    });
  }
  for (const { key } of open) {
    if (key.startsWith(refusedAtKey('')) && !keys.has(key)) await clearAlert(tx, now, key);
  }
}

async function pauseMarketing(tx: Transaction, now: Date, because: RateAlert): Promise<void> {
  const { pauseMarketingOnAlert, marketingPaused } = await readSettings(tx);
  if (!pauseMarketingOnAlert || marketingPaused) return;
  await changeSettings(tx, { ...HEED, reason: because }, now, { marketingPaused: true });
}
