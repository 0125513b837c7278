/**
 * `npm run bench:bulk-updates -- [--json] [--rows N]`: how many rows a second a bulk update changes, of a plain field and
 * of a flag, carried out by a worker as it is run for real; its memory; and how long somebody else waits for a row. With
 * --json the last line is JSON.
 */
import { spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { childEnvironment } from '../../config/config.ts';
import { plain } from '../../db/connection.ts';
import { previewBulkUpdate } from '../../db/queries/bulkUpdateRows.ts';
import { createBulkUpdate, readBulkUpdate } from '../../db/queries/bulkUpdates.ts';
import { lockProspects } from '../../db/queries/locks.ts';
import { startBenchEnvironment } from './environment.ts';

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, rows: { type: 'string', default: '500000' } },
});
const rows = Number(values.rows);
const say = (text: string) => process.stderr.write(`${text}\n`);

const CHUNK = 50_000;
const ADDRESSES = plain(`
  insert into address (id, hash, email, domain, created_at)
  select uuidv7(), sha256(n::text::bytea), 'person.' || n || '@' || d, d, now()
  from generate_series($1::int, $2::int) n cross join lateral (select 'mail-' || n % 5000 || '.example.com' as d) x`);
const PROSPECTS = plain(`
  insert into prospect (id, address_id, email, first_name, last_name, company, title, phone, country, city, postal_code,
    custom, created_at, updated_at)
  select uuidv7(), a.id, a.email, 'Given ' || n, 'Family ' || n, 'Company ' || n % 1000, 'Head of Things', '+49 30 ' || n,
    'Germany', 'City ' || n % 300, lpad((n % 99999)::text, 5, '0'), jsonb_build_object('plan', 'gold', 'score', n % 100),
    now(), now()
  from generate_series($1::int, $2::int) n join address a on a.hash = sha256(n::text::bytea)`);

const environment = await startBenchEnvironment({ temporal: true });
const { db } = environment;
const stopping: (() => Promise<unknown>)[] = [() => environment.close()];
try {
  for (let first = 1; first <= rows; first += CHUNK) {
    const last = Math.min(first + CHUNK - 1, rows);
    await db.query(ADDRESSES, [first, last]);
    await db.query(PROSPECTS, [first, last]);
  }
  // The worker brings an address key of its own; nothing here is found by the hash of an address.
  await db.query(plain('delete from setting'));
  await db.query(plain('vacuum analyze'));
  say(`${rows} prospects`);

  const worker = await startWorker();
  stopping.unshift(worker.stop);
  const idle = worker.peakMegabytes();
  const asked = { criteria: { all: [] }, field: 'emailOptOut', value: true, undoes: null } as const;
  const previewSeconds = await timed(() => previewBulkUpdate(db, asked, new Date()));
  const field = await carryOut('city', 'Bonn', worker);
  const flag = await carryOut('emailOptOut', true, worker);
  await db.query(plain('vacuum'));
  const bareSeconds = await timed(() =>
    db.query(plain('update prospect set email_opt_out = false, version = version + 1, updated_at = $1'), [
      new Date(),
    ]),
  );
  const flagToBare = flag.rowsPerSecond / (rows / bareSeconds);
  const figures = {
    rows,
    fieldRowsPerSecond: field.rowsPerSecond,
    flagRowsPerSecond: flag.rowsPerSecond,
    bareUpdateRowsPerSecond: Math.round(rows / bareSeconds),
    flagToBareUpdate: Number(flagToBare.toFixed(3)),
    previewSeconds: Number(previewSeconds.toFixed(1)),
    decideSeconds: field.decideSeconds,
    longestWaitMilliseconds: Math.max(field.longestWait, flag.longestWait),
    workerIdlePeakRssMegabytes: idle,
    workerPeakRssAfterFieldMegabytes: field.peakMegabytes,
    workerPeakRssMegabytes: flag.peakMegabytes,
  };
  if (values.json) console.log(JSON.stringify(figures));
  else console.table(figures);
} finally {
  for (const stop of stopping) await stop();
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

type BenchWorker = Awaited<ReturnType<typeof startWorker>>;

/** From the commit that asks for it to the commit of its last page, beside somebody who locks a row again and again. */
async function carryOut(field: string, value: string | boolean, worker: BenchWorker) {
  const origin = { way: 'api', actor: 'bench', reason: 'bench' } as const;
  const request = { idempotencyKey: randomUUID(), requestHash: Buffer.from('') };
  const began = Date.now();
  const made = await db.transaction((tx) =>
    createBulkUpdate(tx, origin, new Date(), { criteria: { all: [] }, field, value }, request),
  );
  if (made.kind !== 'created') throw new Error(made.kind);
  const waits = probe();
  for (let shown = 0; ; ) {
    await delay(500);
    const update = (await readBulkUpdate(db, made.id))!;
    if (update.changed - shown >= 100_000) {
      shown = update.changed;
      say(`${field}: ${shown} rows, ${worker.peakMegabytes()} MB`);
    }
    if (update.finishedAt === null) continue;
    if (update.changed !== rows) throw new Error(`${update.state}: ${update.changed} of ${rows} rows`);
    const seconds = (update.finishedAt.getTime() - began) / 1000;
    say(`${field}: ${Math.round(rows / seconds)} rows a second`);
    return {
      rowsPerSecond: Math.round(rows / seconds),
      decideSeconds: (update.decidedAt!.getTime() - began) / 1000,
      longestWait: await waits.stop(),
      peakMegabytes: worker.peakMegabytes(),
    };
  }
}

/** Locks one prospect after the other, as a gate does, and keeps the longest time that it had to wait for one. */
function probe() {
  let going = true;
  let longest = 0;
  const running = (async () => {
    for (let n = 0; going; n += 1) {
      const [row] = await db.query<{ id: string }>(
        plain(
          'select p.id from prospect p join address a on a.id = p.address_id where a.hash = sha256($1::text::bytea)',
        ),
        [String(1 + ((n * 7919) % rows))],
      );
      const seconds = await timed(() => db.transaction((tx) => lockProspects(tx, [row!.id])));
      longest = Math.max(longest, seconds * 1000);
      await delay(5);
    }
  })();
  return {
    async stop(): Promise<number> {
      going = false;
      await running;
      return Math.round(longest);
    },
  };
}

/** A worker as `npm start` runs it. */
async function startWorker() {
  const child = spawn(process.execPath, ['worker/main.ts'], {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    env: childEnvironment({
      HEED_DATABASE_URL: db.pool.options.connectionString!,
      HEED_TEMPORAL_ADDRESS: environment.temporalAddress,
      HEED_TEMPORAL_NAMESPACE: environment.namespace,
      HEED_SMTP_URL: 'smtp://127.0.0.1:1?tls=none',
      HEED_MESSAGE_ID_DOMAIN: 'bench.test',
      HEED_ADDRESS_KEY: randomBytes(32).toString('base64'),
      HEED_TOKEN_KEYS: Buffer.alloc(32, 3).toString('base64'),
      HEED_PUBLIC_URL: 'https://bench.test',
      HEED_LOG_LEVEL: 'warn',
    }),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const lines = createInterface(child.stdout);
  await new Promise<void>((resolve, reject) => {
    lines.on('line', (line) => line.includes('HEED_WORKER_READY') && resolve());
    child.once('exit', (code) => reject(new Error(`the worker ended with ${code}`)));
  });
  return {
    /** The operating system's figure for the whole life of the process (Linux: proc_pid_status(5)). */
    peakMegabytes(): number {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      return Math.round(Number(/^VmHWM:\s+(\d+) kB/m.exec(status)![1]) / 1024);
    },
    async stop(): Promise<void> {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
