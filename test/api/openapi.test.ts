import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PUBLIC_PATHS } from '../../api/middleware/authentication.ts';
import { PUBLIC_FOLDER } from '../../api/public/loggedPath.ts';
import { startApi, type TestApi } from './support.ts';

let api: TestApi;
// biome-ignore lint/suspicious/noExplicitAny: a document of another's making
let document: any;
beforeAll(async () => {
  api = await startApi();
  document = (await api.call('GET', '/openapi.json', undefined, { authorization: '' })).body;
});
afterAll(() => api.close());

const operations = () =>
  Object.entries<Record<string, object>>(document.paths).flatMap(([path, item]) =>
    // biome-ignore lint/suspicious/noExplicitAny: a document of another's making
    Object.entries<any>(item).map(([method, operation]) => ({ method, path, operation })),
  );

describe('the document', () => {
  test('every registered route but the pages for recipients is in it, and nothing else', () => {
    const registered = new Set(
      api.app.routes
        .filter((route) => route.method !== 'ALL' && !route.path.startsWith(`${PUBLIC_FOLDER}/`))
        .map((route) => `${route.method.toLowerCase()} ${route.path.replace(/:(\w+)/g, '{$1}')}`),
    );
    expect(registered.size).toBeGreaterThan(40);
    expect(
      operations()
        .map(({ method, path }) => `${method} ${path}`)
        .toSorted(),
    ).toEqual([...registered].toSorted());
  });

  test('every operation has a name, a group, a summary, its scope and its problems', () => {
    const ids = new Set<string>();
    const groups = document.tags.map((tag: { name: string }) => tag.name);
    for (const { path, operation } of operations()) {
      ids.add(operation.operationId);
      expect(groups).toContain(operation.tags[0]);
      expect(operation.summary.length).toBeGreaterThan(3);
      if (PUBLIC_PATHS.has(path)) {
        expect(operation.security).toEqual([]);
        continue;
      }
      expect(operation.security).toEqual([{ apiKey: [] }]);
      expect(['read', 'write', 'admin']).toContain(operation['x-scope']);
      for (const status of ['400', '401', '403', '500', '503']) {
        expect(operation.responses[status].content).toHaveProperty(['application/problem+json']);
      }
    }
    expect(ids.size).toBe(operations().length);
  });

  test('reading needs the scope read, changing at least write', () => {
    for (const { method, path, operation } of operations()) {
      // What strangers sent is for administrators, as keys are.
      if (PUBLIC_PATHS.has(path) || path.startsWith('/api-keys') || path === '/inbound/{id}/content')
        continue;
      // Some questions are too long for a URL.
      const reads = method === 'get' || /\/(?:preview|count|search)$/.test(path);
      expect([path, reads, operation['x-scope'] === 'read']).toEqual([path, reads, reads]);
    }
  });

  test('every reference in it leads somewhere', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)];
    expect(references.length).toBeGreaterThan(20);
    for (const [, name] of references) expect(document.components.schemas).toHaveProperty(name!);
  });
});

test('every route but the public ones refuses whoever has no key, and every scope that does not reach', async () => {
  const below = { read: [], write: ['read'], admin: ['read', 'write'] } as const;
  for (const { method, path, operation } of operations()) {
    const filled = path.replace(/\{\w+\}/g, '019a0c5e-0000-7000-8000-000000000000');
    const status = async (authorization: string) =>
      (await api.call(method.toUpperCase(), filled, undefined, { authorization })).status;
    if (PUBLIC_PATHS.has(path)) {
      // Webhooks ask for no key; here none is configured.
      expect([path, await status('')]).toEqual([path, path.startsWith('/webhooks/') ? 404 : 200]);
      continue;
    }
    expect([path, await status('')]).toEqual([path, 401]);
    for (const scope of below[operation['x-scope'] as keyof typeof below]) {
      expect([path, scope, await status(`Bearer ${api.keys[scope]}`)]).toEqual([path, scope, 403]);
    }
  }
});

describe('the reference page', () => {
  test('shows every operation with an example, and needs nothing that runs or is loaded', async () => {
    const answer = await api.call('GET', '/reference', undefined, { authorization: '' });
    expect(answer.headers.get('content-type')).toMatch(/^text\/html/);
    const page: string = answer.body;
    for (const { method, path, operation } of operations()) {
      const article = page
        .slice(page.indexOf(`<article id="${operation.operationId}"`))
        .split('</article>')[0]!;
      expect(article).toContain(`${method.toUpperCase()}</span>${path}</p>`);
      expect(article).toContain('curl ');
      expect(page).toContain(`href="#${operation.operationId}"`);
    }
    expect(page).not.toMatch(/<script|<link|<img|src=|onclick|url\(/i);
    expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'");
    const targets = [...page.matchAll(/href="#([^"]+)"/g)].map(([, target]) => target!);
    for (const target of targets) expect(page).toContain(`id="${target}"`);
    const anchors = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(anchors).size).toBe(anchors.length);
  });

  test('every kind of problem that an answer can name is explained at the address it names', async () => {
    const answer = await api.call('GET', '/nowhere');
    const [path, anchor] = answer.body.type.split('#');
    const page = await api.call('GET', path);
    expect(page.body).toContain(`id="${anchor}"`);
  });
});
