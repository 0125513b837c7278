import type { Schema, Schemas } from './schema.ts';

/** As much of an operation of the document as the page uses. */
export interface Operation {
  readonly operationId: string;
  readonly tags?: readonly string[];
  readonly summary: string;
  readonly description?: string;
  readonly security?: readonly object[];
  readonly 'x-scope'?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly required?: boolean; readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<Record<string, Answer>>;
}

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly description?: string;
  readonly schema: Schema;
}

export interface Media {
  readonly schema: Schema;
}

export interface Answer {
  readonly description: string;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly content?: Readonly<Record<string, Media>>;
}

/** A command that can be pasted, with the address and the key in variables. */
export function curlExample(method: string, path: string, operation: Operation, schemas: Schemas): string {
  const parameters = operation.parameters ?? [];
  const exampleOf = ({ schema }: Parameter) => String(schemas.example(schema));
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const parameter = parameters.find((one) => one.in === 'path' && one.name === name);
    return parameter === undefined ? name : encodeURIComponent(exampleOf(parameter));
  });
  const query = parameters
    .filter((one) => one.in === 'query' && one.required)
    .map((one) => `${one.name}=${encodeURIComponent(exampleOf(one))}`)
    .join('&');
  // If-Match is not required by the schema, so that leaving it out is told in words of its own (428).
  const headers = parameters
    .filter((one) => one.in === 'header' && (one.required || '428' in operation.responses))
    .map((one) => `${one.name}: ${exampleOf(one)}`);
  const [type, media] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  const parts = [
    `curl ${method === 'get' ? '' : `-X ${method.toUpperCase()} `}"$HEED_URL${filled}${query && `?${query}`}"`,
    ...(operation.security?.length === 0 ? [] : ['-H "Authorization: Bearer $HEED_API_KEY"']),
    ...headers.map((header) => `-H ${quoted(header)}`),
    ...(type === undefined ? [] : [`-H ${quoted(`Content-Type: ${type}`)}`]),
    ...(media === undefined ? [] : [bodyOf(type!, media, schemas)]),
  ];
  return parts.join(' \\\n  ');
}

function bodyOf(type: string, media: Media, schemas: Schemas): string {
  if (type !== 'application/json') return '--data-binary @people.csv';
  const example = schemas.example(media.schema);
  const short = JSON.stringify(example);
  return `-d ${quoted(short.length > 60 ? JSON.stringify(example, null, 2) : short)}`;
}

/** For a shell, as one word. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
