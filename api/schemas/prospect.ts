import { z } from '@hono/zod-openapi';
import type { Prospect } from '../../db/queries/prospects.ts';
import type { TimelineEvent } from '../../db/queries/timeline.ts';
import { STANDARD_FIELDS, type StandardField } from '../../domain/words.ts';
import type { ApiDeps } from '../context.ts';
import { AuditEntryView, auditEntryView } from './audit.ts';
import { email, id, reason, time, timeOf } from './common.ts';
import { AttemptSchema, attemptView, SendSchema, sendView } from './send.ts';

const EXAMPLES: Partial<Record<StandardField, string>> = {
  firstName: 'Ada',
  lastName: 'Byron',
  company: 'Example Ltd',
  timeZone: 'Europe/London',
};

/** How long a value may be before its own rule is even asked. */
const MAX_VALUE = 5000;

function standardFields<Value extends z.ZodType>(
  toValue: (example: string | null) => Value,
): Record<StandardField, Value> {
  return Object.fromEntries(
    STANDARD_FIELDS.map((field) => [field, toValue(EXAMPLES[field] ?? null)]),
  ) as Record<StandardField, Value>;
}

const fieldsIn = standardFields((example) =>
  z.string().max(MAX_VALUE).nullable().optional().openapi({ example }),
);
const customIn = z
  .record(z.string().max(100), z.union([z.string().max(MAX_VALUE), z.number(), z.boolean(), z.null()]))
  .optional()
  .openapi({
    description: 'Custom fields by key, in their types; null empties one.',
    example: { plan: 'gold' },
  });

const FLAGS_ON_CREATE =
  'Yes is set. No, or leaving it out, keeps what is known of the address: creating takes nothing back.';

export const ProspectInput = z
  .strictObject({
    email,
    ...fieldsIn,
    custom: customIn,
    emailOptOut: z.boolean().optional().openapi({ description: FLAGS_ON_CREATE }),
    bounced: z.boolean().optional().openapi({ description: FLAGS_ON_CREATE }),
    reason: reason.optional(),
  })
  .openapi('ProspectInput', { example: { email: 'ada@example.com', firstName: 'Ada', lastName: 'Byron' } });

export const ProspectChange = z
  .strictObject({
    email: email.optional(),
    ...fieldsIn,
    custom: customIn,
    emailOptOut: z.boolean().optional(),
    bounced: z.boolean().optional(),
    reason: reason.optional(),
  })
  .openapi('ProspectChange', { example: { company: 'Example Ltd', phone: null } });

export const ProspectSchema = z
  .object({
    id,
    addressId: id.openapi({ description: 'The address, under which suppressions and audit entries stand.' }),
    email: z.string().openapi({ description: 'As it was given.', example: 'ada@example.com' }),
    ...standardFields((example) => z.string().nullable().openapi({ example })),
    custom: z
      .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
      .openapi({ example: { plan: 'gold' } }),
    emailOptOut: z.boolean(),
    bounced: z.boolean(),
    version: z
      .int()
      .openapi({ description: 'Also in the header ETag. Goes up with every change, a flag’s included.' }),
    createdAt: time,
    updatedAt: time,
  })
  .openapi('Prospect');

export const FlagsInput = z
  .strictObject({
    emailOptOut: z.boolean().optional(),
    bounced: z.boolean().optional(),
    reason,
  })
  .refine((value) => value.emailOptOut !== undefined || value.bounced !== undefined, {
    path: ['emailOptOut'],
    message: 'Give emailOptOut, bounced, or both.',
  })
  .openapi('FlagsInput', { example: { emailOptOut: true, reason: 'Asked for it by phone' } });

export const TimelineEventSchema = z
  .discriminatedUnion('type', [
    z.object({ type: z.literal('audit'), at: time, entry: AuditEntryView }),
    z.object({ type: z.literal('send'), at: time, send: SendSchema }),
    z.object({ type: z.literal('attempt'), at: time, sendId: id, attempt: AttemptSchema }),
  ])
  .openapi('TimelineEvent', {
    description: 'What `at` is depends on the type: a change, a send made, an attempt begun.',
  });

export function prospectView(prospect: Prospect): z.input<typeof ProspectSchema> {
  const { fields, custom, createdAt, updatedAt, ...rest } = prospect;
  return {
    ...rest,
    ...fields,
    custom: { ...custom },
    createdAt: timeOf(createdAt),
    updatedAt: timeOf(updatedAt),
  };
}

export function timelineEventView(
  event: TimelineEvent,
  temporal: ApiDeps['temporal'],
): z.input<typeof TimelineEventSchema> {
  const at = timeOf(event.at);
  switch (event.type) {
    case 'audit':
      return { type: 'audit', at, entry: auditEntryView(event.entry) };
    case 'send':
      return { type: 'send', at, send: sendView(event.send, temporal) };
    case 'attempt':
      return { type: 'attempt', at, sendId: event.sendId, attempt: attemptView(event.attempt) };
  }
}
