import fc from 'fast-check';
import { HISTORY_KINDS, SUPPRESSED_FOR } from '../../../domain/criteria/criteria.ts';
import { type StandardField, SUPPRESSION_REASONS } from '../../../domain/words.ts';
import { ago } from './cases.ts';
import {
  AUTOMATIONS,
  BLOCKED_DOMAIN,
  EMAILS,
  LISTS,
  NOWHERE,
  type PastEvent,
  type Person,
} from './person.ts';

/** Few values, so that they meet often, and those that letter case, patterns and order are difficult with. */
const TEXTS = [
  'a',
  'A',
  'ab',
  'B a',
  'straße',
  'STRAẞE',
  'STRASSE',
  'İzmir',
  'izmir',
  'IZMIR',
  'ızmır',
  'ΟΔΟΣ',
  'οδος',
  'οδοσ',
  'É',
  'é',
  'e\u0301',
  '𐐀',
  '𐐨',
  '50%',
  '50_',
  '50\\',
  '%',
  '_',
  '\\',
  "'; drop",
  '$1',
  'ſ',
  'K',
  'k',
  'ǅ',
  'ǆ',
  '\uffff',
  '😀',
];
const text = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...TEXTS) },
  {
    weight: 1,
    arbitrary: fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 4 })
      .map((one) => one.trim())
      .filter((one) => one !== '' && !/[\p{Cc}\p{Cs}]/u.test(one)),
  },
);
const number = fc.oneof(
  fc.constantFrom(-1, -0, 0, 0.1, 0.2, 0.30000000000000004, 1, 10, 1e21, 5e-324, Number.MAX_VALUE),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
/** Moments around the edges of the windows that are asked for. */
const DAYS = [1, 7, 30];
const moment = fc
  .tuple(fc.constantFrom(-30, -7, -1, 0, 1, 7, 30, 400), fc.constantFrom(-1, 0, 1, 40_000_000))
  .map(([days, milliseconds]) => ago(days, milliseconds));
const date = moment.map((at) => at.toISOString().slice(0, 10));
const time = moment.map((at) => at.toISOString());
const choice = fc.constantFrom('Gold', 'Silver');
const localPart = fc.constantFrom('ada', 'ADA', 'jürgen', "o'neil", 'a_b', 'a%b', 'ΟΔΟΣ');
const domain = fc.constantFrom(
  'example.net',
  'example.org',
  BLOCKED_DOMAIN,
  `mail.${BLOCKED_DOMAIN}`,
  `un${BLOCKED_DOMAIN}`,
);
const FIELDS = ['firstName', 'country', 'postalCode'] as const satisfies readonly StandardField[];

const optional = { requiredKeys: [] };

const event: fc.Arbitrary<PastEvent> = fc
  .record(
    {
      kind: fc.constantFrom('sent', 'delivered', 'soft_bounced', 'hard_bounced', 'unsubscribed'),
      at: moment,
      emailId: fc.constantFrom(...EMAILS),
      listId: fc.constantFrom(...LISTS),
      automationId: fc.constantFrom(...AUTOMATIONS),
      again: fc.array(moment, { maxLength: 2 }),
    },
    { requiredKeys: ['kind', 'at', 'emailId'] },
  )
  // Only soft bounces and unsubscribes can happen again to one send.
  .map(({ again, ...one }) =>
    again && (one.kind === 'soft_bounced' || one.kind === 'unsubscribed') ? { ...one, again } : one,
  ) as fc.Arbitrary<PastEvent>;

/** Somebody, with whatever can be asked for. */
export const person: fc.Arbitrary<Person> = fc
  .record(
    {
      localPart,
      domain,
      fields: fc.record(Object.fromEntries(FIELDS.map((field) => [field, text])), optional),
      custom: fc.record(
        {
          note: text,
          score: number,
          vip: fc.boolean(),
          renewal: date,
          lastVisit: time,
          plan: choice,
        },
        optional,
      ),
      emailOptOut: fc.boolean(),
      bounced: fc.boolean(),
      createdAt: moment,
      updatedAt: moment,
      suppressed: fc.uniqueArray(fc.constantFrom(...SUPPRESSION_REASONS), { maxLength: 2 }),
      suppressedWithin: fc.subarray([...LISTS]),
      lists: fc.subarray([...LISTS]),
      entered: fc.dictionary(fc.constantFrom(...AUTOMATIONS), moment, { maxKeys: 2, noNullPrototype: true }),
      history: fc.array(event, { maxLength: 4 }),
    },
    optional,
  )
  .map((one) => {
    const entered = (one.entered ?? {}) as Record<string, Date>;
    // What an automation sent goes to those who entered it.
    const history = (one.history ?? []).map(({ automationId, ...rest }) =>
      automationId !== undefined && entered[automationId] ? { ...rest, automationId } : rest,
    );
    return { ...one, history } as Person;
  });

const values = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: 1, maxLength: 3 });
const range = (value: fc.Arbitrary<string | number>) =>
  fc.tuple(value, value).map(([one, other]) => (one <= other ? [one, other] : [other, one]));
const days = fc.constantFrom(...DAYS);

const equality = (field: fc.Arbitrary<string>, value: fc.Arbitrary<unknown>) =>
  fc.record({ field, operator: fc.constantFrom('equals', 'notEquals'), value });
const oneOf = (field: fc.Arbitrary<string>, value: fc.Arbitrary<unknown>) =>
  fc.record({ field, operator: fc.constant('in'), value: values(value) });
const parts = (field: fc.Arbitrary<string>, value: fc.Arbitrary<unknown>) =>
  fc.record({ field, operator: fc.constantFrom('contains', 'startsWith'), value });
const emptiness = (field: fc.Arbitrary<string>) =>
  fc.record({ field, operator: fc.constantFrom('isEmpty', 'isNotEmpty') });
const order = (
  field: fc.Arbitrary<string>,
  operators: readonly [string, string],
  value: fc.Arbitrary<string | number>,
) =>
  fc.oneof(
    fc.record({ field, operator: fc.constantFrom(...operators), value }),
    fc.record({ field, operator: fc.constant('between'), value: range(value) }),
  );
const windows = (field: fc.Arbitrary<string>) =>
  fc.record({ field, operator: fc.constantFrom('withinLast', 'withinNext'), days });

const texts = fc.constantFrom(...FIELDS, 'custom.note');
const number_ = fc.constant('custom.score');
const moments = fc.constantFrom('createdAt', 'updatedAt');
const email = fc.constant('email');
const emailDomain = fc.constant('emailDomain');

const condition = fc.oneof(
  equality(texts, text),
  oneOf(texts, text),
  parts(texts, text),
  emptiness(
    fc.constantFrom(...FIELDS, 'custom.note', 'custom.score', 'custom.vip', 'custom.renewal', 'custom.plan'),
  ),
  equality(number_, number),
  oneOf(number_, number),
  order(number_, ['greaterThan', 'lessThan'], number),
  equality(fc.constantFrom('custom.vip', 'emailOptOut', 'bounced'), fc.boolean()),
  equality(fc.constant('custom.plan'), choice),
  parts(fc.constant('custom.plan'), fc.constantFrom('GO', 'l', '%')),
  equality(fc.constant('custom.renewal'), date),
  oneOf(fc.constant('custom.lastVisit'), time),
  order(fc.constant('custom.renewal'), ['before', 'after'], date),
  order(fc.constant('custom.lastVisit'), ['before', 'after'], time),
  order(moments, ['before', 'after'], time),
  windows(fc.oneof(moments, fc.constantFrom('custom.renewal', 'custom.lastVisit'))),
  equality(
    email,
    fc.tuple(localPart, fc.nat({ max: 20 }), domain).map(([local, n, at]) => `${local}.${n}@${at}`),
  ),
  parts(email, fc.constantFrom('ada', 'ADA.', 'ü', '_', '%', '.1', 'Σ')),
  oneOf(emailDomain, domain),
  parts(emailDomain, fc.constantFrom('EXAMPLE', 'mail.', BLOCKED_DOMAIN)),
  fc.record(
    {
      suppressed: fc.boolean(),
      reasons: fc.uniqueArray(fc.constantFrom(...SUPPRESSED_FOR), { minLength: 1 }),
    },
    { requiredKeys: ['suppressed'] },
  ),
  {
    weight: 5,
    arbitrary: fc
      .record(
        {
          history: fc.constantFrom(...HISTORY_KINDS),
          happened: fc.boolean(),
          emailId: fc.constantFrom(...EMAILS),
          listId: fc.constantFrom(...LISTS),
          automationId: fc.constantFrom(...AUTOMATIONS),
          atLeast: fc.constantFrom(1, 2, 3),
          withinDays: days,
        },
        { requiredKeys: ['history', 'happened'] },
      )
      .map(({ emailId, listId, ...one }) =>
        one.history === 'entered_automation' ? one : { emailId, listId, ...one },
      )
      // What was left out is not there.
      .map((one) => JSON.parse(JSON.stringify(one)) as object),
  },
);

/** Criteria in JSON, as somebody could send it. @param dynamicLists ids of lists that may be named beside the static ones */
export function criteria(dynamicLists: readonly string[]): fc.Arbitrary<unknown> {
  const list = fc.record({
    list: fc.constantFrom(...LISTS, NOWHERE, ...dynamicLists),
    member: fc.boolean(),
  });
  const leaf = fc.oneof({ weight: 12, arbitrary: condition }, { weight: 1, arbitrary: list });
  return fc.letrec<{ tree: unknown }>((tie) => {
    const members = fc.array(tie('tree'), { minLength: 1, maxLength: 3 });
    return {
      tree: fc.oneof(
        { maxDepth: 3, depthSize: 'small' },
        leaf,
        fc.record({ all: fc.oneof(fc.constant([]), members) }),
        fc.record({ any: members }),
        fc.record({ none: members }),
      ),
    };
  }).tree;
}
