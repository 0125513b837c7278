import { DEFAULT_MAPPINGS, type FieldMapping } from '../../domain/salesforce/mapping.ts';
import type { SalesforceObject, SyncDirection } from '../../domain/salesforce/words.ts';
import type { Origin } from '../../domain/words.ts';
import { plain, type Session, type Transaction } from '../connection.ts';
import { addAuditEntries } from './audit.ts';

/** How the account syncs with Salesforce. */
export interface SalesforceSettings {
  readonly optOutDirection: SyncDirection;
  /** Whether a No from Salesforce takes back an opt-out that the person gave by link or mail. */
  readonly mayTakeBack: boolean;
  /** Objects whose records become prospects where nobody has their address yet. */
  readonly prospectsFrom: readonly SalesforceObject[];
  /** Whether prospects without a record become leads. */
  readonly createsLeads: boolean;
  readonly mappings: readonly FieldMapping[];
}

const CREATE = plain(
  'insert into salesforce_setting (id, mappings, updated_at) values (1, $1, $2) on conflict (id) do nothing',
);
const READ = plain(`
  select opt_out_direction as "optOutDirection", may_take_back as "mayTakeBack", prospects_from as "prospectsFrom",
    creates_leads as "createsLeads", mappings, allowed_at as "allowedAt" from salesforce_setting`);
const LOCK = plain('select 1 from salesforce_setting for no key update');
const UPDATE = plain(`
  update salesforce_setting set opt_out_direction = $1, may_take_back = $2, prospects_from = $3, creates_leads = $4,
    mappings = $5, updated_at = $6`);
const ALLOW = plain('update salesforce_setting set allowed_at = $1 where allowed_at is null returning 1');

/** The settings, with the defaults of a new account, and when a first full reconciliation was allowed. */
export async function readSalesforceSettings(
  on: Session,
): Promise<SalesforceSettings & { readonly allowedAt: Date | null }> {
  const [row] = await on.query<SalesforceSettings & { allowedAt: Date | null } & Record<string, unknown>>(
    READ,
  );
  return row ?? { ...DEFAULTS, allowedAt: null };
}

const DEFAULTS: SalesforceSettings = {
  optOutDirection: 'both',
  mayTakeBack: false,
  prospectsFrom: [],
  createsLeads: false,
  mappings: DEFAULT_MAPPINGS,
};

async function lock(tx: Transaction, now: Date): Promise<void> {
  await tx.query(CREATE, [JSON.stringify(DEFAULT_MAPPINGS), now]);
  await tx.query(LOCK);
}

/** Changes how the account syncs; what was synced before stays as it is until it changes. */
export async function changeSalesforceSettings(
  tx: Transaction,
  origin: Origin,
  now: Date,
  change: Partial<SalesforceSettings>,
): Promise<SalesforceSettings> {
  await lock(tx, now);
  const { allowedAt: _, ...before } = await readSalesforceSettings(tx);
  const after = { ...before, ...change };
  await tx.query(UPDATE, [
    after.optOutDirection,
    after.mayTakeBack,
    after.prospectsFrom,
    after.createsLeads,
    JSON.stringify(after.mappings),
    now,
  ]);
  await addAuditEntries(tx, origin, now, [
    { action: 'setting.changed', subject: 'salesforce', before, after },
  ]);
  return after;
}

/**
 * Allows the sync to change both sides from now on.
 *
 * @returns false where it was allowed before
 */
export async function allowSalesforceSync(tx: Transaction, origin: Origin, now: Date): Promise<boolean> {
  await lock(tx, now);
  if ((await tx.query(ALLOW, [now])).length === 0) return false;
  await addAuditEntries(tx, origin, now, [
    { action: 'setting.changed', subject: 'salesforce', after: { allowed: true } },
  ]);
  return true;
}
