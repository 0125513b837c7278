import { OpenAPIHono, z } from '@hono/zod-openapi';
import { parseEmail, type TemplateProblem, validateTemplates } from '../../adapters/mailer/render.ts';
import type { Session } from '../../db/connection.ts';
import { editBroadcast } from '../../db/queries/broadcastEditing.ts';
import { readNotReached } from '../../db/queries/broadcastNotReached.ts';
import { previewBroadcast } from '../../db/queries/broadcastPreview.ts';
import { readBroadcastReport, readBroadcastSends } from '../../db/queries/broadcastReport.ts';
import {
  type Broadcast,
  type BroadcastChanged,
  changeBroadcast,
  createBroadcast,
  lockBroadcast,
  readBroadcast,
  searchBroadcasts,
} from '../../db/queries/broadcasts.ts';
import { checkLists, readMatchingPage } from '../../db/queries/criteria.ts';
import { readCustomFields } from '../../db/queries/customFields.ts';
import { type Email, readEmail } from '../../db/queries/emails.ts';
import { existingLists, holdLists } from '../../db/queries/lists.ts';
import { readProspectsInOrder } from '../../db/queries/prospectRows.ts';
import { readSend } from '../../db/queries/sendSearch.ts';
import { createSend } from '../../db/queries/sends.ts';
import { type Audience, audienceCriteria } from '../../domain/broadcast/audience.ts';
import { BROADCAST_STATES } from '../../domain/broadcast/words.ts';
import { SEND_OUTCOMES, SEND_STATES } from '../../domain/words.ts';
import { type Api, type ApiDeps, type ApiEnv, originOf } from '../context.ts';
import { bodyCriteria, workingOut } from '../criteria.ts';
import { given } from '../given.ts';
import { idempotencyHeader, keyReused, optionalIdempotencyHeader, requestHash } from '../idempotency.ts';
import { mergeValuesOf } from '../mergeValues.ts';
import { jsonAnswer, jsonBody, operation, optionalJsonBody } from '../operation.ts';
import { ApiProblem, bodyProblem, notFound } from '../problems.ts';
import { PUBLIC_FOLDER } from '../public/loggedPath.ts';
import {
  BroadcastChange,
  BroadcastInput,
  BroadcastPreviewSchema,
  BroadcastReportSchema,
  BroadcastSchema,
  broadcastReportView,
  broadcastView,
  NotReachedSchema,
} from '../schemas/broadcast.ts';
import { email, id, idPath, reason, timeIn } from '../schemas/common.ts';
import { cursorTo, idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';
import { SendSchema, sendView } from '../schemas/send.ts';
import { bodyAddress } from './input.ts';
import { sendIdOf } from './sends.ts';

const tags = ['Broadcasts'];
/** Recipients that a preview renders the email for. */
const RENDERED_FOR = 20;
/** How long a start may lie past and still mean now: clocks differ, and requests are repeated. */
const LATE_START_MS = 5 * 60_000;
const withLocation = { headers: z.object({ Location: z.string() }) };

const create = operation('write', ['unprocessable'], {
  method: 'post',
  path: '/broadcasts',
  operationId: 'createBroadcast',
  tags,
  summary: 'Make a broadcast',
  description:
    'One email to lists, or to everybody who matches criteria, minus exclusion lists. It is a draft: nothing is sent before it is started. The header Idempotency-Key makes a repeated request harmless.',
  request: { headers: idempotencyHeader, body: jsonBody(BroadcastInput) },
  responses: {
    201: { ...jsonAnswer(BroadcastSchema, 'The draft.'), ...withLocation },
    200: { ...jsonAnswer(BroadcastSchema, 'It was made before, under the same key.'), ...withLocation },
  },
});

const list = operation('read', [], {
  method: 'get',
  path: '/broadcasts',
  operationId: 'listBroadcasts',
  tags,
  summary: 'List broadcasts',
  description: 'Newest first.',
  request: {
    query: z.strictObject({ state: z.enum(BROADCAST_STATES).optional(), limit, cursor: idCursor }),
  },
  responses: { 200: jsonAnswer(pageOf(BroadcastSchema, 'BroadcastPage'), 'A page of broadcasts.') },
});

const read = operation('read', ['not-found'], {
  method: 'get',
  path: '/broadcasts/{id}',
  operationId: 'readBroadcast',
  tags,
  summary: 'Read a broadcast',
  request: { params: idPath },
  responses: { 200: jsonAnswer(BroadcastSchema, 'The broadcast.') },
});

const change = operation('write', ['not-found', 'conflict', 'unprocessable'], {
  method: 'patch',
  path: '/broadcasts/{id}',
  operationId: 'changeBroadcast',
  tags,
  summary: 'Change a broadcast',
  description:
    'What is left out stays. Of a draft everything can be changed; after that its name and its limit until it is over, the limit within a minute where it is being sent, and its time until that has come.',
  request: { params: idPath, body: jsonBody(BroadcastChange) },
  responses: { 200: jsonAnswer(BroadcastSchema, 'The broadcast as it is now.') },
});

const preview = operation('read', ['not-found', 'unprocessable'], {
  method: 'post',
  path: '/broadcasts/{id}/preview',
  operationId: 'previewBroadcast',
  tags,
  summary: 'Whom would it reach?',
  description:
    'As of now: how many people, who is blocked and why, duplicates across its lists, what is wrong with the templates, and how long it takes. The email is at the version that was fixed when the broadcast was started, before that at its newest. Changes nothing.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(BroadcastPreviewSchema, 'Counts and problems.') },
});

const test = operation('write', ['not-found', 'unprocessable'], {
  method: 'post',
  path: '/broadcasts/{id}/test',
  operationId: 'testBroadcast',
  tags,
  summary: 'Send it to a colleague',
  description:
    "With a prospect's fields, to the address given; counts for nothing. The email is at the version that was fixed when the broadcast was started, before that at its newest. Goes out at once, whatever the state of the broadcast.",
  request: {
    params: idPath,
    headers: optionalIdempotencyHeader,
    body: jsonBody(
      z.strictObject({ to: email, prospectId: id.openapi({ description: 'Whose fields fill it.' }) }),
    ),
  },
  responses: {
    201: { ...jsonAnswer(SendSchema, 'The test send.'), ...withLocation },
    200: { ...jsonAnswer(SendSchema, 'It was made before, under the same key.'), ...withLocation },
  },
});

const start = operation('write', ['not-found', 'conflict', 'unprocessable'], {
  method: 'post',
  path: '/broadcasts/{id}/start',
  operationId: 'startBroadcast',
  tags,
  summary: 'Send it, now or at a time',
  description:
    'Fixes the version of its email. Who it goes to is decided when it begins; whether each may be emailed, when their attempt begins.',
  request: {
    params: idPath,
    body: optionalJsonBody(
      z.strictObject({
        startAt: timeIn.optional().openapi({
          description: 'Left out: now. Up to five minutes past: now; longer past is refused.',
        }),
        reason: reason.optional(),
      }),
    ),
  },
  responses: { 200: jsonAnswer(BroadcastSchema, 'The broadcast.') },
});

const COMMANDS = [
  [
    'pause',
    'Pause a broadcast',
    'Nobody gets a first attempt after this answer, except what was decided in the two seconds before. Who waits for another attempt has a workflow of their own, which goes on.',
  ],
  ['resume', 'Resume a paused broadcast', 'It goes on where it was.'],
  [
    'cancel',
    'Cancel a broadcast',
    'For good: nobody gets a first attempt after this answer, and what waits for another one is ended.',
  ],
] as const;

const commandOf = (command: (typeof COMMANDS)[number][0], summary: string, description: string) =>
  operation('write', ['not-found', 'conflict'], {
    method: 'post',
    path: `/broadcasts/{id}/${command}`,
    operationId: `${command}Broadcast`,
    tags,
    summary,
    description,
    request: { params: idPath, body: optionalJsonBody(z.strictObject({ reason: reason.optional() })) },
    responses: { 200: jsonAnswer(BroadcastSchema, 'The broadcast.') },
  });

const report = operation('read', ['not-found'], {
  method: 'get',
  path: '/broadcasts/{id}/report',
  operationId: 'readBroadcastReport',
  tags,
  summary: 'What became of its recipients',
  description: 'Live while it is being sent, final once `isFinal` says so.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(BroadcastReportSchema, 'The counts as of now.') },
});

const recipients = operation('read', ['not-found'], {
  method: 'get',
  path: '/broadcasts/{id}/recipients',
  operationId: 'listBroadcastRecipients',
  tags,
  summary: 'What became of each recipient',
  description: 'Everybody who was reached or refused, each with their send.',
  request: {
    params: idPath,
    query: z.strictObject({
      state: z.enum(SEND_STATES).optional(),
      outcome: z.enum(SEND_OUTCOMES).optional(),
      limit,
      cursor: cursorTo(z.strictObject({ addressId: z.uuid() })),
    }),
  },
  responses: { 200: jsonAnswer(pageOf(SendSchema, 'BroadcastRecipientPage'), 'A page of sends.') },
});

const notReached = operation('read', ['not-found'], {
  method: 'get',
  path: '/broadcasts/{id}/not-reached',
  operationId: 'listBroadcastNotReached',
  tags,
  summary: 'Who has no send of it, and why',
  description: 'The others of its recipients are told by `/recipients`. Oldest prospects first.',
  request: { params: idPath, query: z.strictObject({ limit, cursor: idCursor }) },
  responses: { 200: jsonAnswer(pageOf(NotReachedSchema, 'BroadcastNotReachedPage'), 'A page of prospects.') },
});

export function broadcastRoutes({ db, hasher, config, temporal, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();

  const current = async (broadcastId: string): Promise<Broadcast> => {
    const broadcast = await readBroadcast(db, broadcastId);
    if (broadcast === null) throw notFound('broadcast');
    return broadcast;
  };
  /** A wrong year or zone would mail everybody at once. */
  const requireStart = (startAt: Date | null) => {
    if (startAt === null || startAt.getTime() >= now().getTime() - LATE_START_MS) return;
    throw bodyProblem('unprocessable', '/startAt', 'Must not lie more than five minutes past.');
  };
  const view = async (broadcastId: string) => broadcastView(await current(broadcastId), temporal);

  api.openapi(create, async (c) => {
    const { name, emailId, perMinute, ...who } = c.req.valid('json');
    const key = c.req.valid('header')['Idempotency-Key'];
    const hash = requestHash('broadcast', [name, emailId, String(perMinute), JSON.stringify(who)]);
    const made = await db.transaction(async (tx) => {
      const audience = await audienceOf(tx, who);
      return createBroadcast(tx, now(), {
        name,
        emailId,
        audience,
        perMinute,
        idempotencyKey: key,
        requestHash: hash,
      });
    });
    if (made.kind === 'key_conflict') throw keyReused();
    if (made.kind === 'no_email') throw noEmail();
    const headers = { location: `/broadcasts/${made.broadcastId}` };
    return c.json(await view(made.broadcastId), made.kind === 'created' ? 201 : 200, headers);
  });

  api.openapi(list, async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const rows = await searchBroadcasts(db, given(filter), { limit: limit + 1, ...given({ after: cursor }) });
    return c.json(
      toPage(
        rows,
        limit,
        (broadcast) => broadcast.id,
        (broadcast) => broadcastView(broadcast, temporal),
      ),
      200,
    );
  });

  api.openapi(read, async (c) => c.json(await view(c.req.valid('param').id), 200));

  api.openapi(change, async (c) => {
    const { id: broadcastId } = c.req.valid('param');
    const { listIds, criteria, excludeListIds, startAt, reason = null, ...rest } = c.req.valid('json');
    requireStart(startAt ?? null);
    const who = given({ listIds, criteria, excludeListIds });
    const changed = await db.transaction((tx) =>
      editBroadcast(tx, originOf(c, reason), now(), broadcastId, async (broadcast) => {
        const isChanged = Object.keys(who).length > 0;
        const audience = isChanged ? await audienceOf(tx, changedWho(broadcast.audience, who)) : undefined;
        return given({ ...rest, audience, startAt });
      }),
    );
    if (changed.kind === 'not_found') throw notFound('broadcast');
    if (changed.kind === 'no_email') throw noEmail();
    if (changed.kind === 'too_late') {
      const field = changed.field === 'audience' ? 'who it goes to' : changed.field;
      throw new ApiProblem(
        'conflict',
        `The broadcast is ${changed.state}: ${field} cannot be changed${
          changed.state === 'draft' ? ', it is given when it is started' : ' any more'
        }.`,
      );
    }
    return c.json(await view(broadcastId), 200);
  });

  api.openapi(preview, async (c) => {
    const broadcast = await current(c.req.valid('param').id);
    const mail = (await readEmail(db, broadcast.emailId, broadcast.emailVersion))!;
    const counts = await workingOut('/criteria', () => previewBroadcast(db, now(), broadcast, mail.kind));
    const templateProblems = await problemsOf(db, now(), mail, broadcast.audience, config.publicUrl);
    return c.json(
      { ...counts, blockedBecause: counts.blockedBecause.map((one) => ({ ...one })), templateProblems },
      200,
    );
  });

  api.openapi(test, async (c) => {
    const broadcast = await current(c.req.valid('param').id);
    const { to, prospectId } = c.req.valid('json');
    const key = c.req.valid('header')['Idempotency-Key'] ?? null;
    const testTo = bodyAddress('/to', to);
    const hash =
      key === null ? null : requestHash('broadcast test', [broadcast.id, prospectId, testTo.comparisonForm]);
    const { emailId, emailVersion, audience } = broadcast;
    const listId = 'listIds' in audience ? audience.listIds[0] : null;
    const request = {
      emailId,
      emailVersion,
      prospectId,
      listId,
      idempotencyKey: key,
      requestHash: hash,
      testTo,
    };
    const made = await db.transaction(async (tx) => {
      const created = await createSend(tx, hasher, now(), request, config.messageIdDomain);
      // The body names no email, and a broadcast keeps its own.
      if (created.kind === 'no_email') throw archivedEmail();
      return sendIdOf(created);
    });
    const send = (await readSend(db, made.sendId))!;
    return c.json(sendView(send, temporal), made.created ? 201 : 200, { location: `/sends/${send.id}` });
  });

  api.openapi(start, async (c) => {
    const { id: broadcastId } = c.req.valid('param');
    const { startAt = null, reason = null } = c.req.valid('json') ?? {};
    requireStart(startAt);
    const changed = await db.transaction(async (tx) => {
      await holdLists(tx);
      const broadcast = await lockBroadcast(tx, broadcastId);
      if (broadcast === null) throw notFound('broadcast');
      await requireRenderable(tx, (await readEmail(tx, broadcast.emailId))!);
      // They may have grown since it was made.
      await workingOut('', () => checkLists(tx, audienceCriteria(broadcast.audience)));
      return changeBroadcast(tx, originOf(c, reason), now(), broadcastId, 'start', startAt);
    });
    if (changed.kind === 'email_archived') throw archivedEmail();
    requireChanged(changed);
    return c.json(await view(broadcastId), 200);
  });

  for (const [command, summary, description] of COMMANDS) {
    api.openapi(commandOf(command, summary, description), async (c) => {
      const broadcast = await current(c.req.valid('param').id);
      const { reason = null } = c.req.valid('json') ?? {};
      const changed = await db.transaction((tx) =>
        changeBroadcast(tx, originOf(c, reason), now(), broadcast.id, command),
      );
      requireChanged(changed);
      return c.json(await view(broadcast.id), 200);
    });
  }

  api.openapi(report, async (c) => {
    const broadcast = await current(c.req.valid('param').id);
    const counts = (await readBroadcastReport(db, broadcast.id))!;
    return c.json(broadcastReportView(broadcast, counts), 200);
  });

  api.openapi(recipients, async (c) => {
    const { id: broadcastId } = await current(c.req.valid('param').id);
    const { limit, cursor, ...filter } = c.req.valid('query');
    const rows = await readBroadcastSends(db, broadcastId, given(filter), cursor?.addressId, limit + 1);
    return c.json(
      toPage(
        rows,
        limit,
        ({ addressId }) => ({ addressId }),
        (send) => sendView(send, temporal),
      ),
      200,
    );
  });

  api.openapi(notReached, async (c) => {
    const { id: broadcastId } = await current(c.req.valid('param').id);
    const { limit, cursor } = c.req.valid('query');
    const rows = await readNotReached(db, broadcastId, cursor, limit + 1);
    return c.json(
      toPage(
        rows,
        limit,
        (one) => one.prospectId,
        (one) => ({ ...one }),
      ),
      200,
    );
  });

  return api;
}

function archivedEmail(): ApiProblem {
  return new ApiProblem(
    'unprocessable',
    'The email of this broadcast is archived. Make another broadcast, with an email that is in use.',
  );
}

function noEmail(): ApiProblem {
  return bodyProblem('unprocessable', '/emailId', 'There is no such email, or it is archived.');
}

/** Lists and criteria take each other's place; exclusion lists stand by themselves. */
function changedWho(
  { excludeListIds, ...before }: Audience,
  change: { listIds?: string[]; criteria?: unknown; excludeListIds?: string[] },
): Parameters<typeof audienceOf>[1] {
  const isReplaced = change.listIds !== undefined || change.criteria !== undefined;
  const who = isReplaced ? {} : 'listIds' in before ? { listIds: [...before.listIds] } : before;
  return { ...who, excludeListIds: [...excludeListIds], ...change };
}

function requireChanged(changed: BroadcastChanged): void {
  if (changed.kind === 'not_found') throw notFound('broadcast');
  if (changed.kind === 'wrong_state') throw new ApiProblem('conflict', `The broadcast is ${changed.state}.`);
}

async function audienceOf(
  on: Session,
  who: { listIds?: string[] | undefined; criteria?: unknown; excludeListIds: string[] },
): Promise<Audience> {
  const audience = await readAudience(on, who);
  await workingOut('listIds' in audience ? '/listIds' : '/criteria', () =>
    checkLists(on, audienceCriteria(audience)),
  );
  return audience;
}

async function readAudience(on: Session, who: Parameters<typeof audienceOf>[1]): Promise<Audience> {
  const excludeListIds = [...new Set(who.excludeListIds)];
  await requireLists(on, '/excludeListIds', who.excludeListIds);
  if (who.listIds === undefined) {
    const criteria = await bodyCriteria(on, '/criteria', who.criteria);
    return { criteria, excludeListIds };
  }
  await requireLists(on, '/listIds', who.listIds);
  const [first, ...others] = new Set(who.listIds);
  return { listIds: [first!, ...others], excludeListIds };
}

async function requireLists(on: Session, field: string, ids: readonly string[]): Promise<void> {
  const known = await existingLists(on, ids);
  const missing = ids.findIndex((one) => !known.has(one));
  if (missing !== -1) throw bodyProblem('unprocessable', `${field}/${missing}`, 'There is no such list.');
}

async function templateProblemsOf(on: Session, mail: Email): Promise<TemplateProblem[]> {
  const keys = (await readCustomFields(on)).map((field) => field.key);
  return validateTemplates(mail, keys, mail.kind);
}

async function requireRenderable(on: Session, mail: Email): Promise<void> {
  const [problem] = await templateProblemsOf(on, mail);
  if (problem === undefined) return;
  throw new ApiProblem(
    'unprocessable',
    `The email cannot be rendered: ${problem.field}, line ${problem.line}, column ${problem.column}: ${problem.message}`,
  );
}

/** What is wrong with the templates by themselves, and with the first recipients. */
async function problemsOf(
  on: Session,
  at: Date,
  mail: Email,
  audience: Audience,
  publicUrl: string,
): Promise<TemplateProblem[]> {
  const problems = await templateProblemsOf(on, mail);
  if (problems.length > 0) return problems;
  const ids = await readMatchingPage(on, audienceCriteria(audience), at, null, RENDERED_FOR);
  const parsed = parseEmail(mail);
  const link = mail.kind === 'marketing' ? `${publicUrl}${PUBLIC_FOLDER}/preview` : null;
  for (const prospect of await readProspectsInOrder(on, ids)) {
    const rendered = parsed.render(mergeValuesOf(prospect), link);
    if (!rendered.ok) problems.push(rendered.problem);
  }
  // One for each place is enough.
  return [...new Map(problems.map((one) => [`${one.field} ${one.line} ${one.column}`, one])).values()];
}
