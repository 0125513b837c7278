import { OpenAPIHono, z } from '@hono/zod-openapi';
import {
  type CustomFieldProblem,
  createCustomField,
  readCustomFields,
} from '../../db/queries/customFields.ts';
import { CUSTOM_FIELD_TYPES } from '../../domain/words.ts';
import type { Api, ApiDeps, ApiEnv } from '../context.ts';
import { jsonAnswer, jsonBody, operation } from '../operation.ts';
import { bodyProblem } from '../problems.ts';
import { name } from '../schemas/common.ts';

const tags = ['Prospects'];

const CustomFieldSchema = z
  .object({
    key: z
      .string()
      .openapi({ description: 'In `custom` of a prospect, and in merge fields.', example: 'plan' }),
    label: z.string().openapi({ example: 'Plan' }),
    type: z.enum(CUSTOM_FIELD_TYPES).openapi({ example: 'choice' }),
    choices: z
      .array(z.string())
      .openapi({ description: 'Of a `choice`, else empty.', example: ['free', 'gold'] }),
  })
  .openapi('CustomField');

const CustomFieldInput = z
  .strictObject({
    key: name(63).openapi({
      description: 'A small letter, then letters, digits and underscores.',
      example: 'plan',
    }),
    label: name(200).openapi({ example: 'Plan' }),
    type: z.enum(CUSTOM_FIELD_TYPES).openapi({ example: 'choice' }),
    choices: z
      .array(name(255))
      .max(500)
      .default([])
      .openapi({ example: ['free', 'gold'] }),
  })
  .openapi('CustomFieldInput');

const list = operation('read', [], {
  method: 'get',
  path: '/custom-fields',
  operationId: 'listCustomFields',
  tags,
  summary: 'The custom fields of prospects',
  responses: {
    200: jsonAnswer(z.object({ items: z.array(CustomFieldSchema) }).openapi('CustomFields'), 'By key.'),
  },
});

const create = operation('admin', ['conflict'], {
  method: 'post',
  path: '/custom-fields',
  operationId: 'createCustomField',
  tags,
  summary: 'Add a custom field',
  description: 'Its key and type stay for good.',
  request: { body: jsonBody(CustomFieldInput) },
  responses: { 201: jsonAnswer(CustomFieldSchema, 'The field.') },
});

const PROBLEMS: Readonly<Record<CustomFieldProblem, readonly [field: string, message: string]>> = {
  key_invalid: ['/key', 'Must begin with a small letter and go on with letters, digits and underscores.'],
  label_empty: ['/label', 'Must not be empty.'],
  choices_missing: ['/choices', 'A choice needs at least one.'],
  choices_not_allowed: ['/choices', 'Only a field of the type choice has choices.'],
};

export function customFieldRoutes({ db, now }: ApiDeps): Api {
  const api = new OpenAPIHono<ApiEnv>();
  api.openapi(list, async (c) => {
    const fields = await readCustomFields(db);
    return c.json({ items: fields.map((field) => ({ ...field, choices: [...field.choices] })) }, 200);
  });
  api.openapi(create, async (c) => {
    const field = c.req.valid('json');
    const created = await createCustomField(db, now(), field);
    if (created.kind === 'invalid') throw bodyProblem('invalid-request', ...PROBLEMS[created.problem]);
    if (created.kind === 'exists')
      throw bodyProblem('conflict', '/key', 'There is a custom field with this key.');
    return c.json(field, 201);
  });
  return api;
}
