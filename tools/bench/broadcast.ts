/**
 * `npm run bench:broadcast -- [--json] [--recipients N] [--processes P] [--connections N] [--sink HOST:PORT]
 * [--dkim rsa|ed25519|none] [--database URL] [--warm-up N]`: how many messages a second a broadcast of about 6 KB each
 * (HTML and text, three merge fields, unsubscribe headers) comes to, every recipient gated and recorded, with durable
 * commits; and, in the same run, the rate of the same client sending ready-made messages without a database. Processes work
 * as lanes of one broadcast, without Temporal between them. With --json the last line is JSON. With --database it makes a
 * database of its own on that server, whose processor time it can tell only where it may read the server's data folder.
 * With --warm-up the same processes first send a broadcast to so many others, which is not counted: as workers do that have
 * run for a while.
 */
import { spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { v7 as uuidv7 } from 'uuid';
import { createCompiledComposer } from '../../adapters/mailer/compiledComposer.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import { createUnsubscribing } from '../../adapters/mailer/unsubscribing.ts';
import { createUnsubscribeTokens } from '../../adapters/tokens/unsubscribeTokens.ts';
import { type Database, plain } from '../../db/connection.ts';
import { prepareRecipients } from '../../db/queries/broadcastPreparing.ts';
import { readBroadcastReport } from '../../db/queries/broadcastReport.ts';
import { changeBroadcast, createBroadcast, nextBroadcastStep } from '../../db/queries/broadcasts.ts';
import type { BroadcastWork } from './broadcastProcess.ts';
import { startBenchEnvironment } from './environment.ts';
import { processorSeconds } from './processorTime.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    recipients: { type: 'string', default: '100000' },
    processes: { type: 'string', default: '1' },
    connections: { type: 'string', default: '10' },
    sink: { type: 'string' },
    dkim: { type: 'string', default: 'none' },
    database: { type: 'string' },
    'warm-up': { type: 'string', default: '0' },
  },
});
const recipients = Number(values.recipients);
const processes = Number(values.processes);
const connections = Number(values.connections);
const warmUp = Number(values['warm-up']);
const dkimKey = keyOf(values.dkim);
const say = (text: string) => process.stderr.write(`${text}\n`);
const LIST = '019a0000-0000-7000-8000-000000000001';
const WARM_UP_LIST = '019a0000-0000-7000-8000-000000000002';
const program = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** About 6 KB with its HTML, text and headers. */
const HTML = `<html><body><h1>Hello {{ prospect.first_name | default: "you" }}</h1>${'<p style="margin:0 0 12px;line-height:1.5">Some news that is worth a paragraph of its own, as newsletters have them.</p>'.repeat(28)}<p>For everybody at {{ prospect.company }} in {{ prospect.city }}</p></body></html>`;
const TEXT = `Hello {{ prospect.first_name | default: "you" }},\n\n${'Some news that is worth a paragraph of its own, as newsletters have them.\n\n'.repeat(28)}For everybody at {{ prospect.company }} in {{ prospect.city }}\n`;

const environment = await startBenchEnvironment({ temporal: false, server: values.database });
const sink = values.sink === undefined ? await startSink() : addressOf(values.sink);
try {
  const { db, url } = environment;
  const emailId = uuidv7();
  await load(db, emailId);
  say(`${recipients} people loaded`);

  const message = await sampleMessage();
  const readyMade = await runAll(url, () => ({
    readyMade: Math.ceil(recipients / processes),
    message: message.toString('latin1'),
  }));
  const readyMadePerSecond = Math.round(recipients / readyMade.seconds);
  say(`ready-made messages without a database: ${readyMadePerSecond} a second`);

  const warmUpId = warmUp === 0 ? null : (await readyBroadcast(db, emailId, WARM_UP_LIST)).broadcastId;
  const { broadcastId, preparing } = await readyBroadcast(db, emailId, LIST);
  say(`recipients written down in ${preparing.toFixed(2)} s`);

  const server = await serverPid(db);
  const secondsOf = (pid: number | null) => (pid === null ? 0 : processorSeconds(pid));
  const usedBefore = { postgres: 0, sink: 0 };
  const sent = await runAll(
    url,
    (lane) => ({ broadcastId, lane, warmUpId }),
    () => Object.assign(usedBefore, { postgres: secondsOf(server), sink: secondsOf(sink.pid) }),
  );
  const microseconds = (seconds: number) => Math.round((seconds * 1_000_000) / recipients);
  const processorMicroseconds = {
    heed: microseconds(sent.processorSeconds),
    postgres: server === null ? null : microseconds(secondsOf(server) - usedBefore.postgres),
    sink: sink.pid === null ? null : microseconds(secondsOf(sink.pid) - usedBefore.sink),
  };
  const report = (await readBroadcastReport(db, broadcastId))!;
  if (report.outcomes.delivered !== recipients) {
    throw new Error(`${report.outcomes.delivered} of ${recipients} were delivered`);
  }
  const [recorded] = await db.query<{ attempts: number; audit: number }>(
    plain(`
      with sent as (select id from send where broadcast_id = $1)
      select (select count(*)::int from sent join attempt a on a.send_id = sent.id and a.outcome = 'delivered') as attempts,
        (select count(*)::int from sent join audit_entry e on e.send_id = sent.id and e.action like 'attempt.%') as audit`),
    [broadcastId],
  );
  const figures = {
    // From the first recipient written down to the last outcome recorded.
    messagesPerSecond: Math.round(recipients / (sent.seconds + preparing)),
    recipients,
    processes,
    warmUp,
    memoryMB: sent.memoryMB,
    gateWindowMsP50: report.gateWindowMs!.p50,
    gateWindowMsP99: report.gateWindowMs!.p99,
    readyMadePerSecond,
    ratioToReadyMade: Number((recipients / (sent.seconds + preparing) / readyMadePerSecond).toFixed(3)),
    processorMicroseconds,
    connections,
    dkim: values.dkim,
    messageBytes: message.length,
    preparingSeconds: Number(preparing.toFixed(2)),
    attemptsRecorded: recorded!.attempts,
    auditEntries: recorded!.audit,
  };
  if (values.json) console.log(JSON.stringify(figures));
  else
    console.table(
      Object.fromEntries(
        Object.entries(figures).map(([name, value]) => [
          name,
          typeof value === 'object' ? JSON.stringify(value) : String(value),
        ]),
      ),
    );
} finally {
  await sink.stop();
  await environment.close();
}

/**
 * Every process at once, told to begin together; the seconds of the slowest, the memory of the largest.
 *
 * @param begin called when all of them are ready
 */
async function runAll(
  url: string,
  taskOf: (lane: number) => BroadcastWork['task'],
  begin: () => void = () => {},
): Promise<{ seconds: number; memoryMB: number; processorSeconds: number }> {
  const children = Array.from({ length: processes }, (_, lane) => {
    const work: BroadcastWork = {
      url,
      host: sink.host,
      port: sink.port,
      connections,
      dkimKey,
      task: taskOf(lane),
    };
    const child = spawn(process.execPath, [program('./broadcastProcess.ts'), JSON.stringify(work)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    return { child, lines };
  });
  await Promise.all(children.map(({ lines }) => lines.next()));
  begin();
  const startedAt = performance.now();
  for (const { child } of children) child.stdin.write('go\n');
  const results = await Promise.all(
    children.map(async ({ lines }) => {
      const { value } = await lines.next();
      if (value === undefined) throw new Error('a process failed');
      return JSON.parse(value) as { seconds: number; memoryMB: number; processorSeconds: number };
    }),
  );
  return {
    seconds: (performance.now() - startedAt) / 1000,
    memoryMB: Math.max(...results.map(({ memoryMB }) => memoryMB)),
    processorSeconds: results.reduce((sum, { processorSeconds: one }) => sum + one, 0),
  };
}

async function load(db: Database, emailId: string): Promise<void> {
  const now = new Date();
  await db.query(
    plain(`with e as (insert into email (id, name, kind, version, created_at, updated_at) values ($1, 'Bench', 'marketing', 1, $2, $2))
           insert into email_version (email_id, version, subject, from_name, from_address, html, text, created_at)
           values ($1, 1, 'News for {{ prospect.first_name }}', 'The team', 'news@example.com', $3, $4, $2)`),
    [emailId, now, HTML, TEXT],
  );
  await loadList(db, LIST, 1, recipients);
  await loadList(db, WARM_UP_LIST, recipients + 1, recipients + warmUp);
  await db.query(plain('vacuum analyze'));
}

/** A list of people by their numbers. */
async function loadList(db: Database, list: string, from: number, to: number): Promise<void> {
  const now = new Date();
  await db.query(plain('insert into list (id, name, created_at) values ($1, $2, $3)'), [list, list, now]);
  for (let first = from; first <= to; first += 50_000) {
    const last = Math.min(first + 49_999, to);
    await db.query(
      plain(`
        with a as (
          insert into address (id, hash, email, domain, created_at)
          select uuidv7(), sha256(n::text::bytea), 'person.' || n || '@mail-' || n % 500 || '.example.net', 'mail-' || n % 500 || '.example.net', $3
          from generate_series($1::int, $2::int) n returning id, email
        ), p as (
          insert into prospect (id, address_id, email, first_name, last_name, company, city, created_at, updated_at)
          select uuidv7(), id, email, 'Given ' || substr(email, 8, 4), 'Family', 'Company & Sons', 'Köln', $3, $3 from a returning id
        )
        insert into list_member (list_id, prospect_id, added_at) select $4, id, $3 from p`),
      [first, last, now, list],
    );
  }
}

/** A broadcast that was started, with its recipients written down; in how many seconds. */
async function readyBroadcast(
  db: Database,
  emailId: string,
  list: string,
): Promise<{ broadcastId: string; preparing: number }> {
  const now = new Date();
  const origin = { way: 'api', actor: 'bench', reason: null } as const;
  const created = await db.transaction((tx) =>
    createBroadcast(tx, now, {
      name: 'Bench',
      emailId,
      audience: { listIds: [list], excludeListIds: [] },
      perMinute: null,
      idempotencyKey: list,
      requestHash: randomBytes(32),
    }),
  );
  if (created.kind !== 'created') throw new Error(created.kind);
  const { broadcastId } = created;
  await db.transaction((tx) => changeBroadcast(tx, origin, now, broadcastId, 'start'));
  const preparedFrom = performance.now();
  await db.transaction((tx) => nextBroadcastStep(tx, new Date(), broadcastId, 1));
  await prepareRecipients(db, () => new Date(), broadcastId);
  return { broadcastId, preparing: (performance.now() - preparedFrom) / 1000 };
}

async function sampleMessage(): Promise<Buffer> {
  const unsubscribing = createUnsubscribing({
    tokens: createUnsubscribeTokens([Buffer.alloc(32, 7)]),
    publicUrl: 'https://bench.test',
    mailbox: null,
    listDomain: 'bench.test',
  });
  const composer = createCompiledComposer(createEmailComposer(unsubscribing), unsubscribing);
  const composed = await composer.compose({
    sendId: uuidv7(),
    kind: 'marketing',
    listId: LIST,
    messageId: `<${uuidv7()}@bench.test>`,
    createdAt: new Date(),
    recipient: 'person.1@example.net',
    email: {
      id: uuidv7(),
      version: 1,
      subject: 'News for {{ prospect.first_name }}',
      fromName: 'The team',
      fromAddress: 'news@example.com',
      replyTo: null,
      html: HTML,
      text: TEXT,
    },
    prospect: { first_name: 'Ada', company: 'Company & Sons', city: 'Köln' },
  });
  if (!composed.ok) throw new Error(composed.problem);
  return Buffer.from(composed.message.content);
}

interface Sink {
  readonly host: string;
  readonly port: number;
  readonly pid: number | null;
  stop(): Promise<void>;
}

async function startSink(): Promise<Sink> {
  const child = spawn(process.execPath, [program('./sinkProcess.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  return {
    host: '127.0.0.1',
    port: Number(line),
    pid: child.pid!,
    async stop() {
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** The server's own process, whose children do its work; `null` where it runs elsewhere or does not say. */
async function serverPid(db: Database): Promise<number | null> {
  const [row] = await db.query<{ file: string }>(
    plain(`select setting || '/postmaster.pid' as file from pg_settings where name = 'data_directory'`),
  );
  if (row === undefined || !existsSync(row.file)) return null;
  return Number(readFileSync(row.file, 'utf8').split('\n', 1)[0]);
}

function addressOf(text: string): Sink {
  const { hostname, port } = new URL(`smtp://${text}`);
  return { host: hostname, port: Number(port || 25), pid: null, stop: async () => {} };
}

function keyOf(kind: string | undefined): string {
  if (kind === 'none') return '';
  const pem = { type: 'pkcs8', format: 'pem' } as const;
  if (kind === 'rsa')
    return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export(pem) as string;
  if (kind === 'ed25519') return generateKeyPairSync('ed25519').privateKey.export(pem) as string;
  throw new Error('--dkim is rsa, ed25519 or none');
}
