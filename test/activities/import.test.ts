import { spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createImportActivities, type ImportResult, takeInFile } from '../../activities/import.ts';
import { plain } from '../../db/connection.ts';
import { AddressHasher } from '../../db/queries/addresses.ts';
import { createCustomField } from '../../db/queries/customFields.ts';
import {
  abandonUpload,
  appendImportChunk,
  beginImport,
  cancelImport,
  finishUpload,
  type ImportRequest,
  readAbandonedUploads,
  readImport,
  readImportProblems,
  searchImports,
} from '../../db/queries/imports.ts';
import {
  createProspect,
  deleteProspect,
  findProspectByEmail,
  updateProspect,
} from '../../db/queries/prospects.ts';
import { searchDomainSuppressions, searchSuppressions } from '../../db/queries/suppressionSearch.ts';
import { createTestAccount, ORIGIN, parsed, type TestAccount } from '../support/account.ts';

const KEY = randomBytes(32);
let account: TestAccount;
let hasher: AddressHasher;
beforeAll(async () => {
  account = await createTestAccount();
  hasher = new AddressHasher(KEY);
  await createCustomField(account.db, NOW, {
    key: 'tier',
    label: 'Tier',
    type: 'choice',
    choices: ['Gold', 'Silver'],
  });
  await createCustomField(account.db, NOW, { key: 'memo', label: 'Memo', type: 'text', choices: [] });
});
afterAll(() => account.close());

const NOW = new Date('2026-03-02T10:00:00Z');

async function begin(request: Partial<ImportRequest> = {}): Promise<string> {
  return beginImport(account.db, NOW, {
    kind: 'prospects',
    fileName: 'people.csv',
    mapping: {},
    actor: 'test',
    ...request,
  });
}

async function append(importId: string, file: Buffer, pieceBytes = 1_000_000): Promise<void> {
  for (let at = 0; at < file.length; at += pieceBytes) {
    expect(await appendImportChunk(account.db, importId, at, file.subarray(at, at + pieceBytes))).toBe(true);
  }
}

const finish = (importId: string) => account.db.transaction((tx) => finishUpload(tx, NOW, importId));

/** Uploads a file and ends the upload. */
async function upload(file: string | Buffer, request: Partial<ImportRequest> = {}, pieceBytes?: number) {
  const importId = await begin(request);
  await append(importId, Buffer.from(file), pieceBytes);
  expect(await finish(importId)).toEqual({ kind: 'queued' });
  return importId;
}

/** Runs the activity as a worker would. */
function takeIn(importId: string, environment = new MockActivityEnvironment()): Promise<ImportResult> {
  const { takeInFile } = createImportActivities({ db: account.db, hasher });
  return environment.run(takeInFile, { importId, now: NOW.getTime() }) as Promise<ImportResult>;
}

async function importFile(file: string | Buffer, request: Partial<ImportRequest> = {}, pieceBytes?: number) {
  const importId = await upload(file, request, pieceBytes);
  expect(await takeIn(importId)).toEqual({ state: 'done' });
  return (await readImport(account.db, importId))!;
}

const problemsOf = async (importId: string) =>
  (await readImportProblems(account.db, importId, null, 1000)).map(
    ({ line, column, code }) => `${line} ${column}: ${code}`,
  );
const find = (email: string) => findProspectByEmail(account.db, hasher, parsed(email));
const someWord = () => `i${randomUUID().slice(0, 8)}`;

async function create(email: string, input: Partial<Parameters<typeof createProspect>[4]> = {}) {
  const created = await account.db.transaction((tx) =>
    createProspect(tx, hasher, ORIGIN, NOW, { address: parsed(email), ...input }),
  );
  if (created.kind !== 'created') throw new Error(created.kind);
  return created.prospect;
}

describe('an upload', () => {
  it('asks for its workflow in the transaction that ends it, and for nothing before', async () => {
    const importId = await begin();
    await append(importId, Buffer.from('Email,Ort\na@example.com,Bonn\n'), 7);
    const outbox = () =>
      account.db.query(plain('select message from outbox where aggregate = $1'), [`import:${importId}`]);
    expect(await outbox()).toEqual([]);
    expect(await readImport(account.db, importId)).toMatchObject({ state: 'uploading', totalBytes: 29 });
    expect(await finish(importId)).toEqual({ kind: 'queued' });
    expect(await outbox()).toEqual([{ message: { type: 'startImport', importId } }]);
    expect(await readImport(account.db, importId)).toMatchObject({
      state: 'queued',
      mapping: { Email: 'email' },
      cursorBytes: 10,
      cursorLine: 2,
    });
    expect(await finish(importId)).toEqual({ kind: 'not_uploading' });
    expect(await appendImportChunk(account.db, importId, 29, Buffer.from('x'))).toBe(false);
  });

  it('takes each piece once and only in its place', async () => {
    const importId = await begin();
    await append(importId, Buffer.from('Email\n'));
    expect(await appendImportChunk(account.db, importId, 0, Buffer.from('again'))).toBe(false);
    expect(await appendImportChunk(account.db, importId, 7, Buffer.from('gap'))).toBe(false);
    await expect(appendImportChunk(account.db, importId, 6, Buffer.alloc(1024 * 1024 + 1))).rejects.toThrow(
      RangeError,
    );
  });

  it.each([
    ['nothing', Buffer.alloc(0), { kind: 'unreadable', problem: { code: 'empty' } }],
    ['only blank lines', Buffer.from('\r\n\r\n'), { kind: 'unreadable', problem: { code: 'no_header' } }],
    [
      'UTF-16',
      Buffer.from('\uFEFFEmail\na@example.com\n', 'utf16le'),
      { kind: 'unreadable', problem: { code: 'not_utf8', line: 1 } },
    ],
    [
      'Latin-1',
      Buffer.from('Email,Name\na@example.com,Bo\nb@example.com,M\u00fcller\n', 'latin1'),
      { kind: 'unreadable', problem: { code: 'not_utf8', line: 3 } },
    ],
    [
      'no email column',
      Buffer.from('Name\nMüller\n'),
      { kind: 'invalid', problems: [{ code: 'no_address_column' }] },
    ],
  ])('of %s is refused and leaves nothing behind', async (_, file, answer) => {
    const importId = await begin();
    await append(importId, file, 5);
    expect(await finish(importId)).toMatchObject(answer);
    expect(await readImport(account.db, importId)).toBeNull();
    for (const [table, column] of [
      ['import_chunk', 'import_id::text'],
      ['outbox', 'aggregate'],
    ]) {
      const left = await account.db.query(plain(`select 1 from ${table} where ${column} like '%' || $1`), [
        importId,
      ]);
      expect(left).toEqual([]);
    }
  });

  it('that breaks off leaves nothing running and can be swept away', async () => {
    const importId = await begin();
    await append(importId, Buffer.from('Email\na@exa'));
    expect(await readAbandonedUploads(account.db, NOW)).not.toContain(importId);
    expect(await readAbandonedUploads(account.db, new Date(NOW.getTime() + 1))).toContain(importId);
    await account.db.transaction((tx) => abandonUpload(tx, importId));
    expect(await readImport(account.db, importId)).toBeNull();

    const queued = await upload('Email\n');
    await account.db.transaction((tx) => abandonUpload(tx, queued));
    expect(await readImport(account.db, queued)).toMatchObject({ state: 'queued' });
  });
});

describe('importing prospects', () => {
  it('takes the good rows, reports the bad ones by line and column, and keeps the file no longer than needed', async () => {
    const word = someWord();
    const file = [
      '\uFEFFE-Mail;Vorname;Last Name;Tier;Memo;Time zone;Email Opt Out',
      `${word}.1@example.com;Änna;Doe;gold;"two\r\nlines; and ""quotes""";europe/berlin;`,
      `${word}.2@example.com;Bo;Li;Bronze;;;`,
      'nobody;Bo;Li;;;;',
      `${word}.3@example.com;Bo;Li;;;Mars/Olympus;no`,
      '',
      `${word}.4@example.com;x;${'y'.repeat(300)};Tin;;;`,
      `${word}.5@Bücher.example;Cleo;O"Neil;;;;`,
      `${word}.5@Bücher.example;Cleo;O'Neil;;;;`,
    ].join('\r\n');
    const job = await importFile(file, { mapping: { Vorname: 'firstName' } }, 11);
    expect(job).toMatchObject({
      state: 'done',
      rows: 7,
      created: 2,
      updated: 0,
      unchanged: 0,
      rejected: 5,
      optOuts: 0,
      cursorBytes: Buffer.byteLength(file),
      cursorLine: 10,
    });
    expect(await problemsOf(job.id)).toEqual([
      '4 Tier: unknown_choice',
      '5 E-Mail: address_no_at_sign',
      '6 Time zone: unknown_time_zone',
      '8 Last Name: too_long',
      '8 Tier: unknown_choice',
      '9 : misplaced_quote',
    ]);
    expect(await find(`${word}.1@example.com`)).toMatchObject({
      email: `${word}.1@example.com`,
      fields: { firstName: 'Änna', lastName: 'Doe', timeZone: 'Europe/Berlin' },
      custom: { tier: 'Gold', memo: 'two\r\nlines; and "quotes"' },
      emailOptOut: false,
      bounced: false,
      version: 1,
    });
    expect(await find(`${word}.5@bücher.example`)).toMatchObject({ fields: { lastName: "O'Neil" } });
    expect(await find(`${word}.2@example.com`)).toBeNull();
    expect(
      await account.db.query(plain('select 1 from import_chunk where import_id = $1'), [job.id]),
    ).toEqual([]);
    expect(await searchImports(account.db, { state: 'done' }, { limit: 100 })).toContainEqual(job);
  });

  it('pages through the problems', async () => {
    const job = await importFile(`Email,Tier\n${'x,Tin\n'.repeat(3)}`);
    const all = await readImportProblems(account.db, job.id, null, 10);
    expect(all.map(({ line, column }) => [line, column])).toEqual(
      [2, 3, 4].flatMap((line) => [
        [line, 'Email'],
        [line, 'Tier'],
      ]),
    );
    expect(await readImportProblems(account.db, job.id, all[2]!, 2)).toEqual(all.slice(3, 5));
  });

  it('updates those who are there by non-empty cells, and tells in the audit which fields, not what stands in them', async () => {
    const word = someWord();
    const known = await create(`${word}@example.com`, { fields: { firstName: 'Ada', company: 'Old' } });
    const file = `email,first name,company\n${word.toUpperCase()}@example.com,,${word} Ltd\n`;
    expect(await importFile(file)).toMatchObject({ created: 0, updated: 1, unchanged: 0 });
    expect(await find(known.email)).toMatchObject({
      id: known.id,
      email: known.email,
      fields: { firstName: 'Ada', company: `${word} Ltd` },
      version: 2,
    });
    expect(await importFile(file)).toMatchObject({ updated: 0, unchanged: 1 });
    const audit = await account.db.query(
      plain(
        'select action, way, actor, after from audit_entry where prospect_id = $1 order by id desc limit 1',
      ),
      [known.id],
    );
    expect(audit).toEqual([
      { action: 'prospect.updated', way: 'import', actor: 'test', after: { fields: ['company'] } },
    ]);
  });

  it('lets the last row of an address win, cell by cell, wherever the pages end', async () => {
    const word = someWord();
    const filler = Array.from({ length: 700 }, (_, row) => `${word}.${row}@example.com,,`).join('\n');
    const job = await importFile(
      `email,first name,company\n${word}@example.com,Ada,One\n${word.toUpperCase()}@example.com,,Two\n${filler}\n${word}@example.com,Eve,\n${word}@example.com,Eve,Two\n`,
    );
    expect(job).toMatchObject({ rows: 704, created: 701, updated: 2, unchanged: 1, rejected: 0 });
    expect(await find(`${word}@example.com`)).toMatchObject({ fields: { firstName: 'Eve', company: 'Two' } });
  });

  it('I3, I4, I6: sets opt-outs and bounces, never clears one, and writes both down', async () => {
    const word = someWord();
    const [optedOut, bounced] = [
      await create(`${word}.1@example.com`, { emailOptOut: true }),
      await create(`${word}.2@example.com`, { bounced: true }),
    ];
    const file = `Email,Email Opt Out,Bounced\n${word}.1@example.com,no,yes\n${word}.2@example.com,,0\n${word}.3@example.com,x,\n${word}.3@example.com,No,\n`;
    expect(await importFile(file)).toMatchObject({ created: 1, updated: 1, unchanged: 2, optOuts: 1 });
    expect(await find(optedOut.email)).toMatchObject({ emailOptOut: true, bounced: true });
    expect(await find(bounced.email)).toMatchObject({ emailOptOut: false, bounced: true });
    const third = await find(`${word}.3@example.com`);
    expect(third).toMatchObject({ emailOptOut: true, bounced: false });
    const audit = await account.db.query(
      plain(
        `select subject, before, after, way from audit_entry where action = 'flag.changed' and prospect_id = $1`,
      ),
      [third!.id],
    );
    expect(audit).toEqual([{ subject: 'emailOptOut', before: false, after: true, way: 'import' }]);
  });

  it('I4: gives back the opt-out of somebody who was deleted before', async () => {
    const email = `${someWord()}@example.com`;
    const known = await create(email, { emailOptOut: true });
    await account.db.transaction((tx) => deleteProspect(tx, ORIGIN, NOW, known.id, null));
    await importFile(`Email,Opt out\n${email},no\n`);
    expect(await find(email)).toMatchObject({ emailOptOut: true });
  });

  it('I4: keeps the opt-out of a readable address though the rest of its row is bad', async () => {
    const word = someWord();
    const known = await create(`${word}.1@example.com`);
    const file = `Email,Tier,Opt out\n${word}.1@example.com,Tin,yes\n${word}.2@example.com,"open,yes\n${word}.3@example.com,5" pipe,yes\n`;
    expect(await importFile(file)).toMatchObject({ created: 0, updated: 0, rejected: 3, optOuts: 3 });
    expect(await find(known.email)).toMatchObject({ emailOptOut: true });
    for (const email of [`${word}.2@example.com`, `${word}.3@example.com`]) {
      expect(await find(email)).toBeNull();
      expect(await create(email)).toMatchObject({ emailOptOut: true });
    }
  });

  it('I1: ends what waits for an address that it opts out, at once', async () => {
    const known = await create(`${someWord()}@example.com`);
    const send = await account.send({
      id: known.id,
      addressId: known.addressId,
      address: parsed(known.email),
    });
    await importFile(`Email,Opt out\n${known.email},yes\n`);
    const [row] = await account.db.query(plain('select state, outcome from send where id = $1'), [
      send.sendId,
    ]);
    expect(row).toEqual({ state: 'final', outcome: 'suppressed' });
    const outbox = await account.db.query<{ message: { type: string } }>(
      plain('select message from outbox where aggregate = $1 order by id'),
      [`send:${send.sendId}`],
    );
    expect(outbox.map(({ message }) => message.type)).toEqual(['startSend', 'endSend']);
  });

  it('finds somebody who changed the address while the file was waiting', async () => {
    const word = someWord();
    const known = await create(`${word}.old@example.com`);
    const importId = await upload(`Email,Company\n${word}.new@example.com,Example\n`);
    await account.db.transaction((tx) =>
      updateProspect(tx, hasher, ORIGIN, NOW, known.id, null, { address: parsed(`${word}.new@example.com`) }),
    );
    await takeIn(importId);
    expect(await find(`${word}.new@example.com`)).toMatchObject({
      id: known.id,
      fields: { company: 'Example' },
    });
  });

  it('is done at once with a file of nothing but a header', async () => {
    expect(await importFile('Email')).toMatchObject({ state: 'done', rows: 0 });
  });
});

describe('importing suppressions', () => {
  it('takes addresses with their reasons, and domains, and keeps an address of a bad row', async () => {
    const word = someWord();
    const known = await create(`${word}.1@example.com`);
    const file = [
      'email,domain,reason,note',
      `${word}.1@example.com,,Unsubscribed,asked by phone`,
      `${word}.2@example.com,,,`,
      `${word}.2@example.com,,manual,`,
      `,${word}.example,,`,
      `,sub.${word}.example,spam,`,
      ',co.uk,,',
      `${word}.3@example.com,example.com,,`,
      `${word}.4@example.com,,because,`,
      ',,,note only',
    ].join('\n');
    const job = await importFile(file, { kind: 'suppressions' });
    expect(job).toMatchObject({ rows: 9, created: 3, unchanged: 1, rejected: 5, optOuts: 1 });
    expect(await problemsOf(job.id)).toEqual([
      '6 reason: unknown_reason',
      '7 domain: domain_public_suffix',
      '8 domain: address_and_domain',
      '9 reason: unknown_reason',
      '10 email: address_empty',
    ]);
    const entries = await searchSuppressions(account.db, { prefix: word }, { limit: 10 });
    expect(entries.map(({ email, reason, note }) => [email, reason, note]).sort()).toEqual([
      [`${word}.1@example.com`, 'opt_out', 'asked by phone'],
      [`${word}.2@example.com`, 'manual', null],
      [`${word}.3@example.com`, 'manual', null],
      [`${word}.4@example.com`, 'manual', null],
    ]);
    expect(await find(known.email)).toMatchObject({ emailOptOut: true, bounced: false });
    expect(await searchDomainSuppressions(account.db, { prefix: word }, { limit: 10 })).toMatchObject([
      { domain: `${word}.example`, way: 'import', actor: 'test' },
    ]);
    expect(await searchDomainSuppressions(account.db, { prefix: 'example.com' }, { limit: 10 })).toEqual([]);
  });
});

describe('going on with an import', () => {
  const ROWS = 6_000;
  /** Rows of all kinds: new, repeated, bad, opted out, with line breaks and bytes of all lengths. */
  function file(word: string): string {
    const lines = Array.from({ length: ROWS }, (_, row) => {
      if (row % 10 === 3) return `broken-${row},x,,`;
      if (row % 10 === 7) return `${word}.${row - 1}@example.com,"Müller\r\n🦆",again,`;
      return `${word}.${row}@example.com,"a ""b""\nc",x,${row % 10 === 5 ? 'yes' : ''}`;
    });
    return `Email,Memo,Company,Opt out\n${lines.join('\n')}\n`;
  }
  const expected = {
    state: 'done',
    rows: ROWS,
    created: ROWS * 0.8,
    updated: ROWS * 0.1,
    unchanged: 0,
    rejected: ROWS * 0.1,
    optOuts: ROWS * 0.1,
  };

  async function expectWhole(importId: string, word: string): Promise<void> {
    expect(await readImport(account.db, importId)).toMatchObject(expected);
    const [counts] = await account.db.query(
      plain(`
        select count(*)::int as prospects, count(*) filter (where p.email_opt_out)::int as opt_outs,
          count(*) filter (where p.company = 'again')::int as repeated, max(p.version)::int as version
        from prospect p where p.email like $1 || '.%'`),
      [word],
    );
    // A flag of a new prospect is its second version; a row taken twice would have made a third.
    expect(counts).toEqual({
      prospects: expected.created,
      opt_outs: expected.optOuts,
      repeated: expected.updated,
      version: 2,
    });
    const [created] = await account.db.query(
      plain(`
        select count(*)::int as entries from audit_entry e join prospect p on p.id = e.prospect_id
        where e.action = 'prospect.created' and p.email like $1 || '.%'`),
      [word],
    );
    expect(created).toEqual({ entries: expected.created });
    const [problems] = await account.db.query(
      plain('select count(*)::int as problems from import_problem where import_id = $1'),
      [importId],
    );
    expect(problems).toEqual({ problems: expected.rejected });
  }

  it('I7: killed again and again, it repeats no row and loses none', async () => {
    const word = someWord();
    const importId = await upload(file(word));
    const runner = fileURLToPath(new URL('../../tools/bench/importProcess.ts', import.meta.url));
    let kills = 0;
    for (let state = 'queued'; state !== 'done'; ) {
      const before = (await readImport(account.db, importId))!;
      const child = spawn(process.execPath, [runner, importId, account.url, KEY.toString('hex')], {
        stdio: 'ignore',
      });
      const exited = once(child, 'exit');
      // A page or two further on, at whatever line that is.
      for (let now = before; now.state !== 'done' && now.cursorBytes < before.cursorBytes + 40_000; ) {
        await delay(Math.random() * 30);
        now = (await readImport(account.db, importId))!;
      }
      if (child.kill('SIGKILL')) kills += 1;
      await exited;
      ({ state } = (await readImport(account.db, importId))!);
    }
    expect(kills).toBeGreaterThan(2);
    await expectWhole(importId, word);
  });

  it('I7: beside a twin that was taken for dead, it takes every row once', async () => {
    const word = someWord();
    const importId = await upload(file(word));
    const all = await Promise.all([takeIn(importId), takeIn(importId), takeIn(importId)]);
    // Whichever of them is the one that its workflow listens to, it has seen the import to its end.
    expect(all).toEqual([{ state: 'done' }, { state: 'done' }, { state: 'done' }]);
    await expectWhole(importId, word);
  });

  it('stops between pages when it is cancelled, and what was taken in stays', async () => {
    const word = someWord();
    const importId = await upload(file(word));
    const running = takeIn(importId);
    while ((await readImport(account.db, importId))!.rows < 1000) await delay(5);
    expect(await account.db.transaction((tx) => cancelImport(tx, NOW, importId))).toBe('cancelled');
    const { rows } = (await readImport(account.db, importId))!;
    expect(await running).toEqual({ state: 'cancelled' });
    expect(await readImport(account.db, importId)).toMatchObject({ state: 'cancelled', rows, failure: null });
    expect(rows).toBeLessThan(ROWS);
    expect(await find(`${word}.0@example.com`)).not.toBeNull();
    const outbox = await account.db.query<{ message: { type: string } }>(
      plain('select message from outbox where aggregate = $1 order by id'),
      [`import:${importId}`],
    );
    expect(outbox.map(({ message }) => message.type)).toEqual(['startImport', 'endImport']);
    expect(await account.db.transaction((tx) => cancelImport(tx, NOW, importId))).toBe('already_over');
    expect(await account.db.transaction((tx) => cancelImport(tx, NOW, randomUUID()))).toBe('not_found');
    expect(await takeIn(importId)).toEqual({ state: 'cancelled' });
  });

  it('stops where it is cancelled just before it reads on in a file that is gone then', async () => {
    const importId = await upload(file(someWord()), {}, 4_000);
    let pages = 0;
    const betweenPages = async () => {
      pages += 1;
      if (pages === 2) await account.db.transaction((tx) => cancelImport(tx, NOW, importId));
    };
    const input = { importId, now: NOW.getTime() };
    expect(await takeInFile(account.db, hasher, input, betweenPages)).toEqual({ state: 'cancelled' });
  });

  it('stops between pages when its activity is cancelled, to be gone on with', async () => {
    const word = someWord();
    const importId = await upload(file(word));
    const environment = new MockActivityEnvironment();
    const running = takeIn(importId, environment);
    while ((await readImport(account.db, importId))!.rows < 1000) await delay(5);
    environment.cancel('WORKER_SHUTDOWN');
    await expect(running).rejects.toThrow('WORKER_SHUTDOWN');
    expect(await readImport(account.db, importId)).toMatchObject({ state: 'running' });
    expect(await takeIn(importId)).toEqual({ state: 'done' });
    await expectWhole(importId, word);
  });

  it('fails where the database will never take a page, and says so', async () => {
    const importId = await upload(`Email\n${someWord()}@example.com\n`);
    await account.db.query(
      plain('alter table import_job add constraint test_only check (rows < 1) not valid'),
    );
    try {
      expect(await takeIn(importId)).toEqual({ state: 'failed' });
    } finally {
      await account.db.query(plain('alter table import_job drop constraint test_only'));
    }
    expect(await readImport(account.db, importId)).toMatchObject({
      state: 'failed',
      failure: 'database:23514',
      rows: 0,
    });
  });
});
