/**
 * `npm run demo`: 2,000 people from a CSV file get an email through the mailbox simulator, on a schedule of five days
 * compressed to a minute; some opt out meanwhile. Shows what becomes of everybody, and where to look at it.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { configOrExit, loadEmbeddedConfig } from '../../config/config.ts';
import { HeedClient, type SendRow } from './client.ts';
import { type DemoHeed, startHeed } from './heed.ts';
import { csvOfPeople, EXPECTED } from './people.ts';

const { values } = parseArgs({ options: { exit: { type: 'boolean', default: false } } });
const say = (line = '') => void process.stdout.write(`${line}\n`);

/** Five days, one hour of them in half a second. */
const SCHEDULE = [0, 1, 2, 3, 4, 6, 8, 10, 13, 17, 21, 26, 32, 39, 49, 60];
const OPT_OUTS = 40;
const AT_ONCE = 16;

let heed: DemoHeed | undefined;
let stopping = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (stopping) return;
    stopping = true;
    say('\nStopping');
    void (heed?.stop() ?? Promise.resolve()).then(() => process.exit(0));
  });
}

try {
  await demo();
} catch (error) {
  if (!stopping) {
    say(`The demo failed: ${error instanceof Error ? error.message : error}`);
    await heed?.stop();
    process.exit(1);
  }
}

async function demo(): Promise<void> {
  const { dataDir } = configOrExit(() => loadEmbeddedConfig());
  say('Starting a Heed of the demo’s own');
  heed = await startHeed(join(dataDir, 'demo'), (line) => say(`  ${line}`));
  const client = new HeedClient(heed.api, heed.key);

  await client.call('PATCH', '/settings', { schedule: SCHEDULE });
  const prospects = await importPeople(client);
  const email = await client.call<{ id: string }>('POST', '/emails', {
    name: 'Demo',
    kind: 'marketing',
    subject: 'News for {{ prospect.first_name | default: "you" }}',
    fromName: 'The demo',
    fromAddress: 'news@demo.example',
    html: '<h1>Hello {{ prospect.first_name }}</h1><p>How is everybody at {{ prospect.company }}?</p>',
  });

  say(`\nSending to ${prospects.length} people; their five days of retries are a minute here`);
  const waiting = [...prospects];
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        await client.send(email.id, next.id);
        if (waiting.length % 250 === 0) say(`  ${prospects.length - waiting.length} accepted by the API`);
      }
    }),
  );

  const optedOut = await optSomeOut(client, email.id);
  const sends = await untilFinal(client, email.id);
  report(sends, optedOut, heed);
  if (values.exit || !process.stdin.isTTY) {
    await heed.stop();
    process.exit(0);
  }
  say('\nHeed goes on until Ctrl-C, so that you can look around.');
}

async function importPeople(client: HeedClient): Promise<{ id: string }[]> {
  const csv = csvOfPeople();
  say(`\nImporting ${csv.trimEnd().split('\n').length - 1} people from a CSV file`);
  let job = await client.call<{ id: string; state: string; rows: number; created: number }>(
    'POST',
    '/imports?kind=prospects&fileName=people.csv',
    csv,
  );
  while (job.state !== 'done') {
    if (job.state === 'failed' || job.state === 'cancelled') throw new Error(`the import is ${job.state}`);
    await sleep(500);
    job = await client.call('GET', `/imports/${job.id}`);
    say(`  ${job.rows} rows taken in`);
  }
  return client.all('/prospects');
}

/** Some of those who wait for a retry opt out, as by a person who was asked on the phone. */
async function optSomeOut(client: HeedClient, emailId: string): Promise<Set<string>> {
  const chosen = new Set<string>();
  while (chosen.size < OPT_OUTS) {
    const page = await client.call<{ items: SendRow[] }>(
      'GET',
      `/sends?emailId=${emailId}&state=waiting&limit=200`,
    );
    for (const send of page.items.filter(({ attemptCount }) => attemptCount >= 3)) {
      if (chosen.size >= OPT_OUTS) break;
      await client.call('PATCH', `/prospects/${send.prospectId}/flags`, {
        emailOptOut: true,
        reason: 'asked on the phone',
      });
      chosen.add(send.prospectId);
    }
    await sleep(200);
  }
  say(`  ${chosen.size} of those who waited for a retry have opted out`);
  return chosen;
}

async function untilFinal(client: HeedClient, emailId: string): Promise<SendRow[]> {
  for (;;) {
    const sends = await client.all<SendRow>(`/sends?emailId=${emailId}`);
    const open = sends.filter(({ state }) => state !== 'final');
    const counts = Map.groupBy(sends, ({ state, outcome }) => outcome ?? state);
    say(`  ${[...counts].map(([what, those]) => `${what} ${those.length}`).join(' · ')}`);
    if (open.length === 0) return sends;
    await sleep(2_000);
  }
}

type Fate = keyof typeof EXPECTED;

function fateOf(send: SendRow, optedOut: ReadonlySet<string>): Fate | null {
  switch (send.outcome) {
    case 'delivered':
      return send.attemptCount > 1 ? 'retried' : 'delivered';
    case 'suppressed':
      return optedOut.has(send.prospectId) ? 'stopped' : 'refused';
    case 'bounced':
    case 'exhausted':
    case 'rejected':
    case 'unknown':
      return send.outcome;
    default:
      return null;
  }
}

function report(
  sends: readonly SendRow[],
  optedOut: ReadonlySet<string>,
  { temporalUi, inbox }: DemoHeed,
): void {
  const fates = Map.groupBy(sends, (send) => fateOf(send, optedOut));
  say('\nWhat became of everybody\n');
  for (const fate of Object.keys(EXPECTED) as Fate[]) {
    const those = fates.get(fate) ?? [];
    say(`  ${String(those.length).padStart(5)}  ${EXPECTED[fate]}`);
    if (those[0]?.workflow.url) say(`         one of them: ${those[0].workflow.url}`);
  }
  const others = fates.get(null)?.length ?? 0;
  if (others > 0) say(`  ${String(others).padStart(5)}  something else`);
  say(`\n  Temporal UI      ${temporalUi}`);
  say(`  Simulator inbox  ${inbox}`);
}
