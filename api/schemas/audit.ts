import { z } from '@hono/zod-openapi';
import { AUDIT_ACTIONS } from '../../db/queries/audit.ts';
import type { AuditEntry } from '../../db/queries/auditSearch.ts';
import { WAYS } from '../../domain/words.ts';
import { id, time, timeOf } from './common.ts';

const anything = z.unknown().openapi({
  description: 'In the shape of what it is about; null where there was nothing.',
  example: false,
});

export const AuditEntryView = z
  .object({
    id: z.int(),
    at: time,
    action: z.enum(AUDIT_ACTIONS).openapi({ example: 'flag.changed' }),
    way: z.enum(WAYS).openapi({ description: 'Which way the change came.', example: 'api' }),
    actor: z
      .string()
      .openapi({ description: 'Who: the name of an API key, or Heed itself.', example: 'crm' }),
    reason: z.string().nullable(),
    requestId: z.string().nullable(),
    prospectId: id.nullable(),
    addressId: id.nullable(),
    sendId: id.nullable(),
    subject: z.string().nullable().openapi({ example: 'emailOptOut' }),
    before: anything,
    after: anything,
  })
  .openapi('AuditEntry');

export function auditEntryView(entry: AuditEntry): z.input<typeof AuditEntryView> {
  return { ...entry, at: timeOf(entry.at) };
}
