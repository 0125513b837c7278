import { z } from '@hono/zod-openapi';

/** RFC 9457, with the members that Heed adds: `requestId` and `errors`. */
export const Problem = z
  .object({
    type: z
      .string()
      .openapi({ description: 'Names the kind of problem.', example: '/reference#problem-invalid-request' }),
    title: z.string().openapi({ example: 'The request is not valid' }),
    status: z.int().openapi({ example: 400 }),
    detail: z.string().openapi({ description: 'What went wrong this time.', example: 'Not valid: /email.' }),
    requestId: z
      .string()
      .optional()
      .openapi({ description: 'Also in the header X-Request-Id and in the log.' }),
    errors: z
      .array(
        z.object({
          in: z.enum(['body', 'query', 'path', 'header']),
          field: z.string().openapi({
            description: 'JSON Pointer (RFC 6901) into the body, or the name of the parameter or header.',
            example: '/email',
          }),
          message: z.string().openapi({ example: 'The address has no @ sign.' }),
        }),
      )
      .optional(),
  })
  .openapi('Problem');
