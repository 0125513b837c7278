import { afterEach, describe, expect, it } from 'vitest';
import { openSession } from '../../../adapters/smtp/open.ts';
import type { SmtpPhase } from '../../../domain/bounce/verdict.ts';
import { freePort } from '../../../tools/embedded/service.ts';
import { type ScriptedPeer, type ScriptedSmtp, startScriptedSmtp } from '../../support/scriptedSmtp.ts';
import {
  type Answers,
  CONTENT_MARK,
  largeMessage,
  message,
  mustOpen,
  playServer,
  serverOptions,
  willing,
} from './dialogue.ts';

let server: ScriptedSmtp;

afterEach(() => server?.stop());

async function start(answers: Answers): Promise<ScriptedSmtp> {
  server = await startScriptedSmtp((peer) => playServer(peer, answers));
  return server;
}

const PIPELINING = '250-mail.test\r\n250 PIPELINING\r\n';

type Strike = (peer: ScriptedPeer, phase: SmtpPhase) => void | Promise<void>;

/** A reply code that means nothing good in this phase. */
const outOfPlace = (phase: SmtpPhase) => (phase === 'data' ? 299 : 399);

/** Ways to break a conversation, and whether they leave a reply. */
const FAULTS: readonly { name: string; reply: number | null; strike: Strike }[] = [
  { name: 'the server closes', reply: null, strike: (peer) => peer.close() },
  { name: 'the server resets', reply: null, strike: (peer) => peer.reset() },
  {
    name: 'the server is silent',
    reply: null,
    strike: (peer, phase) => (phase === 'message' ? peer.stopReading() : peer.ended()),
  },
  { name: 'the server talks no SMTP', reply: null, strike: (peer) => peer.send('HTTP/1.1 400 Bad\r\n') },
  { name: 'half a reply comes', reply: null, strike: (peer) => peer.send('250-and') },
  { name: 'a line never ends', reply: null, strike: (peer) => peer.send('2'.repeat(9000)) },
  { name: 'a reply never ends', reply: null, strike: (peer) => peer.send('250-x\r\n'.repeat(9000)) },
  {
    name: 'replies flood in',
    reply: null,
    strike: (peer, phase) => peer.send(`${outOfPlace(phase)} x\r\n`.repeat(9000)),
  },
  { name: 'codes differ', reply: null, strike: (peer) => peer.send('250-x\r\n550 y\r\n') },
  {
    name: 'the reply is out of place',
    reply: null,
    strike: (peer, phase) => peer.send(`${outOfPlace(phase)} what\r\n`),
  },
  { name: '421', reply: 421, strike: (peer) => peer.send('421 4.3.2 shutting down\r\n') },
  {
    name: '421 and close',
    reply: 421,
    strike: (peer) => {
      peer.send('421-4.3.2 shutting\r\n421 4.3.2 down\r\n');
      peer.close();
    },
  },
];

/** Only the broken phase gets a short deadline, so that a slow machine cannot break another. */
function shortly(phase: SmtpPhase) {
  return { timeouts: { [phase]: 150, quit: 150 } };
}

describe('a conversation that breaks while it is opened', () => {
  for (const phase of ['greeting', 'ehlo', 'starttls', 'auth'] as const) {
    it.each(FAULTS.map((fault) => [fault.name, fault] as const))(`at ${phase}: %s`, async (_name, fault) => {
      const { port } = await start({ [phase]: (peer: ScriptedPeer) => fault.strike(peer, phase) });
      const result = await openSession(
        serverOptions(port, {
          tls: phase === 'starttls' ? 'required' : 'none',
          auth: { user: 'u', password: 'very-secret', allowPlaintext: true },
          ...shortly(phase),
        }),
      );
      // 399 is a reply, if no good one; before the transaction it is told as such.
      const reply = fault.name === 'the reply is out of place' ? 399 : fault.reply;
      // A reset at once may come before the client has seen that it was connected.
      if (phase === 'greeting' && fault.name === 'the server resets') {
        expect(result).toMatchObject({ opened: false, phase: expect.stringMatching(/^(connect|greeting)$/) });
      } else if (fault.name === 'replies flood in') expect(result).toMatchObject({ opened: false, phase });
      else expect(result).toMatchObject({ opened: false, phase, reply: reply && { code: reply } });
      expect(JSON.stringify(result)).not.toContain('very-secret');
      expect(JSON.stringify(result)).not.toContain(Buffer.from('\0u\0very-secret').toString('base64'));
    });
  }

  it('at connect: nobody listens', async () => {
    server = await startScriptedSmtp(async () => {});
    const result = await openSession(serverOptions(await freePort()));
    expect(result).toMatchObject({ opened: false, phase: 'connect', reply: null, remoteHost: '127.0.0.1' });
  });

  it('at connect: the name does not resolve', async () => {
    const result = await openSession(serverOptions(25, { host: 'no-such-host.invalid' }));
    expect(result).toMatchObject({ opened: false, phase: 'connect', reply: null });
  });

  it('in the TLS handshake: what comes is not TLS', async () => {
    const { port } = await start({
      async starttls(peer) {
        const before = peer.received.length;
        peer.send('220 go\r\n');
        await expect.poll(() => peer.received.length).toBeGreaterThan(before);
        peer.send('250 in the clear\r\n');
      },
    });
    const result = await openSession(serverOptions(port, { tls: 'required' }));
    expect(result).toMatchObject({ opened: false, phase: 'starttls', reply: null });
  });

  it('in the TLS handshake: nothing comes', async () => {
    server = await startScriptedSmtp((peer) => peer.ended());
    const result = await openSession(serverOptions(server.port, { tls: 'implicit', ...shortly('starttls') }));
    expect(result).toMatchObject({ opened: false, phase: 'starttls', reply: null });
  });

  it.each([554, 450])('says %i in the greeting', async (code) => {
    const { port } = await start({ greeting: `${code} 5.7.1 no service\r\n` });
    const result = await openSession(serverOptions(port));
    expect(result).toMatchObject({
      opened: false,
      phase: 'greeting',
      reply: { code, enhancedCode: '5.7.1', text: 'no service' },
      remoteHost: '127.0.0.1 [127.0.0.1]',
    });
  });

  it('leaves no connection behind', async () => {
    const { port } = await start({ ehlo: '550 no\r\n' });
    await openSession(serverOptions(port));
    await expect.poll(() => server.open).toBe(0);
    expect(server.peers[0]!.received).toContain('QUIT\r\n');
  });
});

describe.each([
  ['one command at a time', undefined],
  ['pipelined', PIPELINING],
])('a transaction that breaks, %s', (_name, ehlo) => {
  for (const phase of ['mail', 'rcpt', 'data', 'final'] as const) {
    it.each(FAULTS.map((fault) => [fault.name, fault] as const))(`at ${phase}: %s`, async (_fault, fault) => {
      const { port } = await start({
        ...(ehlo && { ehlo }),
        [phase]: (peer: ScriptedPeer) => fault.strike(peer, phase),
      });
      const session = await mustOpen(serverOptions(port, shortly(phase)));
      const end = await session.transmit(message, willing);
      if (fault.reply === null) {
        expect(end).toMatchObject({ kind: 'broken', phase, mayHaveBeenTaken: phase === 'final' });
      } else {
        expect(end).toMatchObject({
          kind: 'refused',
          phase,
          reply: { code: fault.reply, enhancedCode: '4.3.2', text: 'shutting down' },
        });
      }
      expect(session.usable).toBe(false);
      const sent = server.peers[0]!.received;
      if (phase !== 'final') expect(sent).not.toContain(CONTENT_MARK);
      await expect.poll(() => server.open).toBe(0);
    });
  }

  it.each(FAULTS.map((fault) => [fault.name, fault] as const))(
    'in the content: %s',
    async (_fault, fault) => {
      const { port } = await start({
        ...(ehlo && { ehlo }),
        message: (peer) => fault.strike(peer, 'message'),
      });
      const session = await mustOpen(serverOptions(port, { timeouts: { message: 300, final: 300 } }));
      const end = await session.transmit(largeMessage, willing);
      if (fault.reply === null) {
        expect(end).toMatchObject({ kind: 'broken', phase: 'message', mayHaveBeenTaken: false });
      } else {
        expect(end).toMatchObject({ kind: 'refused', phase: 'message', reply: { code: 421 } });
      }
      expect(session.usable).toBe(false);
      // I2: what is called not taken has never been terminated.
      expect(server.peers[0]!.received).not.toContain('\r\n.\r\n');
    },
  );

  it.each([
    ['mail', '550 5.7.1 not you\r\n'],
    ['rcpt', '550 5.1.1 no such user\r\n'],
    ['data', '451 4.3.0 not now\r\n'],
    ['final', '554 5.6.0 bad content\r\n'],
  ] as const)('is refused at %s and the session goes on', async (phase, reply) => {
    let asked = 0;
    const firstRefused = (peer: ScriptedPeer) => peer.send(asked++ === 0 ? reply : '');
    const { port } = await start({ ...(ehlo && { ehlo }), [phase]: firstRefused });
    const session = await mustOpen(serverOptions(port));
    const end = await session.transmit(message, willing);
    expect(end).toMatchObject({ kind: 'refused', phase, reply: { code: Number(reply.slice(0, 3)) } });
    expect(session.usable).toBe(true);
    if (session.unfinished) expect(await session.reset()).toBe(true);
    expect(session.usable).toBe(true);
    expect(await session.probe()).toBe(true);
    if (phase !== 'final') expect(server.peers[0]!.received).not.toContain(CONTENT_MARK);
    await session.quit();
  });

  it('tells that an old connection is gone as the end of the conversation, not of the message', async () => {
    const { port } = await start({
      ...(ehlo && { ehlo }),
      final: (peer) => {
        peer.send('250 first\r\n');
        peer.reset();
      },
    });
    const session = await mustOpen(serverOptions(port));
    expect(await session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
    await expect.poll(() => session.usable).toBe(false);
    expect(await session.transmit(message, willing)).toEqual({
      kind: 'not_begun',
      why: 'conversation_over',
      reply: null,
    });
  });
});
