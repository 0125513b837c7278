import { z } from '@hono/zod-openapi';
import { ApiProblem } from './problems.ts';

const FORM = /^(?:\*|"(\d{1,9})")$/;

/** The header that a change of a versioned resource needs (RFC 9110 section 13.1.1). */
export const ifMatchHeader = z.object({
  'If-Match': z
    .string()
    .regex(FORM, 'Must be the ETag of the resource, such as "3", or *.')
    .optional()
    .openapi({
      description: 'ETag of the version that the change was made from; `*` for whichever it is now.',
      example: '"3"',
    }),
});

/** ETag of a version. */
export const etagOf = (version: number): string => `"${version}"`;

/**
 * The version that If-Match names, or `null` for any.
 *
 * @throws ApiProblem 428 where the header is missing (RFC 6585 section 3)
 */
export function requiredVersion(ifMatch: string | undefined): number | null {
  if (ifMatch === undefined) {
    throw new ApiProblem('precondition-required', 'Send the ETag that you read in the header If-Match.', {
      errors: [{ in: 'header', field: 'If-Match', message: 'Is required.' }],
    });
  }
  return versionOf(ifMatch);
}

/** Like {@link requiredVersion} where the header may be left out. */
export function versionOf(ifMatch: string | undefined): number | null {
  const version = ifMatch === undefined ? undefined : FORM.exec(ifMatch)?.[1];
  return version === undefined ? null : Number(version);
}

/** @throws ApiProblem 412 where the resource has moved on */
export function changedMeanwhile(current: number): ApiProblem {
  return new ApiProblem('precondition-failed', `The resource is at version ${current} now. Read it again.`, {
    headers: { etag: etagOf(current) },
  });
}
