import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTransport } from 'nodemailer';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { behaviours } from '../../tools/simulator/behaviours.ts';
import { type Simulator, startSimulator } from '../../tools/simulator/simulator.ts';

let simulator: Simulator;
let folder: string;
let logFile: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'heed-simulator-'));
  logFile = join(folder, 'attempts.log');
  simulator = await startSimulator({ keepMessages: 50, logFile });
});
afterAll(async () => {
  await simulator.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => simulator.clear());

/** Sends with nodemailer; the server's last reply, or `broken` where the connection ended without one. */
async function send(to: string, subject = 'Hello'): Promise<string> {
  const transport = createTransport({ host: '127.0.0.1', port: simulator.smtpPort, ignoreTLS: true });
  try {
    const { response } = await transport.sendMail({
      from: 'bounces@example.com',
      to,
      subject,
      text: 'In plain text',
      html: '<p>In <b>HTML</b> &amp; <script>alert(1)</script></p>',
    });
    return response;
  } catch (error) {
    return (error as { response?: string }).response ?? 'broken';
  } finally {
    transport.close();
  }
}

const json = async (path: string) =>
  (await (await fetch(new URL(path, simulator.inboxUrl))).json()) as Record<string, unknown>[];
const text = async (path: string) => (await fetch(new URL(path, simulator.inboxUrl))).text();

describe('what the local part asks for', () => {
  test.each([
    ['anybody@example.com', /^250 2\.0\.0/],
    ['accept@example.com', /^250/],
    ['constructor@example.com', /^250/],
    ['full@example.com', /^452 4\.2\.2/],
    ['full5+x@example.net', /^552 5\.2\.2/],
    ['unknown+prospect17@example.com', /^550 5\.1\.1/],
    ['UNKNOWN@example.com', /^550 5\.1\.1/],
    ['disabled@example.com', /^550 5\.2\.1/],
    ['policy@example.com', /^550 5\.7\.1/],
    ['content@example.com', /^554 5\.7\.1/],
    ['ratelimit@example.com', /^421 4\.7\.0/],
    ['listed@example.com', /^554 5\.7\.1.*blocked using/],
    ['relaydown@example.com', /^421 4\.3\.2/],
    ['greylist-7@example.com', /^451 4\.7\.1 .*try again in 7 seconds/],
    ['drop-before@example.com', /^broken$/],
    ['drop-after@example.com', /^broken$/],
  ])('%s is answered %s', async (address, reply) => {
    expect(await send(address)).toMatch(reply);
    const kept = /^(anybody|accept|constructor|drop-after)/.test(address);
    expect(simulator.messages().map((message) => message.recipients)).toEqual(kept ? [[address]] : []);
    expect(simulator.attempts()).toMatchObject([{ recipient: address, accepted: kept }]);
  });

  test('n times, then accepted; every address counts for itself', async () => {
    expect(await send('full-2+alice@example.com')).toMatch(/^452/);
    expect(await send('full-2+bob@example.com')).toMatch(/^452/);
    expect(await send('FULL-2+alice@example.com')).toMatch(/^452/);
    expect(await send('full-2+alice@example.com')).toMatch(/^250/);
    expect(await send('full-2+bob@example.com')).toMatch(/^452/);
    expect(await send('drop-before-1@example.com')).toBe('broken');
    expect(await send('drop-before-1@example.com')).toMatch(/^250/);
  });

  test('greylisting ends with time, not with tries', async () => {
    expect(await send('greylist-1@example.com')).toMatch(/^451/);
    expect(await send('greylist-1@example.com')).toMatch(/^451/);
    await sleep(1000);
    expect(await send('greylist-1@example.com')).toMatch(/^250/);
  });

  test('slow-1 keeps the sender waiting for the last reply', async () => {
    const started = performance.now();
    expect(await send('slow-1@example.com')).toMatch(/^250/);
    expect(performance.now() - started).toBeGreaterThanOrEqual(1000);
  });

  test('the page with the table names every behaviour', async () => {
    const table = await text('/behaviours');
    for (const name of Object.keys(behaviours)) expect(table).toContain(`<code>${name}</code>`);
  });
});

describe('raw SMTP', () => {
  async function dialogue(): Promise<{ socket: Socket; say(line: string): void; reply(): Promise<string> }> {
    const socket = connect(simulator.smtpPort, '127.0.0.1').setEncoding('utf8');
    let buffer = '';
    socket.on('data', (chunk: string) => {
      buffer += chunk;
    });
    await once(socket, 'connect');
    return {
      socket,
      say: (line) => void socket.write(`${line}\r\n`),
      async reply() {
        for (;;) {
          const match = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(buffer);
          if (match) {
            buffer = buffer.slice(match[0].length);
            return match[0];
          }
          await once(socket, 'data');
        }
      },
    };
  }

  test('offers PIPELINING, 8BITMIME and SMTPUTF8, and takes commands in one go', async () => {
    const { socket, say, reply } = await dialogue();
    await reply();
    say('EHLO test.example');
    const offered = await reply();
    for (const extension of ['PIPELINING', '8BITMIME', 'SMTPUTF8']) expect(offered).toContain(extension);
    say('MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<grüße@müller.example>\r\nRCPT TO:<unknown@example.com>\r\nDATA');
    expect(await reply()).toMatch(/^250/);
    expect(await reply()).toMatch(/^250/);
    expect(await reply()).toMatch(/^550 5\.1\.1/);
    expect(await reply()).toMatch(/^354/);
    say('Message-ID: <1@example.com>\r\nSubject: x\r\n\r\n..dot\r\n.');
    expect(await reply()).toMatch(/^250/);
    socket.end('QUIT\r\n');
    expect(simulator.messages()).toMatchObject([
      { from: '', recipients: ['grüße@müller.example'], messageId: '<1@example.com>' },
    ]);
    expect(simulator.messages()[0]!.content.toString()).toContain('\r\n.dot');
  });

  test('a sender that leaves in the middle of the content has handed nothing over', async () => {
    const { socket, say, reply } = await dialogue();
    await reply();
    say('EHLO test.example');
    await reply();
    say('MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA');
    for (let replies = 0; replies < 3; replies += 1) await reply();
    say('Message-ID: <2@example.com>\r\n\r\nhalf a message');
    socket.destroy();
    while (simulator.attempts().length === 0) await sleep(10);
    expect(simulator.attempts()).toMatchObject([
      { recipient: 'b@example.com', accepted: false, reply: null },
    ]);
    expect(simulator.messages()).toEqual([]);
  });
});

describe('what can be read', () => {
  test('JSON: messages and attempts, newest first, by recipient; DELETE forgets them and the counts', async () => {
    await send('full-1@example.com');
    await send('full-1@example.com', 'Second');
    await send('other@example.com');
    const messages = await json('/messages.json?recipient=Full-1@example.com');
    expect(messages).toMatchObject([
      {
        recipients: ['full-1@example.com'],
        from: 'bounces@example.com',
        messageId: expect.stringMatching(/^<.+>$/),
      },
    ]);
    const raw = await text(`/messages/${messages[0]!.id}.eml`);
    expect(raw).toContain('Subject: Second');
    expect(await json('/attempts.json?recipient=full-1@example.com')).toMatchObject([
      { accepted: true, messageId: messages[0]!.messageId, reply: expect.stringMatching(/^250/) },
      { accepted: false, messageId: null, reply: expect.stringMatching(/^452/) },
    ]);
    expect(await json('/attempts.json?limit=1')).toHaveLength(1);
    await fetch(new URL('/messages', simulator.inboxUrl), { method: 'DELETE' });
    expect(await json('/messages.json')).toEqual([]);
    expect(await send('full-1@example.com')).toMatch(/^452/);
  });

  test('pages: what a message says is shown, never run', async () => {
    await send('reader@example.com', 'A <b>subject</b> & more');
    const { id } = simulator.messages()[0]!;
    expect(await text('/')).toContain(
      `<a href="/messages/${id}">A &lt;b&gt;subject&lt;/b&gt; &amp; more</a>`,
    );
    expect(await text('/?recipient=nobody@example.com')).toContain('Nothing has arrived');
    const shown = await text(`/messages/${id}`);
    expect(shown).toContain('In plain text');
    expect(shown).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
    expect(shown).not.toContain('<script');
    expect((await fetch(new URL('/messages/999999', simulator.inboxUrl))).status).toBe(404);
  });

  test('the log file has every attempt, in order, as the sender met it', async () => {
    const before = readFileSync(logFile, 'utf8').length;
    await send('drop-after-1+logged@example.com');
    await send('unknown+logged@example.com');
    const lines = readFileSync(logFile, 'utf8')
      .slice(before)
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toMatchObject([
      {
        recipient: 'drop-after-1+logged@example.com',
        messageId: expect.stringMatching(/^<.+>$/),
        accepted: true,
        reply: null,
      },
      { recipient: 'unknown+logged@example.com', messageId: null, accepted: false },
    ]);
  });

  test('memory is bounded: the oldest messages are forgotten', async () => {
    const transport = createTransport({
      host: '127.0.0.1',
      port: simulator.smtpPort,
      ignoreTLS: true,
      pool: true,
    });
    for (let n = 0; n < 120; n += 1) {
      await transport.sendMail({ from: 'a@example.com', to: `n${n}@example.com`, text: 'x' });
    }
    transport.close();
    expect(simulator.messages().length).toBeLessThanOrEqual(56);
    expect(simulator.messages().at(-1)!.recipients).toEqual(['n119@example.com']);
  });
});

test('a taken port is told', async () => {
  await expect(startSimulator({ smtpPort: simulator.smtpPort })).rejects.toMatchObject({
    code: 'EADDRINUSE',
  });
  await expect(startSimulator({ httpPort: simulator.httpPort })).rejects.toMatchObject({
    code: 'EADDRINUSE',
  });
});
