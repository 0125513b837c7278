import PostalMime from 'postal-mime';
import { describe, expect, it, test } from 'vitest';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import { parseEmail, validateTemplates } from '../../adapters/mailer/render.ts';
import { createUnsubscribing } from '../../adapters/mailer/unsubscribing.ts';
import { subjectOf, tokenOfSubject } from '../../domain/unsubscribeToken.ts';
import { testTokens, testUnsubscribing } from '../support/unsubscribing.ts';

const SEND = '019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11';
const LIST = '019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0c22';
const URL_OF_SEND = `https://heed.test/u/${testTokens.issue('link', SEND)}`;

interface Changes {
  kind?: 'marketing' | 'transactional';
  listId?: string | null;
  html?: string | null;
  text?: string | null;
}

async function composed({ kind = 'marketing', listId = null, html = null, text = null }: Changes) {
  const email = {
    id: 'e1',
    version: 1,
    subject: 'News',
    fromName: 'Example',
    fromAddress: 'news@example.com',
    replyTo: null,
    html,
    text,
  };
  const made = await createEmailComposer(testUnsubscribing).compose({
    sendId: SEND,
    kind,
    listId,
    messageId: `<${SEND}@heed.test>`,
    createdAt: new Date('2026-11-23T09:30:00Z'),
    recipient: 'jane@example.net',
    email,
    prospect: { first_name: 'Jane', custom: {} },
  });
  if (!made.ok) throw new Error(made.problem);
  const source = Buffer.from(made.message.content).toString();
  const parsed = await PostalMime.parse(source);
  const header = (name: string) => parsed.headers.filter(({ key }) => key === name).map(({ value }) => value);
  return { source, header, html: parsed.html, text: parsed.text };
}

describe('headers of marketing email', () => {
  it('has one-click by RFC 8058 and mail by RFC 2369, each in its own token, and no list that it was not sent to', async () => {
    const { header, source } = await composed({ text: 'Hello' });
    const [value, ...more] = header('list-unsubscribe');
    expect(more).toEqual([]);
    const [web, mail] = [...value!.matchAll(/<([^<>]*)>/g)].map(([, uri]) => new URL(uri!));
    expect(web!.href).toBe(URL_OF_SEND);
    expect(mail!.protocol + mail!.pathname).toBe('mailto:unsubscribe@heed.test');
    const token = tokenOfSubject(mail!.searchParams.get('subject')!)!;
    expect(testTokens.read('mail', token)).toBe(SEND);
    expect(testTokens.read('link', token)).toBeNull();
    expect(header('list-unsubscribe-post')).toEqual(['List-Unsubscribe=One-Click']);
    expect(header('list-id')).toEqual([]);
    // No URI is broken over two lines, and nothing is encoded.
    expect(source).toContain(`<${URL_OF_SEND}>`);
    expect(source.split('\r\n').every((line) => line.length <= 998)).toBe(true);
  });

  it('names the list by its id, never by its name', async () => {
    const { header } = await composed({ text: 'Hello', listId: LIST });
    expect(header('list-id')).toEqual([`<${LIST}.heed.test>`]);
  });

  it('has no mailto where there is no mailbox, and encodes what a mailbox may hold', () => {
    const options = { tokens: testTokens, publicUrl: 'https://x.test/a', listDomain: 'x.test' };
    const without = createUnsubscribing({ ...options, mailbox: null }).headersOf(SEND, null);
    expect(without['List-Unsubscribe']).toMatch(/^<https:\/\/x\.test\/a\/u\/[a-z2-7]{52}>$/);
    const odd = createUnsubscribing({ ...options, mailbox: 'a&b?c+d@x.test' }).headersOf(SEND, null);
    expect(odd['List-Unsubscribe']).toMatch(
      /<mailto:a%26b%3Fc%2Bd@x\.test\?subject=unsubscribe%20[a-z2-7]{52}>$/,
    );
  });

  it('is the same for every attempt of a send', async () => {
    const both = [await composed({ text: 'Hello' }), await composed({ text: 'Hello' })];
    expect(both[0]!.header('list-unsubscribe')).toEqual(both[1]!.header('list-unsubscribe'));
  });

  test('transactional email has none of it, and no link', async () => {
    const { header, text, html } = await composed({ kind: 'transactional', html: '<p>Hi</p>', listId: LIST });
    for (const name of ['list-unsubscribe', 'list-unsubscribe-post', 'list-id']) {
      expect(header(name)).toEqual([]);
    }
    expect(`${text}${html}`).not.toMatch(/unsubscribe/i);
  });
});

describe('link in marketing email', () => {
  const link = (html: string | undefined) =>
    [...(html ?? '').matchAll(/<a href="([^"]*)">/g)].map(([, to]) => to);

  it('is put below HTML and text that have none, inside the body', async () => {
    const { html, text } = await composed({ html: '<html><body><p>Hi</p></BODY></html>', text: 'Hi' });
    expect(link(html)).toEqual([URL_OF_SEND]);
    expect(html).toMatch(/<\/p>.*<a href.*<\/p>\s*<\/BODY>/s);
    expect(text!.trimEnd()).toBe(`Hi\n\nUnsubscribe: ${URL_OF_SEND}`);
  });

  it('is put below once where the text is made from the HTML, and where the HTML has no body tag', async () => {
    const { html, text } = await composed({ html: '<p>Hi</p>' });
    expect(link(html)).toEqual([URL_OF_SEND]);
    expect(text!.split(URL_OF_SEND)).toHaveLength(2);
  });

  it('is left to the author who has one', async () => {
    const own = '<p><a href="{{ unsubscribe_url }}">Leave</a></p>';
    const { html, text } = await composed({ html: own, text: 'Leave: {{ unsubscribe_url }}' });
    expect(html!.trim()).toBe(`<p><a href="${URL_OF_SEND}">Leave</a></p>`);
    expect(text!.trim()).toBe(`Leave: ${URL_OF_SEND}`);
  });

  test.each([
    ['in a comment', '<!-- <a href="{{ unsubscribe_url }}">x</a> -->'],
    ['in a comment that never ends', 'Hi <!-- <a href="{{ unsubscribe_url }}">x</a>'],
    ['of an image', '<img src="{{ unsubscribe_url }}">'],
    ['as words alone', '<p>{{ unsubscribe_url }}</p>'],
    ['of another tag', '<abbr href="{{ unsubscribe_url }}">x</abbr>'],
  ])('an address %s is no link, and one is put below', async (_, html) => {
    expect(link((await composed({ html })).html)).toContain(URL_OF_SEND);
    expect((await composed({ html })).html).toContain('>Unsubscribe</a>');
  });

  test.each([
    ["<a class=x\n href = '{{ unsubscribe_url }}'>x</a>"],
    ['<A HREF={{ unsubscribe_url }}>x</A>'],
    ['<a href="{{unsubscribe_url}}?from=footer">x</a>'],
  ])('%s is a link', async (html) => {
    expect((await composed({ html })).html).not.toContain('>Unsubscribe</a>');
  });

  it('is found in time in HTML made to be slow', async () => {
    const slow = '<a <!-- '.repeat(20_000);
    const { html } = await composed({ html: slow });
    expect(html).toContain('>Unsubscribe</a>');
  });
});

describe('unsubscribe_url', () => {
  const parts = (change: object) => ({ subject: 'x', fromName: null, html: null, text: null, ...change });
  const field = '{{ unsubscribe_url }}';

  it('is known in HTML and text of marketing email, and nowhere else', () => {
    expect(validateTemplates(parts({ html: field, text: field }), [], 'marketing')).toEqual([]);
    expect(validateTemplates(parts({ text: '{{ unsubscribe_url.x }}' }), [], 'marketing')).toHaveLength(1);
    expect(validateTemplates(parts({ subject: field, fromName: field }), [], 'marketing')).toHaveLength(2);
    expect(validateTemplates(parts({ html: field, text: field }), [], 'transactional')).toMatchObject([
      { field: 'html', message: 'Unknown merge field unsubscribe_url.' },
      { field: 'text', message: 'Unknown merge field unsubscribe_url.' },
    ]);
  });

  it('cannot be rendered where there is none', () => {
    expect(parseEmail(parts({ text: field })).render({})).toMatchObject({ ok: false });
  });
});

describe('subject of unsubscribing by mail', () => {
  const token = testTokens.issue('mail', SEND);

  test.each([
    [subjectOf(token)],
    [`Re: ${subjectOf(token).toUpperCase()}`],
    [`[EXTERNAL] unsubscribe ${token}.`],
    [token],
  ])('%s', (subject) => {
    expect(testTokens.read('mail', tokenOfSubject(subject)!)).toBe(SEND);
  });

  test.each(['unsubscribe', '', `unsubscribe ${token.slice(1)}`, `unsubscribe x${token}`])(
    '%j has none',
    (subject) => {
      expect(tokenOfSubject(subject)).toBeNull();
    },
  );
});
