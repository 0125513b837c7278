import { Client } from '@temporalio/client';
import { plain } from '../../db/connection.ts';
import { changeSettings, type Settings } from '../../db/queries/settings.ts';
import { enrollmentId as workflowIdOf } from '../../domain/processes.ts';
import { startRelay } from '../../worker/relay.ts';
import { createTestAccount, ORIGIN, type TestAccount, type TestProspect } from './account.ts';
import { addressBegins, enrollmentsOf, newAutomation, shownSteps, transition } from './automating.ts';
import { readNothing } from './inbound.ts';
import { type Sending, startSending } from './sending.ts';
import { silent } from './silent.ts';
import { startTimeSkipping } from './timeSkipping.ts';
import { until } from './until.ts';

export const DAY = 24 * 3600;

/** Somebody of whom nobody else's criteria speak. */
export interface Somebody {
  readonly prospect: TestProspect;
  readonly address: string;
  /** Criteria that hold for this prospect alone. */
  readonly who: object;
}

/** Automations as they run, on a server whose time skips: worker, relay and a mail server of one's own. */
export interface AutomationWorld {
  readonly account: TestAccount;
  readonly sending: Sending;
  /** The server's time, which is ahead of the machine's. */
  now(): Promise<Date>;
  /** Lets so many seconds pass. */
  pass(seconds: number): Promise<void>;
  somebody(fields?: { timeZone?: string; country?: string }): Promise<Somebody>;
  /** Activates an automation and waits until the one who matches has entered. */
  enter(
    steps: readonly object[],
    options: { who: object; when?: object },
  ): Promise<{ automationId: string; enrollmentId: string }>;
  /** Waits until the step is shown so. */
  shows(enrollmentId: string, step: string): Promise<unknown>;
  /** Waits, however long it takes there, until the enrollment is over. */
  result(enrollmentId: string, run?: number): Promise<unknown>;
  setting(change: Partial<Settings>): Promise<void>;
  prospectRow(id: string): Promise<Record<string, unknown>>;
  client: Client;
  close(): Promise<void>;
}

export async function startAutomationWorld(): Promise<AutomationWorld> {
  const account = await createTestAccount({ poolSize: 20 });
  const environment = await startTimeSkipping();
  // Unlike the environment's own, it lets no time skip while it waits for a result: what waits for the relay, which
  // works by the machine's clock, would be outrun by the times out of everything else.
  const client = new Client({ connection: environment.connection });
  const sending = await startSending(account, environment);
  const relay = startRelay({
    db: account.db,
    processes: sending.processes,
    readInbound: readNothing,
    log: silent,
  });
  const now = async () => new Date(await environment.currentTimeMs());
  let counter = 0;

  return {
    account,
    sending,
    client,
    now,
    pass: (seconds) => environment.sleep(seconds * 1000),
    async somebody({ timeZone, country } = {}) {
      counter += 1;
      const address = `way${counter}.person@example.net`;
      const prospect = await account.prospect(address);
      await account.db.query(plain('update prospect set time_zone = $2, country = $3 where id = $1'), [
        prospect.id,
        timeZone ?? null,
        country ?? null,
      ]);
      return { prospect, address, who: addressBegins(`way${counter}.`) };
    },
    async enter(steps, options) {
      const automationId = await newAutomation(account, steps, options);
      await transition(account, automationId, 'activate', await now());
      const [enrollment] = await until('somebody has entered', async () => {
        const entered = await enrollmentsOf(account, automationId);
        return entered.length > 0 && entered;
      });
      return { automationId, enrollmentId: enrollment!.id };
    },
    shows: (enrollmentId, step) =>
      until(`${step} is shown`, async () => (await shownSteps(account, enrollmentId)).includes(step)),
    async result(enrollmentId, run = 1) {
      const handle = client.workflow.getHandle(workflowIdOf(enrollmentId, run));
      await until(`${enrollmentId} is over`, async () => {
        const [row] = await account.db.query<{ over: boolean; until: Date | null }>(
          plain(`select e.finished_at is not null as over, s.waiting_until as until from enrollment e
             left join enrollment_step s on s.enrollment_id = e.id and s.state = 'waiting' where e.id = $1`),
          [enrollmentId],
        );
        if (row!.over) return (await handle.describe()).status.name !== 'RUNNING';
        const rest = row!.until === null ? 0 : row!.until.getTime() - (await environment.currentTimeMs());
        if (rest > 0) await environment.sleep(rest);
        return false;
      });
      return handle.result();
    },
    async setting(change) {
      const at = await now();
      await account.db.transaction((tx) => changeSettings(tx, ORIGIN, at, change));
    },
    async prospectRow(id) {
      const [row] = await account.db.query(plain('select * from prospect where id = $1'), [id]);
      return row!;
    },
    async close() {
      await relay.stop();
      await sending.close();
      await environment.teardown();
      await account.close();
    },
  };
}
