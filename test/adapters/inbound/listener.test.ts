import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from 'vitest';
import type { CollectedMessage } from '../../../adapters/inbound/collect.ts';
import {
  type InboundListener,
  LISTENER_LIMITS,
  type ListenerLimits,
  startInboundListener,
} from '../../../adapters/inbound/listener.ts';
import { ABUSE, deliver, dsn, testAddresses, testReturnPath, UNSUBSCRIBE } from '../../support/inbound.ts';
import { selfSignedCertificate } from '../../support/selfSignedCertificate.ts';

const SEND = '01890a5d-ac96-774b-bcce-b302099a8057';
const RETURN = testReturnPath.of(SEND);

interface Stored {
  readonly message: CollectedMessage;
  readonly recipients: readonly string[];
}

let listener: InboundListener | null = null;
let stored: Stored[] = [];
const open: Socket[] = [];
afterEach(async () => {
  for (const socket of open.splice(0)) socket.destroy();
  await listener?.close();
  listener = null;
  stored = [];
});

async function listen(
  options: {
    limits?: Partial<ListenerLimits>;
    tls?: { cert: string; key: string };
    store?: () => Promise<void>;
  } = {},
): Promise<number> {
  listener = await startInboundListener({
    host: '127.0.0.1',
    port: 0,
    serverName: 'mx.bounce.example.com',
    tls: options.tls ?? null,
    limits: { ...LISTENER_LIMITS, ...options.limits },
    addresses: testAddresses,
    async store(message, recipients) {
      await options.store?.();
      stored.push({ message, recipients });
    },
    log: { warn: () => {} },
  });
  return listener.port;
}

/** A client that says exactly what it is told. */
class Client {
  readonly socket: Socket;
  #buffer = '';
  #wake: (() => void) | null = null;
  #ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    open.push(socket);
    socket.on('data', (chunk) => {
      this.#buffer += chunk.toString('latin1');
      this.#wake?.();
    });
    socket.on('close', () => {
      this.#ended = true;
      this.#wake?.();
    });
    socket.on('error', () => {});
  }

  /** The next whole reply; `null` where the connection was ended. */
  async reply(): Promise<string | null> {
    for (;;) {
      const whole = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(this.#buffer);
      if (whole) {
        this.#buffer = this.#buffer.slice(whole[0].length);
        return whole[0].trim();
      }
      if (this.#ended) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async say(line: string): Promise<string | null> {
    this.socket.write(`${line}\r\n`);
    return this.reply();
  }
}

async function greeted(port: number): Promise<Client> {
  const client = new Client(connect(port, '127.0.0.1'));
  expect(await client.reply()).toMatch(/^220 mx\.bounce\.example\.com /);
  await client.say('EHLO mx.example.net');
  return client;
}

/** Octets of buffers that somebody still holds. */
function heldOctets(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage().arrayBuffers;
}

describe('the SMTP server for what comes back', () => {
  it('takes mail for signed return paths, for complaints and for unsubscribing, from the null sender too', async () => {
    const port = await listen();
    for (const to of [
      RETURN,
      RETURN.toUpperCase(),
      ABUSE,
      UNSUBSCRIBE,
      UNSUBSCRIBE.replace('@', '+token@'),
    ]) {
      expect(await deliver(port, to, dsn({}))).toMatch(/^250 /);
    }
    expect(stored.map(({ recipients }) => recipients)).toHaveLength(5);
    expect(Buffer.from(stored[0]!.message.content).toString()).toBe(dsn({}));
  });

  it('takes mail for nobody else and relays nothing', async () => {
    const client = await greeted(await listen());
    expect(await client.say('MAIL FROM:<>')).toMatch(/^250 /);
    const [local] = RETURN.split('@');
    for (const to of [
      'ada@example.net',
      'postmaster@bounce.example.com',
      'b-aaaa@bounce.example.com',
      `${local!.slice(0, -1)}${local!.endsWith('a') ? 'b' : 'a'}@bounce.example.com`,
      `${local}@example.net`,
      `ada%example.net@bounce.example.com`,
    ]) {
      expect([to, await client.say(`RCPT TO:<${to}>`)]).toEqual([to, expect.stringMatching(/^550 5\.1\.1 /)]);
    }
    expect(await client.say('DATA')).toMatch(/^5\d\d /);
    expect(stored).toEqual([]);
  });

  it('keeps a message for several recipients once', async () => {
    const port = await listen();
    await deliver(port, [RETURN, ABUSE], dsn({}));
    expect(stored).toHaveLength(1);
    expect(stored[0]!.recipients).toEqual([RETURN, ABUSE]);
  });

  it('I7 answers 250 only once the message is durable, and 451 where it cannot be kept', async () => {
    let release = () => {};
    let fail = false;
    const port = await listen({
      store: () =>
        new Promise((resolve, reject) => {
          release = fail ? () => reject(new Error('the database is down')) : resolve;
        }),
    });
    for (const down of [false, true]) {
      fail = down;
      const client = await greeted(port);
      await client.say('MAIL FROM:<>');
      await client.say(`RCPT TO:<${RETURN}>`);
      expect(await client.say('DATA')).toMatch(/^354 /);
      const answer = client.say(`${dsn({})}.`);
      const first = await Promise.race([
        answer,
        new Promise((resolve) => setTimeout(() => resolve('none'), 200)),
      ]);
      expect(first).toBe('none');
      release();
      expect(await answer).toMatch(down ? /^451 4\.3\.0 / : /^250 2\.0\.0 /);
    }
    expect(stored).toHaveLength(1);
  });

  it('takes 50 MB in bounded memory, keeps a megabyte and counts the rest; more is refused', async () => {
    const port = await listen();
    const send = async (octets: number) => {
      const client = await greeted(port);
      await client.say('MAIL FROM:<>');
      await client.say(`RCPT TO:<${RETURN}>`);
      await client.say('DATA');
      client.socket.write(dsn({}));
      const line = Buffer.from(`${'x'.repeat(998)}\r\n`.repeat(64));
      let highest = 0;
      for (let sent = 0; sent < octets; sent += line.length) {
        if (!client.socket.write(line)) await new Promise((resolve) => client.socket.once('drain', resolve));
        if (sent % (64 * line.length) === 0) highest = Math.max(highest, heldOctets());
      }
      return { reply: await client.say('.'), highest };
    };
    const before = heldOctets();
    const { reply, highest } = await send(49 * 1024 * 1024);
    expect(reply).toMatch(/^250 /);
    expect(highest - before).toBeLessThan(10 * 1024 * 1024);
    expect(stored[0]!.message.content.length).toBe(1024 * 1024);
    expect(stored[0]!.message.size).toBeGreaterThan(49 * 1024 * 1024);
    expect((await send(51 * 1024 * 1024)).reply).toMatch(/^552 5\.3\.4 /);
    expect(stored).toHaveLength(1);
  });

  it('refuses beforehand what says that it is larger (RFC 1870)', async () => {
    const client = await greeted(await listen());
    expect(await client.say('MAIL FROM:<> SIZE=60000000')).toMatch(/^552 /);
  });

  it('limits connections of a host, its messages a minute, and recipients of a message', async () => {
    const port = await listen({
      limits: { connectionsPerHost: 2, messagesPerMinute: 3, recipientsPerMessage: 2 },
    });
    const [one] = [await greeted(port), await greeted(port)];
    const third = new Client(connect(port, '127.0.0.1'));
    expect(await third.reply()).toMatch(/^421 /);
    await one!.say('MAIL FROM:<>');
    await one!.say(`RCPT TO:<${RETURN}>`);
    await one!.say(`RCPT TO:<${ABUSE}>`);
    expect(await one!.say(`RCPT TO:<${UNSUBSCRIBE}>`)).toMatch(/^452 /);
    await one!.say('RSET');
    const replies: (string | null)[] = [];
    // The minute may end in between: then there are some more, but never without end.
    for (let n = 0; n < 8; n += 1) {
      const begun = await one!.say('MAIL FROM:<>');
      replies.push(begun);
      if (begun?.startsWith('451')) break;
      await one!.say(`RCPT TO:<${RETURN}>`);
      await one!.say('DATA');
      await one!.say(`${dsn({ messageId: `<${n}@x.test>` })}.`);
    }
    expect(replies.length).toBeGreaterThan(3);
    expect(replies.at(-1)).toMatch(/^451 4\.7\.0 /);
  });

  it('lets a host in again that was refused for its connections', async () => {
    const port = await listen({ limits: { connectionsPerHost: 1 } });
    for (let n = 0; n < 5; n += 1) {
      const client = await greeted(port);
      const refused = new Client(connect(port, '127.0.0.1'));
      expect(await refused.reply()).toMatch(/^421 /);
      await client.say('QUIT');
      while ((await client.reply()) !== null);
      // The server hears of the end a moment later.
      for (;;) {
        const probe = new Client(connect(port, '127.0.0.1'));
        const reply = await probe.reply();
        probe.socket.destroy();
        if (reply?.startsWith('220')) break;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });

  it('sends away who guesses addresses', async () => {
    const client = await greeted(await listen());
    await client.say('MAIL FROM:<>');
    const replies: string[] = [];
    for (let n = 0; n < 30; n += 1) {
      const reply = await client.say(`RCPT TO:<guess${n}@bounce.example.com>`);
      if (reply === null) break;
      replies.push(reply);
    }
    expect(replies.filter((reply) => reply.startsWith('550'))).toHaveLength(20);
    expect(replies.slice(20).every((reply) => reply.startsWith('421'))).toBe(true);
  });

  it('offers STARTTLS where it has a certificate, and AUTH never', async () => {
    const { cert, key } = await selfSignedCertificate();
    const plainPort = await listen();
    const plainClient = new Client(connect(plainPort, '127.0.0.1'));
    await plainClient.reply();
    expect(await plainClient.say('EHLO x.test')).not.toMatch(/STARTTLS|AUTH/);
    plainClient.socket.destroy();
    await listener!.close();

    const port = await listen({ tls: { cert, key } });
    const client = new Client(connect(port, '127.0.0.1'));
    await client.reply();
    const offered = await client.say('EHLO x.test');
    expect(offered).toMatch(/STARTTLS/);
    expect(offered).not.toMatch(/AUTH/);
    expect(await client.say('STARTTLS')).toMatch(/^220 /);
    const secure = new Client(connectTls({ socket: client.socket, ca: cert, servername: 'localhost' }));
    expect(await secure.say('EHLO x.test')).toMatch(/^250/);
    await secure.say('MAIL FROM:<>');
    await secure.say(`RCPT TO:<${RETURN}>`);
    await secure.say('DATA');
    expect(await secure.say(`${dsn({})}.`)).toMatch(/^250 /);
    expect(stored).toHaveLength(1);
  });

  it('survives a client that speaks nonsense or goes away in the middle', async () => {
    const port = await listen();
    for (const nonsense of [
      '\0\0\0\0',
      'GET / HTTP/1.1\r\n\r\n',
      '\x16\x03\x01\x02\x00\x01',
      'x'.repeat(100_000),
    ]) {
      const client = new Client(connect(port, '127.0.0.1'));
      client.socket.write(nonsense);
      client.socket.end();
    }
    const client = await greeted(port);
    await client.say('MAIL FROM:<>');
    await client.say(`RCPT TO:<${RETURN}>`);
    await client.say('DATA');
    client.socket.write('Subject: half\r\n\r\nof a mess');
    client.socket.destroy();
    expect(await deliver(port, RETURN, dsn({}))).toMatch(/^250 /);
    expect(stored).toHaveLength(1);
  });
});
