import { v7 as uuidv7 } from 'uuid';
import type { SalesforceDeps } from '../../activities/salesforceAccess.ts';
import { pushDue } from '../../activities/salesforcePush.ts';
import { type RunStanding, reconcile } from '../../activities/salesforceReconcile.ts';
import { createSalesforceClient, type SalesforceClient } from '../../adapters/salesforce/client.ts';
import { plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { addRun, type RunMode, readRun, type SalesforceRun } from '../../db/queries/salesforceRuns.ts';
import { allowSalesforceSync } from '../../db/queries/salesforceSettings.ts';
import type { Origin } from '../../domain/words.ts';
import type { ObjectName } from '../../tools/salesforce-simulator/fields.ts';
import type { RecordValues } from '../../tools/salesforce-simulator/org.ts';
import {
  type SalesforceSimulator,
  SIMULATED_APP,
  startSalesforceSimulator,
} from '../../tools/salesforce-simulator/simulator.ts';
import { ORIGIN, type TestAccount } from './account.ts';

/** A client of a simulator, through the real jsforce. */
export function clientOf(simulator: SalesforceSimulator, now: () => number = Date.now): SalesforceClient {
  const settings = {
    loginUrl: simulator.url,
    clientId: SIMULATED_APP.clientId,
    credentials: { flow: 'client_credentials', clientSecret: SIMULATED_APP.clientSecret },
    apiVersion: '62.0',
    reservePercent: 20,
  } as const;
  return createSalesforceClient(settings, now);
}

/** An account that syncs with a simulator, without Temporal in between. */
export interface SyncedAccount {
  readonly simulator: SalesforceSimulator;
  readonly deps: SalesforceDeps;
  /** Time that the sync believes it is, ahead of the real one. Milliseconds. */
  ahead: number;
  /** @param id of a run to go on with; a new one where it is left out */
  run(mode: RunMode, id?: string): Promise<{ standing: RunStanding; run: SalesforceRun }>;
  push(): Promise<Date | null>;
  /** Changes and pushes until nothing waits. */
  settle(): Promise<void>;
  /** A new record with an address of its own, unless values say otherwise. */
  record(object: ObjectName, email: string, values?: RecordValues): string;
  flag(
    prospectId: string,
    change: { emailOptOut?: boolean; bounced?: boolean },
    origin?: Origin,
  ): Promise<void>;
  flagsOf(prospectId: string): Promise<{ emailOptOut: boolean; bounced: boolean }>;
  close(): Promise<void>;
}

export async function startSynced(account: TestAccount): Promise<SyncedAccount> {
  const simulator = await startSalesforceSimulator();
  const { db, hasher } = account;
  const deps = { db, hasher, client: clientOf(simulator, () => Date.now() + synced.ahead) };
  await db.transaction((tx) => allowSalesforceSync(tx, ORIGIN, new Date()));
  const clock = () => new Date(Date.now() + synced.ahead);
  const synced: SyncedAccount = {
    simulator,
    deps,
    ahead: 0,
    async run(mode, id = uuidv7()) {
      await addRun(db, clock(), id, mode, 'test');
      const standing = await reconcile(deps, clock, id, async () => {});
      return { standing, run: (await readRun(db, id))! };
    },
    push: () => pushDue(deps, clock, async () => {}),
    async settle() {
      for (let tries = 0; tries < 20; tries += 1) {
        const { run } = await synced.run('changes');
        if (run.state !== 'done') throw new Error(`changes were not read: ${run.state}`);
        await synced.push();
        const [queued] = await db.query<{ count: number }>(
          plain('select count(*)::int as count from salesforce_push where due_at <= $1'),
          [clock()],
        );
        if (queued!.count === 0) return;
      }
      throw new Error('it does not settle');
    },
    record: (object, email, values = {}) =>
      simulator.org.create(object, {
        LastName: 'Lovelace',
        Email: email,
        ...(object === 'Lead' ? { Company: 'Example' } : {}),
        ...values,
      }),
    async flag(prospectId, change, origin = ORIGIN) {
      await db.transaction((tx) => setFlags(tx, origin, clock(), prospectId, change));
    },
    async flagsOf(prospectId) {
      const [row] = await db.query<{ emailOptOut: boolean; bounced: boolean }>(
        plain('select email_opt_out as "emailOptOut", bounced from prospect where id = $1'),
        [prospectId],
      );
      return row!;
    },
    close: () => simulator.close(),
  };
  return synced;
}
