import fc from 'fast-check';
import PostalMime from 'postal-mime';
import { describe, expect, it } from 'vitest';
import { createCompiledComposer } from '../../../adapters/mailer/compiledComposer.ts';
import { compileMessage } from '../../../adapters/mailer/compiledMessage.ts';
import type { EmailComposer, EmailToCompose } from '../../../adapters/mailer/composer.ts';
import { createEmailComposer } from '../../../adapters/mailer/createComposer.ts';
import { readyContent, wireContent } from '../../../adapters/smtp/content.ts';
import { testUnsubscribing } from '../../support/unsubscribing.ts';

/* The mail of the fast way and of the plain way is the same, as a MIME parser that others wrote reads it. */

const plain = createEmailComposer(testUnsubscribing);
const refusing: EmailComposer = {
  async compose() {
    throw new Error('the plain way was taken');
  },
};
const fast = createCompiledComposer(refusing, testUnsubscribing);

let versions = 0;
function emailOf(content: Partial<EmailToCompose['email']>): EmailToCompose['email'] {
  versions += 1;
  return {
    id: '019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11',
    version: versions,
    subject: 'News',
    fromName: null,
    fromAddress: 'news@Example.com',
    replyTo: null,
    html: null,
    text: 'News',
    ...content,
  };
}

function sendOf(
  email: EmailToCompose['email'],
  prospect: Record<string, unknown>,
  kind: 'marketing' | 'transactional' = 'marketing',
): EmailToCompose {
  return {
    sendId: '019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b12',
    kind,
    listId: '019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b13',
    messageId: '<019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b12@heed.test>',
    createdAt: new Date('2026-11-24T03:00:00Z'),
    recipient: 'Ada.Lovelace+news@Example.NET',
    email,
    prospect,
  };
}

/** What a recipient's program makes of it: every header but those that say how it is written, and the parts. */
async function read(composer: EmailComposer, send: EmailToCompose) {
  const composed = await composer.compose(send);
  if (!composed.ok) throw new Error(composed.problem);
  const content = Buffer.from(composed.message.content);
  const wire = wireContent(content);
  expect(wire).not.toBeNull();
  // What is said to be ready is what a look at every octet makes of it.
  const { content: given } = composed.message;
  if (composer === fast) expect(given).toBeTypeOf('string');
  if (typeof given === 'string')
    expect({ ...wire, octets: wire!.octets.toString('latin1') }).toEqual(readyContent(given));
  expect(wire!.eightBit).toBe(false);
  const lines = content.toString('latin1').split('\r\n');
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(998);
  const mail = await PostalMime.parse(content);
  const how = ['content-type', 'content-transfer-encoding'];
  return {
    envelope: { from: composed.message.from, to: composed.message.to },
    headers: mail.headers
      .filter(({ key }) => !how.includes(key))
      .map(
        ({ key, value }) =>
          `${key}: ${['from', 'to', 'reply-to', 'subject'].includes(key) ? '' : value.replace(/\s+/g, ' ')}`,
      )
      .sort(),
    from: mail.from,
    to: mail.to,
    replyTo: mail.replyTo,
    subject: mail.subject,
    date: mail.date,
    messageId: mail.messageId,
    // Whether a part ends with a line end is not the message's, but how it is written.
    text: mail.text?.replace(/\n+$/, ''),
    html: mail.html?.replace(/\n+$/, ''),
    attachments: mail.attachments.length,
  };
}

async function same(send: EmailToCompose): Promise<void> {
  expect(await read(fast, send)).toEqual(await read(plain, send));
}

const HTML =
  '<html><body>\n<p>Hello {{ prospect.first_name | default: "you" }},</p>\n<p title="{{ prospect.company }}">.{{ prospect.city }}</p>\n.a line that begins with a dot\n<p>{{ prospect.custom.note }}</p>\n</body></html>\n';
const TEXT =
  'Hello {{ prospect.first_name | default: "you" }},\n.\n.{{ prospect.city }} and {{ prospect.company }}{{ prospect.title }}\n\n{{ prospect.custom.note }} = so \t \nFrom here on, the end.';

describe('the compiled composer', () => {
  const value = fc.oneof(
    fc.constant(null),
    fc.constant(''),
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.string({ unit: 'grapheme', maxLength: 400 }),
    fc.constantFrom(
      '.',
      '..',
      '.x',
      ' leading and trailing ',
      '=3D',
      '<b>&amp;"\'',
      'a\nb',
      '\n.\n',
      'x'.repeat(1_200),
      'ü'.repeat(90),
      '𝔘𝔫𝔦',
      '</body>',
      '<!--',
      '{{ prospect.city }}',
    ),
  );
  // What a database can hold, and no CR at the edge of a slot.
  const stored = value.map((text) => text?.replaceAll('\0', '').replaceAll('\r', '') ?? null);
  const prospects = fc.record({
    first_name: stored,
    company: stored,
    city: stored,
    title: stored,
    custom: fc.record({ note: fc.oneof(stored, fc.double(), fc.boolean()) }, { requiredKeys: [] }),
  });

  it('says the same as the plain way, whatever the values: any Unicode, long lines, leading dots, nothing at all', async () => {
    const email = emailOf({
      subject: 'News for {{ prospect.first_name }} in {{ prospect.city }}',
      fromName: 'The team of {{ prospect.company }}',
      replyTo: 'reply@example.com',
      html: HTML,
      text: TEXT,
    });
    await fc.assert(
      fc.asyncProperty(prospects, async (prospect) => same(sendOf(email, prospect))),
      { numRuns: 300 },
    );
  });

  it('says the same whatever the static text is', async () => {
    const text = fc
      .array(
        fc.oneof(
          fc.string({ unit: 'grapheme', maxLength: 120 }),
          fc.constantFrom(
            '\n',
            '\n.\n',
            ' \n',
            '\t\n',
            '=\n',
            'x'.repeat(200),
            '{{ prospect.first_name }}',
            '{{ unsubscribe_url }}',
            '<a href="{{ unsubscribe_url }}">no</a>',
            '<!-- {{ unsubscribe_url }} -->',
          ),
        ),
        { maxLength: 12 },
      )
      .map((pieces) => pieces.join('').replace(/[\0\r]|\{%|\{\{(?! (?:prospect|unsub))/g, ''));
    let compiled = 0;
    await fc.assert(
      fc.asyncProperty(text, text, stored, async (html, plainText, name) => {
        const email = emailOf({ html: `<p>${html}</p>`, text: `${plainText} end` });
        const send = sendOf(email, { first_name: name });
        if (compileMessage(email, true) === null) return;
        compiled += 1;
        await same(send);
      }),
      { numRuns: 300 },
    );
    expect(compiled).toBeGreaterThan(100);
  });

  it.each([
    ['a text that ends with a value', { text: 'Dear {{ prospect.city }} \n' }],
    ['text alone', { text: 'Hello {{ prospect.first_name }}!' }],
    [
      'a link of its own',
      { text: 'No: {{ unsubscribe_url }}', html: '<p>x <a href="{{ unsubscribe_url }}">no</a></p>' },
    ],
    ['a link in a comment alone', { html: '<p>x <!-- <a href="{{ unsubscribe_url }}"> --></p>' }],
    ['a body end in the middle', { html: '<body>a</body></html> behind {{ prospect.city }}' }],
    [
      'filters',
      {
        text: '{{ prospect.first_name | upcase | append: "!" }} {{ "literal" }} {{ prospect.city | escape }}.',
        html: '{{ prospect.city | escape | replace: "o", "0" }}',
      },
    ],
    ['a long subject', { subject: `${'Something '.repeat(20)}{{ prospect.city }}` }],
    ['a name with quotes', { fromName: 'The "big" \\ team' }],
  ])('says the same with %s', async (_, content) => {
    const email = emailOf(content);
    for (const kind of ['marketing', 'transactional'] as const) {
      if (kind === 'transactional' && JSON.stringify(content).includes('unsubscribe_url')) continue;
      await same(sendOf(email, { first_name: 'Ada & <Co>', city: 'Köln' }, kind));
    }
  });

  it.each([
    ['a condition', { text: '{% if prospect.city %}x{% endif %}' }],
    ['a loop', { text: '{% for i in (1..3) %}x{% endfor %}' }],
    ['a text that ends with nothing', { text: 'Dear {{ prospect.city }} \n' }],
    ['no text of its own', { text: null, html: '<p>x</p>' }],
    ['a sender of another alphabet', { fromAddress: 'news@müller.example' }],
  ])('leaves %s to the plain way', async (_, content) => {
    const email = emailOf(content);
    const composer = createCompiledComposer(plain, testUnsubscribing);
    await expect(read(fast, sendOf(email, {}))).rejects.toThrow('the plain way was taken');
    expect(await read(composer, sendOf(email, {}))).toEqual(await read(plain, sendOf(email, {})));
  });

  it('leaves a recipient of another alphabet, or one who was erased, to the plain way', async () => {
    const composer = createCompiledComposer(plain, testUnsubscribing);
    const send = sendOf(emailOf({}), {});
    const erased = await composer.compose({ ...send, recipient: null });
    expect(erased).toEqual({ ok: false, problem: 'The recipient was erased.' });
    await expect(fast.compose({ ...send, recipient: 'ада@example.net' })).rejects.toThrow('the plain way');
  });
});
