import { z } from '@hono/zod-openapi';
import { NOT_REACHED_BECAUSE } from '../../db/queries/broadcastNotReached.ts';
import { BLOCKED_BECAUSE } from '../../db/queries/broadcastPreview.ts';
import type { BroadcastReport } from '../../db/queries/broadcastReport.ts';
import type { Broadcast } from '../../db/queries/broadcasts.ts';
import { BROADCAST_STATES } from '../../domain/broadcast/words.ts';
import { broadcastId } from '../../domain/processes.ts';
import { SEND_OUTCOMES } from '../../domain/words.ts';
import type { ApiDeps } from '../context.ts';
import { id, name, reason, time, timeIn, timeOf, timeOrNull } from './common.ts';
import { CriteriaSchema } from './criteria.ts';

const MOST_LISTS = 100;
/** A million a minute is more than anybody's relay takes. */
const MOST_PER_MINUTE = 1_000_000;

const perMinute = z.int().min(1).max(MOST_PER_MINUTE).nullable().openapi({
  description: 'Most messages a minute, retries apart; null: as fast as they are taken.',
  example: 6000,
});

export const BroadcastInput = z
  .strictObject({
    name: name(200).openapi({ example: 'November news' }),
    emailId: id,
    listIds: z.array(id).min(1).max(MOST_LISTS).optional().openapi({
      description:
        'Whoever stands in one of them gets it, once. Unsubscribing from the list that somebody is sent through stops it.',
    }),
    criteria: CriteriaSchema.optional(),
    excludeListIds: z.array(id).max(MOST_LISTS).default([]).openapi({
      description: 'Whoever stands in one of these does not get it.',
    }),
    perMinute: perMinute.default(null),
  })
  .refine((value) => (value.listIds === undefined) !== (value.criteria === undefined), {
    path: ['listIds'],
    message: 'Give either listIds or criteria.',
  })
  .openapi('BroadcastInput', {
    example: {
      name: 'November news',
      emailId: '019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11',
      listIds: ['019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b12'],
      excludeListIds: [],
      perMinute: null,
    },
  });

/** Of a change what is given counts. */
export const BroadcastChange = z
  .strictObject({
    name: name(200).optional(),
    emailId: id.optional(),
    listIds: BroadcastInput.shape.listIds,
    criteria: CriteriaSchema.optional(),
    excludeListIds: z.array(id).max(MOST_LISTS).optional(),
    perMinute: perMinute.optional(),
    startAt: timeIn.optional(),
    reason: reason.optional(),
  })
  .refine(({ reason: _, ...value }) => Object.keys(value).length > 0, {
    message: 'Give what is to be changed.',
  })
  .refine((value) => value.listIds === undefined || value.criteria === undefined, {
    path: ['listIds'],
    message: 'Give either listIds or criteria.',
  })
  .openapi('BroadcastChange', { example: { perMinute: 3000 } });

export const broadcastState = z.enum(BROADCAST_STATES).openapi({
  description:
    '`sent`: everybody had a first attempt or was refused; who soft-bounced may still wait for another one.',
  example: 'sending',
});

export const BroadcastSchema = z
  .object({
    id,
    name: z.string(),
    emailId: id,
    emailVersion: z.int().nullable().openapi({ description: 'Fixed when it is started.' }),
    listIds: z.array(id).nullable(),
    criteria: CriteriaSchema.nullable(),
    excludeListIds: z.array(id),
    state: broadcastState,
    perMinute,
    startAt: time.nullable(),
    recipients: z.int().openapi({
      description: 'Who it goes to: decided when it begins, and counted as they are written down.',
    }),
    createdAt: time,
    startedAt: time.nullable(),
    finishedAt: time.nullable(),
    workflow: z.object({ id: z.string(), url: z.url().nullable() }).nullable(),
  })
  .openapi('Broadcast');

const rate = z.number().nullable();

export const BroadcastPreviewSchema = z
  .object({
    recipients: z.int().openapi({ description: 'Different people whom it is meant for.' }),
    duplicatesRemoved: z.int().openapi({
      description: 'Memberships beyond the first of those who stand in several of its lists.',
    }),
    blocked: z.int().openapi({ description: 'People who would be refused, each counted once.' }),
    blockedBecause: z.array(z.object({ because: z.enum(BLOCKED_BECAUSE), count: z.int() })).openapi({
      description: 'One person can have several.',
    }),
    messagesPerSecond: rate.openapi({
      description: 'Its limit, or what the last broadcast reached; null where neither is known.',
    }),
    seconds: z.int().nullable().openapi({ description: 'How long it takes at that rate.' }),
    templateProblems: z
      .array(z.object({ field: z.string(), line: z.int(), column: z.int(), message: z.string() }))
      .openapi({ description: 'What cannot be rendered, with the templates and with its first recipients.' }),
  })
  .openapi('BroadcastPreview');

export const NotReachedSchema = z
  .object({
    prospectId: id,
    email: z.string().nullable().openapi({ description: 'null where the prospect was deleted.' }),
    because: z.enum(NOT_REACHED_BECAUSE).openapi({
      description:
        '`not_yet`: the turn comes. `cancelled`: with the broadcast, before the turn came. `address_had_copy`: another prospect of the broadcast has the same address. `prospect_gone`: deleted, merged or erased meanwhile.',
    }),
  })
  .openapi('BroadcastNotReached');

export const BroadcastReportSchema = z
  .object({
    state: broadcastState,
    isFinal: z.boolean().openapi({ description: 'Whether nothing of it can change by itself any more.' }),
    recipients: z.int(),
    notReached: z.int().openapi({
      description:
        'Who has no send: not yet, or never where it is over (cancelled before, or the address had its copy).',
    }),
    attempting: z.int(),
    waiting: z.int().openapi({ description: 'Soft-bounced; another attempt comes.' }),
    held: z.int().openapi({ description: 'Wait because the way out is held back.' }),
    outcomes: z.record(z.enum(SEND_OUTCOMES), z.int()),
    refusedBecause: z
      .array(z.object({ cause: z.string(), count: z.int() }))
      .openapi({ description: 'Causes of `suppressed`; one person can have several.' }),
    retried: z.int().openapi({ description: 'Had more than one attempt.' }),
    gateWindowMs: z
      .object({ p50: z.number(), p99: z.number() })
      .nullable()
      .openapi({ description: 'How long it was from the decision to MAIL FROM, at the most.' }),
    messagesPerSecond: rate,
  })
  .openapi('BroadcastReport');

export function broadcastView(
  broadcast: Broadcast,
  temporal: ApiDeps['temporal'],
): z.input<typeof BroadcastSchema> {
  const { audience, run, preparedAt: _, startAt, createdAt, startedAt, finishedAt, ...rest } = broadcast;
  const workflowId = broadcastId(broadcast.id, run);
  return {
    ...rest,
    listIds: 'listIds' in audience ? [...audience.listIds] : null,
    criteria: 'criteria' in audience ? { ...audience.criteria } : null,
    excludeListIds: [...audience.excludeListIds],
    startAt: timeOrNull(startAt),
    createdAt: timeOf(createdAt),
    startedAt: timeOrNull(startedAt),
    finishedAt: timeOrNull(finishedAt),
    workflow: run === 0 ? null : { id: workflowId, url: temporal.uiLinkOf(workflowId) },
  };
}

export function broadcastReportView(
  broadcast: Broadcast,
  report: BroadcastReport,
): z.input<typeof BroadcastReportSchema> {
  const over = broadcast.state === 'sent' || broadcast.state === 'cancelled';
  const { gateWindowMs, refusedBecause, outcomes, ...counts } = report;
  // JSON has no infinity: what lies above the last class is told by its bound.
  const bounded = (ms: number) => Math.min(ms, 60_000);
  return {
    ...counts,
    state: broadcast.state,
    isFinal: over && report.attempting + report.waiting + report.held === 0,
    outcomes: { ...outcomes },
    refusedBecause: refusedBecause.map((one) => ({ ...one })),
    gateWindowMs: gateWindowMs && { p50: bounded(gateWindowMs.p50), p99: bounded(gateWindowMs.p99) },
  };
}
