import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { childEnvironment, loadEmbeddedConfig } from '../../config/config.ts';
import { freePort } from '../../tools/embedded/service.ts';
import { selfSignedCertificate } from './selfSignedCertificate.ts';
import { until } from './until.ts';

const VERSION = '3.3.4';
const INSTALL = ['--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];

/** A running Haraka (https://haraka.github.io), a mail server written by others that delivers on and reports failures. */
export interface Haraka {
  readonly port: number;
  /** What it has written to its log. */
  log(): string;
  stop(): Promise<void>;
}

/**
 * How a domain's mail is passed on, and what the local part of a recipient is answered with: `nobody…` is refused,
 * `later…` is put off once, `once…` is taken once and put off from then on.
 */
const PLUGIN = `
const DSN = require('haraka-dsn');
const tries = new Map();
exports.register = function () {
  this.ports = this.config.get('ports.json');
  this.me = this.config.get('me');
  this.register_hook('rcpt', 'take');
  this.register_hook('get_mx', 'route');
};
exports.take = (next, connection, [recipient]) => {
  const { user } = recipient;
  const nth = (tries.get(user) ?? 0) + 1;
  tries.set(user, nth);
  if (user.startsWith('nobody')) return next(DENY, DSN.no_such_user());
  if (user.startsWith('later') && nth === 1) return next(DENYSOFT, DSN.mbox_full());
  if (user.startsWith('once') && nth > 1) return next(DENYSOFT, DSN.mbox_full());
  connection.relaying = true;
  next(OK);
};
exports.route = function (next, hmail, domain) {
  next(OK, { priority: 0, exchange: '127.0.0.1', port: this.ports[domain] ?? this.ports.others, bind_helo: this.me });
};
`;

/**
 * Starts Haraka on a free port of 127.0.0.1, with STARTTLS.
 *
 * @param ports ports of this machine that mail is passed on to, by domain; `others` for all the rest
 * @throws Error that says what is missing when npm cannot fetch it
 */
export async function startHaraka(
  name: string,
  ports: Readonly<Record<string, number>> & { readonly others: number },
): Promise<Haraka> {
  const packages = await harakaPackages();
  const folder = mkdtempSync(join(tmpdir(), 'heed-haraka-'));
  const port = await freePort();
  const { cert, key } = await selfSignedCertificate(name);
  const config = join(folder, 'config');
  cpSync(join(packages, 'Haraka', 'config'), config, { recursive: true });
  mkdirSync(join(folder, 'plugins'));
  writeFileSync(join(folder, 'plugins', 'mailboxes.js'), PLUGIN);
  for (const [file, content] of Object.entries({
    me: `${name}\n`,
    plugins: 'tls\nmailboxes\n',
    'ports.json': JSON.stringify(ports),
    'smtp.ini': `listen=127.0.0.1:${port}\nnodes=0\n`,
    // Nothing waits: what cannot be passed on at once is reported.
    'outbound.ini': 'local_mx_ok=true\nenable_tls=false\ntemp_fail_intervals=none\n',
    'log.ini': '[main]\nlevel=notice\n',
    'tls_cert.pem': cert,
    'tls_key.pem': key,
  })) {
    writeFileSync(join(config, file), content);
  }
  const server = spawn(process.execPath, [join(packages, 'Haraka', 'haraka.js')], {
    env: childEnvironment({ HARAKA: folder }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [server.stdout, server.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  let ended = false;
  server.once('exit', () => {
    ended = true;
  });
  async function stop(): Promise<void> {
    if (!ended) {
      server.kill('SIGKILL'); // it keeps nothing that is needed
      await once(server, 'exit');
    }
    rmSync(folder, { recursive: true, force: true });
  }
  try {
    await until('Haraka greets', async () => ended || (await greets(port)), 180_000);
    if (ended) throw new Error('it ended');
  } catch (error) {
    await stop();
    throw new Error(`Haraka does not run:\n${output}`, { cause: error });
  }
  return { port, log: () => output, stop };
}

async function greets(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    const [greeting] = (await once(socket, 'data', { signal: AbortSignal.timeout(20_000) })) as [Buffer];
    return greeting.toString().startsWith('220');
  } finally {
    socket.destroy();
  }
}

/** Its folder of packages in the cache, installed with npm the first time. */
async function harakaPackages(): Promise<string> {
  const cache = join(loadEmbeddedConfig().cacheDir, 'haraka');
  const installed = join(cache, VERSION);
  const packages = join(installed, 'node_modules');
  if (existsSync(packages)) return packages;
  await mkdir(cache, { recursive: true });
  // Moved into place when complete: several test files may come here at once.
  const download = await mkdtemp(join(cache, 'download-'));
  try {
    await promisify(execFile)('npm', ['install', '--prefix', download, ...INSTALL, `Haraka@${VERSION}`]);
    await rename(download, installed);
  } catch (error) {
    if (!existsSync(packages)) {
      throw new Error(
        `Haraka ${VERSION} cannot be had: npm has to be installed and able to fetch it, or it be installed into ${installed} by hand.`,
        { cause: error },
      );
    }
  } finally {
    await rm(download, { recursive: true, force: true });
  }
  return packages;
}
