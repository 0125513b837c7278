import { z } from '@hono/zod-openapi';

/** Characters that PostgreSQL cannot keep: NUL and halves of surrogate pairs. */
const UNSTORABLE = /[\0\p{Cs}]/u;
/** Line ends and other controls, too: they have no place in a name, and could smuggle a header into a message. */
const NOT_IN_A_LINE = /[\p{Cc}\p{Cs}]/u;

/** Text of several lines, up to `max` characters. */
export const text = (max: number) =>
  z
    .string()
    .max(max)
    .refine((value) => !UNSTORABLE.test(value), 'Contains NUL or half a surrogate pair.');

/** Text of one line, up to `max` characters, without the blanks around it. */
export const line = (max: number) =>
  z
    .string()
    .max(max)
    .refine((value) => !NOT_IN_A_LINE.test(value), 'Contains a line end or another control character.')
    .trim();

/** {@link line} that must not be empty. */
export const name = (max: number) => line(max).min(1);

export const id = z.uuid().openapi({ example: '019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11' });

/** A time in an answer: RFC 3339, UTC, milliseconds. */
export const time = z.iso.datetime().openapi({ example: '2026-11-23T09:30:00.000Z' });

/** A time in a request: RFC 3339 with any zone, from 1970 to 9999. */
export const timeIn = z.iso
  .datetime({ offset: true, abort: true })
  .refine((value) => new Date(value).getTime() >= 0, 'Must be a time from 1970 on.')
  .transform((value) => new Date(value))
  .openapi({ type: 'string', format: 'date-time', example: '2026-11-23T09:30:00Z' });

/** Why somebody does something, in their own words; kept in the audit trail. */
export const reason = name(500).openapi({
  description: 'Why, in your own words. Kept in the audit trail for good, so name nobody in it.',
  example: 'Asked for it by phone',
});

/** An email address as a person writes it; whether it is one is asked of `parseAddress`. */
export const email = line(1000).openapi({ example: 'ada@example.com' });

/** Yes or no in a query. */
export const flagIn = z
  .enum(['true', 'false'])
  .transform((value) => value === 'true')
  .openapi({ type: 'string', enum: ['true', 'false'] });

/** `1,2,3` or repeated parameters are not taken: one value. */
export const idPath = z.strictObject({ id });

/** @returns the time as answers carry it */
export const timeOf = (at: Date): string => at.toISOString();
export const timeOrNull = (at: Date | null): string | null => at?.toISOString() ?? null;
