/**
 * `npm run bench:salesforce -- [--json] [--records N]`: reconciliations of many linked records with the simulator, which
 * runs in a process of its own. With --json the last line is JSON.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { v7 as uuidv7 } from 'uuid';
import { pushDue } from '../../activities/salesforcePush.ts';
import { reconcile } from '../../activities/salesforceReconcile.ts';
import { createSalesforceClient } from '../../adapters/salesforce/client.ts';
import { plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { addRun, type RunMode, readRun } from '../../db/queries/salesforceRuns.ts';
import { allowSalesforceSync, changeSalesforceSettings } from '../../db/queries/salesforceSettings.ts';
import type { Origin } from '../../domain/words.ts';
import { startBenchEnvironment } from './environment.ts';

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, records: { type: 'string', default: '200000' } },
});
const records = Number(values.records);
const CHANGES = 1_000;
const ORIGIN: Origin = { way: 'api', actor: 'bench', reason: null };
const say = (text: string) => process.stderr.write(`${text}\n`);

/** Time of the sync. It jumps over the minutes in which what was just read is read again. */
let ahead = 0;
const clock = () => new Date(Date.now() + ahead);

async function startSimulator() {
  const program = fileURLToPath(new URL('../salesforce-simulator/main.ts', import.meta.url));
  const child = spawn(process.execPath, [program, '--port', '0', '--records', String(records)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const line = await new Promise<string>((resolve, reject) => {
    createInterface(child.stdout).once('line', resolve);
    child.once('error', reject);
    child.once('exit', () => reject(new Error('the simulator ended')));
  });
  const told = JSON.parse(line) as {
    loginUrl: string;
    clientId: string;
    clientSecret: string;
    control: string;
  };
  return { ...told, stop: () => void child.kill() };
}

let peak = 0;
const sampling = setInterval(() => {
  peak = Math.max(peak, process.memoryUsage().rss);
}, 100);

const environment = await startBenchEnvironment({ temporal: false });
const simulator = await startSimulator();
say(`${records} records are in the simulator`);
try {
  const { db, hasher } = environment;
  const client = createSalesforceClient({
    loginUrl: simulator.loginUrl,
    clientId: simulator.clientId,
    credentials: { flow: 'client_credentials', clientSecret: simulator.clientSecret },
    apiVersion: '62.0',
    reservePercent: 1,
  });
  const deps = { db, hasher, client };
  await db.transaction(async (tx) => {
    await allowSalesforceSync(tx, ORIGIN, clock());
    await changeSalesforceSettings(tx, ORIGIN, clock(), { prospectsFrom: ['Lead', 'Contact'] });
  });

  /** Seconds and requests of some work. */
  const measured = async (what: string, work: () => Promise<unknown>) => {
    const [began, requests] = [performance.now(), client.requests()];
    await work();
    const seconds = Math.round((performance.now() - began) / 10) / 100;
    const result = { seconds, requests: client.requests() - requests };
    say(`${what}: ${seconds} s, ${result.requests} requests`);
    return result;
  };
  const run = async (mode: RunMode) => {
    const id = uuidv7();
    await addRun(db, clock(), id, mode, 'bench');
    const standing = await reconcile(deps, clock, id, async () => {});
    if (standing.kind !== 'over' || standing.state !== 'done') throw new Error(JSON.stringify(standing));
    return (await readRun(db, id))!;
  };

  const first = await measured('first reconciliation, everybody becomes a prospect', () => run('full'));
  await db.query(plain('vacuum analyze'));
  const peakOfFirst = peak;
  peak = 0;
  const full = await measured('full reconciliation, everything in step', () => run('full'));
  const peakOfFull = peak;
  ahead += 10 * 60_000;
  await run('changes');
  const quiet = await measured('changes, where there are none', () => run('changes'));

  const linked = await db.query<{ id: string; object: string; prospect_id: string }>(
    plain('select id, object, prospect_id from salesforce_record order by id limit $1'),
    [2 * CHANGES],
  );
  for (const { id, object } of linked.slice(0, CHANGES)) {
    const command = { do: 'update', object, id, values: { Title: 'Changed', HasOptedOutOfEmail: true } };
    await fetch(simulator.control, { method: 'POST', body: JSON.stringify(command) });
  }
  ahead += 10 * 60_000;
  const changes = await measured(`changes, where there are ${CHANGES}`, () => run('changes'));

  for (const { prospect_id } of linked.slice(CHANGES)) {
    await db.transaction((tx) => setFlags(tx, ORIGIN, clock(), prospect_id, { bounced: true }));
  }
  const push = await measured(`push of ${CHANGES}`, () => pushDue(deps, clock, async () => {}));

  const perSecond = (seconds: number) => Math.round(records / seconds);
  const megabytes = (bytes: number) => Math.round(bytes / 1024 / 1024);
  const figures = {
    records,
    firstSeconds: first.seconds,
    firstRecordsPerSecond: perSecond(first.seconds),
    firstRequests: first.requests,
    firstPeakMegabytes: megabytes(peakOfFirst),
    fullSeconds: full.seconds,
    fullRecordsPerSecond: perSecond(full.seconds),
    fullRequests: full.requests,
    fullPeakMegabytes: megabytes(peakOfFull),
    quietSeconds: quiet.seconds,
    quietRequests: quiet.requests,
    changed: CHANGES,
    changesSeconds: changes.seconds,
    changesRequests: changes.requests,
    pushSeconds: push.seconds,
    pushRequests: push.requests,
  };
  if (values.json) console.log(JSON.stringify(figures));
  else console.table(figures);
} finally {
  clearInterval(sampling);
  simulator.stop();
  await environment.close();
}
