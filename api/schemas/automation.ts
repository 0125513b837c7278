import { z } from '@hono/zod-openapi';
import { type AutomationPreview, IGNORED_REASONS } from '../../db/queries/automationPreview.ts';
import type { Automation } from '../../db/queries/automations.ts';
import type { EnrollmentView } from '../../db/queries/enrollmentSearch.ts';
import { STEP_TYPES } from '../../domain/automation/definition.ts';
import {
  AUTOMATION_MODES,
  AUTOMATION_STATES,
  ENROLLMENT_STATES,
  STEP_STATES,
} from '../../domain/automation/words.ts';
import { automationId, enrollmentId } from '../../domain/processes.ts';
import type { ApiDeps } from '../context.ts';
import { id, name, time, timeOf, timeOrNull } from './common.ts';

const EXAMPLE = {
  who: { all: [{ field: 'country', operator: 'equals', value: 'Austria' }] },
  steps: [
    { id: 'welcome', type: 'sendEmail', emailId: '019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11' },
    { id: 'think', type: 'wait', seconds: 259_200 },
    { id: 'mark', type: 'setField', field: 'leadSource', value: 'Nurtured' },
  ],
  when: { mode: 'continuous', timeZone: 'Europe/Vienna', runDays: ['monday', 'tuesday'] },
};

/** Read in by `parseDefinition`, which tells each fault by its place. */
const definition = z.record(z.string(), z.unknown()).openapi('AutomationDefinition', {
  type: 'object',
  description: `**who**: filter criteria. **steps**, each with an \`id\` of its own (it tells the step in every version) and a \`type\` (${STEP_TYPES.join(', ')}): sendEmail (\`emailId\`, \`listId\`), wait (\`seconds\`; or \`until\`: \`{date, time}\`; or \`weekdays\` and \`time\`; on the prospect's clock), setField (\`field\`, \`value\`; \`emailOptOut\` to \`false\` never takes back what the prospect said by link, one-click, mail or complaint), addToList and removeFromList (\`listId\`), if (\`criteria\`, \`yes\`, \`no\`: lists of steps), webhook (\`url\`), leave. **when**: \`mode\` (${AUTOMATION_MODES.join(', ')}), \`timeZone\`, and optionally \`startAt\` \`{date, time}\`, \`runDays\`, \`runHours\` \`{from, to}\`.`,
  example: EXAMPLE,
});

export const AutomationInput = z
  .strictObject({ name: name(200).openapi({ example: 'Welcome' }), definition })
  .openapi('AutomationInput');

export const AutomationChangeInput = z
  .strictObject({ name: name(200).optional(), definition: definition.optional() })
  .openapi('AutomationChange');

export const VersionInput = z
  .strictObject({
    definition,
    moveEnrolled: z.boolean().default(false).openapi({
      description: 'Whether those inside go over to the new version; else they keep theirs.',
    }),
  })
  .openapi('AutomationVersionInput');

const workflow = z
  .object({ id: z.string(), url: z.string().nullable() })
  .nullable()
  .openapi({ description: 'In the Temporal UI.' });

export const AutomationSchema = z
  .object({
    id,
    name: z.string().openapi({ example: 'Welcome' }),
    state: z.enum(AUTOMATION_STATES),
    mode: z.enum(AUTOMATION_MODES),
    version: z.int().openapi({ description: '0 until it is activated.' }),
    definition,
    enrollments: z
      .record(z.string(), z.int())
      .openapi({ description: 'How many prospects are in each state.', example: { running: 12, done: 3 } }),
    enrolledAt: time
      .nullable()
      .openapi({ description: 'When everybody who matched at its start was enrolled.' }),
    createdAt: time,
    updatedAt: time,
    workflow,
  })
  .openapi('Automation');

export const ValidationSchema = z
  .object({
    valid: z.boolean(),
    problems: z.array(
      z.object({
        path: z
          .string()
          .openapi({ description: 'JSON Pointer into the definition.', example: '/steps/0/emailId' }),
        message: z.string(),
      }),
    ),
  })
  .openapi('AutomationValidation');

const sample = { count: z.int(), examples: z.array(id).openapi({ description: 'Some of them.' }) };

export const AutomationPreviewSchema = z
  .object({
    affected: z.object(sample).openapi({ description: 'Who matches and would enter.' }),
    ignored: z.array(z.object({ reason: z.enum(IGNORED_REASONS), ...sample })).openapi({
      description:
        'Who matches and would not enter (`already_entered`), or would enter and be sent no marketing email, under the first reason that holds.',
    }),
  })
  .openapi('AutomationPreview');

export const EnrollmentSchema = z
  .object({
    id,
    automationId: id,
    version: z.int(),
    prospectId: id,
    state: z.enum(ENROLLMENT_STATES),
    reason: z.string().nullable().openapi({ description: 'Why it ended before its last step.' }),
    position: z.string().nullable().openapi({ description: 'Id of the step that comes next.' }),
    enteredAt: time,
    finishedAt: time.nullable(),
    steps: z.array(
      z.object({
        id: z.string(),
        state: z.enum(STEP_STATES),
        reason: z
          .string()
          .nullable()
          .openapi({ description: 'What it waits for, why it was skipped, or what came of it.' }),
        waitingUntil: time.nullable(),
        sendId: id.nullable(),
        begunAt: time,
        at: time.openapi({ description: 'When it came to this state.' }),
      }),
    ),
    workflow,
  })
  .openapi('Enrollment');

export function automationView(
  automation: Automation,
  temporal: ApiDeps['temporal'],
): z.input<typeof AutomationSchema> {
  const { run, definition: defined, enrolledAt, createdAt, updatedAt, enrollments, ...rest } = automation;
  const workflowId = automationId(automation.id, run);
  return {
    ...rest,
    definition: { ...defined },
    enrollments: { ...enrollments },
    enrolledAt: timeOrNull(enrolledAt),
    createdAt: timeOf(createdAt),
    updatedAt: timeOf(updatedAt),
    workflow: run === 0 ? null : { id: workflowId, url: temporal.uiLinkOf(workflowId) },
  };
}

export function enrollmentView(
  enrollment: EnrollmentView,
  temporal: ApiDeps['temporal'],
): z.input<typeof EnrollmentSchema> {
  const { run, enteredAt, finishedAt, steps, ...rest } = enrollment;
  const workflowId = enrollmentId(enrollment.id, run);
  return {
    ...rest,
    steps: [...steps],
    enteredAt: timeOf(enteredAt),
    finishedAt: timeOrNull(finishedAt),
    workflow: { id: workflowId, url: temporal.uiLinkOf(workflowId) },
  };
}

export function previewView(preview: AutomationPreview): z.input<typeof AutomationPreviewSchema> {
  const { affected, ignored } = preview;
  return {
    affected: { ...affected, examples: [...affected.examples] },
    ignored: ignored.map((one) => ({ ...one, examples: [...one.examples] })),
  };
}
