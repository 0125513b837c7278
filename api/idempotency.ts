import { createHash } from 'node:crypto';
import { z } from '@hono/zod-openapi';
import { ApiProblem } from './problems.ts';

const key = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[\x21-\x7e]+$/, 'Must be visible ASCII characters without blanks.');

const DESCRIPTION =
  'A name of yours for this request, unique in the account, such as a UUID. The same key with the same body answers what came of it the first time, however often it is sent; with another body it is refused with 422.';

/** The header by which repeating a request is harmless (I2). */
export const idempotencyHeader = z.object({
  'Idempotency-Key': key.openapi({ description: DESCRIPTION, example: 'order-4711-welcome' }),
});

/** {@link idempotencyHeader} where it may be left out. */
export const optionalIdempotencyHeader = z.object({
  'Idempotency-Key': key.optional().openapi({ description: DESCRIPTION, example: 'order-4711-test' }),
});

/** Tells the same request from another one under the same key. */
export function requestHash(operation: string, parts: readonly (string | null)[]): Buffer {
  return createHash('sha256')
    .update(JSON.stringify([operation, ...parts]))
    .digest();
}

export function keyReused(): ApiProblem {
  const message = 'This key was used for another request.';
  return new ApiProblem('unprocessable', message, {
    errors: [{ in: 'header', field: 'Idempotency-Key', message }],
  });
}
