import { OpenAPIHono, z } from '@hono/zod-openapi';
import { changeSettings, readSettings, type Settings } from '../../db/queries/settings.ts';
import { isTimeZone } from '../../domain/automation/localTime.ts';
import { parseSchedule } from '../../domain/retrySchedule.ts';
import { ONE_CLICK_SCOPES } from '../../domain/words.ts';
import { type Api, type ApiDeps, type ApiEnv, originOf } from '../context.ts';
import { given } from '../given.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';

const MAX_SOFT_BOUNCE_LIMIT = 1000;

const frequencyCap = z.strictObject({
  emails: z.int().min(1).max(1000).openapi({ example: 3 }),
  days: z.int().min(1).max(366).openapi({ example: 7 }),
});
const clock = z.string().regex(/^(?:[01]\d|2[0-3]):[0-5]\d$/, 'Must be a time of day such as 09:30.');
const quietHours = {
  from: clock.openapi({ example: '21:00' }),
  to: clock.openapi({ example: '08:00' }),
  timeZone: z
    .string()
    .max(64)
    .refine(isTimeZone, 'Must be a time zone of the IANA database, such as Europe/Berlin.')
    .openapi({ description: 'Of prospects who have none.', example: 'Europe/Berlin' }),
};

const SettingsView = z
  .object({
    schedule: z.array(z.number()).openapi({
      description: 'When the attempts of a send are made, in seconds from the first.',
      example: [0, 300, 900, 3600],
    }),
    softBounceLimit: z
      .int()
      .openapi({ description: 'Consecutive exhausted sends that set Bounced; 0 is never.', example: 5 }),
    transactionalPassesOptOut: z.boolean().openapi({
      description: 'Whether transactional mail is sent to people who opted out of marketing mail.',
      example: false,
    }),
    oneClickScope: z.enum(ONE_CLICK_SCOPES).openapi({
      description:
        'What people unsubscribe from in one step, by their mail program or by mail, where no page asks them: from everything, or from the list that the email was sent to. Email that was sent to no list is always from everything.',
      example: 'everything',
    }),
    complaintSetsOptOut: z.boolean().openapi({
      description: 'Whether a complaint sets Email Opt Out, beside the reason of its own that it always has.',
      example: true,
    }),
    pauseMarketingOnAlert: z.boolean().openapi({
      description:
        'Whether `marketingPaused` goes on by itself when an alert about the rate of complaints, dead addresses or refusals is raised. You turn it off.',
      example: false,
    }),
    marketingPaused: z.boolean().openapi({
      description:
        'Kill switch: while it is on, no attempt of a marketing send begins, whoever asked for it; they wait, uncounted, and go on when you turn it off. Transactional email goes on.',
      example: false,
    }),
    frequencyCap: frequencyCap.nullable().openapi({
      description: 'At most so many marketing emails a prospect in so many days, before a Send Email waits.',
    }),
    quietHours: z.object(quietHours).nullable().openapi({
      description: "Hours on the prospect's clock in which a Send Email that is marketing waits.",
    }),
  })
  .openapi('Settings');

const schedule = z
  .array(z.union([z.number(), z.string().max(20)]))
  .max(100)
  .transform((value, context) => {
    const parsed = parseSchedule(value);
    if (parsed.ok) return parsed.offsets;
    context.addIssue({ code: 'custom', message: parsed.problem });
    return z.NEVER;
  })
  .openapi({
    type: 'array',
    items: { oneOf: [{ type: 'number' }, { type: 'string' }] },
    description:
      'Offsets of the attempts from the first one: seconds, or durations such as `30s`, `5m`, `2h`, `5d`. The first is 0, they grow, no gap is shorter than the one before, the last is at most 30 days. Sends that exist already keep theirs.',
    example: ['0s', '5m', '15m', '1h', '1d', '3d', '5d'],
  });

const SettingsChange = z
  .strictObject({
    schedule: schedule.optional(),
    softBounceLimit: z.int().min(0).max(MAX_SOFT_BOUNCE_LIMIT).optional().openapi({ example: 5 }),
    transactionalPassesOptOut: z.boolean().optional(),
    oneClickScope: z.enum(ONE_CLICK_SCOPES).optional(),
    complaintSetsOptOut: z.boolean().optional(),
    pauseMarketingOnAlert: z.boolean().optional(),
    marketingPaused: z.boolean().optional(),
    frequencyCap: frequencyCap.nullable().optional(),
    quietHours: z.strictObject(quietHours).nullable().optional(),
  })
  .openapi('SettingsChange');

const read = operation('read', [], {
  method: 'get',
  path: '/settings',
  operationId: 'readSettings',
  tags: ['Operations'],
  summary: "Read the account's settings",
  responses: { 200: jsonAnswer(SettingsView, 'The settings.') },
});

const change = operation('admin', [], {
  method: 'patch',
  path: '/settings',
  operationId: 'changeSettings',
  tags: ['Operations'],
  summary: "Change the account's settings",
  description: 'What is left out stays as it is.',
  request: { body: jsonBody(SettingsChange) },
  responses: { 200: jsonAnswer(SettingsView, 'The settings as they are now.') },
});

export function settingsRoutes({ db, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  api.openapi(read, async (c) => c.json(view(await readSettings(db)), 200));
  api.openapi(change, async (c) => {
    const { schedule, ...others } = given(c.req.valid('json'));
    const wanted: Partial<Settings> = {
      ...(schedule === undefined ? {} : { scheduleSeconds: schedule }),
      ...others,
    };
    const settings = await db.transaction((tx) => changeSettings(tx, originOf(c), now(), wanted));
    return c.json(view(settings), 200);
  });
  return api;
}

function view(settings: Settings): z.input<typeof SettingsView> {
  return {
    schedule: [...settings.scheduleSeconds],
    softBounceLimit: settings.softBounceLimit,
    transactionalPassesOptOut: settings.transactionalPassesOptOut,
    oneClickScope: settings.oneClickScope,
    complaintSetsOptOut: settings.complaintSetsOptOut,
    pauseMarketingOnAlert: settings.pauseMarketingOnAlert,
    marketingPaused: settings.marketingPaused,
    frequencyCap: settings.frequencyCap,
    quietHours: settings.quietHours,
  };
}
