import { describe, expect, it } from 'vitest';
import {
  type EmailTemplates,
  headerLine,
  type MergeValues,
  parseEmail,
  textOf,
  validateTemplates,
} from '../../adapters/mailer/render.ts';

const EMPTY: EmailTemplates = { subject: '', fromName: null, html: null, text: null };

function rendered(templates: Partial<EmailTemplates>, values: MergeValues = {}) {
  const result = parseEmail({ ...EMPTY, ...templates }).render(values);
  if (!result.ok) throw new Error(result.problem.message);
  return result.email;
}

describe('validateTemplates', () => {
  it.each([
    'Hello {{ prospect.first_name }}',
    'Hello {{ prospect.first_name | default: "there" | upcase }}',
    '{{ prospect.custom.tier }}',
    '{{ prospect.nickname | default: prospect.first_name }}',
    '{% if prospect.postal_code %}{{ prospect.postal_code }}{% else %}-{% endif %}',
    '{% assign name = prospect.company %}{{ name }}',
    'no merge field, { braces } % and all',
  ])('finds nothing wrong with %s', (text) => {
    expect(validateTemplates({ ...EMPTY, subject: text, html: text, text }, ['tier'])).toEqual([]);
  });

  it.each([
    ['{{ prospect.frist_name }}', 1, 4, /Unknown merge field prospect\.frist_name/],
    ['a\n  {{ prospect.custom.tear }}', 2, 6, /Unknown merge field prospect\.custom\.tear/],
    ['{% if prospect.vip %}x{% endif %}', 1, 7, /Unknown merge field prospect\.vip/],
    ['{{ prospect }}', 1, 4, /Unknown merge field prospect/],
    ['{{ prospect.constructor }}', 1, 4, /Unknown merge field/],
    ['{{ first_name }}', 1, 4, /Unknown merge field first_name/],
    ['{{ prospect[prospect.city] }}', 1, 4, /Unknown merge field/],
    ['{{ prospect.first_name | default: prospect.nick }}', 1, 35, /Unknown merge field prospect\.nick/],
    ['x {{ prospect.first_name', 1, 3, /not closed/],
    ['{% if prospect.city %}x', 1, 1, /not closed/],
    ['{{ prospect.city | shout }}', 1, 1, /undefined filter: shout/i],
    ['{% include "/etc/passwd" %}', 1, 1, /tag "include" not found/i],
    ['{% render "/etc/passwd" %}', 1, 1, /tag "render" not found/i],
    ['{% layout "/etc/passwd" %}', 1, 1, /tag "layout" not found/i],
    ['{% for i in (1..1000000000) %}x{% endfor %}', 1, 1, /limit exceeded/],
    ['x'.repeat(1_000_001), 1, 1, /limit exceeded/],
  ])('tells what is wrong with %.60s and where', (source, line, column, message) => {
    for (const field of ['subject', 'fromName', 'html', 'text'] as const) {
      expect(validateTemplates({ ...EMPTY, [field]: source }, ['tier'])).toEqual([
        { field, line, column, message: expect.stringMatching(message) },
      ]);
    }
  });

  it('tells every unknown merge field of every part', () => {
    const problems = validateTemplates(
      { subject: '{{ a }}', fromName: null, html: '{{ b }}\n{{ c }}', text: null },
      [],
    );
    expect(problems.map(({ field, line }) => [field, line])).toEqual([
      ['subject', 1],
      ['html', 1],
      ['html', 2],
    ]);
  });

  it('ends a template that would run for long', () => {
    const nested =
      '{% for a in (1..9999) %}{% for b in (1..9999) %}{% for c in (1..9999) %}{% endfor %}{% endfor %}{% endfor %}';
    expect(validateTemplates({ ...EMPTY, text: nested }, [])).toEqual([
      expect.objectContaining({ field: 'text', message: expect.stringMatching(/limit exceeded/) }),
    ]);
  });
});

describe('parseEmail', () => {
  it('puts in the values of each prospect, and defaults where there are none', () => {
    const parsed = parseEmail({
      ...EMPTY,
      text: '{{ prospect.first_name | default: "there" }} {{ prospect.custom.tier }}',
    });
    expect(parsed.render({ first_name: 'Jane', custom: { tier: 2 } })).toMatchObject({
      email: { text: 'Jane 2' },
    });
    expect(parsed.render({ first_name: null, custom: {} })).toMatchObject({ email: { text: 'there ' } });
    expect(parsed.render({ first_name: '' })).toMatchObject({ email: { text: 'there ' } });
  });

  it('escapes values in the HTML, once, and leaves them as they are in the text', () => {
    const source =
      '{{ prospect.company }}|{{ prospect.company | escape }}|{{ prospect.nope | default: "a&b" }}';
    const { html, text } = rendered({ html: source, text: source }, { company: `<script>"x" & 'y'` });
    const escaped = '&lt;script&gt;&#34;x&#34; &amp; &#39;y&#39;';
    expect(html).toBe(`${escaped}|${escaped}|a&amp;b`);
    expect(text).toBe(`<script>"x" & 'y'|&lt;script&gt;&#34;x&#34; &amp; &#39;y&#39;|a&b`);
  });

  it('has no way around the escaping', () => {
    expect(validateTemplates({ ...EMPTY, html: '{{ prospect.company | raw }}' }, [])).toHaveLength(1);
  });

  it('never lets a value in as a template', () => {
    expect(
      rendered({ text: '{{ prospect.company }}' }, { company: '{{ prospect.email }}{% raw %}' }).text,
    ).toBe('{{ prospect.email }}{% raw %}');
  });

  it('shows nothing but fields: no prototype, no method', () => {
    for (const path of [
      'prospect.constructor',
      'prospect.custom.constructor',
      'prospect.__proto__',
      'prospect.toString',
    ]) {
      const result = parseEmail({ ...EMPTY, text: `[{{ ${path} }}]` }).render({ custom: {} });
      if (result.ok) expect(result.email.text).toBe('[]');
      else expect(result.problem.message).toMatch(/undefined variable/i);
    }
  });

  it('makes one line of subject and name, without anything that could begin a header', () => {
    const { subject, fromName } = rendered(
      { subject: 'Hi {{ prospect.first_name }}', fromName: '{{ prospect.company }}' },
      { first_name: 'Jane\r\nBcc: joe@example.com\u2028\u0000', company: '\u0085\n' },
    );
    expect(subject).toBe('Hi Jane Bcc: joe@example.com');
    expect(fromName).toBeNull();
    expect(headerLine('😀'.repeat(300), 250)).toBe('😀'.repeat(250));
  });

  it('makes the text from the HTML where there is none', () => {
    const { text } = rendered(
      {
        html: '<h1>Hello {{ prospect.first_name }}</h1><p>See <a href="https://example.com/x">this</a><img src="x"></p>',
      },
      { first_name: 'Jane & Joe' },
    );
    expect(text).toMatch(/hello jane & joe/i);
    expect(text).toContain('this [https://example.com/x]');
    expect(textOf('<style>p{}</style><p>a</p>')).toBe('a');
  });

  it('refuses at rendering what was not looked at before, without telling a value', () => {
    expect(parseEmail({ ...EMPTY, text: '{{ prospect.nope }}' }).render({})).toEqual({
      ok: false,
      problem: { field: 'text', line: 1, column: 4, message: 'Undefined variable: prospect.nope.' },
    });
    const failing = parseEmail({ ...EMPTY, text: '{{ prospect.company | parse_json }}' }).render({
      company: 'Secret',
    });
    expect(failing.ok ? failing.email.text : failing.problem.message).not.toContain('Secret');
    expect(parseEmail({ ...EMPTY, text: '{{' }).render({}).ok).toBe(false);
  });
});
