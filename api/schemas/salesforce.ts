import { z } from '@hono/zod-openapi';
import type { SalesforceFailure } from '../../db/queries/salesforceFailures.ts';
import type { SalesforceRun } from '../../db/queries/salesforceRuns.ts';
import type { SalesforceSettings } from '../../db/queries/salesforceSettings.ts';
import { ERROR_KINDS } from '../../domain/salesforce/errorKind.ts';
import { PLAN_COUNTS } from '../../domain/salesforce/plan.ts';
import { EMPTY_RULES } from '../../domain/salesforce/resolve.ts';
import {
  FAILURE_SIDES,
  RUN_MODES,
  RUN_STATES,
  SALESFORCE_OBJECTS,
  SYNC_DIRECTIONS,
} from '../../domain/salesforce/words.ts';
import { id, name, time, timeOf, timeOrNull } from './common.ts';

const object = z.enum(SALESFORCE_OBJECTS);
const direction = z.enum(SYNC_DIRECTIONS);
const MAX_MAPPINGS = 200;

const mapping = {
  object,
  salesforceField: z
    .string()
    .regex(/^[A-Za-z]\w{0,79}$/, 'Must be the API name of a field, such as Title or Plan__c.')
    .openapi({ example: 'Title' }),
  field: name(100).openapi({ description: 'A standard field, or `custom.<key>`.', example: 'title' }),
  direction,
  empty: z.enum(EMPTY_RULES).openapi({
    description:
      '`keep`: an empty value never takes the place of another. `clear`: emptying a field empties it on the other side.',
  }),
};

const mappings = {
  description:
    'Which fields are synced beside the flags. Where both sides have changed, the newer change holds.',
};
const optOutDirection = direction.openapi({ description: 'Which way Email Opt Out goes.' });
const mayTakeBack = z.boolean().openapi({
  description: 'Whether a No from Salesforce takes back an opt-out that the person gave by link or mail.',
});
const prospectsFrom = z
  .array(object)
  .openapi({ description: 'Objects whose records become prospects where nobody has their address.' });
const createsLeads = z.boolean().openapi({ description: 'Whether prospects without a record become leads.' });

export const SalesforceSettingsSchema = z
  .object({
    optOutDirection,
    mayTakeBack,
    prospectsFrom,
    createsLeads,
    mappings: z.array(z.object(mapping)).openapi(mappings),
    allowedAt: time.nullable().openapi({ description: 'When the sync was allowed to change both sides.' }),
  })
  .openapi('SalesforceSettings');

export const SalesforceSettingsChange = z
  .strictObject({
    optOutDirection: optOutDirection.optional(),
    mayTakeBack: mayTakeBack.optional(),
    prospectsFrom: prospectsFrom
      .max(SALESFORCE_OBJECTS.length)
      .transform((objects) => [...new Set(objects)])
      .optional(),
    createsLeads: createsLeads.optional(),
    mappings: z.array(z.strictObject(mapping)).max(MAX_MAPPINGS).openapi(mappings).optional(),
  })
  .openapi('SalesforceSettingsChange');

export function settingsView(
  settings: SalesforceSettings & { readonly allowedAt: Date | null },
): z.input<typeof SalesforceSettingsSchema> {
  return {
    ...settings,
    prospectsFrom: [...settings.prospectsFrom],
    mappings: [...settings.mappings],
    allowedAt: timeOrNull(settings.allowedAt),
  };
}

export const runMode = z.enum(RUN_MODES).openapi({
  description:
    '`changes`: what was changed since the last run. `full`: everything. `dry_run`: everything, and nothing is changed.',
});

export const SalesforceRunSchema = z
  .object({
    id,
    mode: runMode,
    state: z.enum(RUN_STATES).openapi({
      description:
        '`not_allowed`: a full reconciliation has to be allowed first. `stopped`: Salesforce denies what is needed; `failure` says what.',
    }),
    actor: z.string(),
    counts: z
      .partialRecord(z.enum(PLAN_COUNTS), z.int())
      .openapi({ description: 'What it has done, or of a dry run, what a full reconciliation would do.' }),
    samples: z
      .array(
        z.object({
          recordId: z.string(),
          object,
          side: z.enum(FAILURE_SIDES),
          subject: z.string().openapi({
            description: '`emailOptOut`, `bounced`, `address`, `prospect` or a field.',
          }),
          change: z.enum(['set', 'clear', 'change', 'create']),
        }),
      )
      .openapi({ description: 'Some of the changes that a dry run has found.' }),
    requests: z.int().openapi({ description: 'API requests that it made.' }),
    failure: z.string().nullable(),
    createdAt: time,
    startedAt: time.nullable(),
    finishedAt: time.nullable(),
    temporalUrl: z
      .string()
      .nullable()
      .openapi({ description: 'Its workflow, where it was asked for by hand.' }),
  })
  .openapi('SalesforceRun');

export function runView(
  { place: _, marks: __, ...run }: SalesforceRun,
  temporalUrl: string | null,
): z.input<typeof SalesforceRunSchema> {
  return {
    ...run,
    samples: [...run.samples],
    createdAt: timeOf(run.createdAt),
    startedAt: timeOrNull(run.startedAt),
    finishedAt: timeOrNull(run.finishedAt),
    temporalUrl,
  };
}

export const SalesforceFailureSchema = z
  .object({
    id,
    recordId: z.string().nullable(),
    prospectId: id.nullable().openapi({ description: 'Of a prospect that could not become a lead.' }),
    side: z.enum(FAILURE_SIDES).openapi({ description: 'Which side could not be changed.' }),
    kind: z.enum(ERROR_KINDS),
    code: z.string().openapi({ example: 'FIELD_CUSTOM_VALIDATION_EXCEPTION' }),
    message: z.string(),
    count: z.int().openapi({ description: 'How often it failed.' }),
    firstAt: time,
    lastAt: time,
    nextAt: time.nullable().openapi({ description: 'When it is tried again by itself.' }),
    dismissedAt: time.nullable(),
  })
  .openapi('SalesforceFailure');

export function failureView({ key, ...failure }: SalesforceFailure): z.input<typeof SalesforceFailureSchema> {
  const prospectId = /^prospect:(.+)$/.exec(key)?.[1] ?? null;
  return {
    ...failure,
    recordId: prospectId === null ? key : null,
    prospectId,
    firstAt: timeOf(failure.firstAt),
    lastAt: timeOf(failure.lastAt),
    nextAt: timeOrNull(failure.nextAt),
    dismissedAt: timeOrNull(failure.dismissedAt),
  };
}

export const SalesforceHealthSchema = z
  .object({
    state: z.enum(['never_connected', 'not_allowed', 'stopped', 'paused', 'working']).openapi({
      description:
        '`stopped`: Salesforce denies what is needed, `stopped.reason` says what. `paused`: it is left alone for a while.',
    }),
    orgId: z.string().nullable(),
    stopped: z.object({ reason: z.string(), since: time }).nullable(),
    paused: z.object({ until: time, kind: z.enum(ERROR_KINDS) }).nullable(),
    lagSeconds: z.int().nullable().openapi({
      description: 'Since the last reading of changes that came to its end had begun; null before the first.',
    }),
    lastRuns: z.object({ changes: SalesforceRunSchema.nullable(), full: SalesforceRunSchema.nullable() }),
    queue: z.object({
      waiting: z
        .int()
        .openapi({ description: 'Records that are to be looked at on their way to Salesforce.' }),
      oldestSeconds: z.int().nullable(),
    }),
    openFailures: z.int(),
    api: z
      .object({ used: z.int(), allowed: z.int(), at: time })
      .nullable()
      .openapi({ description: 'Requests of the last 24 hours, of everybody who uses the org.' }),
  })
  .openapi('SalesforceHealth');
