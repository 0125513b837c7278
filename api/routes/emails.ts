import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { parseEmail, validateTemplates } from '../../adapters/mailer/render.ts';
import type { Session } from '../../db/connection.ts';
import { readCustomFields } from '../../db/queries/customFields.ts';
import {
  archiveEmail,
  changeEmail,
  createEmail,
  type Email,
  type EmailContent,
  listEmails,
  lockEmail,
  readEmail,
} from '../../db/queries/emails.ts';
import { readProspect } from '../../db/queries/prospects.ts';
import { readSend } from '../../db/queries/sendSearch.ts';
import { createSend } from '../../db/queries/sends.ts';
import type { EmailKind } from '../../domain/words.ts';
import { changedMeanwhile, etagOf, ifMatchHeader, requiredVersion, versionOf } from '../conditions.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { given } from '../given.ts';
import { optionalIdempotencyHeader, requestHash } from '../idempotency.ts';
import { mergeValuesOf } from '../mergeValues.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { ApiProblem, bodyProblem, type FieldProblem, notFound } from '../problems.ts';
import { PUBLIC_FOLDER } from '../public/loggedPath.ts';
import { flagIn, email as givenAddress, id, idPath } from '../schemas/common.ts';
import {
  EmailChangeInput,
  EmailInput,
  EmailSchema,
  EmailSummarySchema,
  emailSummaryView,
  emailView,
  Preview,
} from '../schemas/email.ts';
import { idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';
import { SendSchema, sendView } from '../schemas/send.ts';
import { bodyAddress } from './input.ts';
import { sendIdOf } from './sends.ts';

const tags = ['Emails'];
const oneEmail = (description: string) => ({
  ...jsonAnswer(EmailSchema, description),
  headers: z.object({ ETag: z.string().openapi({ example: '"3"' }) }),
});

const create = operation('write', [], {
  method: 'post',
  path: '/emails',
  operationId: 'createEmail',
  tags,
  summary: 'Write an email',
  description:
    'Merge fields are Liquid: `{{ prospect.first_name | default: "reader" }}`, custom fields `{{ prospect.custom.plan }}`. A field that does not exist is refused unless it has a default. It needs HTML or text.',
  request: { body: jsonBody(EmailInput) },
  responses: {
    201: {
      ...jsonAnswer(EmailSchema, 'The email, at version 1.'),
      headers: z.object({ Location: z.string(), ETag: z.string() }),
    },
  },
});

const list = operation('read', [], {
  method: 'get',
  path: '/emails',
  operationId: 'listEmails',
  tags,
  summary: 'List emails',
  description: 'Newest first, without their content.',
  request: {
    query: z.strictObject({
      archived: flagIn.optional().openapi({ description: '`true` shows archived ones, too.' }),
      limit,
      cursor: idCursor,
    }),
  },
  responses: { 200: jsonAnswer(pageOf(EmailSummarySchema, 'EmailPage'), 'A page of emails.') },
});

const read = operation('read', ['not-found'], {
  method: 'get',
  path: '/emails/{id}',
  operationId: 'readEmail',
  tags,
  summary: 'Read an email',
  request: { params: idPath },
  responses: { 200: oneEmail('The email at its newest version.') },
});

const change = operation('write', ['not-found', 'conflict', 'precondition-failed', 'precondition-required'], {
  method: 'patch',
  path: '/emails/{id}',
  operationId: 'changeEmail',
  tags,
  summary: 'Change an email',
  description:
    'Makes a new version. Sends that exist keep theirs. What is left out stays. The kind stays for good.',
  request: { params: idPath, headers: ifMatchHeader, body: jsonBody(EmailChangeInput) },
  responses: { 200: oneEmail('The email at its new version.') },
});

const archive = operation('write', ['not-found', 'precondition-failed'], {
  method: 'delete',
  path: '/emails/{id}',
  operationId: 'archiveEmail',
  tags,
  summary: 'Archive an email',
  description: 'It is not sent any more. Sends that exist go on.',
  request: { params: idPath, headers: ifMatchHeader },
  responses: { 204: { description: 'It is archived.' } },
});

const preview = operation('read', ['not-found', 'unprocessable'], {
  method: 'post',
  path: '/emails/{id}/preview',
  operationId: 'previewEmail',
  tags,
  summary: 'See an email as a prospect would get it',
  request: { params: idPath, body: jsonBody(z.strictObject({ prospectId: id }).openapi('PreviewInput')) },
  responses: { 200: jsonAnswer(Preview, 'What it would say.') },
});

const test = operation('write', ['not-found', 'unprocessable'], {
  method: 'post',
  path: '/emails/{id}/test',
  operationId: 'testEmail',
  tags,
  summary: 'Send a test to a colleague',
  description:
    "With the prospect's fields, to the address in `to`. It counts for nothing, but what suppresses that address holds for a test, too.",
  request: {
    params: idPath,
    headers: optionalIdempotencyHeader,
    body: jsonBody(
      z.strictObject({ to: givenAddress, prospectId: id }).openapi('TestInput', {
        example: { to: 'colleague@example.com', prospectId: '019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11' },
      }),
    ),
  },
  responses: {
    201: { ...jsonAnswer(SendSchema, 'The test send.'), headers: z.object({ Location: z.string() }) },
    200: {
      ...jsonAnswer(SendSchema, 'It was made before, under the same key.'),
      headers: z.object({ Location: z.string() }),
    },
  },
});

export function emailRoutes({ db, hasher, config, temporal, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();

  api.openapi(create, async (c) => {
    const { name, kind, ...content } = c.req.valid('json');
    const email = await db.transaction(async (tx) => {
      const checked = await check(tx, kind, content);
      return (await readEmail(tx, await createEmail(tx, now(), name, kind, checked)))!;
    });
    return c.json(emailView(email), 201, { location: `/emails/${email.id}`, etag: etagOf(email.version) });
  });

  api.openapi(list, async (c) => {
    const { archived = false, limit, cursor } = c.req.valid('query');
    const rows = await listEmails(db, archived, cursor ?? null, limit + 1);
    return c.json(
      toPage(rows, limit, (email) => email.id, emailSummaryView),
      200,
    );
  });

  api.openapi(read, async (c) => answer(await readEmail(db, c.req.valid('param').id), c));

  api.openapi(change, async (c) => {
    const { id } = c.req.valid('param');
    const version = requiredVersion(c.req.valid('header')['If-Match']);
    const wanted = given(c.req.valid('json'));
    const email = await db.transaction(async (tx) => {
      const email = atVersion(await lockEmail(tx, id), version);
      if (email.archivedAt !== null) throw new ApiProblem('conflict', 'The email is archived.');
      const { subject, fromName, fromAddress, replyTo, html, text } = { ...email, ...wanted };
      const content = await check(tx, email.kind, { subject, fromName, fromAddress, replyTo, html, text });
      await changeEmail(tx, now(), email, { ...wanted, ...content });
      return readEmail(tx, id);
    });
    return answer(email, c);
  });

  api.openapi(archive, async (c) => {
    const { id } = c.req.valid('param');
    const version = versionOf(c.req.valid('header')['If-Match']);
    await db.transaction(async (tx) => {
      atVersion(await lockEmail(tx, id), version);
      await archiveEmail(tx, now(), id);
    });
    return c.body(null, 204);
  });

  api.openapi(preview, async (c) => {
    const { id } = c.req.valid('param');
    const { prospectId } = c.req.valid('json');
    const [email, prospect] = await Promise.all([readEmail(db, id), readProspect(db, prospectId)]);
    if (email === null) throw notFound('email');
    if (prospect === null) throw bodyProblem('unprocessable', '/prospectId', 'There is no such prospect.');
    const previewLink = email.kind === 'marketing' ? `${config.publicUrl}${PUBLIC_FOLDER}/preview` : null;
    const rendered = parseEmail(email).render(mergeValuesOf(prospect), previewLink);
    return c.json(
      rendered.ok
        ? { rendered: rendered.email, problems: [] }
        : { rendered: null, problems: [rendered.problem] },
      200,
    );
  });

  api.openapi(test, async (c) => {
    const { id } = c.req.valid('param');
    const { to, prospectId } = c.req.valid('json');
    const key = c.req.valid('header')['Idempotency-Key'] ?? null;
    const testTo = bodyAddress('/to', to);
    const hash = key === null ? null : requestHash('test', [id, prospectId, testTo.comparisonForm]);
    const request = { emailId: id, prospectId, idempotencyKey: key, requestHash: hash, testTo };
    const made = await db.transaction(async (tx) => {
      const created = await createSend(tx, hasher, now(), request, config.messageIdDomain);
      if (created.kind === 'no_email') throw notFound('email');
      return sendIdOf(created);
    });
    const send = (await readSend(db, made.sendId))!;
    return c.json(sendView(send, temporal), made.created ? 201 : 200, { location: `/sends/${send.id}` });
  });

  return api;
}

function answer(email: Email | null, c: Context<ApiEnv>) {
  if (email === null) throw notFound('email');
  return c.json(emailView(email), 200, { etag: etagOf(email.version) });
}

/** @throws ApiProblem where there is no such email, or it is not at this version */
function atVersion(email: Email | null, version: number | null): Email {
  if (email === null) throw notFound('email');
  if (version !== null && email.version !== version) throw changedMeanwhile(email.version);
  return email;
}

/** The content as it is kept: every template good to render, the addresses in the form that mail needs. */
async function check(on: Session, kind: EmailKind, content: EmailContent): Promise<EmailContent> {
  const fromAddress = bodyAddress('/fromAddress', content.fromAddress).given;
  const replyTo = content.replyTo === null ? null : bodyAddress('/replyTo', content.replyTo).given;
  if (!content.html && !content.text)
    throw bodyProblem('invalid-request', '/html', 'Give html or text, or both.');
  const keys = (await readCustomFields(on)).map((field) => field.key);
  const errors = validateTemplates(content, keys, kind).map(
    ({ field, line, column, message }): FieldProblem => ({
      in: 'body',
      field: `/${field}`,
      message: `Line ${line}, column ${column}: ${message}`,
    }),
  );
  if (errors.length > 0)
    throw new ApiProblem('invalid-request', 'A template cannot be rendered.', { errors });
  return { ...content, fromAddress, replyTo, html: content.html || null, text: content.text || null };
}
