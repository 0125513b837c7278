import { z } from '@hono/zod-openapi';

/** Only that it is an object: what it says is read by `bodyCriteria`, which knows the account's custom fields and lists. */
export const CriteriaSchema = z.record(z.string(), z.unknown()).openapi('Criteria', {
  description:
    'Which prospects: a group (`all`, `any` or `none` with a list of criteria) or one condition (`field`, `suppressed`, `list` or `history`). docs/filters.md has every condition and operator with its rules.',
  example: {
    all: [
      { field: 'country', operator: 'in', value: ['Germany', 'Austria'] },
      { field: 'emailOptOut', operator: 'equals', value: false },
      {
        any: [
          { field: 'custom.plan', operator: 'equals', value: 'gold' },
          { history: 'delivered', happened: true, withinDays: 30 },
        ],
      },
    ],
  },
});
