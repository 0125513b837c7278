import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const cruiser = join(root, 'node_modules/.bin/depcruise');

/** Each file breaks, or keeps, one rule: [file, text, the rule that it breaks or null]. */
const cases: [string, string, string | null][] = [
  ['domain/usesDb.ts', `import { x } from '../db/x.ts'; x;`, 'domain-imports'],
  [
    'domain/usesDbType.ts',
    `import type { x } from '../db/x.ts'; export type T = typeof x;`,
    'domain-imports',
  ],
  ['domain/usesNode.ts', `import { readFileSync } from 'node:fs'; readFileSync;`, 'domain-pure'],
  ['domain/usesPackage.ts', `import { z } from 'zod'; z;`, 'domain-pure'],
  ['domain/usesPure.ts', `import { toASCII } from 'tr46'; import { z } from './z.ts'; toASCII; z;`, null],
  ['workflows/usesActivity.ts', `import { x } from '../activities/x.ts'; x;`, 'workflows-activities-types'],
  ['workflows/usesActivityType.ts', `import type { X } from '../activities/x.ts'; export type T = X;`, null],
  ['workflows/usesZod.ts', `import { z } from 'zod'; z;`, 'workflows-sandbox'],
  ['workflows/usesNode.ts', `import { randomUUID } from 'node:crypto'; randomUUID;`, 'workflows-sandbox'],
  [
    'workflows/usesDb.ts',
    `import type { x } from '../db/x.ts'; export type T = typeof x;`,
    'workflows-imports',
  ],
  [
    'workflows/fine.ts',
    `import { sleep } from '@temporalio/workflow'; import { z } from '../domain/z.ts'; sleep; z;`,
    null,
  ],
  ['activities/usesApi.ts', `import { x } from '../api/x.ts'; x;`, 'activities-imports'],
  ['activities/usesConfig.ts', `import { x } from '../config/x.ts'; x;`, 'activities-imports'],
  ['activities/fine.ts', `import { x } from '../db/x.ts'; import { y } from '../adapters/y.ts'; x; y;`, null],
  ['adapters/usesDb.ts', `import { x } from '../db/x.ts'; x;`, 'adapters-imports'],
  ['adapters/usesSql.ts', `import pg from 'pg'; pg;`, 'sql-in-db'],
  ['db/usesAdapter.ts', `import { y } from '../adapters/y.ts'; y;`, 'db-imports'],
  ['db/fine.ts', `import pg from 'pg'; import { z } from '../domain/z.ts'; pg; z;`, null],
  [
    'api/usesWorkflow.ts',
    `import type { x } from '../workflows/x.ts'; export type T = typeof x;`,
    'api-imports',
  ],
  ['api/fine.ts', `import { x } from '../db/x.ts'; import { y } from '../adapters/y.ts'; x; y;`, null],
  ['api/usesTools.ts', `import { x } from '../tools/x.ts'; x;`, 'api-imports'],
  ['api/usesDevelopment.ts', `import { assert } from 'fast-check'; assert;`, 'no-development-packages'],
  ['worker/usesApi.ts', `import { x } from '../api/x.ts'; x;`, 'worker-imports'],
  [
    'worker/fine.ts',
    `import { x } from '../workflows/x.ts'; import { c } from '../config/x.ts'; x; c;`,
    null,
  ],
  ['config/usesDomain.ts', `import { z } from '../domain/z.ts'; z;`, 'config-imports'],
  ['db/missing.ts', `import { x } from './nowhere.ts'; x;`, 'nothing-missing'],
  ['db/circleOne.ts', `import { two } from './circleTwo.ts'; export const one = () => two;`, 'no-cycles'],
  ['db/typeCircleOne.ts', `import type { Two } from './typeCircleTwo.ts'; export type One = Two[];`, null],
  ['db/typeCircleTwo.ts', `import { one } from './typeCircleThree.ts'; export type Two = typeof one;`, null],
  [
    'db/typeCircleThree.ts',
    `import type { One } from './typeCircleOne.ts'; export const one: One = [];`,
    null,
  ],
];
const targets = ['db/x.ts', 'activities/x.ts', 'api/x.ts', 'config/x.ts', 'workflows/x.ts', 'tools/x.ts'];

interface CruiseResult {
  summary: { violations: { from: string; rule: { name: string } }[] };
}

let project: string;
let broken: Map<string, Set<string>>;

beforeAll(async () => {
  project = mkdtempSync(join(tmpdir(), 'heed-import-rules-'));
  const write = (file: string, text: string) => {
    mkdirSync(dirname(join(project, file)), { recursive: true });
    writeFileSync(join(project, file), text);
  };
  for (const file of targets) write(file, `export const x = 1; export const c = 1; export type X = 1;`);
  write('adapters/y.ts', `export const y = 1;`);
  // A circle is reported once, for the file that comes first.
  write('db/circleTwo.ts', `import { one } from './circleOne.ts'; export const two = () => one;`);
  write('domain/z.ts', `export const z = 1;`);
  for (const [file, text] of cases) write(file, text);
  mkdirSync(join(project, 'test'));
  for (const file of ['.dependency-cruiser.cjs', 'package.json'])
    cpSync(join(root, file), join(project, file));
  symlinkSync(join(root, 'node_modules'), join(project, 'node_modules'));

  const folders = [
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
  const args = [cruiser, '--config', '.dependency-cruiser.cjs', '--output-type', 'json', ...folders];
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    cwd: project,
    maxBuffer: 64 * 1024 * 1024,
  }).catch((error: { stdout: string }) => error);
  const { summary } = JSON.parse(stdout) as CruiseResult;
  broken = new Map(cases.map(([file]) => [file, new Set()]));
  for (const { from, rule } of summary.violations) broken.get(from)?.add(rule.name);
});
afterAll(() => rmSync(project, { recursive: true }));

test.each(cases.map(([file, text, rule]) => ({ file, text, rule: rule ?? 'nothing' })))(
  '$file: $text breaks $rule',
  ({ file, rule }) => {
    expect([...broken.get(file)!]).toEqual(rule === 'nothing' ? [] : [rule]);
  },
);
