import type { SalesforceClient } from '../adapters/salesforce/client.ts';
import { SalesforceTrouble } from '../adapters/salesforce/trouble.ts';
import type { Database } from '../db/connection.ts';
import type { AddressHasher } from '../db/queries/addresses.ts';
import {
  goOnWithSalesforce,
  isOurOrg,
  pauseSalesforce,
  readSalesforceConnection,
  salesforceAnswered,
  stopSalesforce,
} from '../db/queries/salesforceConnection.ts';
import { readSalesforceSettings, type SalesforceSettings } from '../db/queries/salesforceSettings.ts';
import type { SyncContext } from '../db/queries/salesforceSync.ts';
import { readSyncRules } from '../db/queries/salesforceWorld.ts';
import { maskAddresses } from '../domain/address.ts';
import { lackingAccess } from '../domain/salesforce/access.ts';
import { passes } from '../domain/salesforce/errorKind.ts';
import { FieldMissing } from '../domain/salesforce/record.ts';
import { SALESFORCE_OBJECTS } from '../domain/salesforce/words.ts';

/** What the sync is made of. */
export interface SalesforceDeps {
  readonly db: Database;
  readonly hasher: AddressHasher;
  readonly client: SalesforceClient;
}

/** What came of work with Salesforce. */
export type Outcome<Result> =
  | { readonly kind: 'done'; readonly result: Result }
  /** Salesforce is to be left alone until then. */
  | { readonly kind: 'paused'; readonly until: Date }
  /** Salesforce denies what is needed. */
  | { readonly kind: 'stopped'; readonly why: string };

/** For so long what was found out about the fields is believed. A field that goes meanwhile fails the query. */
const CHECKED_FOR_MS = 10 * 60_000;

/** Which access was checked when, by what it was checked for. */
const checked = new WeakMap<SalesforceClient, { key: string; at: number }>();

/**
 * Works with Salesforce where it is there and lets Heed do what the sync needs. Fails closed: a field that is hidden or
 * read-only, another org, refused credentials stop the sync with a message, and nothing else of Heed.
 */
export async function withSalesforce<Result>(
  deps: SalesforceDeps,
  now: Date,
  work: (context: SyncContext, settings: SalesforceSettings & { allowedAt: Date | null }) => Promise<Result>,
): Promise<Outcome<Result>> {
  const { db, hasher, client } = deps;
  const { pausedUntil, stopped } = await readSalesforceConnection(db);
  if (pausedUntil !== null && pausedUntil > now) return { kind: 'paused', until: pausedUntil };
  const settings = await readSalesforceSettings(db);
  try {
    const { orgId, userId } = await client.identity();
    if (!(await isOurOrg(db, orgId))) {
      return await stop(
        deps,
        now,
        `HEED_SALESFORCE_LOGIN_URL leads to the org ${orgId}; this account is synced with another one.`,
      );
    }
    const lacking = await lackingFields(client, settings, now);
    if (lacking.length > 0) return await stop(deps, now, lacking.join('\n'));
    if (stopped !== null) await goOnWithSalesforce(db, now);
    const rules = await readSyncRules(db, hasher, settings, userId);
    const result = await work({ db, hasher, settings, rules }, settings);
    await salesforceAnswered(db, now, client.use());
    return { kind: 'done', result };
  } catch (error) {
    return await troubled(deps, now, settings, error);
  }
}

async function troubled(
  deps: SalesforceDeps,
  now: Date,
  settings: SalesforceSettings,
  error: unknown,
): Promise<{ kind: 'paused'; until: Date } | { kind: 'stopped'; why: string }> {
  if (error instanceof FieldMissing) return stop(deps, now, error.message);
  if (!(error instanceof SalesforceTrouble)) throw error;
  if (passes(error.kind)) {
    return { kind: 'paused', until: await pauseSalesforce(deps.db, now, error.kind) };
  }
  // What Salesforce refuses as it is needs a person. It may name a field; describe tells which permission is lacking.
  checked.delete(deps.client);
  const lacking = await lackingFields(deps.client, settings, now).catch(() => []);
  return stop(
    deps,
    now,
    lacking.length > 0 ? lacking.join('\n') : `${error.code}: ${maskAddresses(error.message)}`,
  );
}

async function stop(deps: SalesforceDeps, now: Date, why: string): Promise<{ kind: 'stopped'; why: string }> {
  checked.delete(deps.client);
  await stopSalesforce(deps.db, now, why);
  return { kind: 'stopped', why };
}

async function lackingFields(
  client: SalesforceClient,
  settings: SalesforceSettings,
  now: Date,
): Promise<string[]> {
  const { optOutDirection, mappings, createsLeads } = settings;
  const key = JSON.stringify([optOutDirection, mappings, createsLeads]);
  const last = checked.get(client);
  if (last?.key === key && now.getTime() - last.at < CHECKED_FOR_MS) return [];
  const lacking: string[] = [];
  for (const object of SALESFORCE_OBJECTS) {
    const described = await client.describe(object);
    const creates = createsLeads && object === 'Lead';
    lacking.push(...lackingAccess(object, described, { optOutDirection, mappings, creates }));
  }
  if (lacking.length === 0) checked.set(client, { key, at: now.getTime() });
  return lacking;
}
