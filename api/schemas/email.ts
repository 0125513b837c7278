import { z } from '@hono/zod-openapi';
import type { Email, EmailSummary } from '../../db/queries/emails.ts';
import { EMAIL_KINDS } from '../../domain/words.ts';
import { email as address, id, line, name, text, time, timeOf, timeOrNull } from './common.ts';

const MAX_PART = 1_000_000;

const kind = z.enum(EMAIL_KINDS).openapi({
  description:
    '`marketing` is refused for everybody who opted out; `transactional` passes an opt-out only where the account allows it.',
  example: 'marketing',
});
const subject = name(500).openapi({
  description: 'With merge fields.',
  example: 'News for {{ prospect.company | default: "you" }}',
});
const fromName = line(200).openapi({ description: 'With merge fields.', example: 'Example Ltd' });
const fromAddress = address.openapi({ example: 'news@example.com' });
const replyTo = address.openapi({ example: 'hello@example.com' });
const html = text(MAX_PART).openapi({
  description: 'With merge fields, whose values are escaped.',
  example: '<p>Dear {{ prospect.first_name | default: "reader" }},</p>',
});
const plain = text(MAX_PART).openapi({
  description: 'With merge fields. Made from the HTML where it is missing.',
  example: null,
});

export const EmailInput = z
  .strictObject({
    name: name(200).openapi({
      description: 'What you call it; nobody it is sent to sees it.',
      example: 'November news',
    }),
    kind,
    subject,
    fromName: fromName.nullable().default(null),
    fromAddress,
    replyTo: replyTo.nullable().default(null),
    html: html.nullable().default(null),
    text: plain.nullable().default(null),
  })
  .openapi('EmailInput');

export const EmailChangeInput = z
  .strictObject({
    name: name(200).optional(),
    subject: subject.optional(),
    fromName: fromName.nullable().optional(),
    fromAddress: fromAddress.optional(),
    replyTo: replyTo.nullable().optional(),
    html: html.nullable().optional(),
    text: plain.nullable().optional(),
  })
  .openapi('EmailChange', {
    example: { subject: 'More news for {{ prospect.first_name | default: "you" }}' },
  });

const summary = {
  id,
  name: z.string().openapi({ example: 'November news' }),
  kind,
  version: z
    .int()
    .openapi({ description: 'Also in the header ETag. A send keeps the version that it was made with.' }),
  subject: z.string().openapi({ example: 'News for {{ prospect.company | default: "you" }}' }),
  createdAt: time,
  updatedAt: time,
  archivedAt: time
    .nullable()
    .openapi({ description: 'An archived email is not sent any more.', example: null }),
};

export const EmailSummarySchema = z.object(summary).openapi('EmailSummary');

export const EmailSchema = z
  .object({
    ...summary,
    fromName: z.string().nullable(),
    fromAddress: z.string().openapi({ example: 'news@example.com' }),
    replyTo: z.string().nullable(),
    html: z.string().nullable(),
    text: z.string().nullable(),
  })
  .openapi('Email');

export const Preview = z
  .object({
    rendered: z
      .object({
        subject: z.string(),
        fromName: z.string().nullable(),
        html: z.string().nullable(),
        text: z.string(),
      })
      .nullable()
      .openapi({ description: 'As the prospect would get it; null where it cannot be rendered.' }),
    problems: z.array(
      z.object({
        field: z.string().openapi({ example: 'subject' }),
        line: z.int(),
        column: z.int(),
        message: z.string(),
      }),
    ),
  })
  .openapi('EmailPreview');

export function emailView(email: Email): z.input<typeof EmailSchema> {
  return { ...email, ...timesOf(email) };
}

export function emailSummaryView(email: EmailSummary): z.input<typeof EmailSummarySchema> {
  return { ...email, ...timesOf(email) };
}

function timesOf(email: EmailSummary) {
  return {
    createdAt: timeOf(email.createdAt),
    updatedAt: timeOf(email.updatedAt),
    archivedAt: timeOrNull(email.archivedAt),
  };
}
