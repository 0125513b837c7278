import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadWorkflowBundle } from '../../worker/workflowBundle.ts';
import { workflowBundle } from '../support/sending.ts';

test('a bundle holds the workflows, the rules and the SDK, and nothing else', async () => {
  const { code } = await workflowBundle();
  const modules = [...code.matchAll(/^\/\*\*\*\/ "(\.[^"]+)"/gm)].map(([, name]) => name!);
  expect(modules).toContain('./workflows/emailSend.ts');
  const packages = new Set(modules.filter((name) => !/^\.\/(workflows|domain)\//.test(name)).map(packageOf));
  expect([...packages].filter((name) => !SDK.has(name))).toEqual([]);
});

const SDK = new Set([
  '@temporalio/common',
  '@temporalio/workflow',
  '@temporalio/worker',
  'nexus-rpc',
  'ms',
  'long',
]);

function packageOf(module: string): string {
  const path = module.replace(/^.*node_modules\//, '').split('/');
  return path[0]!.startsWith('@') ? `${path[0]}/${path[1]}` : path[0]!;
}

describe('kept bundles', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'heed-bundle-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  test('one is made once, also where several workers start together, and read from then on', async () => {
    const cacheDir = join(folder, 'new');
    const [one, other] = await Promise.all([loadWorkflowBundle(cacheDir), loadWorkflowBundle(cacheDir)]);
    expect(one.code).toContain('emailSend');
    expect(other.code).toBe(one.code);

    const names = await readdir(cacheDir);
    expect(names).toHaveLength(1);
    const file = join(cacheDir, names[0]!);
    expect(await readFile(file, 'utf8')).toBe(one.code);
    await writeFile(file, 'as it was kept');
    expect((await loadWorkflowBundle(cacheDir)).code).toBe('as it was kept');
  });

  test('those of sources that are gone for a month are removed, and nothing else is', async () => {
    const old = `workflows-${'0'.repeat(64)}.js`;
    const recent = `workflows-${'1'.repeat(64)}.js`;
    for (const name of [old, recent, 'temporal-1']) await writeFile(join(folder, name), '');
    const past = new Date(Date.now() - 31 * 24 * 60 * 60 * 1_000);
    for (const name of [old, 'temporal-1']) await utimes(join(folder, name), past, past);
    await loadWorkflowBundle(folder);
    const names = await readdir(folder);
    expect(names).toHaveLength(3);
    expect(names).toEqual(expect.arrayContaining([recent, 'temporal-1']));
  });

  test('a folder that cannot be written keeps no worker from starting', async () => {
    const file = join(folder, 'a file');
    await writeFile(file, '');
    expect((await loadWorkflowBundle(join(file, 'heed'))).code).toContain('emailSend');
  });
});
