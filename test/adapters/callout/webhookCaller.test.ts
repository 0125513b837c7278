import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createWebhookCaller } from '../../../adapters/callout/webhookCaller.ts';
import { isPublicAddress } from '../../../adapters/mailer/direct/publicAddress.ts';
import { until } from '../../support/until.ts';

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** A receiver on the wire: what it does once it has the request. */
async function receiver(answer: (socket: Socket) => void) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => answer(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

const call = (url: string, mayReach: (address: string) => boolean = () => true) =>
  createWebhookCaller(mayReach)({ url, secret: 'secret', id: 'id', body: {}, now: Date.now() });

describe('a receiver that does not answer as it should', () => {
  it.each([
    ['hangs up', (socket: Socket) => socket.destroy()],
    ['says something else than HTTP', (socket: Socket) => socket.end('220 mail.example.com ESMTP\r\n')],
  ])('%s: it is in trouble, and tried again', async (_, answer) => {
    const { port } = await receiver(answer);
    expect(await call(`http://127.0.0.1:${port}/`)).toMatchObject({ ok: false, final: false });
  });

  it('changes to another protocol: that is no success, and final', async () => {
    const { port } = await receiver((socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
    );
    expect(await call(`http://127.0.0.1:${port}/`)).toEqual({ ok: false, final: true, reason: 'http_101' });
  });

  it('never answers: it has ten seconds', async () => {
    const { port } = await receiver(() => undefined);
    const began = performance.now();
    expect(await call(`http://127.0.0.1:${port}/`)).toMatchObject({ ok: false, final: false });
    expect(performance.now() - began).toBeGreaterThan(9_000);
    expect(performance.now() - began).toBeLessThan(15_000);
  }, 30_000);

  it('sends an answer without end: what counts is how it begins, and the rest is not taken', async () => {
    const { port, sockets } = await receiver((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      const more = setInterval(() => socket.write('ffff\r\n' + 'x'.repeat(0xffff) + '\r\n'), 1);
      socket.on('close', () => clearInterval(more));
    });
    expect(await call(`http://127.0.0.1:${port}/`)).toEqual({ ok: true, status: 200 });
    await until('the connection is given up', () => Promise.resolve(sockets[0]!.destroyed));
  });

  it('leads elsewhere: nobody goes there', async () => {
    const other = await receiver(() => undefined);
    const { port } = await receiver((socket) =>
      socket.end(`HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:${other.port}/\r\n\r\n`),
    );
    expect(await call(`http://127.0.0.1:${port}/`)).toEqual({ ok: false, final: true, reason: 'http_307' });
    expect(other.sockets).toEqual([]);
  });
});

describe('our own network is not reached', () => {
  it.each([
    '127.0.0.1',
    '2130706433',
    '0x7f.1',
    '0177.0.0.1',
    '127.1',
    '0.0.0.0',
    '[::1]',
    '[::]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '169.254.169.254',
    '10.0.0.1',
    '[fd00::1]',
    'localhost',
  ])('by %s', async (host) => {
    const { port, sockets } = await receiver((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'));
    expect(await call(`http://${host}:${port}/`, isPublicAddress)).toEqual({
      ok: false,
      final: true,
      reason: 'address_not_allowed',
    });
    expect(sockets).toEqual([]);
  });
});
