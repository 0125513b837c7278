import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { createApiKey, type Scope } from '../../db/queries/apiKeys.ts';
import { applyInbound } from '../../db/queries/inbound.ts';
import { createTestAccount, ORIGIN, type TestAccount } from '../support/account.ts';
import { dsn, testReader, testReturnPath } from '../support/inbound.ts';
import { startApi, type TestApi, toAnswer } from './support.ts';

let account: TestAccount;
let api: TestApi;
/** Keys of the account's database, which the API is put on. */
const keys = {} as Record<Scope, string>;
beforeAll(async () => {
  account = await createTestAccount();
  api = await startApi({ db: account.db });
  for (const scope of ['read', 'write', 'admin'] as const) {
    const made = await account.db.transaction((tx) => createApiKey(tx, ORIGIN, new Date(), scope, scope));
    keys[scope] = made.key;
  }
});
afterAll(async () => {
  await api.close();
  await account.close();
});

const MESSAGE = { 'content-type': 'message/rfc822' };

const get = (path: string, scope: Scope = 'admin') =>
  api.call('GET', path, undefined, { authorization: `Bearer ${keys[scope]}` });

async function hand(raw: string | ReadableStream, query = '', headers: Record<string, string> = MESSAGE) {
  const request = {
    method: 'POST',
    body: raw,
    headers: { authorization: `Bearer ${keys.write}`, ...headers },
    duplex: 'half',
  } as RequestInit;
  return toAnswer(await api.app.request(`/inbound/messages${query}`, request));
}

async function count(): Promise<number> {
  const [row] = await account.db.query<{ n: number }>(plain('select count(*)::int as n from inbound'));
  return row!.n;
}

describe('POST /inbound/messages', () => {
  it('keeps a message once: 202, and 200 when it is known', async () => {
    const first = await hand(dsn({ messageId: '<api-1@x.test>' }));
    expect(first).toMatchObject({ status: 202, body: { id: expect.any(String) } });
    expect(first.headers.get('location')).toBe(`/inbound/${first.body.id}`);
    expect(await hand(dsn({ messageId: '<api-1@x.test>' }))).toMatchObject({ status: 200, body: first.body });
    expect(await count()).toBe(1);
    expect(await get(`/inbound/${first.body.id}`)).toMatchObject({
      status: 200,
      body: { state: 'received', source: 'http', recipients: [], events: [] },
    });
  });

  it('tells of the send that its return path was signed for', async () => {
    const send = await account.send(await account.prospect('api-inbound@example.net'));
    const recipient = testReturnPath.of(send.sendId);
    const { body } = await hand(dsn({}), `?recipient=${encodeURIComponent(recipient)}`);
    await applyInbound(account.db, new Date(), testReader, body.id);
    const list = await get(`/inbound?sendId=${send.sendId}`);
    expect(list.body.items).toMatchObject([
      {
        id: body.id,
        state: 'applied',
        recipients: [recipient],
        events: [{ kind: 'hard_bounce', result: 'applied' }],
      },
    ]);
  });

  it('takes a long message in pieces, keeps its beginning, and refuses one that is longer still', async () => {
    const line = Buffer.from(`${'x'.repeat(998)}\r\n`.repeat(64));
    const stream = (octets: number) => {
      let sent = 0;
      return new ReadableStream<Uint8Array>({
        pull(controller) {
          if (sent >= octets) return controller.close();
          controller.enqueue(new Uint8Array(line));
          sent += line.length;
        },
      });
    };
    const { status, body } = await hand(stream(5 * 1024 * 1024));
    expect(status).toBe(202);
    const item = await get(`/inbound/${body.id}`);
    expect(item.body.size).toBeGreaterThanOrEqual(5 * 1024 * 1024);
    const before = await count();
    expect(await hand(stream(51 * 1024 * 1024))).toMatchObject({ status: 413 });
    expect(await count()).toBe(before);
  });

  it('refuses what is no message, and keeps nothing of it', async () => {
    const before = await count();
    expect((await hand('x', '', { 'content-type': 'text/plain' })).status).toBe(415);
    expect((await hand('')).status).toBe(400);
    expect((await hand('x', '?recipients=a@b.test')).status).toBe(400);
    const reader = { ...MESSAGE, authorization: `Bearer ${keys.read}` };
    expect((await hand('x', '', reader)).status).toBe(403);
    const broken = new ReadableStream({
      start(controller) {
        controller.enqueue(Buffer.from('Subject: half'));
        controller.error(new Error('gone'));
      },
    });
    expect((await hand(broken)).status).toBe(400);
    expect(await count()).toBe(before);
  });
});

describe('POST /inbound/{id}/retry', () => {
  const retry = (id: string, scope: Scope = 'write') =>
    api.call('POST', `/inbound/${id}/retry`, undefined, { authorization: `Bearer ${keys[scope]}` });

  it('I7 what could not be read is read again as it came, once it can be, and applied once', async () => {
    const send = await account.send(await account.prospect('api-again@example.net'));
    const recipient = testReturnPath.of(send.sendId);
    const { body } = await hand(dsn({}), `?recipient=${encodeURIComponent(recipient)}`);
    const failing = async () => {
      throw new Error('no such charset');
    };
    await applyInbound(account.db, new Date(), failing, body.id);
    expect((await get(`/inbound/${body.id}`)).body).toMatchObject({
      state: 'failed',
      failure: 'no such charset',
    });
    await account.db.query(plain('delete from outbox'));

    const answer = await retry(body.id);
    expect(answer).toMatchObject({
      status: 202,
      body: { state: 'received', failure: null, appliedAt: null },
    });
    const entries = await account.db.query<{ message: object }>(plain('select message from outbox'));
    expect(entries.map(({ message }) => message)).toEqual([{ type: 'applyInbound', inboundId: body.id }]);
    await applyInbound(account.db, new Date(), testReader, body.id);
    expect((await get(`/inbound/${body.id}`)).body).toMatchObject({
      state: 'applied',
      events: [{ kind: 'hard_bounce', sendId: send.sendId, result: 'applied' }],
    });

    expect(await retry(body.id)).toMatchObject({ status: 409 });
  });

  it('is for items that failed, and for those who may write', async () => {
    const { body } = await hand(dsn({ messageId: '<api-waits@x.test>' }));
    expect(await retry(body.id)).toMatchObject({ status: 409 });
    expect(await retry(body.id, 'read')).toMatchObject({ status: 403 });
    expect(await retry('019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11')).toMatchObject({ status: 404 });
  });
});

describe('reading what came in', () => {
  it('shows what is unmatched, page by page, newest first', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 5; n += 1) {
      const { body } = await hand(dsn({ messageId: `<elsewhere-${n}@x.test>` }));
      await applyInbound(account.db, new Date(), testReader, body.id);
      ids.unshift(body.id);
    }
    const seen: string[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page: { body: { items: { id: string; events: unknown[] }[]; nextCursor: string | null } } =
        await get(`/inbound?result=unmatched&limit=2${cursor && `&cursor=${cursor}`}`);
      for (const item of page.body.items) {
        expect(item.events).toMatchObject([{ result: 'unmatched', sendId: null, kind: 'hard_bounce' }]);
        seen.push(item.id);
      }
      cursor = page.body.nextCursor;
    }
    expect(seen).toEqual(ids);
    expect((await get('/inbound?state=failed')).body.items).toEqual([]);
    expect((await get('/inbound?source=imap')).body.items).toEqual([]);
  });

  it('gives the content to administrators alone, as a file', async () => {
    const raw = dsn({ messageId: '<content@x.test>' });
    const { body } = await hand(raw);
    const content = await get(`/inbound/${body.id}/content`);
    expect(content.body).toBe(raw);
    expect(content.headers.get('content-disposition')).toMatch(/^attachment;/);
    expect(content.headers.get('x-content-type-options')).toBe('nosniff');
    for (const scope of ['read', 'write'] as const) {
      expect((await get(`/inbound/${body.id}/content`, scope)).status).toBe(403);
    }
    expect((await get('/inbound/019a0c5e-7d3a-7c1e-9f1b-2f4a8d6e0b11')).status).toBe(404);
  });
});
