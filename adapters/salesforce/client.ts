import { setTimeout as delay } from 'node:timers/promises';
import jsforce from 'jsforce';
import type { DescribedField } from '../../domain/salesforce/access.ts';
import { errorKindOf } from '../../domain/salesforce/errorKind.ts';
import type { SalesforceValue } from '../../domain/salesforce/mapping.ts';
import type { SalesforceObject } from '../../domain/salesforce/words.ts';
import { type SalesforceCredentials, tokenRequest } from './grant.ts';
import { SalesforceTrouble } from './trouble.ts';

export interface SalesforceSettings {
  /** `https://login.salesforce.com`, `https://test.salesforce.com`, or the My Domain URL of the org. */
  readonly loginUrl: string;
  readonly clientId: string;
  readonly credentials: SalesforceCredentials;
  /** Such as `62.0`. */
  readonly apiVersion: string;
  /** Percent of the requests of a day that are left to everybody else. */
  readonly reservePercent: number;
}

/** Requests of the last 24 hours, of everybody who uses the org. */
export interface ApiUse {
  readonly used: number;
  readonly allowed: number;
}

/** A record to be saved; without an id it is created. */
export interface RecordToSave {
  readonly object: SalesforceObject;
  readonly id?: string;
  readonly fields: Readonly<Record<string, SalesforceValue>>;
}

/** What became of one record of a collection. */
export type SaveResult =
  | { readonly ok: true; readonly id: string }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** What the sync asks of Salesforce. Every call throws {@link SalesforceTrouble} where it was not carried out. */
export interface SalesforceClient {
  /** Who Heed is connected as. */
  identity(): Promise<{ readonly orgId: string; readonly userId: string }>;
  describe(object: SalesforceObject): Promise<DescribedField[]>;
  /** All rows that the query finds. `all`: deleted and merged records too. */
  query(soql: string, scope: 'existing' | 'all'): Promise<Record<string, unknown>[]>;
  /** Saves up to 200 records, each by itself; results come in their order. */
  save(records: readonly RecordToSave[]): Promise<SaveResult[]>;
  /** As the last answer told; `null` before the first. */
  use(): ApiUse | null;
  /** How many requests were made, those for tokens included. */
  requests(): number;
}

/** A page of 2,000 records takes seconds; what takes longer than this has hung. */
const REQUEST_MS = 60_000;
/** A token takes a second. jsforce sets no limit here, so that fetch's own five minutes would be waited for. */
const TOKEN_MS = 30_000;
/** After this long what Salesforce last told of its limit is asked for anew instead of being believed. */
const USE_IS_STALE_MS = 10 * 60_000;

type Connection = InstanceType<typeof jsforce.Connection>;

interface Session {
  readonly connection: Connection;
  readonly orgId: string;
  readonly userId: string;
}

/**
 * A connection through jsforce. Requests are made once: how often and when to try again is the caller's to say, and a
 * session that has ended is renewed once a request.
 *
 * @param now milliseconds of the epoch
 * @param tokenMs how long a token is waited for
 */
export function createSalesforceClient(
  settings: SalesforceSettings,
  now: () => number = Date.now,
  tokenMs: number = TOKEN_MS,
): SalesforceClient {
  let session: Promise<Session> | null = null;
  let use: ApiUse | null = null;
  let useAt = 0;
  let requests = 0;

  async function connect(): Promise<Session> {
    const oauth2 = new jsforce.OAuth2({ loginUrl: settings.loginUrl, clientId: settings.clientId });
    requests += 1;
    const answer = oauth2
      .requestToken(tokenRequest(settings.clientId, settings.credentials, now()))
      .catch((error: Error) => {
        throw refusedToken(error);
      });
    const token = await within(tokenMs, answer, () => {
      const waited = `${settings.loginUrl} did not answer within ${tokenMs / 1_000} s`;
      return new SalesforceTrouble('unavailable', 'NO_ANSWER', `Salesforce gave no token: ${waited}.`);
    });
    const [orgId, userId] = token.id.split('/').slice(-2);
    // Without OAuth settings of its own it leaves a session that has ended to us: it would renew it without end.
    const connection = new jsforce.Connection({
      instanceUrl: token.instance_url,
      accessToken: token.access_token,
      version: settings.apiVersion,
    });
    return { connection, orgId: orgId!, userId: userId! };
  }

  async function connected(): Promise<Session> {
    session ??= connect();
    try {
      return await session;
    } catch (error) {
      session = null;
      throw error;
    }
  }

  async function once<T>(request: Request): Promise<T> {
    const current = await connected();
    const { connection } = current;
    requests += 1;
    try {
      return await connection.request<T>(
        { ...request, url: `/services/data/v${settings.apiVersion}${request.url}` },
        { retry: { maxRetries: 0 }, timeout: REQUEST_MS },
      );
    } catch (error) {
      throw troubleOf(error as Error & { errorCode?: string });
    } finally {
      const { apiUsage } = connection.limitInfo;
      if (apiUsage !== undefined) {
        use = { used: apiUsage.used, allowed: apiUsage.limit };
        useAt = now();
      }
    }
  }

  async function withinSession<T>(request: Request): Promise<T> {
    try {
      return await once<T>(request);
    } catch (error) {
      if (!(error instanceof SalesforceTrouble) || error.kind !== 'session') throw error;
      session = null;
      return once<T>(request);
    }
  }

  async function ask<T>(request: Request): Promise<T> {
    if (isInReserve() && now() - useAt > USE_IS_STALE_MS)
      await withinSession({ method: 'GET', url: '/limits' });
    if (isInReserve()) {
      throw new SalesforceTrouble(
        'daily_limit',
        'RESERVE_REACHED',
        `${use!.used} of ${use!.allowed} API requests of the last 24 hours are used; the rest is kept in reserve.`,
      );
    }
    return withinSession<T>(request);
  }

  function isInReserve(): boolean {
    return use !== null && use.used >= use.allowed * (1 - settings.reservePercent / 100);
  }

  return {
    identity: async () => {
      const { orgId, userId } = await connected();
      return { orgId, userId };
    },
    describe: async (object) => {
      const { fields } = await ask<{ fields: DescribedField[] }>({
        method: 'GET',
        url: `/sobjects/${object}/describe`,
      });
      return fields.map(({ name, updateable, createable, type, compoundFieldName }) => ({
        name,
        updateable,
        createable,
        type,
        compoundFieldName,
      }));
    },
    query: async (soql, scope) => {
      const resource = scope === 'all' ? 'queryAll' : 'query';
      const rows: Record<string, unknown>[] = [];
      let url = `/${resource}?q=${encodeURIComponent(soql)}`;
      for (;;) {
        const page = await ask<QueryAnswer>({ method: 'GET', url });
        rows.push(...page.records);
        if (page.done || page.nextRecordsUrl === undefined) return rows;
        url = page.nextRecordsUrl.replace(/^\/services\/data\/v[\d.]+/, '');
      }
    },
    save: async (records) => {
      const creates = records.every((record) => record.id === undefined);
      const answers = await ask<CollectionAnswer[]>({
        method: creates ? 'POST' : 'PATCH',
        url: '/composite/sobjects',
        headers: {
          'content-type': 'application/json',
          // A rule that only warns does not keep an opt-out from being saved (headers_duplicaterules.htm).
          'Sforce-Duplicate-Rule-Header': 'allowSave=true',
        },
        body: JSON.stringify({
          allOrNone: false,
          records: records.map(({ object, id, fields }) => ({ attributes: { type: object }, id, ...fields })),
        }),
      });
      return answers.map((answer): SaveResult => {
        if (answer.success) return { ok: true, id: answer.id! };
        const [error] = answer.errors;
        return { ok: false, code: error?.statusCode ?? 'UNKNOWN_EXCEPTION', message: error?.message ?? '' };
      });
    },
    use: () => use,
    requests: () => requests,
  };
}

interface Request {
  readonly method: 'GET' | 'POST' | 'PATCH';
  readonly url: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

interface QueryAnswer {
  readonly done: boolean;
  readonly records: readonly Record<string, unknown>[];
  readonly nextRecordsUrl?: string;
}

interface CollectionAnswer {
  readonly success: boolean;
  readonly id?: string;
  readonly errors: readonly { readonly statusCode: string; readonly message: string }[];
}

function troubleOf(error: Error & { errorCode?: string }): SalesforceTrouble {
  if (error.errorCode === undefined) {
    // Refused, broken off or timed out: whether it was carried out is not known.
    return new SalesforceTrouble('unavailable', 'NO_ANSWER', `Salesforce gave no answer: ${error.message}`);
  }
  return new SalesforceTrouble(errorKindOf(error.errorCode, error.message), error.errorCode, error.message);
}

/** What comes of `work`, or the trouble that it is where it takes longer. What comes of it later is of no interest. */
async function within<T>(milliseconds: number, work: Promise<T>, trouble: () => Error): Promise<T> {
  const late = new AbortController();
  const limit = delay(milliseconds, undefined, { signal: late.signal }).then(() => {
    throw trouble();
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    // Whichever of the two is left over fails unheard.
    limit.catch(() => {});
    work.catch(() => {});
    late.abort();
  }
}

/** The token endpoint answers with an OAuth error code as the name: RFC 6749 section 5.2. */
function refusedToken(error: Error): SalesforceTrouble {
  if (
    /^ERROR_HTTP_(?:420|429|5\d\d)$/.test(error.name) ||
    error.name === 'TypeError' ||
    error.name === 'AbortError'
  ) {
    return new SalesforceTrouble('unavailable', error.name, `Salesforce gave no token: ${error.message}`);
  }
  return new SalesforceTrouble(
    'access',
    error.name,
    `Salesforce refuses the credentials (${error.name}: ${error.message}). Check HEED_SALESFORCE_CLIENT_ID and what goes with it.`,
  );
}
