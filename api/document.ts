import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Api, ApiEnv } from './context.ts';
import { jsonAnswer, operation } from './operation.ts';
import { renderReference } from './reference/page.ts';

/** The description that the document begins with. */
const DESCRIPTION = `Heed sends email for a marketing team, and never to anybody who said no or whose mailbox is dead.

Answers are JSON, times are RFC 3339 in UTC, ids are UUIDs. Lists come in pages: \`items\`, and \`nextCursor\` to ask for the next page with \`cursor\`. What is accepted with a 2xx answer is on disk. Unknown fields are refused by name, and a request that is refused has changed nothing.`;

const TAGS = [
  ['Prospects', 'People who may be emailed, and their flags Email Opt Out and Bounced.'],
  ['Lists', 'Named groups of prospects.'],
  ['Suppressions', 'The Global Suppression List: who must not be emailed, and why.'],
  ['Emails', 'What is sent: content with merge fields.'],
  ['Sends', 'One email to one prospect, with every attempt to deliver it.'],
  ['Broadcasts', 'One email to lists or to everybody who matches a filter.'],
  ['Automations', 'What is done with prospects by itself: who, which actions, when.'],
  [
    'Bulk updates',
    'A field changed once, of everybody who matches; seen before, told of row by row, taken back.',
  ],
  ['Imports', 'CSV files of prospects or suppressions.'],
  ['Inbound', 'What came back about mail that had left: bounces, complaints, deliveries.'],
  ['Salesforce', 'The sync with Salesforce: how it is, what it found, what it could not do.'],
  ['Audit', 'What happened, when, by whom and why.'],
  ['API keys', 'Who may use this API.'],
  ['Operations', 'Settings, alerts, health, and this description.'],
] as const;

const openApi = operation(null, [], {
  method: 'get',
  path: '/openapi.json',
  operationId: 'openApi',
  tags: ['Operations'],
  summary: 'This API as an OpenAPI 3.1 document',
  responses: { 200: jsonAnswer(z.unknown(), 'The document.') },
});

const reference = operation(null, [], {
  method: 'get',
  path: '/reference',
  operationId: 'reference',
  tags: ['Operations'],
  summary: 'This API as a page to read',
  responses: { 200: { description: 'The page.', content: { 'text/html': { schema: z.string() } } } },
});

/** Adds the document, generated from the schemas that validate, and the page that shows it. After all other routes. */
export function describeApi(app: Api): void {
  app.openAPIRegistry.registerComponent('securitySchemes', 'apiKey', {
    type: 'http',
    scheme: 'bearer',
    description:
      'An API key: `Authorization: Bearer heed_…`. Scopes: `read`, `write` (includes `read`), `admin` (includes both).',
  });
  const api = new OpenAPIHono<ApiEnv>();
  api.openapi(openApi, (c) => c.json(document as never, 200));
  api.openapi(reference, (c) => c.html(page, 200, { 'content-security-policy': PAGE_POLICY }));
  app.route('/', api);
  const document = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: { title: 'Heed API', version: '1', description: DESCRIPTION },
    tags: TAGS.map(([name, description]) => ({ name, description })),
  });
  const page = renderReference(document);
}

/** The page brings its own style and nothing that runs. */
const PAGE_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
