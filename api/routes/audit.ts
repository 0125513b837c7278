import { OpenAPIHono, z } from '@hono/zod-openapi';
import { findAddress } from '../../db/queries/addresses.ts';
import { AUDIT_ACTIONS } from '../../db/queries/audit.ts';
import { searchAudit } from '../../db/queries/auditSearch.ts';
import { WAYS } from '../../domain/words.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { jsonAnswer, operation } from '../operation.ts';
import { AuditEntryView, auditEntryView } from '../schemas/audit.ts';
import { email, id, timeIn } from '../schemas/common.ts';
import { cursorTo, limit, pageOf, toPage } from '../schemas/paging.ts';
import { queryAddress } from './input.ts';

const search = operation('read', [], {
  method: 'get',
  path: '/audit',
  operationId: 'searchAudit',
  tags: ['Audit'],
  summary: 'Search the audit trail',
  description:
    'Every change of a flag, every refused send and every attempt, newest first: when, by whom, which way, why, and what was before and after. Entries are only ever added.',
  request: {
    query: z.strictObject({
      prospectId: id.optional(),
      addressId: id.optional(),
      email: email.optional().openapi({ description: 'Entries about this address.' }),
      sendId: id.optional(),
      action: z.enum(AUDIT_ACTIONS).optional(),
      way: z.enum(WAYS).optional(),
      from: timeIn.optional().openapi({ description: 'Not before this time.' }),
      to: timeIn.optional().openapi({ description: 'Before this time.' }),
      limit,
      cursor: cursorTo(z.int().positive()),
    }),
  },
  responses: { 200: jsonAnswer(pageOf(AuditEntryView, 'AuditPage'), 'A page of the audit trail.') },
});

export function auditRoutes({ db, hasher }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  api.openapi(search, async (c) => {
    const { limit, cursor, email, addressId, ...filter } = c.req.valid('query');
    const named =
      email === undefined ? undefined : await findAddress(db, hasher, queryAddress('email', email));
    // An address that Heed never met has no entries; two different addresses have none in common.
    if (named === null || (named && addressId && named !== addressId))
      return c.json({ items: [], nextCursor: null }, 200);
    const rows = await searchAudit(db, { ...filter, addressId: named ?? addressId }, cursor, limit + 1);
    return c.json(
      toPage(rows, limit, (entry) => entry.id, auditEntryView),
      200,
    );
  });
  return api;
}
