/**
 * `npm test`: every check, then every test; `npm run check`: the checks alone. All of them run even when one fails, so
 * that one run tells everything; the last line is `N passed, N failed`, a check counting as one.
 *
 * `--checks-only`: no tests. `--summary FILE`: writes the last line there too. Anything else goes to vitest.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('../', import.meta.url));

/** Asked to end, or left by whoever started it, it ends what runs, which would go on as nobody's. */
const running = new Set<ChildProcess>();
let isEnding = false;
function end(): void {
  isEnding = true;
  for (const child of running) child.kill('SIGTERM');
}
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, end);
process.on('disconnect', end);

const bin = (name: string) => join(root, 'node_modules', '.bin', name);

interface Check {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
}

const FOLDERS = [
  'domain',
  'workflows',
  'activities',
  'adapters',
  'db',
  'api',
  'worker',
  'config',
  'tools',
  'test',
];

const checks: readonly Check[] = [
  { name: 'types', command: [bin('tsc'), '-p', '.'] },
  {
    name: 'lint and format',
    command: [bin('biome'), 'ci', '--error-on-warnings', '--max-diagnostics=100', '.'],
  },
  { name: 'import rules', command: [bin('depcruise'), '--config', '.dependency-cruiser.cjs', ...FOLDERS] },
  { name: 'unused code and packages', command: [bin('knip'), '--no-progress'] },
  { name: 'deployment files', command: [process.execPath, 'tools/checkCompose.ts'] },
];

interface Result {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly seconds: number;
}

const { values, positionals } = parseArgs({
  options: { 'checks-only': { type: 'boolean' }, summary: { type: 'string' } },
  allowPositionals: true,
});

const results: Result[] = [];
for (const check of checks) results.push(await runCheck(check));
if (!values['checks-only']) results.push(await runTests(positionals));

const passed = results.reduce((sum, result) => sum + result.passed, 0);
const failed = results.reduce((sum, result) => sum + result.failed, 0);
console.log('');
for (const result of results) {
  const what = result.failed === 0 ? 'ok    ' : 'FAILED';
  console.log(`${what}  ${result.name} (${result.seconds.toFixed(1)} s)`);
}
const summary = `${passed} passed, ${failed} failed`;
console.log(summary);
if (values.summary !== undefined) writeFileSync(values.summary, `${summary}\n`);
process.exit(failed === 0 ? 0 : 1);

async function runCheck({ name, command }: Check): Promise<Result> {
  const started = performance.now();
  const { status, output } = await run(command, 'pipe');
  const seconds = (performance.now() - started) / 1000;
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'}  ${name}`);
  if (status !== 0) console.log(output);
  return { name, passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, seconds };
}

async function runTests(filters: readonly string[]): Promise<Result> {
  const started = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'heed-results-'));
  try {
    const file = join(folder, 'results.json');
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
    const { status } = await run([bin('vitest'), 'run', ...reporters, ...filters], 'inherit');
    const { passed, failed } = readCounts(file);
    // A file that could not be loaded, an error outside a test, or no test at all.
    const unseen = failed === 0 && (status !== 0 || passed === 0) ? 1 : 0;
    return { name: 'tests', passed, failed: failed + unseen, seconds: (performance.now() - started) / 1000 };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function readCounts(file: string): { passed: number; failed: number } {
  try {
    const counts = JSON.parse(readFileSync(file, 'utf8')) as {
      numPassedTests: number;
      numFailedTests: number;
    };
    return { passed: counts.numPassedTests, failed: counts.numFailedTests };
  } catch {
    // vitest ended before it could write them.
    return { passed: 0, failed: 0 };
  }
}

function run(
  command: readonly [string, ...string[]],
  output: 'pipe' | 'inherit',
): Promise<{ status: number | null; output: string }> {
  const [file, ...args] = command;
  if (isEnding) return Promise.resolve({ status: null, output: 'It was asked to end.' });
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd: root, stdio: ['ignore', output, output] });
    running.add(child);
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
    }
    child.on('error', reject);
    child.on('close', (status) => {
      running.delete(child);
      resolve({ status, output: text });
    });
  });
}
