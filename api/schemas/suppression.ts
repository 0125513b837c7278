import { z } from '@hono/zod-openapi';
import type { DomainSuppression, Suppression } from '../../db/queries/suppressionSearch.ts';
import type { SuppressionCause } from '../../domain/suppression.ts';
import { SUPPRESSION_REASONS, WAYS } from '../../domain/words.ts';
import { email, id, name, time, timeOf } from './common.ts';

export const suppressionReason = z.enum(SUPPRESSION_REASONS).openapi({ example: 'manual' });

/** The words of whoever changes the list, beside the code that the list calls the reason. */
export const note = name(500).openapi({
  description: 'Why, in your own words. Kept in the audit trail for good, so name nobody in it.',
  example: 'Wrote to support',
});

const way = z.enum(WAYS).openapi({ example: 'api' });

export const SuppressionSchema = z
  .object({
    id,
    addressId: id,
    email: z
      .string()
      .nullable()
      .openapi({ description: 'null once the person was erased.', example: 'ada@example.com' }),
    reason: suppressionReason,
    listId: id
      .nullable()
      .openapi({ description: 'The one list that it holds for; null for all mail.', example: null }),
    way,
    actor: z.string(),
    note: z.string().nullable(),
    createdAt: time,
  })
  .openapi('Suppression');

export const DomainSuppressionSchema = z
  .object({
    id,
    domain: z.string().openapi({ example: 'example.net' }),
    reason: z.literal('manual'),
    way,
    actor: z.string(),
    note: z.string().nullable(),
    createdAt: time,
  })
  .openapi('DomainSuppression');

export const SuppressionInput = z
  .strictObject({
    email: email.optional(),
    domain: name(300)
      .optional()
      .openapi({ description: 'A domain with everything below it.', example: 'example.net' }),
    reason: suppressionReason.default('manual'),
    listId: id
      .optional()
      .openapi({ description: 'Suppress within this list only: an unsubscribe from one list.' }),
    note: note.optional(),
  })
  .superRefine((value, context) => {
    const refuse = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    if ((value.email === undefined) === (value.domain === undefined))
      refuse('email', 'Give either email or domain.');
    if (value.domain === undefined) return;
    if (value.reason !== 'manual')
      refuse('reason', 'A domain can only be suppressed with the reason manual.');
    if (value.listId !== undefined) refuse('listId', 'A domain cannot be suppressed within a list.');
  })
  .openapi('SuppressionInput', {
    example: { email: 'ada@example.com', reason: 'opt_out', note: 'Wrote to support' },
  });

export const Explanation = z
  .object({
    email: z.string().openapi({ example: 'ada@example.com' }),
    mayBeMailed: z.boolean(),
    causes: z
      .array(
        z.object({
          code: z.string().openapi({ example: 'address:opt_out' }),
          message: z.string().openapi({ example: 'The address is on the Global Suppression List: opt_out.' }),
        }),
      )
      .openapi({ description: 'Everything that forbids it, by itself.' }),
    addressId: id.nullable().openapi({ description: 'null where Heed never met the address.' }),
    prospectId: id.nullable(),
    entries: z.array(SuppressionSchema),
    domains: z.array(DomainSuppressionSchema),
  })
  .openapi('Explanation');

export function suppressionView(suppression: Suppression): z.input<typeof SuppressionSchema> {
  return { ...suppression, createdAt: timeOf(suppression.createdAt) };
}

export function domainSuppressionView(entry: DomainSuppression): z.input<typeof DomainSuppressionSchema> {
  return { ...entry, reason: 'manual', createdAt: timeOf(entry.createdAt) };
}

/** The cause as a sentence for people. */
export function causeMessage(cause: SuppressionCause): string {
  const [where, what] = cause.split(/:(.*)/s) as [string, string];
  switch (where) {
    case 'prospect':
      return what === 'opt_out' ? 'The prospect’s Email Opt Out is Yes.' : 'The prospect’s Bounced is Yes.';
    case 'list':
      return `The address is suppressed within this list: ${what}.`;
    case 'domain':
      return `The domain ${what} is suppressed with everything below it.`;
    default:
      return `The address is on the Global Suppression List: ${what}.`;
  }
}
