import fc from 'fast-check';
import PostalMime from 'postal-mime';
import { describe, expect, it } from 'vitest';
import { composeMessage, type MessageToCompose, treeOf } from '../../adapters/mailer/compose.ts';
import { createEmailComposer } from '../../adapters/mailer/createComposer.ts';
import { headerLine } from '../../adapters/mailer/render.ts';
import { testUnsubscribing } from '../support/unsubscribing.ts';

const MESSAGE: MessageToCompose = {
  messageId: '<01890a5d-ac96-774b-bcce-b302099a8057@example.com>',
  date: new Date('2026-11-02T09:00:00Z'),
  from: { name: 'Example', address: 'news@example.com' },
  to: 'jane@example.net',
  subject: 'Hello',
  html: '<p>Hello</p>',
  text: 'Hello',
};

const compose = async (changes: Partial<MessageToCompose> = {}) => {
  const content = composeMessage({ ...MESSAGE, ...changes });
  return { content, parsed: await PostalMime.parse(content) };
};

/** RFC 5321 section 4.5.3.1.6 and RFC 5322 section 2.1.1: CRLF only, 7-bit, at most 998 octets a line. */
function expectSafeForSmtp(content: Buffer) {
  const text = content.toString('latin1');
  expect(content.every((octet) => octet > 0 && octet < 128)).toBe(true);
  expect(text.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
  expect(text.endsWith('\r\n')).toBe(true);
  for (const line of text.split('\r\n')) expect(line.length).toBeLessThanOrEqual(998);
}

const headerNames = (content: Buffer) =>
  content
    .toString('latin1')
    .split('\r\n\r\n')[0]!
    .replace(/\r\n[ \t]/g, ' ')
    .split('\r\n')
    .map((line) => line.split(':')[0]!.toLowerCase())
    .sort();

const PLAIN_HEADERS = ['content-type', 'date', 'from', 'message-id', 'mime-version', 'subject', 'to'];

describe('composeMessage', () => {
  it('says what it was given, and nothing else', async () => {
    const { content, parsed } = await compose({
      replyTo: 'answers@example.com',
      headers: { 'List-Id': '<x.example.com>' },
    });
    expect(parsed).toMatchObject({
      messageId: MESSAGE.messageId,
      date: '2026-11-02T09:00:00.000Z',
      from: { name: 'Example', address: 'news@example.com' },
      to: [{ address: 'jane@example.net' }],
      replyTo: [{ address: 'answers@example.com' }],
      subject: 'Hello',
      html: '<p>Hello</p>\n',
      text: 'Hello\n',
      attachments: [],
    });
    expect(headerNames(content)).toEqual([...PLAIN_HEADERS, 'list-id', 'reply-to'].sort());
    expectSafeForSmtp(content);
  });

  it('is a plain text where there is no HTML', async () => {
    const { content, parsed } = await compose({ html: null });
    expect(parsed.html).toBeUndefined();
    expect(parsed.text).toBe('Hello\n');
    expect(content.toString()).toMatch(/^Content-Type: text\/plain/m);
  });

  it('is what the streams of the library make of it, soft line breaks apart', async () => {
    const words = fc.constantFrom(
      'word',
      ' ',
      '\n',
      '\r\n',
      '.',
      'é',
      '=',
      '\t',
      '<p>',
      '\n--',
      'x'.repeat(90),
    );
    const content = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 400 }),
      fc.array(words).map((parts) => parts.join('')),
    );
    const comparable = (message: Buffer) =>
      message
        .toString()
        .replaceAll(/--_NmP-[0-9a-f]+/g, '--_NmP')
        .replaceAll('=\r\n', '');
    await fc.assert(
      fc.asyncProperty(content, fc.option(content), async (text, html) => {
        const message = { ...MESSAGE, text, html };
        expect(comparable(composeMessage(message))).toBe(comparable(await treeOf(message).build()));
      }),
    );
  });

  it('carries any Unicode content through, in lines that are safe for SMTP', async () => {
    const content = fc.string({ unit: 'grapheme', maxLength: 400 });
    await fc.assert(
      fc.asyncProperty(content, content, content, content, async (subject, name, text, html) => {
        const line = headerLine(subject, 250);
        const sender = headerLine(name, 100);
        const { content: message, parsed } = await compose({
          subject: line,
          from: { name: sender, address: 'news@example.com' },
          text,
          html,
        });
        expectSafeForSmtp(message);
        expect(parsed.subject ?? '').toBe(line);
        expect(parsed.from?.name ?? '').toBe(sender);
        expect(parsed.from?.address).toBe('news@example.com');
        const lines = (value: string | undefined) =>
          (value ?? '').replace(/\r\n?/g, '\n').replace(/\n+$/, '');
        expect(lines(parsed.text)).toBe(lines(text));
        expect(lines(parsed.html)).toBe(lines(html));
      }),
      { numRuns: 150 },
    );
  });

  it('lets nothing in a name or subject begin another header', async () => {
    const attack = fc.constantFrom(
      'x\r\nBcc: joe@example.org',
      'x\nBcc: joe@example.org',
      'x\rBcc: joe@example.org',
      'x\r\n\r\n<script>',
      '"x" <joe@example.org>',
      'x, joe@example.org',
      'x\u0000\r\n X: y',
      '=?utf-8?Q?x=0D=0ABcc:_joe@example.org?=',
      `${'é'.repeat(200)}\r\nBcc: joe@example.org`,
    );
    await fc.assert(
      fc.asyncProperty(attack, attack, attack, async (name, subject, header) => {
        // Also where nobody made one line of it before.
        const { content, parsed } = await compose({
          from: { name, address: 'news@example.com' },
          subject,
          headers: { 'X-Campaign': header },
        });
        expectSafeForSmtp(content);
        expect(headerNames(content)).toEqual([...PLAIN_HEADERS, 'x-campaign'].sort());
        expect(parsed.from?.address).toBe('news@example.com');
        expect(parsed.to?.map(({ address }) => address)).toEqual(['jane@example.net']);
        expect(parsed.bcc).toBeUndefined();
      }),
    );
  });

  it('keeps long lines, leading dots and stray line ends whole', async () => {
    const text = `.\n..x\n${'long '.repeat(1000)}\n${'x'.repeat(3000)}\rafter a CR\r\n. end`;
    const { content, parsed } = await compose({ text });
    expectSafeForSmtp(content);
    expect(parsed.text).toBe(`${text.replace(/\r\n?/g, '\n')}\n`);
  });

  it('takes content that looks like a path or link for content', async () => {
    const { parsed } = await compose({ text: '/etc/passwd', html: 'https://example.com/' });
    expect(parsed.text).toBe('/etc/passwd\n');
    expect(parsed.html).toBe('https://example.com/\n');
  });

  it.each([
    ['"a..b"@example.com', '"a..b"@example.com'],
    ["o'brien+x=y@example.com", "o'brien+x=y@example.com"],
    ['jane@xn--bcher-kva.example', 'jane@xn--bcher-kva.example'],
  ])('writes %s to one recipient', async (to, written) => {
    const { content } = await compose({ to });
    expect(content.toString()).toMatch(new RegExp(`^To: <?${written.replace(/[.+"]/g, '\\$&')}>?\r$`, 'm'));
    expectSafeForSmtp(content);
  });

  it('writes an internationalised recipient as UTF-8, and only the To header', async () => {
    const { content, parsed } = await compose({ to: 'пётр@xn--80a1acny.example' });
    expect(parsed.to?.[0]?.address).toBe('пётр@почта.example');
    const rest = content.toString().replace(/^To: .*\r\n/m, '');
    expect(rest).not.toMatch(/[^\p{ASCII}]/u);
  });
});

describe('createEmailComposer', () => {
  const email = {
    id: 'e1',
    version: 1,
    subject: 'For {{ prospect.first_name | default: "you" }}',
    fromName: 'Example',
    fromAddress: 'news@example.com',
    replyTo: null,
    html: '<p>Hello {{ prospect.first_name }}</p>',
    text: null,
  };
  const send = {
    sendId: '019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11',
    kind: 'transactional' as const,
    listId: null,
    messageId: MESSAGE.messageId,
    createdAt: MESSAGE.date,
    recipient: 'jane@example.net',
    email,
    prospect: { first_name: 'Jane <3', custom: {} },
  };

  it('makes a prospect’s own message', async () => {
    const composer = createEmailComposer(testUnsubscribing);
    const composed = await composer.compose(send);
    if (!composed.ok) throw new Error(composed.problem);
    expect(composed.message).toMatchObject({ from: 'news@example.com', to: 'jane@example.net' });
    const parsed = await PostalMime.parse(composed.message.content as Buffer);
    expect(parsed).toMatchObject({
      subject: 'For Jane <3',
      html: '<p>Hello Jane &lt;3</p>\n',
      text: 'Hello Jane <3\n',
      messageId: MESSAGE.messageId,
    });
  });

  it('tells part and place of what cannot be rendered, and uses each version as it is', async () => {
    const composer = createEmailComposer(testUnsubscribing);
    const wrong = { ...email, version: 2, text: 'a\n{{ prospect.nope }}' };
    expect(await composer.compose({ ...send, email: wrong })).toEqual({
      ok: false,
      problem: 'text, line 2, column 4: Undefined variable: prospect.nope.',
    });
    expect((await composer.compose(send)).ok).toBe(true);
    expect((await composer.compose({ ...send, recipient: null })).ok).toBe(false);
  });
});
