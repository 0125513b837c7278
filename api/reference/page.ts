import { PROBLEMS } from '../problems.ts';
import { type Answer, curlExample, type Operation, type Parameter } from './curl.ts';
import { html, inline, Markup, prose } from './html.ts';
import { type Document, type Field, type Schema, Schemas } from './schema.ts';
import { STYLE } from './style.ts';

interface Described {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

/** The document as a page to read: no scripts, nothing loaded from elsewhere. */
export function renderReference(document: Document): string {
  const schemas = new Schemas(document);
  const operations = operationsOf(document);
  const groups = (document.tags ?? []).map(({ name, description = '' }) => ({
    name,
    description,
    operations: operations.filter(({ operation }) => operation.tags?.[0] === name),
  }));
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${document.info.title}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<div class="layout">
<nav class="contents" aria-label="Contents">${contents(groups)}</nav>
<main id="content">
<header><h1>${document.info.title}</h1><div class="lead">${prose(document.info.description ?? '')}</div>
<p class="quiet">The same as a document for programs: <a href="/openapi.json">OpenAPI 3.1</a>.</p></header>
${guide()}
${groups.map(
  (
    group,
  ) => html`<section aria-labelledby="${anchor(group.name)}"><h2 id="${anchor(group.name)}">${group.name}</h2>
${prose(group.description)}
${group.operations.map((one) => article(one, schemas))}</section>`,
)}
</main>
</div>
</body>
</html>`;
  return page.text;
}

function operationsOf(document: Document): Described[] {
  return Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    (['get', 'post', 'patch', 'delete'] as const).flatMap((method) => {
      const operation = item[method] as unknown as Operation | undefined;
      return operation === undefined ? [] : [{ method, path, operation }];
    }),
  );
}

const anchor = (name: string) => `group-${name.toLowerCase().replaceAll(' ', '-')}`;

function contents(groups: readonly { name: string; operations: readonly Described[] }[]): Markup {
  return html`<p><a href="#guide">First things</a></p>
<ul><li><a href="#authentication">Authentication</a></li><li><a href="#problems">Errors</a></li><li><a href="#repeating">Repeating and concurrent changes</a></li></ul>
${groups.map(
  (group) => html`<p><a href="#${anchor(group.name)}">${group.name}</a></p>
<ul>${group.operations.map(
    ({ operation }) => html`<li><a href="#${operation.operationId}">${operation.summary}</a></li>`,
  )}</ul>`,
)}`;
}

function guide(): Markup {
  return html`<div id="guide"></div><section aria-labelledby="authentication"><h2 id="authentication">Authentication</h2>
<p>Every request but those for health and this page needs an API key in the header <code>Authorization</code>. The first key is made when Heed first starts, with the scope <code>admin</code>, and printed once. A key has one scope: <code>read</code>; <code>write</code>, which includes <code>read</code>; or <code>admin</code>, which includes both.</p>
${code(`export HEED_URL=http://127.0.0.1:8080
export HEED_API_KEY=heed_…
curl "$HEED_URL/prospects" -H "Authorization: Bearer $HEED_API_KEY"`)}</section>
<section aria-labelledby="problems"><h2 id="problems">Errors</h2>
<p>Every error is a problem document (<a href="https://www.rfc-editor.org/rfc/rfc9457">RFC 9457</a>, <code>application/problem+json</code>). <code>errors</code> names each field that is wrong: a JSON Pointer into the body, or the name of the parameter or header. A request that is refused has changed nothing. <code>requestId</code> is also in the header <code>X-Request-Id</code> of every answer; send one of your own to find it in the log and the audit trail.</p>
${code(
  JSON.stringify(
    {
      type: '/reference#problem-invalid-request',
      title: PROBLEMS['invalid-request'][1],
      status: 400,
      detail: 'Not valid: /email.',
      requestId: '5f0c1d9e-6f0b-4c67-9d57-1c0a3b2e4f55',
      errors: [{ in: 'body', field: '/email', message: 'The address has no @ sign.' }],
    },
    null,
    2,
  ),
)}
<div class="scroll" tabindex="0" role="region" aria-label="Kinds of problem"><table><thead><tr><th scope="col">Type</th><th scope="col">Status</th><th scope="col">Meaning</th></tr></thead><tbody>
${Object.entries(PROBLEMS).map(
  ([kind, [status, title, meaning]]) =>
    html`<tr id="problem-${kind}"><th scope="row"><code>${kind}</code></th><td class="type">${status}</td><td>${title}. ${inline(meaning)}</td></tr>`,
)}</tbody></table></div></section>
<section aria-labelledby="repeating"><h2 id="repeating">Repeating and concurrent changes</h2>
<p>Sends are made with a key of yours in the header <code>Idempotency-Key</code>: repeat the request as often as you like, one send comes of it. Prospects and emails have a version in the header <code>ETag</code>; a change names it in <code>If-Match</code>, so that nobody overwrites what another changed meanwhile.</p></section>`;
}

function article({ method, path, operation }: Described, schemas: Schemas): Markup {
  const { operationId: id, parameters = [], requestBody, responses } = operation;
  const open = operation.security?.length === 0;
  const [type, body] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  const answers = Object.entries(responses);
  const good = answers.filter(([status]) => status.startsWith('2'));
  const bad = answers.filter(([status]) => !status.startsWith('2'));
  return html`<article id="${id}" aria-labelledby="${id}-title">
<h3 id="${id}-title"><a href="#${id}">${operation.summary}</a></h3>
<p class="address"><span class="method ${method}">${method.toUpperCase()}</span>${path}</p>
<p><span class="scope">${open ? 'no key needed' : html`scope ${operation['x-scope'] ?? ''}`}</span></p>
${prose(operation.description ?? '').filter((one) => one.text !== '<p></p>')}
${
  parameters.length === 0
    ? null
    : html`<h4>Parameters</h4>${table(
        parameters.map((one) => parameterField(one, schemas)),
        'Parameters',
      )}`
}
${body === undefined || type === undefined ? null : bodyFields(type, body.schema, schemas)}
<h4>Example</h4>
${code(curlExample(method, path, operation, schemas))}
${good.map(([status, answer]) => goodAnswer(status, answer, schemas))}
${bad.length === 0 ? null : html`<details><summary>Errors of this operation</summary><dl>${bad.map(([status, answer]) => html`<dt>${status}</dt><dd>${answer.description}</dd>`)}</dl></details>`}
</article>`;
}

function parameterField(
  { name, in: place, required = false, description, schema }: Parameter,
  schemas: Schemas,
): Field {
  return {
    name,
    required,
    type: `${schemas.typeOf(schema)}, in the ${place}`,
    description: description ?? schema.description ?? '',
  };
}

function bodyFields(type: string, schema: Schema, schemas: Schemas): Markup {
  const fields = schemas.fields(schema);
  if (fields.length === 0) return html`<h4>Body</h4><p><code>${type}</code></p>`;
  const head = html`<h4>Body <span class="quiet">${type}</span></h4>`;
  return html`${head}${table(fields, 'Fields of the body')}`;
}

function goodAnswer(
  status: string,
  { description, content = {}, headers = {} }: Answer,
  schemas: Schemas,
): Markup {
  const [type, media] = Object.entries(content)[0] ?? [];
  const named = Object.keys(headers);
  const title = html`<h4>${status} <span class="quiet">${description}${named.length === 0 ? '' : ` Headers: ${named.join(', ')}.`}</span></h4>`;
  if (type !== 'application/json' || media === undefined) return title;
  const fields = schemas.fields(media.schema);
  if (fields.length === 0) return title;
  return html`${title}
<details><summary>Answer with its fields</summary>
${code(JSON.stringify(schemas.example(media.schema), null, 2))}
${table(fields, `Fields of the answer ${status}`, false)}
</details>`;
}

/** @param says whether it matters which fields are required */
function table(fields: readonly Field[], label: string, says = true): Markup {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${label}"><table>
<thead><tr><th scope="col">Name</th><th scope="col">Type</th><th scope="col">Meaning</th></tr></thead>
<tbody>${fields.map(
    (field) =>
      html`<tr><th scope="row"><code>${field.name}</code>${says && field.required ? html` <span class="required">required</span>` : null}</th><td class="type">${field.type}</td><td>${inline(field.description)}</td></tr>`,
  )}</tbody></table></div>`;
}

function code(text: string): Markup {
  return html`<pre tabindex="0"><code>${text}</code></pre>`;
}
