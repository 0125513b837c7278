import type { OpenAPIHono } from '@hono/zod-openapi';

/** The document that the page is made from. */
export type Document = ReturnType<OpenAPIHono['getOpenAPI31Document']>;

/** As much of JSON Schema as the document uses. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly format?: string;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly oneOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly description?: string;
  readonly example?: unknown;
  readonly default?: unknown;
}

/** One field of a body, named by its way through the objects that hold it. */
export interface Field {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  readonly description: string;
}

/** Objects within objects are shown to this depth. */
const DEPTH = 3;

/** Reads the schemas of one document. */
export class Schemas {
  readonly #components: Readonly<Record<string, Schema>>;

  constructor(document: Document) {
    this.#components = (document.components?.schemas ?? {}) as Record<string, Schema>;
  }

  /** The schema itself, with what it refers to and consists of put together. */
  resolve(schema: Schema): Schema {
    if (schema.$ref !== undefined)
      return this.resolve(this.#components[schema.$ref.split('/').at(-1)!] ?? {});
    if (schema.allOf === undefined) return schema;
    const parts = schema.allOf.map((part) => this.resolve(part));
    return {
      ...schema,
      type: 'object',
      properties: Object.assign({}, ...parts.map((part) => part.properties)),
      required: parts.flatMap((part) => part.required ?? []),
    };
  }

  /** All fields, those of inner objects behind their own: `timeline[].number`. */
  fields(schema: Schema, prefix = '', depth = 0): Field[] {
    const resolved = this.resolve(schema);
    const variants = resolved.oneOf ?? resolved.anyOf;
    if (variants !== undefined && resolved.properties === undefined) {
      const all = variants.flatMap((variant) => this.fields(variant, prefix, depth));
      return all.filter((field, index) => all.findIndex((other) => other.name === field.name) === index);
    }
    if (resolved.type === 'array' && resolved.items)
      return this.fields(resolved.items, `${prefix}[].`.replace('.[]', '[]'), depth);
    return Object.entries(resolved.properties ?? {}).flatMap(([key, property]) => {
      const name = `${prefix}${key}`;
      const own: Field = {
        name,
        type: this.typeOf(property),
        required: resolved.required?.includes(key) ?? false,
        description: property.description ?? this.resolve(property).description ?? '',
      };
      if (depth + 1 >= DEPTH) return [own];
      const inner = this.resolve(property);
      const child = inner.type === 'array' && inner.items ? this.resolve(inner.items) : inner;
      const way = inner.type === 'array' ? `${name}[].` : `${name}.`;
      return [own, ...this.fields(child, way, depth + 1)];
    });
  }

  /** In words: `text`, `time or null`, `one of read, write`. */
  typeOf(schema: Schema): string {
    const resolved = this.resolve(schema);
    const types = [resolved.type ?? []].flat();
    const orNull = types.includes('null') ? ' or null' : '';
    if (resolved.enum !== undefined) {
      const values = resolved.enum.filter((value) => value !== null).map(String);
      return `${values.length === 1 ? '' : 'one of '}${values.join(', ')}${orNull}`;
    }
    const variants = resolved.oneOf ?? resolved.anyOf;
    if (variants !== undefined)
      return [...new Set(variants.map((variant) => this.typeOf(variant)))].join(' or ');
    const type = types.find((one) => one !== 'null');
    if (type === 'array')
      return `list of ${resolved.items ? this.typeOf(resolved.items) : 'anything'}${orNull}`;
    const names: Record<string, string> = {
      uuid: 'id',
      'date-time': 'time',
      uri: 'link',
      string: 'text',
      integer: 'whole number',
      boolean: 'true or false',
    };
    return `${names[resolved.format ?? ''] ?? names[type ?? ''] ?? type ?? 'anything'}${orNull}`;
  }

  /** An example, its own or put together from those of its fields. */
  example(schema: Schema): unknown {
    if (schema.example !== undefined) return schema.example;
    const resolved = this.resolve(schema);
    if (resolved.example !== undefined) return resolved.example;
    if (resolved.default !== undefined) return resolved.default;
    if (resolved.enum !== undefined) return resolved.enum[0];
    const variant = (resolved.oneOf ?? resolved.anyOf)?.[0];
    if (variant !== undefined) return this.example(variant);
    const types = [resolved.type ?? []].flat();
    if (types.includes('null')) return null;
    switch (types[0]) {
      case 'object':
        return Object.fromEntries(
          Object.entries(resolved.properties ?? {}).map(([key, property]) => [key, this.example(property)]),
        );
      case 'array':
        return resolved.items ? [this.example(resolved.items)] : [];
      case 'integer':
      case 'number':
        return 1;
      case 'boolean':
        return false;
      case 'string':
        return 'text';
      default:
        return null;
    }
  }
}
