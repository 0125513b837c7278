import type { z } from '@hono/zod-openapi';
import { expect } from 'vitest';
import { createApp } from '../../api/app.ts';
import type { Api, ApiDeps } from '../../api/context.ts';
import { type Database, openDatabase } from '../../db/connection.ts';
import { AddressHasher } from '../../db/queries/addresses.ts';
import { createApiKey, type Scope } from '../../db/queries/apiKeys.ts';
import { prepareSettings } from '../../db/queries/settings.ts';
import type { TestAccount } from '../support/account.ts';
import { createTestDatabase } from '../support/database.ts';
import { testTokens } from '../support/unsubscribing.ts';

/** The API over a database of its own, as its callers see it. */
export interface TestApi {
  readonly app: Api;
  readonly db: Database;
  readonly hasher: AddressHasher;
  readonly deps: ApiDeps;
  readonly keys: Readonly<Record<Scope, string>>;
  /** What was logged as an error: a test that expects none looks here. */
  readonly errors: object[];
  /** Calls with the admin key, unless headers say otherwise. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  close(): Promise<void>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: what the tests look into
  readonly body: any;
}

/**
 * @param changes parts of the dependencies to be other than usual
 * @param account whose database is used, with its keys in it; one of the API's own when left out
 */
export async function startApi(
  changes: Partial<ApiDeps> = {},
  account: Pick<TestAccount, 'db' | 'hasher'> | null = null,
): Promise<TestApi> {
  const database = account === null ? await createTestDatabase() : null;
  const db = account?.db ?? openDatabase(database!.url, { max: 5 });
  const hasher = account?.hasher ?? new AddressHasher(new Uint8Array(32).fill(7));
  await prepareSettings(db, hasher, new Date());
  const keys = {} as Record<Scope, string>;
  for (const scope of ['read', 'write', 'admin'] as const) {
    const origin = { way: 'system', actor: 'test', reason: null } as const;
    keys[scope] = (await db.transaction((tx) => createApiKey(tx, origin, new Date(), scope, scope))).key;
  }
  const errors: object[] = [];
  const deps: ApiDeps = {
    db,
    hasher,
    tokens: testTokens,
    webhooks: [],
    config: {
      messageIdDomain: 'mail.example.com',
      maxImportBytes: 1024 * 1024,
      publicUrl: 'https://heed.test',
    },
    temporal: {
      uiLinkOf: (id) => `http://127.0.0.1:8233/namespaces/heed/workflows/${id}`,
      ready: async () => true,
    },
    salesforce: null,
    log: { info: () => {}, error: (fields) => errors.push(fields) },
    now: () => new Date(),
    ...changes,
  };
  const app = createApp(deps);
  return {
    app,
    db,
    hasher,
    deps,
    keys,
    errors,
    call: async (method, path, body, headers = {}) => {
      const response = await app.request(path, {
        method,
        headers: {
          authorization: `Bearer ${keys.admin}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const answer = await toAnswer(response);
      expectDocumented(app, method, path, answer);
      return answer;
    },
    close: async () => {
      if (database === null) return;
      await db.close();
      await database.drop();
    },
  };
}

export async function toAnswer(response: Response): Promise<Answer> {
  const text = await response.text();
  const json = /json/.test(response.headers.get('content-type') ?? '');
  return { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text };
}

/** Holds every answer against the document: its status is named, and its body has the fields of its schema, all and only. */
export function expectDocumented(
  app: Api,
  method: string,
  path: string,
  { status, headers, body }: Answer,
): void {
  const route = findOperation(app, method, path);
  if (route === undefined) return;
  const documented = route.responses[status];
  expect(documented, `${method} ${route.path} does not document ${status}`).toBeDefined();
  const type = (headers.get('content-type') ?? '').split(';')[0]!;
  const schema = documented?.content?.[type]?.schema;
  if (body === '') return;
  expect(schema, `${method} ${route.path} does not document ${type} for ${status}`).toBeDefined();
  if (/json/.test(type)) expect((schema as z.ZodType).parse(body)).toEqual(body);
}

interface Route {
  readonly method: string;
  readonly path: string;
  readonly responses: Readonly<
    Record<string, { content?: Readonly<Record<string, { schema: unknown } | undefined>> } | undefined>
  >;
}

function findOperation(app: Api, method: string, path: string): Route | undefined {
  const asked = new URL(path, 'http://localhost').pathname;
  const routes = app.openAPIRegistry.definitions.flatMap((definition) =>
    definition.type === 'route' ? [definition.route as unknown as Route] : [],
  );
  // Paths without parameters come before those that have some, as `/sends/settle` before `/sends/{id}`.
  return routes
    .filter((route) => route.method === method.toLowerCase())
    .toSorted((a, b) => Number(a.path.includes('{')) - Number(b.path.includes('{')))
    .find((route) => new RegExp(`^${route.path.replace(/\{\w+\}/g, '[^/]+')}$`).test(asked));
}
