import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BundleOptions, bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

const root = fileURLToPath(new URL('../', import.meta.url));

/** Where the workflows are, for Temporal's bundler. */
const WORKFLOWS: BundleOptions = {
  workflowsPath: join(root, 'workflows', 'index.ts'),
  logger: new DefaultLogger('ERROR'),
};

/** All that a bundle is made of: the import rules keep everything else of this project out, and npm writes down the rest. */
const SOURCES = ['workflows', 'domain', join('worker', 'workflowBundle.ts')];
const INSTALLED_PACKAGES = join('node_modules', '.package-lock.json');

const NAME = /^workflows-[0-9a-f]{64}\.js$/;
const FORGOTTEN_AFTER_MS = 30 * 24 * 60 * 60 * 1_000;

/**
 * The workflows as a worker runs them. Bundling takes seconds and hundreds of megabytes, so a bundle is kept in
 * `cacheDir`, under the hash of what it was made of. Where the folder cannot be written the bundle is made every time.
 *
 * @param cacheDir absolute
 */
export async function loadWorkflowBundle(cacheDir: string): Promise<{ readonly code: string }> {
  const file = join(cacheDir, `workflows-${await hashOfSources()}.js`);
  const kept = await readFile(file, 'utf8').catch(() => null);
  if (kept !== null) return { code: kept };

  const { code } = await bundleWorkflowCode(WORKFLOWS);
  await keep(cacheDir, file, code).catch(() => {});
  return { code };
}

async function hashOfSources(): Promise<string> {
  const hash = createHash('sha256');
  const files = [INSTALLED_PACKAGES, ...(await Promise.all(SOURCES.map(filesOf))).flat().toSorted()];
  for (const file of files) {
    const content = await readFile(join(root, file));
    hash.update(`${file}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

async function filesOf(path: string): Promise<string[]> {
  if ((await stat(join(root, path))).isFile()) return [path];
  const entries = await readdir(join(root, path), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length));
}

/** Written beside and renamed, so that nobody reads half a bundle; those that nobody made for long are removed. */
async function keep(cacheDir: string, file: string, code: string): Promise<void> {
  await mkdir(cacheDir, { recursive: true });
  const unfinished = `${file}.${randomUUID()}`;
  try {
    await writeFile(unfinished, code);
    await rename(unfinished, file);
  } finally {
    await rm(unfinished, { force: true });
  }
  for (const name of await readdir(cacheDir)) {
    if (!NAME.test(name)) continue;
    const old = join(cacheDir, name);
    if (Date.now() - (await stat(old)).mtimeMs > FORGOTTEN_AFTER_MS) await rm(old, { force: true });
  }
}
