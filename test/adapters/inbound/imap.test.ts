import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { ImapFlow } from 'imapflow';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { messageKey } from '../../../adapters/inbound/collect.ts';
import {
  DONE_KEYWORD,
  type ImapMailbox,
  type PollOptions,
  pollMailbox,
} from '../../../adapters/inbound/imap.ts';
import { type GreenMail, startGreenMail } from '../../support/greenmail.ts';
import { bounceMailbox, deliver, dsn } from '../../support/inbound.ts';

/** Each test has a mailbox of its own on one GreenMail. */
const USERS = ['flags', 'moves', 'crash-flags', 'crash-moves', 'large', 'broken', 'stops'];
let greenMail: GreenMail;
beforeAll(async () => {
  greenMail = await startGreenMail(USERS.map((user) => `${user}:secret@bounce.example.com`));
});
afterAll(() => greenMail.stop());

const mailboxOf = (user: string, doneMailbox: string | null = null): ImapMailbox => ({
  ...bounceMailbox(greenMail, doneMailbox),
  auth: { user, password: 'secret' },
});

async function fill(user: string, count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    const raw = dsn({ messageId: `<${user}-${n}@example.com>` });
    await deliver(greenMail.smtpPort, `${user}@bounce.example.com`, raw, 'mailer-daemon@mx.example.net');
  }
}

/** Polls into a store that knows a message again by its key, as the database does. */
function poll(from: ImapMailbox, kept: Set<string>, options: Partial<PollOptions> = {}) {
  return pollMailbox(from, {
    limit: 1_000,
    async store(message) {
      kept.add(messageKey(message, []));
    },
    onProgress: () => {},
    signal: new AbortController().signal,
    ...options,
  });
}

async function inspect<T>(user: string, look: (client: ImapFlow) => Promise<T>): Promise<T> {
  const client = new ImapFlow({
    host: greenMail.host,
    port: greenMail.imapPort,
    secure: false,
    doSTARTTLS: false,
    auth: { user, pass: 'secret' },
    logger: false,
  });
  await client.connect();
  try {
    return await look(client);
  } finally {
    await client.logout();
  }
}

const countIn = (user: string, mailbox: string) =>
  inspect(user, async (client) => {
    const status = await client.status(mailbox, { messages: true });
    return status ? status.messages : null;
  });

describe('polling a mailbox', () => {
  it('takes every message once, octet for octet, and marks it with a keyword', async () => {
    await fill('flags', 5);
    const kept = new Set<string>();
    const contents: string[] = [];
    const first = await poll(mailboxOf('flags'), kept, {
      async store(message) {
        kept.add(messageKey(message, []));
        contents.push(Buffer.from(message.content).toString());
        expect(message.size).toBe(message.content.length);
      },
    });
    expect(first).toEqual({ taken: 5, more: false });
    expect(kept.size).toBe(5);
    expect(contents[0]).toContain('Message-ID: <flags-0@example.com>');
    expect(await poll(mailboxOf('flags'), kept)).toEqual({ taken: 0, more: false });
    const flags = await inspect('flags', async (client) => {
      await client.mailboxOpen('INBOX');
      return (await client.fetchAll('1:*', { flags: true })).map((message) => [...(message.flags ?? [])]);
    });
    expect(flags).toHaveLength(5);
    for (const each of flags) {
      expect(each).toContain(DONE_KEYWORD);
      // A person who looks into the mailbox sees what is new to people.
      expect(each).not.toContain('\\Seen');
    }
  });

  it('moves what it took to another mailbox, which it makes', async () => {
    await fill('moves', 4);
    const kept = new Set<string>();
    expect(await poll(mailboxOf('moves', 'Done'), kept)).toEqual({ taken: 4, more: false });
    expect([await countIn('moves', 'INBOX'), await countIn('moves', 'Done')]).toEqual([0, 4]);
    await fill('moves', 1);
    expect(await poll(mailboxOf('moves', 'Done'), kept)).toEqual({ taken: 1, more: false });
    expect(await countIn('moves', 'Done')).toBe(5);
    expect(kept.size).toBe(5);
  });

  it.each([
    ['crash-flags', null],
    ['crash-moves', 'Done'],
  ])('I7 a crash anywhere loses nothing and takes nothing twice (%s)', async (user, done) => {
    await fill(user, 6);
    const kept = new Set<string>();
    let calls = 0;
    // Before it was kept, and after it was kept but before it was marked.
    const killedBefore = [3, 9];
    const killedAfter = [1, 6, 15];
    let crashes = 0;
    for (let more = true; more; ) {
      try {
        const page = await poll(mailboxOf(user, done), kept, {
          limit: 4,
          async store(message) {
            calls += 1;
            if (killedBefore.includes(calls)) throw new Error('killed');
            kept.add(messageKey(message, []));
            if (killedAfter.includes(calls)) throw new Error('killed');
          },
        });
        more = page.more;
      } catch (error) {
        expect((error as Error).message).toBe('killed');
        crashes += 1;
      }
    }
    expect(crashes).toBeGreaterThan(3);
    expect(kept.size).toBe(6);
    expect(await poll(mailboxOf(user, done), new Set())).toEqual({ taken: 0, more: false });
  });

  it('goes through a large mailbox page by page, holding one message at a time', async () => {
    await inspect('large', async (client) => {
      await client.mailboxOpen('INBOX');
      for (let n = 0; n < 60; n += 1) await client.append('INBOX', dsn({ messageId: `<large-${n}@x.test>` }));
      // One far larger than what is kept of it.
      await client.append('INBOX', `${dsn({})}${'x'.repeat(998)}\r\n`.repeat(3_000));
    });
    const kept = new Set<string>();
    let held = 0;
    let beats = 0;
    const options: Partial<PollOptions> = {
      limit: 25,
      async store(message) {
        held += 1;
        expect(held).toBe(1);
        expect(message.content.length).toBeLessThanOrEqual(1024 * 1024);
        kept.add(messageKey(message, []));
        await new Promise((resolve) => setImmediate(resolve));
        held -= 1;
      },
      onProgress: () => {
        beats += 1;
      },
    };
    const pages = [];
    for (let more = true; more; ) {
      const page = await poll(mailboxOf('large'), kept, options);
      pages.push(page.taken);
      more = page.more;
    }
    expect(pages).toEqual([25, 25, 11]);
    expect([kept.size, beats]).toEqual([61, 61]);
  });

  it('ends at once when it is asked to', async () => {
    await fill('stops', 3);
    const stop = new AbortController();
    const kept = new Set<string>();
    const polled = poll(mailboxOf('stops'), kept, {
      signal: stop.signal,
      async store(message) {
        kept.add(messageKey(message, []));
        stop.abort(new Error('the worker stops'));
      },
    });
    await expect(polled).rejects.toThrow();
    expect(kept.size).toBe(1);
    expect(await poll(mailboxOf('stops'), kept)).toEqual({ taken: 3, more: false });
  });

  it('says what is wrong where it cannot', async () => {
    const wrong = { ...mailboxOf('broken'), auth: { user: 'broken', password: 'wrong' } };
    await expect(poll(wrong, new Set())).rejects.toThrow();
    await expect(poll({ ...mailboxOf('broken'), mailbox: 'Nowhere' }, new Set())).rejects.toThrow();
    await expect(poll({ ...mailboxOf('broken'), port: 1 }, new Set())).rejects.toThrow();
  });
});

/** A server whose answer to FETCH has one message that it cannot read, and leaves one out. */
async function startBrokenImap(): Promise<{ port: number; stored: string[]; stop(): void }> {
  const stored: string[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    const say = (line: string) => socket.write(`${line}\r\n`);
    say('* OK ready');
    createInterface({ input: socket }).on('line', (line) => {
      const [tag, command = '', sub = ''] = line.split(' ');
      const what = (command === 'UID' ? `UID ${sub}` : command).toUpperCase();
      if (what === 'CAPABILITY') say('* CAPABILITY IMAP4rev1');
      if (what === 'LIST') say('* LIST () "/" INBOX');
      if (what === 'SELECT') {
        say('* FLAGS (\\Seen)');
        say('* OK [PERMANENTFLAGS (\\Seen \\*)] any');
        say('* 3 EXISTS');
        say('* OK [UIDVALIDITY 1] valid');
      }
      if (what === 'UID SEARCH') say('* SEARCH 11 12 13');
      if (what === 'UID FETCH') {
        const content = 'Subject: third\r\n\r\n';
        say('* 1 FETCH (UID 11 RFC822.SIZE 20 BODY[]<0> NIL)');
        say(`* 3 FETCH (UID 13 RFC822.SIZE ${content.length} BODY[]<0> {${content.length}}\r\n${content})`);
      }
      if (what === 'UID STORE') stored.push(line.split(' ').slice(3).join(' '));
      if (what === 'LOGOUT') say('* BYE');
      say(`${tag} OK done`);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stop = () => void server.close();
  return { port: (server.address() as AddressInfo).port, stored, stop };
}

it('I7: a message that the server cannot hand over keeps nobody waiting, and is not done', async () => {
  const broken = await startBrokenImap();
  const kept: string[] = [];
  const from = { ...mailboxOf('flags'), port: broken.port };
  try {
    const polled = await poll(from, new Set(), {
      async store({ content }) {
        kept.push(Buffer.from(content).toString());
      },
    });
    expect(polled).toEqual({ taken: 1, more: false });
    expect(kept).toEqual(['Subject: third\r\n\r\n']);
    expect(broken.stored).toHaveLength(1);
    expect(broken.stored[0]).toMatch(/^13 /);
  } finally {
    broken.stop();
  }
});
