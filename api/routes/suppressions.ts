import { OpenAPIHono, z } from '@hono/zod-openapi';
import { ensureAddress, findAddress, reviveAddresses } from '../../db/queries/addresses.ts';
import { readList } from '../../db/queries/lists.ts';
import { findEntry, readDomainSuppression } from '../../db/queries/suppressionEntries.ts';
import {
  type ExportedSuppression,
  explainAddress,
  exportSuppressions,
  searchDomainSuppressions,
  searchSuppressions,
} from '../../db/queries/suppressionSearch.ts';
import {
  addDomainSuppression,
  addSuppressions,
  removeDomainSuppression,
  removeSuppressions,
} from '../../db/queries/suppressions.ts';
import { EMAIL_KINDS, WAYS } from '../../domain/words.ts';
import { type Api, type ApiDeps, type ApiEnv, originOf } from '../context.ts';
import { csvLine } from '../csv.ts';
import { given } from '../given.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { ApiProblem, bodyProblem, notFound } from '../problems.ts';
import { email, id, idPath, line, timeOf } from '../schemas/common.ts';
import { idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';
import {
  causeMessage,
  DomainSuppressionSchema,
  domainSuppressionView,
  Explanation,
  note,
  SuppressionInput,
  SuppressionSchema,
  suppressionReason,
  suppressionView,
} from '../schemas/suppression.ts';
import { bodyAddress, bodyDomain, queryAddress } from './input.ts';

const tags = ['Suppressions'];
const Entry = z.union([SuppressionSchema, DomainSuppressionSchema]).openapi('SuppressionEntry');

const search = operation('read', [], {
  method: 'get',
  path: '/suppressions',
  operationId: 'searchSuppressions',
  tags,
  summary: 'Search suppressed addresses',
  description: 'Newest first. All conditions must hold.',
  request: {
    query: z.strictObject({
      q: line(200).optional().openapi({ description: 'Beginning of the address.', example: 'ada' }),
      email: email.optional().openapi({ description: 'Exactly this address.' }),
      addressId: id.optional().openapi({ description: 'This address, also one that was erased.' }),
      reason: suppressionReason.optional(),
      listId: id.optional().openapi({ description: 'What holds only within this list.' }),
      way: z.enum(WAYS).optional(),
      limit,
      cursor: idCursor,
    }),
  },
  responses: { 200: jsonAnswer(pageOf(SuppressionSchema, 'SuppressionPage'), 'A page of entries.') },
});

const searchDomains = operation('read', [], {
  method: 'get',
  path: '/suppressions/domains',
  operationId: 'searchDomainSuppressions',
  tags,
  summary: 'Search suppressed domains',
  request: {
    query: z.strictObject({
      q: line(200).optional().openapi({ description: 'Beginning of the domain.', example: 'example' }),
      limit,
      cursor: idCursor,
    }),
  },
  responses: {
    200: jsonAnswer(pageOf(DomainSuppressionSchema, 'DomainSuppressionPage'), 'A page of domains.'),
  },
});

const add = operation('write', ['unprocessable'], {
  method: 'post',
  path: '/suppressions',
  operationId: 'addSuppression',
  tags,
  summary: 'Suppress an address or a domain',
  description:
    'From the moment of the answer no attempt to it begins, and its waiting sends end. `opt_out` and `bounced` set the flag of the prospect whose address it is.',
  request: { body: jsonBody(SuppressionInput) },
  responses: {
    201: jsonAnswer(Entry, 'The new entry.'),
    200: jsonAnswer(Entry, 'It held already and is left as it was.'),
  },
});

const remove = operation('write', ['not-found'], {
  method: 'delete',
  path: '/suppressions/{id}',
  operationId: 'removeSuppression',
  tags,
  summary: 'Take a reason off an address, or release a domain',
  description:
    'This entry and no other. `opt_out` and `bounced` clear the flag of the prospect whose address it is; whatever else suppresses the address goes on doing so. Find the entry by searching for the address.',
  request: { params: idPath, query: z.strictObject({ note }) },
  responses: { 204: { description: 'It is taken off.' } },
});

const explain = operation('read', ['unprocessable'], {
  method: 'get',
  path: '/suppressions/explain',
  operationId: 'explainAddress',
  tags,
  summary: 'Why may this address not be mailed?',
  description: 'Decided on what the gate of every attempt looks at, also for an address that Heed never met.',
  request: {
    query: z.strictObject({
      email,
      kind: z.enum(EMAIL_KINDS).default('marketing'),
      listId: id.optional().openapi({ description: 'The list that a send would go to.' }),
    }),
  },
  responses: { 200: jsonAnswer(Explanation, 'What holds now.') },
});

const exportAll = operation('read', [], {
  method: 'get',
  path: '/suppressions/export',
  operationId: 'exportSuppressions',
  tags,
  summary: 'Export the Global Suppression List as CSV',
  description:
    'Columns: email, domain, reason, list, note, createdAt. A cell that a spreadsheet would run as a formula has an apostrophe in front. Erased addresses have no text to export.',
  responses: {
    200: { description: 'The list, streamed.', content: { 'text/csv': { schema: z.string() } } },
  },
});

export function suppressionRoutes({ db, hasher, now, log }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();

  api.openapi(search, async (c) => {
    const { q, email, addressId, limit, cursor, ...filter } = c.req.valid('query');
    const named =
      email === undefined ? undefined : await findAddress(db, hasher, queryAddress('email', email));
    if (named === null || (named && addressId && named !== addressId)) {
      return c.json({ items: [], nextCursor: null }, 200);
    }
    const wanted = given({ ...filter, prefix: q, addressId: named ?? addressId });
    const rows = await searchSuppressions(db, wanted, { limit: limit + 1, ...given({ after: cursor }) });
    return c.json(
      toPage(rows, limit, (entry) => entry.id, suppressionView),
      200,
    );
  });

  api.openapi(searchDomains, async (c) => {
    const { q, limit, cursor } = c.req.valid('query');
    const page = { limit: limit + 1, ...given({ after: cursor }) };
    const rows = await searchDomainSuppressions(db, given({ prefix: q }), page);
    return c.json(
      toPage(rows, limit, (entry) => entry.id, domainSuppressionView),
      200,
    );
  });

  api.openapi(explain, async (c) => {
    const { email, kind, listId = null } = c.req.valid('query');
    const address = queryAddress('email', email);
    if (listId !== null && (await readList(db, listId)) === null) {
      const message = 'There is no such list.';
      throw new ApiProblem('unprocessable', message, { errors: [{ in: 'query', field: 'listId', message }] });
    }
    const { decision, addressId, prospectId, entries, domains } = await explainAddress(db, hasher, address, {
      kind,
      listId,
    });
    const causes = decision.allowed ? [] : decision.because;
    return c.json(
      {
        email: address.given,
        mayBeMailed: decision.allowed,
        causes: causes.map((cause) => ({ code: cause, message: causeMessage(cause) })),
        addressId,
        prospectId,
        entries: entries.map(suppressionView),
        domains: domains.map(domainSuppressionView),
      },
      200,
    );
  });

  api.openapi(exportAll, (c) => {
    const lines = exportLines(exportSuppressions(db), (error) =>
      log.error({ err: error, requestId: c.get('requestId') }, 'the export of suppressions broke off'),
    );
    return c.body(ReadableStream.from(lines), 200, {
      'content-type': 'text/csv; charset=utf-8; header=present',
      'content-disposition': 'attachment; filename="suppressions.csv"',
    });
  });

  api.openapi(add, async (c) => {
    const { email, domain, reason, listId = null, note = null } = c.req.valid('json');
    const origin = originOf(c, note);
    if (domain !== undefined) {
      const name = bodyDomain('/domain', domain);
      const [added, entry] = await db.transaction(async (tx) => [
        await addDomainSuppression(tx, origin, now(), name, note),
        await readDomainSuppression(tx, name),
      ]);
      return c.json(domainSuppressionView(entry!), added ? 201 : 200);
    }
    const address = bodyAddress('/email', email!);
    const [added, entry] = await db.transaction(async (tx) => {
      if (listId !== null && (await readList(tx, listId)) === null) {
        throw bodyProblem('unprocessable', '/listId', 'There is no such list.');
      }
      const addressId = await ensureAddress(tx, hasher, now(), address);
      const added = await addSuppressions(tx, origin, now(), [{ addressId, reason, listId, note }]);
      // One that was erased is told of by its text again.
      await reviveAddresses(tx, hasher, [address]);
      const [entry] = await searchSuppressions(tx, { addressId, reason, listId }, { limit: 1 });
      return [added > 0, entry!];
    });
    return c.json(suppressionView(entry), added ? 201 : 200);
  });

  api.openapi(remove, async (c) => {
    const { id } = c.req.valid('param');
    const { note } = c.req.valid('query');
    await db.transaction(async (tx) => {
      const target = await findEntry(tx, id);
      if (target === null) throw notFound('suppression');
      const origin = originOf(c, note);
      if (target.kind === 'domain') await removeDomainSuppression(tx, origin, now(), target.domain);
      else await removeSuppressions(tx, origin, now(), [target]);
    });
    return c.body(null, 204);
  });

  return api;
}

async function* exportLines(
  suppressions: AsyncIterable<ExportedSuppression>,
  onError: (error: unknown) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder = new TextEncoder();
  yield encoder.encode(csvLine(['email', 'domain', 'reason', 'list', 'note', 'createdAt']));
  try {
    for await (const one of suppressions) {
      yield encoder.encode(
        csvLine([one.email, one.domain, one.reason, one.list, one.note, timeOf(one.createdAt)]),
      );
    }
  } catch (error) {
    // Too late for a problem answer: the stream breaks off, so that nobody takes half a list for the whole.
    onError(error);
    throw error;
  }
}
