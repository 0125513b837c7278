import { createRoute, type RouteConfig, type z } from '@hono/zod-openapi';
import { bodyLimit } from 'hono/body-limit';
import type { Scope } from '../db/queries/apiKeys.ts';
import { requireScope } from './middleware/authentication.ts';
import { ApiProblem, PROBLEMS, type ProblemKind } from './problems.ts';
import { Problem } from './schemas/problem.ts';

/** Largest JSON body, in bytes: an email with its HTML, and room to spare. */
const MAX_JSON_BYTES = 2 * 1024 * 1024;

const limitJson = bodyLimit({
  maxSize: MAX_JSON_BYTES,
  onError: () => {
    throw new ApiProblem('too-large', `The body is larger than ${MAX_JSON_BYTES} bytes.`);
  },
});

type Described = Omit<RouteConfig, 'security' | 'middleware'> & { operationId: string; summary: string };

/** What every operation can answer with beside its own problems. */
const EVERYWHERE = ['invalid-request', 'unauthenticated', 'forbidden', 'internal', 'unavailable'] as const;

/**
 * A route with what all of them have in common: who may use it, how large its body may be, and the problems that it
 * can answer with. The document and the checks come from this one description.
 *
 * @param scope what the API key must reach; `null` where no key is asked for
 * @param problems kinds of problem beside those that every operation has
 */
export function operation<P extends string, R extends Described & { path: P }>(
  scope: Scope | null,
  problems: readonly ProblemKind[],
  config: R,
) {
  const takesJson = config.request?.body?.content['application/json'] !== undefined;
  const kinds: readonly ProblemKind[] = [
    ...(scope === null ? [] : EVERYWHERE),
    ...problems,
    ...(takesJson ? (['malformed-json', 'too-large', 'unsupported-media-type'] as const) : []),
  ];
  const route = createRoute<P, R>({
    ...config,
    ...(scope === null ? { security: [] } : { security: [{ apiKey: [] }], 'x-scope': scope }),
    middleware: [...(scope === null ? [] : [requireScope(scope)]), ...(takesJson ? [limitJson] : [])],
    responses: { ...problemResponses(kinds), ...config.responses },
  });
  return route;
}

function problemResponses(kinds: readonly ProblemKind[]): RouteConfig['responses'] {
  const byStatus = Map.groupBy(new Set(kinds), (kind) => PROBLEMS[kind][0]);
  return Object.fromEntries(
    [...byStatus].map(([status, same]) => [
      status,
      {
        description: same.map((kind) => PROBLEMS[kind][1]).join(', or: '),
        content: { 'application/problem+json': { schema: Problem } },
      },
    ]),
  );
}

/** A JSON body that must be there. */
export const jsonBody = <Schema extends z.ZodType>(schema: Schema) => ({
  required: true,
  content: { 'application/json': { schema } },
});

/** A JSON body that may be left out. */
export const optionalJsonBody = <Schema extends z.ZodType>(schema: Schema) => ({
  required: false,
  content: { 'application/json': { schema } },
});

/** An answer in JSON. */
export const jsonAnswer = <Schema extends z.ZodType>(schema: Schema, description: string) => ({
  description,
  content: { 'application/json': { schema } },
});
