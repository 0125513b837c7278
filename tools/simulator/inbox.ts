import { Hono } from 'hono';
import { html } from 'hono/html';
import PostalMime, { type Email } from 'postal-mime';
import { behaviours } from './behaviours.ts';
import type { AttemptRecord, Mailbox, StoredMessage } from './mailbox.ts';
import { page } from './page.ts';

const PAGE_SIZE = 50;
const MAX_JSON = 10_000;

/** The inbox page and its JSON: what arrived, newest first. */
export function inboxApp(mailbox: Mailbox): Hono {
  const app = new Hono();

  app.get('/', async (c) => {
    const recipient = c.req.query('recipient') ?? '';
    const before = positive(c.req.query('before')) ?? Number.POSITIVE_INFINITY;
    const found = newest(mailbox.messages, (m) => m.id < before && sentTo(m, recipient), PAGE_SIZE + 1);
    const shown = found.slice(0, PAGE_SIZE);
    const rows = await Promise.all(
      shown.map(async (message) => {
        const { subject } = await PostalMime.parse(headerOf(message.content));
        return html`<tr>
          <td><time datetime="${message.at}">${clock(message.at)}</time></td>
          <td>${message.recipients.join(', ')}</td>
          <td><a href="/messages/${message.id}">${subject || '(no subject)'}</a></td>
        </tr>`;
      }),
    );
    const last = shown.at(-1);
    return c.html(
      page(
        'Inbox',
        html`<h1>Inbox</h1>
          <p>${mailbox.messages.length.toLocaleString('en')} messages kept. Reload the page for new ones.</p>
          <form method="get" action="/" role="search">
            <label for="recipient">Recipient</label>
            <input id="recipient" name="recipient" value="${recipient}" type="search" autocomplete="off" />
            <button>Search</button>
          </form>
          ${
            rows.length === 0
              ? html`<p class="empty">Nothing has arrived${recipient ? html` for ${recipient}` : ''}.</p>`
              : html`<table>
                  <thead>
                    <tr>
                      <th scope="col">Arrived (UTC)</th>
                      <th scope="col">Recipient</th>
                      <th scope="col">Subject</th>
                    </tr>
                  </thead>
                  <tbody>
                    ${rows}
                  </tbody>
                </table>`
          }
          ${
            last && found.length > PAGE_SIZE
              ? html`<p><a href="/?${new URLSearchParams({ recipient, before: String(last.id) }).toString()}">Older messages</a></p>`
              : ''
          }`,
      ),
    );
  });

  app.get('/messages/:id{[0-9]+}', async (c) => {
    const message = mailbox.messages.find(({ id }) => id === Number(c.req.param('id')));
    if (!message) return c.html(page('Not found', html`<h1>That message is not kept any more</h1>`), 404);
    const email = await PostalMime.parse(message.content);
    return c.html(page(email.subject || '(no subject)', messageView(message, email)));
  });

  app.get('/messages/:id{[0-9]+\\.eml}', (c) => {
    const message = mailbox.messages.find(({ id }) => id === Number.parseInt(c.req.param('id'), 10));
    if (!message) return c.json({ error: 'That message is not kept any more.' }, 404);
    return c.body(new Uint8Array(message.content), 200, {
      'content-type': 'message/rfc822',
      'content-disposition': `attachment; filename="${message.id}.eml"`,
    });
  });

  app.get('/messages.json', (c) => {
    const recipient = c.req.query('recipient') ?? '';
    const limit = Math.min(positive(c.req.query('limit')) ?? 100, MAX_JSON);
    const found = newest(mailbox.messages, (m) => sentTo(m, recipient), limit);
    return c.json(found.map(({ content, ...message }) => ({ ...message, size: content.length })));
  });

  app.get('/attempts.json', (c) => {
    const recipient = (c.req.query('recipient') ?? '').toLowerCase();
    const limit = Math.min(positive(c.req.query('limit')) ?? 100, MAX_JSON);
    const matches = (a: AttemptRecord) => recipient === '' || a.recipient.toLowerCase() === recipient;
    return c.json(newest(mailbox.attempts, matches, limit));
  });

  app.delete('/messages', (c) => {
    mailbox.clear();
    return c.body(null, 204);
  });

  app.get('/behaviours', (c) => c.html(page('Behaviours', behavioursView())));
  app.notFound((c) => c.html(page('Not found', html`<h1>There is no such page</h1>`), 404));
  return app;
}

function messageView(message: StoredMessage, email: Email) {
  return html`<h1>${email.subject || '(no subject)'}</h1>
    <p>
      Arrived <time datetime="${message.at}">${message.at}</time> from
      <code>${message.from === '' ? '<>' : message.from}</code> for <code>${message.recipients.join(', ')}</code>.
      <a href="/messages/${message.id}.eml">Download as it arrived</a>
    </p>
    <h2>Header</h2>
    <table>
      <thead>
        <tr>
          <th scope="col">Field</th>
          <th scope="col">Value</th>
        </tr>
      </thead>
      <tbody>
        ${email.headers.map(
          ({ originalKey, value }) => html`<tr>
            <th scope="row">${originalKey}</th>
            <td>${value}</td>
          </tr>`,
        )}
      </tbody>
    </table>
    ${email.text === undefined ? '' : html`<h2>Text</h2><pre tabindex="0">${email.text}</pre>`}
    ${email.html === undefined ? '' : html`<h2>HTML source</h2><pre tabindex="0">${email.html}</pre>`}
    ${
      email.attachments.length === 0
        ? ''
        : html`<h2>Attachments</h2>
            <ul>
              ${email.attachments.map((part) => html`<li>${part.filename ?? '(no name)'} (${part.mimeType})</li>`)}
            </ul>`
    }`;
}

function behavioursView() {
  return html`<h1>Behaviours</h1>
    <p>
      The part of a recipient before the @ says what happens: <code>behaviour[-n][+anything]@any.domain</code>.
      <code>full-2+alice@example.com</code> is full twice and then accepts. What stands after the plus sign makes a
      mailbox of its own. An address that asks for nothing in this table is accepted.
    </p>
    <table>
      <thead>
        <tr>
          <th scope="col">Behaviour</th>
          <th scope="col">What happens</th>
          <th scope="col">n</th>
        </tr>
      </thead>
      <tbody>
        ${Object.entries(behaviours).map(
          ([name, { meaning, n }]) => html`<tr>
            <th scope="row"><code>${name}</code></th>
            <td>${meaning}</td>
            <td>${n ?? '–'}</td>
          </tr>`,
        )}
      </tbody>
    </table>`;
}

/** The newest `limit` entries that match, newest first, without looking at older ones. */
function newest<T>(list: readonly T[], matches: (entry: T) => boolean, limit: number): T[] {
  const found: T[] = [];
  for (let index = list.length - 1; index >= 0 && found.length < limit; index -= 1) {
    const entry = list[index]!;
    if (matches(entry)) found.push(entry);
  }
  return found;
}

function sentTo(message: StoredMessage, recipient: string): boolean {
  return (
    recipient === '' ||
    message.recipients.some((address) => address.toLowerCase() === recipient.toLowerCase())
  );
}

function headerOf(content: Buffer): Buffer {
  const end = content.indexOf('\r\n\r\n');
  return end === -1 ? content : content.subarray(0, end + 4);
}

function positive(value: string | undefined): number | undefined {
  return value !== undefined && /^[1-9]\d{0,11}$/.test(value) ? Number(value) : undefined;
}

function clock(at: string): string {
  return at.slice(11, 19);
}
