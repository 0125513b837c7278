// Runs a TypeScript program of this repository on a fresh clone: `node tools/bootstrap.mjs PROGRAM [ARGUMENT …]`.
// Needs nothing but Node 20 and npm: installs the packages where they are missing or not those of package-lock.json any
// more, then runs the program with the Node 24 that is one of them.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const node = join(root, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
const lockFile = join(root, 'package-lock.json');
/** Says which package-lock.json was installed last by this program. */
const stampFile = join(root, 'node_modules', '.heed-installed');

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

function lockHash() {
  return createHash('sha256').update(readFileSync(lockFile)).digest('hex');
}

function isInstalled() {
  if (!existsSync(node)) return false;
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === lockHash()) return true;
  // npm leaves this file behind when an install by hand is complete.
  const hidden = join(root, 'node_modules', '.package-lock.json');
  return existsSync(hidden) && statSync(hidden).mtimeMs >= statSync(lockFile).mtimeMs;
}

function install() {
  process.stderr.write('Installing the packages of package-lock.json (a minute or two, only now)\n');
  const started = Date.now();
  // Not `npm ci`: a lock file made on one platform may lack the optional packages of another, which npm ci refuses.
  const result = spawnSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    // What npm says is for the person; standard output belongs to the program.
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (result.error) fail(`npm could not be started (${result.error.message}). Install npm, then try again.`);
  if (result.status !== 0)
    fail('npm install failed; what it says above tells why. Put that right, then try again.');
  if (!existsSync(node)) {
    fail(
      'npm did not install Node 24 (package "node"): allow its install script, then try again: npm rebuild node',
    );
  }
  writeFileSync(stampFile, lockHash());
  process.stderr.write(`Installed in ${Math.round((Date.now() - started) / 1000)} s\n`);
}

const [program, ...programArguments] = process.argv.slice(2);
if (program === undefined) fail('Usage: node tools/bootstrap.mjs PROGRAM [ARGUMENT …]');
if (Number(process.versions.node.split('.')[0]) < 20) {
  fail(`Node 20 or newer is needed, and this is ${process.version}. Install a newer Node, then try again.`);
}
if (!isInstalled()) install();

// The program meets the end of this process as the end of its IPC channel, and ends too.
const child = spawn(node, [join(root, program), ...programArguments], {
  stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
});
// A Ctrl-C reaches the program by itself; this process waits for what it does about it.
process.on('SIGINT', () => {});
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
if (process.env.npm_lifecycle_event !== undefined) {
  // Asked to end, or killed, npm leaves its script behind as somebody else's child.
  const npm = process.ppid;
  setInterval(() => process.ppid === npm || child.kill('SIGTERM'), 500).unref();
}
child.on('error', (error) => fail(`${node} could not be started: ${error.message}`));
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)));
