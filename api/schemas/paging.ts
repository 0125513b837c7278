import { z } from '@hono/zod-openapi';

const MAX_LIMIT = 200;
const DEFAULT_LIMIT = 50;

/** How many entries a page has. */
export const limit = z.coerce
  .number({ error: `Must be a whole number from 1 to ${MAX_LIMIT}.` })
  .int(`Must be a whole number from 1 to ${MAX_LIMIT}.`)
  .min(1)
  .max(MAX_LIMIT)
  .default(DEFAULT_LIMIT)
  .openapi({
    type: 'integer',
    minimum: 1,
    maximum: MAX_LIMIT,
    default: DEFAULT_LIMIT,
    description: `Entries of a page, 1 to ${MAX_LIMIT}.`,
    example: 50,
  });

/**
 * A cursor that carries the position of the last entry of a page: opaque to the caller, checked against `position` on
 * its way in. It grants nothing that its holder could not ask for, so it is not signed.
 */
export const cursorTo = <Position extends z.ZodType>(position: Position) =>
  z
    .string()
    .max(1000)
    .transform((value, context): z.output<Position> => {
      const parsed = position.safeParse(decode(value));
      if (parsed.success) return parsed.data;
      context.addIssue({ code: 'custom', message: 'Is not a cursor of this list. Take it from nextCursor.' });
      return z.NEVER;
    })
    .optional()
    .openapi({
      type: 'string',
      description: '`nextCursor` of the page before; leave it out for the first page.',
    });

/** A cursor to an entry that is known by its id alone. */
export const idCursor = cursorTo(z.uuid());

/** The answer of a list. */
export const pageOf = <Item extends z.ZodType>(item: Item, schemaName: string) =>
  z
    .object({
      items: z.array(item),
      nextCursor: z
        .string()
        .nullable()
        .openapi({ description: '`cursor` of the next page; null on the last.', example: null }),
    })
    .openapi(schemaName);

/**
 * Cuts a page out of rows that were read with one more than `limit`.
 *
 * @param positionOf what the schema of the cursor takes for an entry
 */
export function toPage<Row, Item>(
  rows: readonly Row[],
  limit: number,
  positionOf: (row: Row) => unknown,
  toItem: (row: Row) => Item,
): { items: Item[]; nextCursor: string | null } {
  const shown = rows.slice(0, limit);
  return {
    items: shown.map(toItem),
    nextCursor: rows.length > limit ? encode(positionOf(shown.at(-1)!)) : null,
  };
}

function encode(position: unknown): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url');
}

function decode(cursor: string): unknown {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}
