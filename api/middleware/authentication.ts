import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { PROVIDERS } from '../../adapters/webhooks/configured.ts';
import type { Database } from '../../db/connection.ts';
import { findApiKey, reaches, type Scope } from '../../db/queries/apiKeys.ts';
import type { ApiEnv } from '../context.ts';
import { ApiProblem } from '../problems.ts';

/**
 * Answered without a key: whether Heed is up, what its API is, and the webhooks of providers, which are verified in their
 * own ways. Everything else is refused, known route or not.
 */
export const PUBLIC_PATHS: ReadonlySet<string> = new Set([
  '/healthz',
  '/readyz',
  '/openapi.json',
  '/reference',
  ...PROVIDERS.map((provider) => `/webhooks/${provider}`),
]);

/** Lets only holders of an API key in (`Authorization: Bearer heed_…`, RFC 6750 section 2.1). */
export function authentication(db: Database) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    if (PUBLIC_PATHS.has(c.req.path)) return next();
    const [scheme, token, ...rest] = (c.req.header('authorization') ?? '').trim().split(/ +/);
    if (scheme?.toLowerCase() !== 'bearer' || !token || rest.length > 0) {
      throw unauthenticated(
        'Send your API key in the header Authorization: Bearer heed_….',
        'Bearer realm="heed"',
      );
    }
    const key = await findApiKey(db, token);
    if (key === null) {
      throw unauthenticated(
        'The API key is unknown or was revoked.',
        'Bearer realm="heed", error="invalid_token"',
      );
    }
    c.set('key', key);
    return next();
  });
}

function unauthenticated(detail: string, challenge: string): ApiProblem {
  return new ApiProblem('unauthenticated', detail, { headers: { 'www-authenticate': challenge } });
}

/** Lets only keys in whose scope reaches: read < write < admin. */
export function requireScope(scope: Scope) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    requireReach(c, scope);
    return next();
  });
}

/** @throws ApiProblem where the key of the request does not reach as far */
export function requireReach(c: Context<ApiEnv>, scope: Scope): void {
  if (reaches(c.get('key').scopes, scope)) return;
  throw new ApiProblem('forbidden', `This needs an API key with the scope ${scope}.`, {
    headers: { 'www-authenticate': `Bearer realm="heed", error="insufficient_scope", scope="${scope}"` },
  });
}
