/**
 * `npm run bench:import -- [--json] [--rows N]`: how many rows of a CSV file a second are taken in, and the memory of the
 * process that does it. With --json the last line is JSON.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { openDatabase } from '../../db/connection.ts';
import { migrate } from '../../db/migrate.ts';
import { AddressHasher } from '../../db/queries/addresses.ts';
import {
  appendImportChunk,
  beginImport,
  finishUpload,
  MAX_CHUNK_BYTES,
  readImport,
} from '../../db/queries/imports.ts';
import { prepareSettings } from '../../db/queries/settings.ts';
import { startPostgres } from '../embedded/postgres.ts';

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, rows: { type: 'string', default: '500000' } },
});
const rows = Number(values.rows);
const say = (text: string) => process.stderr.write(`${text}\n`);

/** A file as a marketing team has it: ordinary fields, quotes here and there, one in a hundred opted out. */
function* lines(): Generator<string> {
  yield '\uFEFFEmail Address,First Name,Last Name,Company,Job Title,Phone,Country,City,Postal Code,Lead Source,Email Opt Out\r\n';
  for (let row = 0; row < rows; row += 1) {
    const company = row % 7 === 0 ? '"Müller, Söhne & Co."' : `Company ${row % 5000}`;
    const optOut = row % 100 === 0 ? 'Yes' : '';
    yield `person.${row}@mail-${row % 1000}.example.com,Given ${row},Family ${row},${company},Head of Things,+49 30 ${row},Germany,Berlin,10${row % 1000},Trade fair,${optOut}\r\n`;
  }
}

function* pieces(): Generator<Buffer> {
  let parts: string[] = [];
  let length = 0;
  for (const line of lines()) {
    parts.push(line);
    length += Buffer.byteLength(line);
    if (length < MAX_CHUNK_BYTES / 2) continue;
    yield Buffer.from(parts.join(''));
    [parts, length] = [[], 0];
  }
  if (length > 0) yield Buffer.from(parts.join(''));
}

const key = randomBytes(32);
const postgres = await startPostgres({
  dir: join(tmpdir(), `heed-bench-import-${randomBytes(6).toString('hex')}`),
  password: 'bench',
  // Every page waits for the disk, as it does in production.
  durability: 'real',
  temporary: true,
  progress: say,
});
try {
  await postgres.ensureDatabase('heed');
  const url = postgres.urlOf('heed');
  await migrate(url);
  const db = openDatabase(url, { max: 5 });
  await prepareSettings(db, new AddressHasher(key), new Date());

  const importId = await beginImport(db, new Date(), {
    kind: 'prospects',
    fileName: 'bench.csv',
    mapping: {},
    actor: 'bench',
  });
  let bytes = 0;
  for (const piece of pieces()) {
    await appendImportChunk(db, importId, bytes, piece);
    bytes += piece.length;
  }
  const finished = await db.transaction((tx) => finishUpload(tx, new Date(), importId));
  if (finished.kind !== 'queued') throw new Error(`the upload was refused: ${finished.kind}`);
  say(`${rows} rows, ${Math.round(bytes / 1024 ** 2)} MB`);

  const { stdout, stderr } = await promisify(execFile)(process.execPath, [
    fileURLToPath(new URL('./importProcess.ts', import.meta.url)),
    importId,
    url,
    key.toString('hex'),
  ]);
  say(stderr.trim());
  const taken = JSON.parse(stdout) as { state: string; seconds: number; peakRssMegabytes: number };
  const result = await readImport(db, importId);
  await db.close();
  if (taken.state !== 'done' || result?.created !== rows) {
    throw new Error(`${taken.state}: ${result?.created} of ${rows} rows`);
  }
  const figures = {
    rows,
    fileMegabytes: Math.round(bytes / 1024 ** 2),
    rowsPerSecond: Math.round(rows / taken.seconds),
    seconds: Math.round(taken.seconds),
    peakRssMegabytes: Math.round(taken.peakRssMegabytes),
  };
  if (values.json) console.log(JSON.stringify(figures));
  else console.table(figures);
} finally {
  await postgres.stop();
}
