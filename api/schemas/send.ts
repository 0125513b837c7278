import { z } from '@hono/zod-openapi';
import type { AttemptView, SendView } from '../../db/queries/sendSearch.ts';
import { CATEGORIES } from '../../domain/bounce/verdict.ts';
import { broadcastId, emailSendId } from '../../domain/processes.ts';
import {
  ATTEMPT_OUTCOMES,
  ATTEMPT_STATES,
  ATTEMPT_TRIGGERS,
  EMAIL_KINDS,
  SEND_OUTCOMES,
  SEND_STATES,
} from '../../domain/words.ts';
import type { ApiDeps } from '../context.ts';
import { id, time, timeOf, timeOrNull } from './common.ts';

export const AttemptSchema = z
  .object({
    number: z.int(),
    state: z.enum(ATTEMPT_STATES),
    trigger: z.enum(ATTEMPT_TRIGGERS).openapi({ description: 'What made it begin.' }),
    outcome: z.enum(ATTEMPT_OUTCOMES).nullable().openapi({ example: 'soft_bounce' }),
    category: z
      .enum(CATEGORIES)
      .nullable()
      .openapi({ description: 'What the failure was about.', example: 'mailbox_full' }),
    faultOurs: z.boolean().openapi({ description: 'A fault of ours, never counted against the address.' }),
    rule: z.string().nullable().openapi({ description: 'Which rule of the classifier said so.' }),
    phase: z.string().nullable().openapi({ description: 'Phase of the SMTP conversation.', example: 'rcpt' }),
    replyCode: z.int().nullable().openapi({ description: 'RFC 5321 section 4.2.', example: 452 }),
    enhancedCode: z.string().nullable().openapi({ description: 'RFC 3463.', example: '4.2.2' }),
    replyText: z.string().nullable().openapi({ example: 'Mailbox full' }),
    remoteHost: z.string().nullable().openapi({ example: 'mx.example.com [192.0.2.25]:25' }),
    gatedAt: time.openapi({ description: 'When it was decided that it may begin.' }),
    handingOverAt: time
      .nullable()
      .openapi({ description: 'From when on the message may have been taken over.' }),
    finishedAt: time.nullable(),
    nextAttemptAt: time.nullable().openapi({ description: 'When the next attempt was then set to come.' }),
  })
  .openapi('Attempt');

export const SendSchema = z
  .object({
    id,
    emailId: id,
    emailVersion: z.int(),
    kind: z.enum(EMAIL_KINDS),
    prospectId: id,
    addressId: id,
    recipient: z
      .string()
      .nullable()
      .openapi({ description: 'null once the person was erased.', example: 'ada@example.com' }),
    recipientDomain: z.string().openapi({ example: 'example.com' }),
    listId: id.nullable(),
    broadcastId: id.nullable().openapi({ description: 'The broadcast that it is part of.' }),
    test: z.boolean(),
    messageId: z.string().openapi({ description: 'One for all attempts (RFC 5322 section 3.6.4).' }),
    state: z.enum(SEND_STATES).openapi({ example: 'waiting' }),
    outcome: z
      .enum(SEND_OUTCOMES)
      .nullable()
      .openapi({ description: 'How it ended; null before.', example: null }),
    heldReason: z.string().nullable().openapi({
      description:
        'Why it is held: `marketing_paused`, or the category of a fault of ours; null where it is not held.',
      example: null,
    }),
    outcomeReason: z.string().nullable().openapi({ description: 'Why, in codes.', example: null }),
    faultOurs: z.boolean().openapi({
      description:
        'Whether it ended by a fault of ours, so that its end counts against nobody; false while it goes on.',
    }),
    attemptCount: z.int(),
    schedule: z.array(z.number()).openapi({
      description: 'Offsets of its attempts from the first, in seconds, as they held when it was made.',
      example: [0, 300, 900, 3600],
    }),
    firstAttemptAt: time.nullable(),
    nextAttemptAt: time.nullable().openapi({
      description:
        'Exactly when the next attempt comes; null where none will, and while marketing email is paused.',
    }),
    cancelRequestedAt: time
      .nullable()
      .openapi({ description: 'When it was cancelled while an attempt was in the air.' }),
    createdAt: time,
    finishedAt: time.nullable(),
    workflow: z
      .object({
        id: z.string().openapi({ example: 'emailSend:019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11' }),
        url: z.url().nullable().openapi({ description: 'In the Temporal UI, where one is configured.' }),
      })
      .openapi({ description: 'The workflow that works on it.' }),
  })
  .openapi('Send');

export const SendWithTimeline = SendSchema.extend({
  timeline: z.array(AttemptSchema).openapi({ description: 'Every attempt, first to last.' }),
}).openapi('SendWithTimeline');

export function sendView(send: SendView, temporal: ApiDeps['temporal']): z.input<typeof SendSchema> {
  const { run, scheduleSeconds, ...rest } = send;
  const ofBroadcast = run === 0 && send.broadcastId !== null;
  const workflowId = ofBroadcast ? broadcastId(send.broadcastId, 1) : emailSendId(send.id, run);
  return {
    ...rest,
    schedule: [...scheduleSeconds],
    firstAttemptAt: timeOrNull(send.firstAttemptAt),
    nextAttemptAt: timeOrNull(send.nextAttemptAt),
    cancelRequestedAt: timeOrNull(send.cancelRequestedAt),
    createdAt: timeOf(send.createdAt),
    finishedAt: timeOrNull(send.finishedAt),
    workflow: { id: workflowId, url: temporal.uiLinkOf(workflowId) },
  };
}

export function attemptView(attempt: AttemptView): z.input<typeof AttemptSchema> {
  return {
    ...attempt,
    gatedAt: timeOf(attempt.gatedAt),
    handingOverAt: timeOrNull(attempt.handingOverAt),
    finishedAt: timeOrNull(attempt.finishedAt),
    nextAttemptAt: timeOrNull(attempt.nextAttemptAt),
  };
}
