import { AUTOMATIONS, BLOCKED_DOMAIN, EMAILS, LISTS, NOW, NOWHERE, type Person } from './person.ts';

/** One decision: the criteria as the API takes it, and who is matched by it and who is not. */
export interface Case {
  readonly name: string;
  readonly criteria: unknown;
  readonly yes: readonly Person[];
  readonly no: readonly Person[];
}

const DAY = 24 * 3600 * 1000;
/** So many days before NOW, and so many milliseconds after that. */
export const ago = (days: number, milliseconds = 0) => new Date(NOW.getTime() - days * DAY + milliseconds);

const country = (value: string): Person => ({ fields: { country: value } });
const custom = (key: string, value: string | number | boolean): Person => ({ custom: { [key]: value } });
const nobodySpecial: Person = {};
const sent = (at: Date, more: Partial<NonNullable<Person['history']>[number]> = {}): Person => ({
  history: [{ kind: 'sent', at, emailId: EMAILS[0], ...more }],
});

/** One table for both ways to decide: test/domain/criteria/matches.test.ts in code, test/db/criteria.test.ts in SQL. */
export const CASES: readonly Case[] = [
  {
    name: 'all of nothing is everybody',
    criteria: { all: [] },
    yes: [nobodySpecial, country('Germany')],
    no: [],
  },
  {
    name: 'a text is equal whatever the letter case',
    criteria: { field: 'country', operator: 'equals', value: 'gErmany' },
    yes: [country('Germany'), country('GERMANY')],
    no: [country('German'), country('Germany West'), nobodySpecial],
  },
  {
    name: 'letter case beyond ASCII, code point by code point',
    criteria: { field: 'city', operator: 'in', value: ['STRAßE', 'ΟΔΟΣ', 'İZMİR', 'ÉVRY', '𐐀'] },
    yes: ['straße', 'STRAẞE', 'οδος', 'οδοσ', 'izmir', 'IZMIR', 'évry', '𐐨'].map((city) => ({
      fields: { city },
    })),
    no: ['strasse', 'STRASSE', 'ızmır', 'e\u0301vry', 'odos'].map((city) => ({ fields: { city } })),
  },
  {
    name: 'an empty field is not equal to anything',
    criteria: { field: 'country', operator: 'notEquals', value: 'Germany' },
    yes: [country('France'), nobodySpecial],
    no: [country('germany')],
  },
  {
    name: 'contains takes wildcards and backslashes for what they are',
    criteria: { field: 'company', operator: 'contains', value: '50%_\\' },
    yes: [{ fields: { company: 'The 50%_\\ Company' } }],
    no: [{ fields: { company: 'The 50 percent' } }, { fields: { company: '50%xx' } }, nobodySpecial],
  },
  {
    name: 'starts with takes wildcards and backslashes for what they are',
    criteria: { field: 'company', operator: 'startsWith', value: 'a%_\\' },
    yes: [{ fields: { company: 'A%_\\ Company' } }],
    no: [{ fields: { company: 'abc' } }, { fields: { company: 'x a%_\\' } }, nobodySpecial],
  },
  {
    name: 'is empty',
    criteria: { field: 'phone', operator: 'isEmpty' },
    yes: [nobodySpecial],
    no: [{ fields: { phone: '+49 30 1' } }],
  },
  {
    name: 'is not empty',
    criteria: { field: 'custom.note', operator: 'isNotEmpty' },
    yes: [custom('note', 'x')],
    no: [nobodySpecial, custom('plan', 'Gold')],
  },
  {
    name: 'none of them, fields that are empty included',
    criteria: {
      none: [
        { field: 'country', operator: 'equals', value: 'Germany' },
        { field: 'city', operator: 'contains', value: 'a' },
      ],
    },
    yes: [nobodySpecial, country('France'), { fields: { city: 'Kyoto' } }],
    no: [country('Germany'), { fields: { city: 'Paris' } }],
  },
  {
    name: 'groups within groups',
    criteria: {
      all: [
        { field: 'country', operator: 'in', value: ['Germany', 'Austria'] },
        {
          any: [
            { field: 'custom.score', operator: 'greaterThan', value: 50 },
            {
              all: [
                { field: 'title', operator: 'contains', value: 'head' },
                { none: [{ field: 'bounced', operator: 'equals', value: true }] },
              ],
            },
          ],
        },
      ],
    },
    yes: [
      { fields: { country: 'Austria' }, custom: { score: 51 } },
      { fields: { country: 'germany', title: 'Head of Things' } },
    ],
    no: [
      { fields: { country: 'France' }, custom: { score: 51 } },
      { fields: { country: 'Germany', title: 'Head of Things' }, bounced: true },
      { fields: { country: 'Germany' }, custom: { score: 50 } },
    ],
  },
  {
    name: 'the address, in the form that addresses are compared by',
    criteria: { field: 'emailDomain', operator: 'in', value: ['EXAMPLE.org', 'münchen.example'] },
    yes: [{ domain: 'example.org' }, { domain: 'xn--mnchen-3ya.example' }],
    no: [{ domain: 'mail.example.org' }, nobodySpecial],
  },
  {
    name: 'part of the address',
    criteria: { field: 'email', operator: 'startsWith', value: 'ADA.' },
    yes: [{ localPart: 'ada' }],
    no: [{ localPart: 'x.ada' }, nobodySpecial],
  },
  {
    name: 'the flags, each by itself (I3)',
    criteria: {
      all: [
        { field: 'emailOptOut', operator: 'equals', value: true },
        { field: 'bounced', operator: 'notEquals', value: true },
      ],
    },
    yes: [{ emailOptOut: true }],
    no: [nobodySpecial, { bounced: true }, { emailOptOut: true, bounced: true }],
  },
  {
    name: 'numbers by their value',
    criteria: { field: 'custom.score', operator: 'in', value: [10, -0.5] },
    yes: [custom('score', 10), custom('score', 1e1), custom('score', -0.5)],
    no: [custom('score', 10.5), custom('note', '10'), nobodySpecial],
  },
  {
    name: 'between has both its ends',
    criteria: { field: 'custom.score', operator: 'between', value: [1, 2] },
    yes: [custom('score', 1), custom('score', 1.5), custom('score', 2)],
    no: [custom('score', 0.999), custom('score', 2.001), nobodySpecial],
  },
  {
    name: 'less than, with no value for nothing',
    criteria: { field: 'custom.score', operator: 'lessThan', value: 1 },
    yes: [custom('score', 0), custom('score', -1e300)],
    no: [custom('score', 1), nobodySpecial],
  },
  {
    name: 'a yes or no is not the same as none',
    criteria: { field: 'custom.vip', operator: 'equals', value: false },
    yes: [custom('vip', false)],
    no: [custom('vip', true), nobodySpecial],
  },
  {
    name: 'a value of another type than its field holds for nothing',
    criteria: {
      any: [
        { field: 'custom.score', operator: 'lessThan', value: 100 },
        { field: 'custom.score', operator: 'between', value: [0, 100] },
        { field: 'custom.note', operator: 'equals', value: '5' },
        { field: 'custom.note', operator: 'startsWith', value: '5' },
        { field: 'custom.renewal', operator: 'before', value: '2026-01-01' },
      ],
    },
    yes: [custom('score', 5), custom('note', '5'), custom('renewal', '2025-01-01')],
    no: [custom('score', '5'), custom('score', true), custom('note', 5), custom('renewal', 5)],
  },
  {
    name: 'a choice in the spelling of its definition',
    criteria: { field: 'custom.plan', operator: 'equals', value: 'gold' },
    yes: [custom('plan', 'Gold')],
    no: [custom('plan', 'Silver'), nobodySpecial],
  },
  {
    name: 'dates in the order of the calendar, ends included',
    criteria: { field: 'custom.renewal', operator: 'between', value: ['2026-01-31', '2026-02-28'] },
    yes: [custom('renewal', '2026-01-31'), custom('renewal', '2026-02-28')],
    no: [custom('renewal', '2026-01-30'), custom('renewal', '2026-03-01'), nobodySpecial],
  },
  {
    name: 'a date counts as its midnight in UTC: today was, tomorrow comes',
    criteria: { field: 'custom.renewal', operator: 'withinLast', days: 2 },
    yes: [custom('renewal', '2026-03-02'), custom('renewal', '2026-03-01')],
    no: [custom('renewal', '2026-02-28'), custom('renewal', '2026-03-03'), nobodySpecial],
  },
  {
    name: 'dates of the days to come',
    criteria: { field: 'custom.renewal', operator: 'withinNext', days: 2 },
    yes: [custom('renewal', '2026-03-03'), custom('renewal', '2026-03-04')],
    no: [custom('renewal', '2026-03-02'), custom('renewal', '2026-03-05')],
  },
  {
    name: 'a time is an instant, whatever the zone it is written in',
    criteria: { field: 'custom.lastVisit', operator: 'after', value: '2026-03-01T01:00:00+02:00' },
    yes: [custom('lastVisit', '2026-02-28T23:00:00.001Z')],
    no: [custom('lastVisit', '2026-02-28T23:00:00.000Z'), nobodySpecial],
  },
  {
    name: 'a date in place of a time is its midnight in UTC',
    criteria: { field: 'createdAt', operator: 'before', value: '2026-01-01' },
    yes: [{ createdAt: new Date('2025-12-31T23:59:59.999Z') }],
    no: [{ createdAt: new Date('2026-01-01T00:00:00.000Z') }],
  },
  {
    name: 'a window ends with now and begins right after so many days before',
    criteria: { field: 'updatedAt', operator: 'withinLast', days: 7 },
    yes: [{ updatedAt: NOW }, { updatedAt: ago(7, 1) }],
    no: [{ updatedAt: ago(7) }, { updatedAt: ago(0, 1) }],
  },
  {
    name: 'suppressed for whatever reason, by address or domain',
    criteria: { suppressed: true },
    yes: [
      { suppressed: ['complaint'] },
      { suppressed: ['opt_out', 'bounced'] },
      { domain: BLOCKED_DOMAIN },
      { domain: `mail.${BLOCKED_DOMAIN}` },
    ],
    no: [
      nobodySpecial,
      { domain: `un${BLOCKED_DOMAIN}` },
      { suppressedWithin: [LISTS[0]] },
      { emailOptOut: true },
    ],
  },
  {
    name: 'not suppressed',
    criteria: { suppressed: false },
    yes: [nobodySpecial, { suppressedWithin: [LISTS[0]] }],
    no: [{ suppressed: ['bounced'] }, { domain: BLOCKED_DOMAIN }],
  },
  {
    name: 'suppressed by hand is so also by the domain',
    criteria: { suppressed: true, reasons: ['manual'] },
    yes: [{ suppressed: ['manual'] }, { domain: BLOCKED_DOMAIN }],
    no: [{ suppressed: ['bounced', 'opt_out', 'complaint'] }, nobodySpecial],
  },
  {
    name: 'suppressed by the domain alone',
    criteria: { suppressed: true, reasons: ['domain'] },
    yes: [{ domain: `a.b.${BLOCKED_DOMAIN}` }],
    no: [{ suppressed: ['manual'] }, nobodySpecial],
  },
  {
    name: 'none of these reasons',
    criteria: { suppressed: false, reasons: ['opt_out', 'complaint'] },
    yes: [{ suppressed: ['bounced'] }, nobodySpecial],
    no: [{ suppressed: ['complaint'] }, { suppressed: ['bounced', 'opt_out'] }],
  },
  {
    name: 'member of a list',
    criteria: { list: LISTS[0], member: true },
    yes: [{ lists: [LISTS[0]] }, { lists: [...LISTS] }],
    no: [nobodySpecial, { lists: [LISTS[1]] }],
  },
  {
    name: 'no member of a list, and of one that is not there',
    criteria: {
      all: [
        { list: LISTS[0], member: false },
        { list: NOWHERE, member: false },
      ],
    },
    yes: [nobodySpecial, { lists: [LISTS[1]] }],
    no: [{ lists: [LISTS[0]] }],
  },
  {
    name: 'was sent an email',
    criteria: { history: 'sent', happened: true, emailId: EMAILS[0] },
    yes: [sent(ago(900))],
    no: [
      sent(ago(1), { emailId: EMAILS[1] }),
      { history: [{ kind: 'delivered', at: ago(1), emailId: EMAILS[0] }] },
      nobodySpecial,
    ],
  },
  {
    name: 'was not sent an email of a list within a window',
    criteria: { history: 'sent', happened: false, listId: LISTS[0], withinDays: 7 },
    yes: [
      nobodySpecial,
      sent(ago(7), { listId: LISTS[0] }),
      sent(ago(1), { listId: LISTS[1] }),
      sent(ago(1)),
    ],
    no: [sent(ago(7, 1), { listId: LISTS[0] }), sent(NOW, { listId: LISTS[0] })],
  },
  {
    name: 'soft-bounced: each send counts once, however often it was tried',
    criteria: { history: 'soft_bounced', happened: true, atLeast: 2, withinDays: 30 },
    yes: [
      {
        history: [
          { kind: 'soft_bounced', at: ago(40), again: [ago(29)], emailId: EMAILS[0] },
          { kind: 'soft_bounced', at: ago(2), emailId: EMAILS[0] },
        ],
      },
    ],
    no: [
      { history: [{ kind: 'soft_bounced', at: ago(3), again: [ago(2), ago(1)], emailId: EMAILS[0] }] },
      {
        history: [
          { kind: 'soft_bounced', at: ago(31), emailId: EMAILS[0] },
          { kind: 'soft_bounced', at: ago(2), emailId: EMAILS[0] },
        ],
      },
      nobodySpecial,
    ],
  },
  {
    name: 'hard-bounced or delivered, each told apart',
    criteria: {
      all: [
        { history: 'hard_bounced', happened: true },
        { history: 'delivered', happened: false, withinDays: 90 },
      ],
    },
    yes: [{ history: [{ kind: 'hard_bounced', at: ago(400), emailId: EMAILS[1] }] }],
    no: [
      nobodySpecial,
      {
        history: [
          { kind: 'hard_bounced', at: ago(400), emailId: EMAILS[1] },
          { kind: 'delivered', at: ago(89), emailId: EMAILS[1] },
        ],
      },
    ],
  },
  {
    name: 'unsubscribed twice, at different times',
    criteria: { history: 'unsubscribed', happened: true, atLeast: 2 },
    yes: [{ history: [{ kind: 'unsubscribed', at: ago(9), again: [ago(8)], emailId: EMAILS[0] }] }],
    no: [
      { history: [{ kind: 'unsubscribed', at: ago(9), again: [ago(9)], emailId: EMAILS[0] }] },
      nobodySpecial,
    ],
  },
  {
    name: 'unsubscribed from a list',
    criteria: { history: 'unsubscribed', happened: true, listId: LISTS[1] },
    yes: [{ history: [{ kind: 'unsubscribed', at: ago(9), emailId: EMAILS[0], listId: LISTS[1] }] }],
    no: [{ history: [{ kind: 'unsubscribed', at: ago(9), emailId: EMAILS[0], listId: LISTS[0] }] }],
  },
  {
    name: 'entered an automation within a window',
    criteria: { history: 'entered_automation', happened: true, automationId: AUTOMATIONS[0], withinDays: 1 },
    yes: [{ entered: { [AUTOMATIONS[0]]: ago(1, 1) } }],
    no: [{ entered: { [AUTOMATIONS[0]]: ago(1) } }, { entered: { [AUTOMATIONS[1]]: ago(0) } }, nobodySpecial],
  },
  {
    name: 'was sent something by an automation',
    criteria: { history: 'sent', happened: true, automationId: AUTOMATIONS[0] },
    yes: [
      {
        entered: { [AUTOMATIONS[0]]: ago(3) },
        history: [{ kind: 'sent', at: ago(2), emailId: EMAILS[0], automationId: AUTOMATIONS[0] }],
      },
    ],
    no: [sent(ago(2)), { entered: { [AUTOMATIONS[0]]: ago(3) } }],
  },
];
