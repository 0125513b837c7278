import { randomBytes } from 'node:crypto';
import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Session } from '../../db/connection.ts';
import { checkDefinition } from '../../db/queries/automationChecks.ts';
import { previewAutomation } from '../../db/queries/automationPreview.ts';
import {
  addAutomationVersion,
  changeDraft,
  changeState,
  createAutomation,
  listAutomations,
  lockAutomation,
  readAutomation,
  setWebhookSecret,
  type Transition,
} from '../../db/queries/automations.ts';
import { readCustomFields } from '../../db/queries/customFields.ts';
import {
  type EnrollmentChange,
  putEnrollmentBack,
  removeEnrollment,
} from '../../db/queries/enrollmentChanges.ts';
import {
  listEnrollments,
  readEnrollment,
  readEnrollmentsOfProspect,
} from '../../db/queries/enrollmentSearch.ts';
import { holdLists } from '../../db/queries/lists.ts';
import { readProspect } from '../../db/queries/prospects.ts';
import {
  type Definition,
  type DefinitionProblem,
  parseDefinition,
} from '../../domain/automation/definition.ts';
import { AUTOMATION_STATES, ENROLLMENT_STATES } from '../../domain/automation/words.ts';
import { type Api, type ApiDeps, type ApiEnv, originOf } from '../context.ts';
import { workingOut } from '../criteria.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { ApiProblem, bodyProblem, notFound } from '../problems.ts';
import {
  AutomationChangeInput,
  AutomationInput,
  AutomationPreviewSchema,
  AutomationSchema,
  automationView,
  EnrollmentSchema,
  enrollmentView,
  previewView,
  ValidationSchema,
  VersionInput,
} from '../schemas/automation.ts';
import { idPath } from '../schemas/common.ts';
import { idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';

const tags = ['Automations'];
const oneAutomation = (description: string) => jsonAnswer(AutomationSchema, description);

const create = operation('write', ['conflict'], {
  method: 'post',
  path: '/automations',
  operationId: 'createAutomation',
  tags,
  summary: 'Define an automation',
  description:
    'Who, what and when. It is a draft and does nothing until it is activated. Every fault of the definition is named by its place.',
  request: { body: jsonBody(AutomationInput) },
  responses: {
    201: { ...oneAutomation('The draft.'), headers: z.object({ Location: z.string() }) },
  },
});

const list = operation('read', [], {
  method: 'get',
  path: '/automations',
  operationId: 'listAutomations',
  tags,
  summary: 'List automations',
  description: 'Newest first.',
  request: {
    query: z.strictObject({ state: z.enum(AUTOMATION_STATES).optional(), limit, cursor: idCursor }),
  },
  responses: { 200: jsonAnswer(pageOf(AutomationSchema, 'AutomationPage'), 'A page of automations.') },
});

const read = operation('read', ['not-found'], {
  method: 'get',
  path: '/automations/{id}',
  operationId: 'readAutomation',
  tags,
  summary: 'Read an automation',
  request: { params: idPath },
  responses: { 200: oneAutomation('The automation, with how many prospects are in each state.') },
});

const change = operation('write', ['not-found', 'conflict'], {
  method: 'patch',
  path: '/automations/{id}',
  operationId: 'changeAutomation',
  tags,
  summary: 'Change a draft',
  description: 'What is left out stays. What has been activated is changed by a new version.',
  request: { params: idPath, body: jsonBody(AutomationChangeInput) },
  responses: { 200: oneAutomation('The draft as it is now.') },
});

const validate = operation('write', ['not-found'], {
  method: 'post',
  path: '/automations/{id}/validate',
  operationId: 'validateAutomation',
  tags,
  summary: 'Is an automation ready?',
  description: 'Whether everything that it names is there: emails, lists, fields. Activating asks the same.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(ValidationSchema, 'What is wrong, each with its place.') },
});

const preview = operation('read', ['not-found', 'unprocessable'], {
  method: 'post',
  path: '/automations/{id}/preview',
  operationId: 'previewAutomation',
  tags,
  summary: 'Whom would it affect?',
  description: 'Affected and ignored prospects as of now, with reasons and examples.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(AutomationPreviewSchema, 'Counts and examples.') },
});

const TRANSITIONS = [
  [
    'activate',
    'Activate a draft',
    'It becomes version 1 and enrolls everybody who matches, once its start has come.',
  ],
  [
    'pause',
    'Pause an automation',
    'Everybody stays where they are; waits run on. An action that is being carried out is finished.',
  ],
  ['resume', 'Resume a paused automation', 'Everybody goes on, and who came to match meanwhile is enrolled.'],
  ['stop', 'Stop an automation for good', 'What waits in it is ended.'],
] as const satisfies readonly (readonly [Transition, string, string])[];

const transitionOf = (transition: Transition, summary: string, description: string) =>
  operation('write', ['not-found', 'conflict', 'unprocessable'], {
    method: 'post',
    path: `/automations/{id}/${transition}`,
    operationId: `${transition}Automation`,
    tags,
    summary,
    description,
    request: { params: idPath },
    responses: { 200: oneAutomation('The automation.') },
  });

const addVersion = operation('write', ['not-found', 'conflict', 'unprocessable'], {
  method: 'post',
  path: '/automations/{id}/versions',
  operationId: 'addAutomationVersion',
  tags,
  summary: 'Change a running automation',
  description:
    'Makes a new version. Those inside keep theirs; with `moveEnrolled` they go on in the new one at the step of the same id, or the first one ahead of them that is still there, and nothing is done twice.',
  request: { params: idPath, body: jsonBody(VersionInput) },
  responses: { 200: oneAutomation('The automation at its new version.') },
});

const webhookSecret = operation('admin', ['not-found'], {
  method: 'post',
  path: '/automations/{id}/webhook-secret',
  operationId: 'renewWebhookSecret',
  tags,
  summary: 'Make a new key for webhooks',
  description:
    'It signs the calls of webhook steps from now on: `webhook-signature: v1,` and the base64 of HMAC-SHA256 over `webhook-id.webhook-timestamp.body`. It is shown this once.',
  request: { params: idPath },
  responses: {
    200: jsonAnswer(z.object({ secret: z.string() }).openapi('WebhookSecret'), 'The key.'),
  },
});

const enrollments = operation('read', ['not-found'], {
  method: 'get',
  path: '/automations/{id}/enrollments',
  operationId: 'listEnrollments',
  tags,
  summary: 'Who is in an automation, and how far',
  description: 'In the order in which they entered, with the state of every step.',
  request: {
    params: idPath,
    query: z.strictObject({ state: z.enum(ENROLLMENT_STATES).optional(), limit, cursor: idCursor }),
  },
  responses: { 200: jsonAnswer(pageOf(EnrollmentSchema, 'EnrollmentPage'), 'A page of enrollments.') },
});

const ofProspect = operation('read', ['not-found'], {
  method: 'get',
  path: '/prospects/{id}/enrollments',
  operationId: 'listProspectEnrollments',
  tags,
  summary: 'Which automations a prospect is in',
  request: { params: idPath },
  responses: {
    200: jsonAnswer(
      z.object({ items: z.array(EnrollmentSchema) }).openapi('ProspectEnrollments'),
      'All of them.',
    ),
  },
});

const one = operation('read', ['not-found'], {
  method: 'get',
  path: '/enrollments/{id}',
  operationId: 'readEnrollment',
  tags,
  summary: "One prospect's way through one automation",
  request: { params: idPath },
  responses: { 200: jsonAnswer(EnrollmentSchema, 'The enrollment.') },
});

const remove = operation('write', ['not-found', 'conflict'], {
  method: 'post',
  path: '/enrollments/{id}/remove',
  operationId: 'removeEnrollment',
  tags,
  summary: 'Take a prospect out',
  description: 'What waits is ended, unfinished sends included.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(EnrollmentSchema, 'The enrollment.') },
});

const putBack = operation('write', ['not-found', 'conflict'], {
  method: 'post',
  path: '/enrollments/{id}/put-back',
  operationId: 'putEnrollmentBack',
  tags,
  summary: 'Put a prospect back',
  description: 'What was not applied is carried out, from where the prospect stood.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(EnrollmentSchema, 'The enrollment.') },
});

export function automationRoutes({ db, temporal, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();

  const current = async (id: string) => {
    const automation = await readAutomation(db, id);
    if (automation === null) throw notFound('automation');
    return automation;
  };
  const view = async (id: string) => automationView(await current(id), temporal);
  const oneEnrollment = async (id: string) => {
    const enrollment = await readEnrollment(db, id);
    if (enrollment === null) throw notFound('enrollment');
    return enrollmentView(enrollment, temporal);
  };

  api.openapi(create, async (c) => {
    const { name, definition } = c.req.valid('json');
    const read = await readDefinition(db, definition);
    const id = await createAutomation(db, now(), name, read, newSecret());
    if (id === null) throw nameTaken();
    return c.json(await view(id), 201, { location: `/automations/${id}` });
  });

  api.openapi(list, async (c) => {
    const { state, limit, cursor } = c.req.valid('query');
    const rows = await listAutomations(db, state ?? null, cursor ?? null, limit + 1);
    return c.json(
      toPage(
        rows,
        limit,
        ({ id }) => id,
        (automation) => automationView(automation, temporal),
      ),
      200,
    );
  });

  api.openapi(read, async (c) => c.json(await view(c.req.valid('param').id), 200));

  api.openapi(change, async (c) => {
    const { id } = c.req.valid('param');
    const { name, definition } = c.req.valid('json');
    const given = definition === undefined ? undefined : await readDefinition(db, definition);
    const changed = await db.transaction((tx) => changeDraft(tx, now(), id, { name, definition: given }));
    if (changed === 'not_found') throw notFound('automation');
    if (changed === 'name_taken') throw nameTaken();
    if (changed === 'wrong_state') {
      throw new ApiProblem('conflict', 'It has been activated: give it a new version instead.');
    }
    return c.json(await view(id), 200);
  });

  api.openapi(validate, async (c) => {
    const { definition } = await current(c.req.valid('param').id);
    const problems = await problemsOf(db, definition);
    return c.json({ valid: problems.length === 0, problems: [...problems] }, 200);
  });

  api.openapi(preview, async (c) => {
    const { id, definition } = await current(c.req.valid('param').id);
    // A draft's lists may have grown since it was made; nothing runs by it yet.
    const found = await workingOut('/who', () => previewAutomation(db, now(), id, definition));
    return c.json(previewView(found), 200);
  });

  for (const [transition, summary, description] of TRANSITIONS) {
    api.openapi(transitionOf(transition, summary, description), async (c) => {
      const { id } = c.req.valid('param');
      const changed = await db.transaction(async (tx) => {
        // As they are then: a change that comes at the same time is before or after.
        if (transition === 'activate') await holdLists(tx);
        const draft = transition === 'activate' ? await lockAutomation(tx, id) : null;
        if (draft?.state === 'draft') await requireReady(tx, draft.definition, '');
        return changeState(tx, originOf(c), now(), id, transition);
      });
      if (changed === 'not_found') throw notFound('automation');
      if (changed === 'wrong_state') {
        throw new ApiProblem('conflict', `The automation is ${(await current(id)).state}.`);
      }
      return c.json(await view(id), 200);
    });
  }

  api.openapi(addVersion, async (c) => {
    const { id } = c.req.valid('param');
    const { definition, moveEnrolled } = c.req.valid('json');
    await current(id);
    const read = await readDefinition(db, definition);
    const added = await db.transaction(async (tx) => {
      await holdLists(tx);
      await requireReady(tx, read, '/definition');
      return addAutomationVersion(tx, originOf(c), now(), id, read, moveEnrolled);
    });
    if (added === 'wrong_state') {
      const { state } = await current(id);
      throw new ApiProblem('conflict', `The automation is ${state}: only one that runs has versions to add.`);
    }
    return c.json(await view(id), 200);
  });

  api.openapi(webhookSecret, async (c) => {
    const secret = newSecret();
    if (!(await setWebhookSecret(db, c.req.valid('param').id, secret))) throw notFound('automation');
    return c.json({ secret }, 200);
  });

  api.openapi(enrollments, async (c) => {
    const { id } = c.req.valid('param');
    const { state, limit, cursor } = c.req.valid('query');
    await current(id);
    const rows = await listEnrollments(db, id, state ?? null, cursor ?? null, limit + 1);
    return c.json(
      toPage(
        rows,
        limit,
        (enrollment) => enrollment.id,
        (enrollment) => enrollmentView(enrollment, temporal),
      ),
      200,
    );
  });

  api.openapi(ofProspect, async (c) => {
    const { id } = c.req.valid('param');
    if ((await readProspect(db, id)) === null) throw notFound('prospect');
    const rows = await readEnrollmentsOfProspect(db, id);
    return c.json({ items: rows.map((row) => enrollmentView(row, temporal)) }, 200);
  });

  api.openapi(one, async (c) => c.json(await oneEnrollment(c.req.valid('param').id), 200));

  api.openapi(remove, async (c) => {
    const { id } = c.req.valid('param');
    requireDone(await db.transaction((tx) => removeEnrollment(tx, originOf(c), now(), id)));
    return c.json(await oneEnrollment(id), 200);
  });

  api.openapi(putBack, async (c) => {
    const { id } = c.req.valid('param');
    requireDone(await db.transaction((tx) => putEnrollmentBack(tx, originOf(c), now(), id)));
    return c.json(await oneEnrollment(id), 200);
  });

  return api;
}

function requireDone(changed: EnrollmentChange): void {
  if (changed === 'not_found') throw notFound('enrollment');
  if (changed === 'automation_stopped') throw new ApiProblem('conflict', 'The automation was stopped.');
  if (changed === 'wrong_state')
    throw new ApiProblem('conflict', 'The state of the enrollment does not allow this.');
}

function newSecret(): string {
  return randomBytes(32).toString('base64url');
}

function nameTaken(): ApiProblem {
  return bodyProblem('conflict', '/name', 'Another automation has this name.');
}

async function readDefinition(on: Session, definition: unknown): Promise<Definition> {
  const parsed = parseDefinition(definition, await readCustomFields(on));
  if (parsed.ok) return parsed.definition;
  throw asProblem('invalid-request', '/definition', parsed.problems);
}

/** What keeps a definition from being carried out: of its form, as custom fields may have gone, and of what it names. */
async function problemsOf(on: Session, definition: Definition): Promise<readonly DefinitionProblem[]> {
  const parsed = parseDefinition(definition, await readCustomFields(on));
  return parsed.ok ? checkDefinition(on, parsed.definition) : parsed.problems;
}

async function requireReady(on: Session, definition: Definition, field: string): Promise<void> {
  const problems = await problemsOf(on, definition);
  if (problems.length > 0) throw asProblem('unprocessable', field, problems);
}

function asProblem(
  kind: 'invalid-request' | 'unprocessable',
  field: string,
  problems: readonly DefinitionProblem[],
): ApiProblem {
  return new ApiProblem(kind, 'The definition of the automation has faults.', {
    errors: problems.map(({ path, message }) => ({ in: 'body', field: `${field}${path}`, message })),
  });
}
