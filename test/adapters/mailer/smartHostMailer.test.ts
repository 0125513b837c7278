import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { Mailer, ReadyConversation } from '../../../adapters/mailer/mailer.ts';
import { createSmartHostMailer, type SmartHostOptions } from '../../../adapters/mailer/smartHostMailer.ts';
import { freePort } from '../../../tools/embedded/service.ts';
import { type ScriptedPeer, type ScriptedSmtp, startScriptedSmtp } from '../../support/scriptedSmtp.ts';
import { type Answers, message, playServer, willing } from '../smtp/dialogue.ts';

let server: ScriptedSmtp | undefined;
let mailer: Mailer | undefined;

afterEach(async () => {
  await server?.stop();
  await mailer?.close();
  server = undefined;
  mailer = undefined;
});

function mailerAt(port: number, more: Partial<SmartHostOptions> = {}): Mailer {
  mailer = createSmartHostMailer({
    host: '127.0.0.1',
    port,
    tls: 'none',
    clientName: 'heed.test',
    maxConnections: 2,
    maxMessagesPerConnection: 100,
    idleMilliseconds: 30_000,
    connectRetryMilliseconds: 200,
    ...more,
  });
  return mailer;
}

async function start(
  answers: Answers | ((nth: number) => Answers) = {},
  more: Partial<SmartHostOptions> = {},
): Promise<{ server: ScriptedSmtp; mailer: Mailer }> {
  const script = (peer: ScriptedPeer, nth: number) =>
    playServer(peer, typeof answers === 'function' ? answers(nth) : answers);
  server = await startScriptedSmtp(script);
  return { server, mailer: mailerAt(server.port, more) };
}

const patient = () => new AbortController().signal;

async function reserve(from: Mailer): Promise<ReadyConversation> {
  const conversation = await from.reserve('example.org', patient());
  if (!conversation.ready) throw new Error(`${conversation.phase}: ${conversation.detail}`);
  return conversation;
}

async function send(from: Mailer) {
  const conversation = await reserve(from);
  try {
    return await conversation.transmit(message, willing);
  } finally {
    conversation.release();
  }
}

describe('conversations', () => {
  it('name the relay as their destination, known without connecting', async () => {
    const { server, mailer } = await start();
    const destination = `relay:127.0.0.1:${server.port}`;
    expect(mailer.destinationOf('example.org')).toBe(destination);
    expect(server.peers).toHaveLength(0);
    const conversation = await reserve(mailer);
    expect(conversation).toMatchObject({ destination, remoteHost: '127.0.0.1 [127.0.0.1]' });
    conversation.release();
  });

  it('use a connection again', async () => {
    const { server, mailer } = await start();
    for (let count = 0; count < 5; count++) expect(await send(mailer)).toMatchObject({ kind: 'accepted' });
    expect(server.peers).toHaveLength(1);
  });

  it('are never more than the limit, and all messages go', async () => {
    let most = 0;
    const { server, mailer } = await start({
      mail: (peer) => {
        most = Math.max(most, server.open);
        peer.send('250 ok\r\n');
      },
    });
    const ends = await Promise.all(Array.from({ length: 50 }, () => send(mailer)));
    expect(ends.every((end) => end.kind === 'accepted')).toBe(true);
    expect(most).toBe(2);
    expect(server.peers).toHaveLength(2);
  });

  it('end after so many messages', async () => {
    const { server, mailer } = await start({}, { maxMessagesPerConnection: 2, maxConnections: 1 });
    for (let count = 0; count < 5; count++) await send(mailer);
    expect(server.peers.map((peer) => peer.received.match(/^MAIL/gm)?.length)).toEqual([2, 2, 1]);
    expect(server.peers[0]!.received).toMatch(/QUIT\r\n$/);
  });

  it('are had in the order of asking', async () => {
    const { mailer } = await start({}, { maxConnections: 1 });
    const first = await reserve(mailer);
    const order: number[] = [];
    const others = [1, 2, 3, 4].map(async (number) => {
      const conversation = await reserve(mailer);
      order.push(number);
      conversation.release();
    });
    await sleep(20);
    expect(order).toEqual([]);
    first.release();
    await Promise.all(others);
    expect(order).toEqual([1, 2, 3, 4]);
  });

  it('are not waited for once the signal aborts, and nobody loses the place', async () => {
    const { mailer } = await start({}, { maxConnections: 1 });
    const first = await reserve(mailer);
    const controller = new AbortController();
    const impatient = mailer.reserve('example.org', controller.signal);
    const next = reserve(mailer);
    controller.abort(new Error('no longer'));
    await expect(impatient).rejects.toThrow('no longer');
    await expect(mailer.reserve('example.org', controller.signal)).rejects.toThrow('no longer');
    first.release();
    (await next).release();
  });

  it('are given back once only', async () => {
    const { mailer } = await start({}, { maxConnections: 1 });
    const first = await reserve(mailer);
    first.release();
    first.release();
    const second = await reserve(mailer);
    let third = false;
    const waiting = reserve(mailer).then((conversation) => {
      third = true;
      conversation.release();
    });
    first.release();
    await sleep(50);
    expect(third).toBe(false);
    await expect(first.transmit(message, willing)).rejects.toThrow('given back');
    second.release();
    await waiting;
  });

  it('given back in the midst of a message are dropped, the next one gets another', async () => {
    const { server, mailer } = await start((nth) => (nth === 0 ? { data: (peer) => peer.ended() } : {}), {
      maxConnections: 1,
    });
    const first = await reserve(mailer);
    const transmission = first.transmit(message, willing);
    await expect.poll(() => server.peers[0]!.received).toContain('DATA');
    first.release();
    expect(await transmission).toMatchObject({ kind: 'broken', phase: 'data', mayHaveBeenTaken: false });
    expect(await send(mailer)).toMatchObject({ kind: 'accepted' });
  });

  it('forget an unfinished transaction before the next holder has them', async () => {
    const { server, mailer } = await start({ rcpt: '550 5.1.1 no such user\r\n' });
    for (let count = 0; count < 3; count++) {
      expect(await send(mailer)).toMatchObject({ kind: 'refused', phase: 'rcpt' });
    }
    expect(server.peers).toHaveLength(1);
    expect(server.peers[0]!.received).toMatch(/RCPT.*\r\nRSET\r\nMAIL.*\r\nRCPT.*\r\nRSET\r\nMAIL/);
  });
});

describe('idle connections', () => {
  it.each([
    ['says 421', (peer: ScriptedPeer) => peer.send('421 4.4.2 idle too long\r\n')],
    ['closes', (peer: ScriptedPeer) => peer.close()],
    ['resets', (peer: ScriptedPeer) => peer.reset()],
  ])('on which the server %s are not used again', async (_name, strike) => {
    const { server, mailer } = await start();
    await send(mailer);
    strike(server.peers[0]!);
    await sleep(100);
    expect(await send(mailer)).toMatchObject({ kind: 'accepted' });
    expect(server.peers).toHaveLength(2);
    expect(server.peers[0]!.received.match(/^MAIL/gm)).toHaveLength(1);
  });

  it('are asked with NOOP after a while, and replaced when there is no good answer', async () => {
    const { server, mailer } = await start({}, { probeAfterMilliseconds: 0, timeouts: { reset: 200 } });
    await send(mailer);
    await sleep(20);
    await send(mailer);
    expect(server.peers).toHaveLength(1);
    expect(server.peers[0]!.received).toMatch(/\.\r\nNOOP\r\nMAIL/);
    server.peers[0]!.stopReading();
    await sleep(20);
    expect(await send(mailer)).toMatchObject({ kind: 'accepted' });
    expect(server.peers).toHaveLength(2);
  });

  it('are ended with QUIT when nobody needs them', async () => {
    const { server, mailer } = await start({}, { idleMilliseconds: 50 });
    await send(mailer);
    await expect.poll(() => server.open).toBe(0);
    expect(server.peers[0]!.received).toMatch(/QUIT\r\n$/);
    expect(await send(mailer)).toMatchObject({ kind: 'accepted' });
  });
});

describe('a relay that cannot be had', () => {
  it.each([
    ['greeting', 554, { greeting: '554 5.7.1 go away\r\n' }],
    ['greeting', 421, { greeting: '421 4.3.2 too busy\r\n' }],
    ['auth', 535, { auth: '535 5.7.8 bad credentials\r\n' }],
  ] as const)('is told at %s with its reply %i', async (phase, code, answers) => {
    const auth = { user: 'heed', password: 'secret', allowPlaintext: true };
    const { server, mailer } = await start(answers, { auth });
    expect(await mailer.reserve('example.org', patient())).toMatchObject({
      ready: false,
      destination: `relay:127.0.0.1:${server.port}`,
      remoteHost: '127.0.0.1 [127.0.0.1]',
      phase,
      reply: { code },
      detail: expect.any(String),
    });
  });

  it('is told at starttls where TLS fails', async () => {
    const { mailer } = await start({ ehlo: '250 no TLS here\r\n' }, { tls: 'required' });
    expect(await mailer.reserve('example.org', patient())).toMatchObject({
      ready: false,
      phase: 'starttls',
      reply: null,
    });
  });

  it('costs everybody who waits one timeout together', async () => {
    const { server, mailer } = await start(
      { greeting: (peer) => peer.ended() },
      { timeouts: { greeting: 300 }, connectRetryMilliseconds: 60_000 },
    );
    const results = await Promise.all(
      Array.from({ length: 40 }, () => mailer.reserve('example.org', patient())),
    );
    expect(results.every((result) => !result.ready && result.phase === 'greeting')).toBe(true);
    expect(server.peers).toHaveLength(1);
    // Whoever asks soon after is told the same without another attempt.
    expect(await mailer.reserve('example.org', patient())).toMatchObject({ ready: false, phase: 'greeting' });
    expect(server.peers).toHaveLength(1);
  });

  it('is found again when it is back, with one attempt at first', async () => {
    const port = await freePort();
    const mailer = mailerAt(port);
    expect(await mailer.reserve('example.org', patient())).toMatchObject({
      ready: false,
      phase: 'connect',
      reply: null,
    });
    server = await startScriptedSmtp((peer) => playServer(peer), port);
    await expect
      .poll(async () => {
        const conversation = await mailer.reserve('example.org', patient());
        if (conversation.ready) conversation.release();
        return conversation.ready;
      })
      .toBe(true);
    const ends = await Promise.all(Array.from({ length: 10 }, () => send(mailer)));
    expect(ends.every((end) => end.kind === 'accepted')).toBe(true);
  });

  it('dies and comes back between two messages', async () => {
    const { server: first, mailer } = await start();
    await send(mailer);
    const { port } = first;
    await first.stop();
    await sleep(50);
    expect(await mailer.reserve('example.org', patient())).toMatchObject({ ready: false, phase: 'connect' });
    server = await startScriptedSmtp((peer) => playServer(peer), port);
    await sleep(250);
    expect(await send(mailer)).toMatchObject({ kind: 'accepted' });
  });

  it('that merely allows fewer connections leaves the waiters to those that it allows', async () => {
    const { server, mailer } = await start(
      (nth) => (nth === 0 ? {} : { greeting: '421 4.7.0 too many connections\r\n' }),
      { maxConnections: 5, connectRetryMilliseconds: 60_000 },
    );
    const first = await reserve(mailer);
    const others = Array.from({ length: 10 }, () => send(mailer));
    await expect.poll(() => server.peers.length).toBeGreaterThan(1);
    await sleep(50);
    first.release();
    const ends = await Promise.all(others);
    expect(ends.every((end) => end.kind === 'accepted')).toBe(true);
    expect(server.peers.length).toBeLessThanOrEqual(5);
  });

  it('that drops the last connection fails those who wait for it', async () => {
    const { server, mailer } = await start(
      (nth) => (nth === 0 ? {} : { greeting: '421 4.7.0 too many connections\r\n' }),
      { connectRetryMilliseconds: 60_000 },
    );
    const first = await reserve(mailer);
    const waiting = mailer.reserve('example.org', patient());
    await expect.poll(() => server.open).toBe(1);
    server.peers[0]!.reset();
    expect(await waiting).toMatchObject({ ready: false, phase: 'greeting', reply: { code: 421 } });
    first.release();
  });
});

describe('closing', () => {
  it('ends the idle with QUIT, waits for the busy, and turns the waiting away', async () => {
    const { server, mailer } = await start();
    const [busy, idle] = [await reserve(mailer), await reserve(mailer)];
    const waiting = reserve(mailer);
    idle.release();
    const late = await waiting;
    late.release();
    const third = await reserve(mailer);
    const turnedAway = mailer.reserve('example.org', patient());
    let closed = false;
    const closing = mailer.close().then(() => {
      closed = true;
    });
    await expect(turnedAway).rejects.toThrow('closed');
    await expect(mailer.reserve('example.org', patient())).rejects.toThrow('closed');
    third.release();
    await sleep(50);
    expect(closed).toBe(false);
    expect(await busy.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
    busy.release();
    await closing;
    await mailer.close();
    for (const peer of server.peers) expect(peer.received).toMatch(/QUIT\r\n$/);
    await expect.poll(() => server.open).toBe(0);
  });

  it('does not wait for connections that are being made', async () => {
    const { server, mailer } = await start({ greeting: (peer) => peer.ended() });
    const waiting = mailer.reserve('example.org', patient());
    await expect.poll(() => server.open).toBe(1);
    const closing = mailer.close();
    await expect(waiting).rejects.toThrow('closed');
    await closing;
    await expect.poll(() => server.open).toBe(0);
  });

  it('is done at once where nothing was sent', async () => {
    await mailerAt(await freePort()).close();
  });
});

describe('settings', () => {
  it.each([
    { maxConnections: 0 },
    { maxMessagesPerConnection: 0 },
    { maxConnections: Number.NaN },
    { port: 0 },
  ])('that cannot work are refused: %j', (part) => {
    expect(() => mailerAt(25, part)).toThrow(RangeError);
  });
});
