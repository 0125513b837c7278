import { timingSafeEqual } from 'node:crypto';
import type { MarketingLimits } from '../../domain/automation/holding.ts';
import { DEFAULT_OFFSETS_SECONDS } from '../../domain/retrySchedule.ts';
import type { OneClickScope, Origin } from '../../domain/words.ts';
import { type Database, plain, type Session, type Transaction } from '../connection.ts';
import type { AddressHasher } from './addresses.ts';
import { addAuditEntries } from './audit.ts';
import { lockAllGates } from './locks.ts';
import { addToOutbox } from './outbox.ts';

/** The account's settings. */
export interface Settings extends MarketingLimits {
  /** Offsets of the attempts from the first one, in seconds; a send keeps those that held when it was made. */
  readonly scheduleSeconds: readonly number[];
  /** Consecutive exhausted sends that set Bounced; 0 = never (I5). */
  readonly softBounceLimit: number;
  /** Whether transactional mail passes an opt-out. Nothing else can be passed. */
  readonly transactionalPassesOptOut: boolean;
  /** Whether a complaint sets Email Opt Out beside its own reason, so that Salesforce and people see it too. */
  readonly complaintSetsOptOut: boolean;
  /** What one-click and unsubscribing by mail are from; mail that was sent to no list is always from everything. */
  readonly oneClickScope: OneClickScope;
  /** Whether `marketingPaused` goes on by itself when an alert about a rate is raised. A person turns it off. */
  readonly pauseMarketingOnAlert: boolean;
}

const KEY_CHECK_TEXT = 'heed address key check';

const READ = plain(
  'select schedule_seconds, soft_bounce_limit, transactional_passes_opt_out, complaint_sets_opt_out, one_click_scope, marketing_paused, frequency_cap, quiet_hours, pause_marketing_on_alert from setting',
);
const CREATE = plain(`
  insert into setting (id, schedule_seconds, soft_bounce_limit, transactional_passes_opt_out, address_key_check, updated_at)
  values (1, $1, 5, false, $2, $3) on conflict (id) do nothing`);
const LOCK = plain('select 1 from setting for no key update');
const LOCK_SHARED = plain('select 1 from setting for share');
const READ_KEY_CHECK = plain('select address_key_check from setting');
const UPDATE = plain(`
  update setting set schedule_seconds = $1, soft_bounce_limit = $2, transactional_passes_opt_out = $3, complaint_sets_opt_out = $4,
    one_click_scope = $5, updated_at = $6, marketing_paused = $7, frequency_cap = $8, quiet_hours = $9,
    pause_marketing_on_alert = $10`);

/**
 * Makes the settings with their defaults where there are none yet.
 *
 * @throws where the database was made with another address key: suppressed addresses would not be recognised
 */
export async function prepareSettings(db: Database, hasher: AddressHasher, now: Date): Promise<void> {
  const check = hasher.hash(KEY_CHECK_TEXT);
  await db.query(CREATE, [JSON.stringify(DEFAULT_OFFSETS_SECONDS), check, now]);
  const [row] = await db.query<{ address_key_check: Buffer }>(READ_KEY_CHECK);
  if (row === undefined || !timingSafeEqual(row.address_key_check, check)) {
    throw new Error(
      'HEED_ADDRESS_KEY is not the key that this database was made with; with another key no suppressed address would be recognised. Set the old key.',
    );
  }
}

export async function readSettings(on: Session): Promise<Settings> {
  const [row] = await on.query<{
    schedule_seconds: number[];
    soft_bounce_limit: number;
    transactional_passes_opt_out: boolean;
    complaint_sets_opt_out: boolean;
    one_click_scope: OneClickScope;
    marketing_paused: boolean;
    frequency_cap: MarketingLimits['frequencyCap'];
    quiet_hours: MarketingLimits['quietHours'];
    pause_marketing_on_alert: boolean;
  }>(READ);
  if (row === undefined) throw new Error('the account has no settings yet; they are made when Heed starts');
  return {
    scheduleSeconds: row.schedule_seconds,
    softBounceLimit: row.soft_bounce_limit,
    transactionalPassesOptOut: row.transactional_passes_opt_out,
    complaintSetsOptOut: row.complaint_sets_opt_out,
    oneClickScope: row.one_click_scope,
    marketingPaused: row.marketing_paused,
    frequencyCap: row.frequency_cap,
    quietHours: row.quiet_hours,
    pauseMarketingOnAlert: row.pause_marketing_on_alert,
  };
}

/**
 * The settings as they stay until this transaction is over: who waits because of them is found by the next change of them.
 * After prospects.
 */
export async function holdSettings(tx: Transaction): Promise<Settings> {
  await tx.query(LOCK_SHARED);
  return readSettings(tx);
}

/** Changes settings; sends that were made before keep their schedule. */
export async function changeSettings(
  tx: Transaction,
  origin: Origin,
  now: Date,
  change: Partial<Settings>,
): Promise<Settings> {
  // Ordered against every gate, as a suppression is: none opens once the switch is committed, and none holds a send back
  // that would then miss its being taken back. Before the row, for which an enrollment may wait that a gate waits for.
  if (change.marketingPaused !== undefined) await lockAllGates(tx);
  await tx.query(LOCK);
  const before = await readSettings(tx);
  const after = { ...before, ...change };
  await tx.query(UPDATE, [
    JSON.stringify(after.scheduleSeconds),
    after.softBounceLimit,
    after.transactionalPassesOptOut,
    after.complaintSetsOptOut,
    after.oneClickScope,
    now,
    after.marketingPaused,
    toJson(after.frequencyCap),
    toJson(after.quietHours),
    after.pauseMarketingOnAlert,
  ]);
  // Who is held back looks again, and may wait for something else then; nobody waits for a switch that is being set.
  const otherwise =
    toJson(before.frequencyCap) !== toJson(after.frequencyCap) ||
    toJson(before.quietHours) !== toJson(after.quietHours);
  if (otherwise || (before.marketingPaused && !after.marketingPaused)) {
    await addToOutbox(tx, now, [{ aggregate: 'setting', message: { type: 'wakeHeldBack' } }]);
  }
  await addAuditEntries(tx, origin, now, [{ action: 'setting.changed', before, after }]);
  return after;
}

function toJson(value: object | null): string | null {
  return value === null ? null : JSON.stringify(value);
}
