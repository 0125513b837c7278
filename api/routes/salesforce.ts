import { setTimeout as delay } from 'node:timers/promises';
import { OpenAPIHono, z } from '@hono/zod-openapi';
import { SalesforceTrouble } from '../../adapters/salesforce/trouble.ts';
import { readCustomFields } from '../../db/queries/customFields.ts';
import { readSalesforceConnection } from '../../db/queries/salesforceConnection.ts';
import {
  countOpenFailures,
  dismissFailure,
  listFailures,
  readFailure,
  retryFailure,
} from '../../db/queries/salesforceFailures.ts';
import { pushBacklog } from '../../db/queries/salesforceQueue.ts';
import {
  lastRun,
  listRuns,
  readRun,
  requestRun,
  type SalesforceRun,
} from '../../db/queries/salesforceRuns.ts';
import {
  allowSalesforceSync,
  changeSalesforceSettings,
  readSalesforceSettings,
} from '../../db/queries/salesforceSettings.ts';
import { salesforceReconciliationId } from '../../domain/processes.ts';
import { compoundProblem } from '../../domain/salesforce/access.ts';
import { checkMappings, type FieldMapping, type MappingProblem } from '../../domain/salesforce/mapping.ts';
import { SALESFORCE_OBJECTS } from '../../domain/salesforce/words.ts';
import { type Api, type ApiDeps, type ApiEnv, originOf } from '../context.ts';
import { given } from '../given.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { ApiProblem, bodyProblem, notFound } from '../problems.ts';
import { flagIn, id, idPath, timeOf } from '../schemas/common.ts';
import { idCursor, limit, pageOf, toPage } from '../schemas/paging.ts';
import {
  failureView,
  runMode,
  runView,
  SalesforceFailureSchema,
  SalesforceHealthSchema,
  SalesforceRunSchema,
  SalesforceSettingsChange,
  SalesforceSettingsSchema,
  settingsView,
} from '../schemas/salesforce.ts';

const tags = ['Salesforce'];

const health = operation('read', [], {
  method: 'get',
  path: '/salesforce',
  operationId: 'salesforceHealth',
  tags,
  summary: 'How is the sync with Salesforce?',
  responses: { 200: jsonAnswer(SalesforceHealthSchema, 'How it is.') },
});

const readSettings = operation('read', [], {
  method: 'get',
  path: '/salesforce/settings',
  operationId: 'readSalesforceSettings',
  tags,
  summary: 'Read how the account syncs',
  responses: { 200: jsonAnswer(SalesforceSettingsSchema, 'The settings.') },
});

const changeSettings = operation('admin', ['unprocessable'], {
  method: 'patch',
  path: '/salesforce/settings',
  operationId: 'changeSalesforceSettings',
  tags,
  summary: 'Change how the account syncs',
  description:
    'What is left out stays as it is. The mapping table is replaced as a whole. Compound fields of Salesforce are refused.',
  request: { body: jsonBody(SalesforceSettingsChange) },
  responses: { 200: jsonAnswer(SalesforceSettingsSchema, 'The settings as they are now.') },
});

const start = operation('write', ['conflict'], {
  method: 'post',
  path: '/salesforce/runs',
  operationId: 'startSalesforceRun',
  tags,
  summary: 'Reconcile now',
  request: { body: jsonBody(z.strictObject({ mode: runMode }).openapi('SalesforceRunInput')) },
  responses: { 202: jsonAnswer(SalesforceRunSchema, 'It is about to begin.') },
});

const list = operation('read', [], {
  method: 'get',
  path: '/salesforce/runs',
  operationId: 'listSalesforceRuns',
  tags,
  summary: 'List reconciliations',
  description: 'Newest first. Readings of changes are kept for seven days.',
  request: { query: z.strictObject({ mode: runMode.optional(), limit, cursor: idCursor }) },
  responses: {
    200: jsonAnswer(pageOf(SalesforceRunSchema, 'SalesforceRunPage'), 'A page of reconciliations.'),
  },
});

const read = operation('read', ['not-found'], {
  method: 'get',
  path: '/salesforce/runs/{id}',
  operationId: 'readSalesforceRun',
  tags,
  summary: 'How far is a reconciliation, or what did a dry run find?',
  request: { params: idPath },
  responses: { 200: jsonAnswer(SalesforceRunSchema, 'The reconciliation.') },
});

const allow = operation('admin', ['conflict', 'unprocessable'], {
  method: 'post',
  path: '/salesforce/allow',
  operationId: 'allowSalesforceSync',
  tags,
  summary: 'Allow the sync to change both sides',
  description:
    'After a dry run was looked at. The first full reconciliation begins at once; from then on the sync works by itself.',
  request: {
    body: jsonBody(
      z
        .strictObject({ dryRunId: id.openapi({ description: 'The dry run that you have looked at.' }) })
        .openapi('SalesforceAllowance'),
    ),
  },
  responses: { 202: jsonAnswer(SalesforceRunSchema, 'The first full reconciliation.') },
});

const failures = operation('read', [], {
  method: 'get',
  path: '/salesforce/failures',
  operationId: 'listSalesforceFailures',
  tags,
  summary: 'List what could not be synced',
  description: 'Newest first, each record once a side.',
  request: { query: z.strictObject({ dismissed: flagIn.optional(), limit, cursor: idCursor }) },
  responses: {
    200: jsonAnswer(pageOf(SalesforceFailureSchema, 'SalesforceFailurePage'), 'A page of failures.'),
  },
});

const retry = operation('write', ['not-found'], {
  method: 'post',
  path: '/salesforce/failures/{id}/retry',
  operationId: 'retrySalesforceFailure',
  tags,
  summary: 'Try again now',
  request: { params: idPath },
  responses: { 202: jsonAnswer(SalesforceFailureSchema, 'It is about to be tried.') },
});

const dismiss = operation('write', ['not-found'], {
  method: 'post',
  path: '/salesforce/failures/{id}/dismiss',
  operationId: 'dismissSalesforceFailure',
  tags,
  summary: 'Leave it undone',
  description: 'It is not tried again until the record or the prospect changes.',
  request: { params: idPath },
  responses: { 200: jsonAnswer(SalesforceFailureSchema, 'The failure.') },
});

export function salesforceRoutes({ db, temporal, salesforce, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  const view = (run: SalesforceRun) =>
    runView(run, run.actor === 'schedule' ? null : temporal.uiLinkOf(salesforceReconciliationId(run.id)));

  api.openapi(health, async (c) => {
    const [connection, settings, changes, full, backlog, openFailures] = await Promise.all([
      readSalesforceConnection(db),
      readSalesforceSettings(db),
      lastRun(db, 'changes'),
      lastRun(db, 'full'),
      pushBacklog(db),
      countOpenFailures(db),
    ]);
    const at = now();
    const secondsSince = (time: Date) => Math.max(0, Math.floor((at.getTime() - time.getTime()) / 1_000));
    const { stopped, stoppedAt, pausedUntil, pauseKind, apiUsed, apiAllowed, apiAt } = connection;
    const isPaused = pausedUntil !== null && pausedUntil > at;
    const begun = changes?.startedAt ?? full?.startedAt ?? null;
    return c.json(
      {
        state: standing(connection.orgId, stopped, settings.allowedAt, isPaused),
        orgId: connection.orgId,
        stopped: stopped === null ? null : { reason: stopped, since: timeOf(stoppedAt!) },
        paused: isPaused ? { until: timeOf(pausedUntil), kind: pauseKind! } : null,
        lagSeconds: begun === null ? null : secondsSince(begun),
        lastRuns: { changes: changes && view(changes), full: full && view(full) },
        queue: {
          waiting: backlog.entries,
          oldestSeconds: backlog.oldestAt === null ? null : secondsSince(backlog.oldestAt),
        },
        openFailures,
        api: apiAt === null ? null : { used: apiUsed!, allowed: apiAllowed!, at: timeOf(apiAt) },
      },
      200,
    );
  });

  api.openapi(readSettings, async (c) => c.json(settingsView(await readSalesforceSettings(db)), 200));

  api.openapi(changeSettings, async (c) => {
    const change = given(c.req.valid('json'));
    const compound = await compoundFields(salesforce, change.mappings ?? []);
    await db.transaction(async (tx) => {
      const [problem = compound[0]] = checkMappings(change.mappings ?? [], await readCustomFields(tx));
      if (problem !== undefined) {
        throw bodyProblem('unprocessable', `/mappings/${problem.index}/${problem.property}`, problem.message);
      }
      await changeSalesforceSettings(tx, originOf(c), now(), change);
    });
    return c.json(settingsView(await readSalesforceSettings(db)), 200);
  });

  api.openapi(start, async (c) => {
    const { mode } = c.req.valid('json');
    const started = await db.transaction(async (tx) => {
      const { allowedAt } = await readSalesforceSettings(tx);
      if (mode !== 'dry_run' && allowedAt === null) {
        throw bodyProblem(
          'conflict',
          '/mode',
          'Nothing may be changed yet: look at a dry run and allow it first.',
        );
      }
      const runId = await requestRun(tx, now(), mode, c.get('key').name);
      if (runId === null) throw bodyProblem('conflict', '/mode', 'One of this mode is under way already.');
      return (await readRun(tx, runId))!;
    });
    return c.json(view(started), 202);
  });

  api.openapi(list, async (c) => {
    const { mode, limit, cursor } = c.req.valid('query');
    const rows = await listRuns(db, mode ?? null, cursor ?? null, limit + 1);
    return c.json(
      toPage(rows, limit, (run) => run.id, view),
      200,
    );
  });

  api.openapi(read, async (c) => {
    const run = await readRun(db, c.req.valid('param').id);
    if (run === null) throw notFound('reconciliation');
    return c.json(view(run), 200);
  });

  api.openapi(allow, async (c) => {
    const { dryRunId } = c.req.valid('json');
    const started = await db.transaction(async (tx) => {
      const dryRun = await readRun(tx, dryRunId);
      if (dryRun?.mode !== 'dry_run' || dryRun.state !== 'done') {
        throw bodyProblem('unprocessable', '/dryRunId', 'Is no dry run that came to its end.');
      }
      if (!(await allowSalesforceSync(tx, originOf(c), now()))) {
        throw new ApiProblem('conflict', 'The sync is allowed already.');
      }
      const runId = await requestRun(tx, now(), 'full', c.get('key').name);
      if (runId === null) throw new ApiProblem('conflict', 'A full reconciliation is under way already.');
      return (await readRun(tx, runId))!;
    });
    return c.json(view(started), 202);
  });

  api.openapi(failures, async (c) => {
    const { dismissed, limit, cursor } = c.req.valid('query');
    const rows = await listFailures(db, dismissed ?? false, cursor ?? null, limit + 1);
    return c.json(
      toPage(rows, limit, (failure) => failure.id, failureView),
      200,
    );
  });

  api.openapi(retry, async (c) => {
    const { id } = c.req.valid('param');
    if (!(await db.transaction((tx) => retryFailure(tx, now(), id)))) throw notFound('failure');
    return c.json(failureView((await readFailure(db, id))!), 202);
  });

  api.openapi(dismiss, async (c) => {
    const { id } = c.req.valid('param');
    if (!(await db.transaction((tx) => dismissFailure(tx, now(), id)))) throw notFound('failure');
    return c.json(failureView((await readFailure(db, id))!), 200);
  });

  return api;
}

/** No longer does a caller wait for Salesforce: what it would have told is found by the sync. */
const DESCRIBE_MS = 10_000;

/** Lines that name a compound field; none where Salesforce cannot be asked, for the sync asks again before it begins. */
async function compoundFields(
  salesforce: ApiDeps['salesforce'],
  mappings: readonly FieldMapping[],
): Promise<MappingProblem[]> {
  if (salesforce === null || mappings.length === 0) return [];
  const answer = Promise.all(SALESFORCE_OBJECTS.map((object) => salesforce.describe(object))).catch(
    (error: unknown) => {
      if (error instanceof SalesforceTrouble) return null;
      throw error;
    },
  );
  const described = await Promise.race([answer, delay(DESCRIBE_MS, null, { ref: false })]);
  return mappings.flatMap(({ object, salesforceField }, index) => {
    const fields = described?.[SALESFORCE_OBJECTS.indexOf(object)] ?? [];
    const message = compoundProblem(salesforceField, fields);
    return message === null ? [] : [{ index, property: 'salesforceField' as const, message }];
  });
}

function standing(orgId: string | null, stopped: string | null, allowedAt: Date | null, isPaused: boolean) {
  if (stopped !== null) return 'stopped' as const;
  if (orgId === null) return 'never_connected' as const;
  if (allowedAt === null) return 'not_allowed' as const;
  return isPaused ? ('paused' as const) : ('working' as const);
}
