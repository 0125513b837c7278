/**
 * Takes one import in, in a process of its own, and prints what that took as JSON:
 * `importProcess.ts <import id> <database> <address key in hexadecimal digits>`.
 */
import { takeInFile } from '../../activities/import.ts';
import { openDatabase } from '../../db/connection.ts';
import { AddressHasher } from '../../db/queries/addresses.ts';

const [importId, url, key] = process.argv.slice(2) as [string, string, string];
const db = openDatabase(url, { max: 5 });
const started = performance.now();
let pages = 0;
const { state } = await takeInFile(
  db,
  new AddressHasher(Buffer.from(key, 'hex')),
  { importId, now: Date.now() },
  async () => {
    pages += 1;
    if (pages % 100 === 0) {
      process.stderr.write(`${pages} pages, ${Math.round(process.memoryUsage().rss / 1024 ** 2)} MB\n`);
    }
  },
);
const seconds = (performance.now() - started) / 1000;
await db.close();
// The operating system's figure for the whole life of the process, in KiB.
console.log(JSON.stringify({ state, seconds, peakRssMegabytes: process.resourceUsage().maxRSS / 1024 }));
