import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';

/** Every kind of problem that the API answers with: status, title and what it means (RFC 9457 section 3.1). */
export const PROBLEMS = {
  'invalid-request': [
    400,
    'The request is not valid',
    'A field is missing, unknown or not as it must be; `errors` names each.',
  ],
  'malformed-json': [400, 'The body is not JSON', 'The body could not be read as JSON (RFC 8259).'],
  unauthenticated: [
    401,
    'A valid API key is needed',
    'The Authorization header is missing, or its key is unknown or revoked.',
  ],
  forbidden: [403, 'The API key may not do this', 'The scope of the key does not reach.'],
  'not-genuine': [
    403,
    'The request is not from the provider',
    'Its signature or its credentials do not fit, or it is too old. Nothing of it was kept.',
  ],
  'not-found': [404, 'Not found', 'There is nothing at this address.'],
  'method-not-allowed': [
    405,
    'The method is not allowed here',
    'The Allow header names the methods that are.',
  ],
  conflict: [
    409,
    'The state of the resource does not allow this',
    'What is asked for contradicts what is stored.',
  ],
  'precondition-failed': [
    412,
    'Changed meanwhile',
    'The resource is no longer at the version that If-Match names. Read it again.',
  ],
  'too-large': [413, 'The body is too large', 'The body is larger than what is taken here.'],
  'unsupported-media-type': [
    415,
    'The content type is not supported',
    'The body is of a type that is not taken here.',
  ],
  unprocessable: [
    422,
    'The request cannot be carried out',
    'The request is well-formed, but names something that does not exist or does not fit.',
  ],
  'precondition-required': [
    428,
    'If-Match is needed',
    'Changes must name the version that they were made from, so that nobody overwrites another.',
  ],
  internal: [500, 'Something went wrong in Heed', 'The log tells more under the request id.'],
  'provider-unavailable': [
    502,
    'The provider cannot be asked',
    'What is needed to verify the request could not be fetched. Nothing of it was kept; try again.',
  ],
  unavailable: [
    503,
    'Heed cannot reach its database',
    'Nothing is known to have been done. Try again after Retry-After seconds.',
  ],
} as const satisfies Record<string, readonly [ContentfulStatusCode, string, string]>;
export type ProblemKind = keyof typeof PROBLEMS;

/** Where in a request the field stands; fields of the body are JSON Pointers (RFC 6901). */
export type FieldPlace = 'body' | 'query' | 'path' | 'header';

/** One field that is wrong, and what is wrong with it. */
export interface FieldProblem {
  readonly in: FieldPlace;
  readonly field: string;
  readonly message: string;
}

/** Thrown by a handler to answer with a problem; nothing is committed by a transaction that it leaves. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem';
  readonly kind: ProblemKind;
  readonly errors: readonly FieldProblem[];
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    kind: ProblemKind,
    detail: string,
    more: { errors?: readonly FieldProblem[]; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(detail);
    this.kind = kind;
    this.errors = more.errors ?? [];
    this.headers = more.headers ?? {};
  }
}

/** A problem with one field of the body, named by its JSON Pointer. */
export function bodyProblem(
  kind: 'invalid-request' | 'unprocessable' | 'conflict',
  field: string,
  message: string,
): ApiProblem {
  return new ApiProblem(kind, message, { errors: [{ in: 'body', field, message }] });
}

/** @param what with its article left out, e.g. `prospect` */
export function notFound(what: string): ApiProblem {
  return new ApiProblem('not-found', `There is no such ${what}.`);
}

/** Answers with the problem as `application/problem+json`. */
export function problemResponse(c: Context, problem: ApiProblem): Response {
  const [status, title] = PROBLEMS[problem.kind];
  const body = {
    type: `/reference#problem-${problem.kind}`,
    title,
    status,
    detail: problem.message,
    requestId: c.get('requestId') as string | undefined,
    ...(problem.errors.length > 0 ? { errors: problem.errors } : {}),
  };
  return c.body(JSON.stringify(body), status, {
    'content-type': 'application/problem+json',
    ...problem.headers,
  });
}
