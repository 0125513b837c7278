import { OpenAPIHono } from '@hono/zod-openapi';
import { methodNotAllowed } from 'hono/method-not-allowed';
import { requestId } from 'hono/request-id';
import { secureHeaders } from 'hono/secure-headers';
import type { Api, ApiDeps, ApiEnv } from './context.ts';
import { describeApi } from './document.ts';
import { accessLog } from './middleware/accessLog.ts';
import { authentication } from './middleware/authentication.ts';
import { errorHandler } from './middleware/errors.ts';
import { refuseInvalid } from './middleware/validation.ts';
import { ApiProblem, notFound, problemResponse } from './problems.ts';
import { PUBLIC_FOLDER } from './public/loggedPath.ts';
import { unsubscribePages } from './public/unsubscribe.ts';
import { alertRoutes } from './routes/alerts.ts';
import { apiKeyRoutes } from './routes/apiKeys.ts';
import { auditRoutes } from './routes/audit.ts';
import { automationRoutes } from './routes/automations.ts';
import { broadcastRoutes } from './routes/broadcasts.ts';
import { bulkUpdateRoutes } from './routes/bulkUpdates.ts';
import { customFieldRoutes } from './routes/customFields.ts';
import { emailRoutes } from './routes/emails.ts';
import { healthRoutes } from './routes/health.ts';
import { importRoutes } from './routes/imports.ts';
import { inboundRoutes } from './routes/inbound.ts';
import { listRoutes } from './routes/lists.ts';
import { prospectCriteriaRoutes } from './routes/prospectCriteria.ts';
import { prospectRoutes } from './routes/prospects.ts';
import { salesforceRoutes } from './routes/salesforce.ts';
import { sendRoutes } from './routes/sends.ts';
import { settingsRoutes } from './routes/settings.ts';
import { suppressionRoutes } from './routes/suppressions.ts';
import { webhookRoutes } from './routes/webhooks.ts';

const RESOURCES = [
  prospectRoutes,
  prospectCriteriaRoutes,
  customFieldRoutes,
  listRoutes,
  suppressionRoutes,
  emailRoutes,
  sendRoutes,
  automationRoutes,
  broadcastRoutes,
  bulkUpdateRoutes,
  importRoutes,
  salesforceRoutes,
  inboundRoutes,
  webhookRoutes,
  auditRoutes,
  settingsRoutes,
  alertRoutes,
  apiKeyRoutes,
  healthRoutes,
];

/**
 * The whole API. Pure: it opens nothing and reads no environment.
 *
 * @example
 * ```ts
 * const answer = await createApp(deps).request('/healthz');
 * ```
 */
export function createApp(deps: ApiDeps): Api {
  const app: Api = new OpenAPIHono<ApiEnv>({ defaultHook: refuseInvalid });
  app.use(requestId({ limitLength: 100 }));
  app.use(accessLog(deps.log, deps.now));
  app.use(
    secureHeaders({
      // Whoever ends TLS in front of Heed decides for the whole domain.
      strictTransportSecurity: false,
      xFrameOptions: 'DENY',
      contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
      overwrite: false,
    }),
  );
  // Before everything that speaks of keys and problems: these pages are for recipients.
  app.route(PUBLIC_FOLDER, unsubscribePages(deps));
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) =>
        problemResponse(
          c,
          new ApiProblem(
            'method-not-allowed',
            `${c.req.method} is not allowed here; ${methods.join(', ')} is.`,
            {
              headers: { allow: methods.join(', ') },
            },
          ),
        ),
    }),
  );
  app.use(authentication(deps.db));
  app.onError(errorHandler(deps.log));
  app.notFound((c) => problemResponse(c, notFound('path')));
  for (const routes of RESOURCES) app.route('/', routes(deps));
  describeApi(app);
  return app;
}
