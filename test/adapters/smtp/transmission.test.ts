import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { OutgoingMessage } from '../../../adapters/mailer/mailer.ts';
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

async function open(answers: Answers = {}, timeouts = {}) {
  server = await startScriptedSmtp((peer) => playServer(peer, answers));
  return mustOpen(serverOptions(server.port, { timeouts }));
}

/** What the client wrote on its first connection. */
const written = () => server.peers[0]!.received;

const never = new Promise<never>(() => {});

describe('the owner of an attempt', () => {
  it('I1: whose gate decision is too old gets no MAIL FROM, and the session goes on', async () => {
    const session = await open();
    const before = written();
    const end = await session.transmit(message, { ...willing, mayBegin: () => false });
    expect(end).toEqual({ kind: 'not_begun', why: 'gate_expired' });
    expect(await session.probe()).toBe(true);
    expect(written()).toBe(`${before}NOOP\r\n`);
    expect(await session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
  });

  it('I1: is asked after everything that takes time, right before MAIL FROM', async () => {
    let refused = false;
    const session = await open({
      rcpt: (peer) => {
        peer.send(refused ? '250 ok\r\n' : '550 no\r\n');
        refused = true;
      },
    });
    await session.transmit(message, willing);
    let atTheQuestion = '';
    await session.transmit(message, {
      ...willing,
      mayBegin() {
        atTheQuestion = written();
        return true;
      },
    });
    expect(atTheQuestion).toMatch(/RSET\r\n$/);
  });

  it('I2: who lost it hands nothing over: no DATA, no content; the session goes on', async () => {
    const session = await open();
    const end = await session.transmit(message, { ...willing, beforeHandOver: async () => false });
    expect(end).toEqual({ kind: 'not_begun', why: 'ownership_lost' });
    expect(await session.reset()).toBe(true);
    expect(written()).toMatch(/RCPT TO:<person@example.org>\r\nRSET\r\n$/);
    expect(written()).not.toMatch(/DATA/);
    expect(await session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
  });

  it('I2: is asked once the recipient is accepted, and not before', async () => {
    const asked: string[] = [];
    const session = await open();
    await session.transmit(message, {
      ...willing,
      async beforeHandOver() {
        asked.push(written());
        await sleep(50);
        asked.push(written());
        return true;
      },
    });
    expect(asked).toHaveLength(2);
    for (const text of asked) {
      expect(text).toContain('RCPT TO');
      expect(text).not.toContain('DATA');
    }
  });

  it('is not asked for a refused recipient', async () => {
    const session = await open({ rcpt: '550 5.1.1 no such user\r\n' });
    let asked = false;
    const end = await session.transmit(message, {
      ...willing,
      async beforeHandOver() {
        asked = true;
        return true;
      },
    });
    expect(end).toMatchObject({ kind: 'refused', phase: 'rcpt' });
    expect(asked).toBe(false);
  });

  it.each([
    [
      'beforeHandOver rejects',
      {
        beforeHandOver: async () => {
          throw new Error('database gone');
        },
      },
    ],
    [
      'mayBegin throws',
      {
        mayBegin: () => {
          throw new Error('database gone');
        },
      },
    ],
  ])('I2: when %s, transmit does too, and nothing is handed over', async (_name, hook) => {
    const session = await open();
    await expect(session.transmit(message, { ...willing, ...hook })).rejects.toThrow('database gone');
    expect(session.usable).toBe(false);
    await expect.poll(() => server.open).toBe(0);
    expect(written()).not.toContain('DATA');
  });

  it('I2: who never answers does not hold the connection for ever', async () => {
    const session = await open({}, { handOver: 100 });
    const end = await session.transmit(message, { ...willing, beforeHandOver: () => never });
    expect(end).toMatchObject({ kind: 'broken', phase: 'data', mayHaveBeenTaken: false });
    await expect.poll(() => server.open).toBe(0);
    expect(written()).not.toContain('DATA');
  });

  it.each([
    [
      'closes',
      (peer: ScriptedPeer) => peer.close(),
      { kind: 'broken', phase: 'data', mayHaveBeenTaken: false },
    ],
    [
      'says 421',
      (peer: ScriptedPeer) => peer.send('421 too slow\r\n'),
      { kind: 'refused', phase: 'data', reply: { code: 421 } },
    ],
  ])('I2: while it thinks the server %s: no DATA', async (_name, strike, expected) => {
    const session = await open();
    const end = await session.transmit(message, {
      ...willing,
      async beforeHandOver() {
        strike(server.peers[0]!);
        await sleep(100);
        return true;
      },
    });
    expect(end).toMatchObject(expected);
    expect(written()).not.toContain('DATA');
    expect(session.usable).toBe(false);
  });
});

describe('commands and replies', () => {
  it('pipelines MAIL and RCPT where it is offered, and DATA never', async () => {
    const session = await open({
      ehlo: '250-x\r\n250 PIPELINING\r\n',
      async mail(peer) {
        // Answered only when both are here: without pipelining this would wait for ever.
        await expect.poll(() => peer.received).toMatch(/MAIL FROM.*\r\nRCPT TO.*\r\n$/);
        peer.send('250 ok\r\n');
      },
    });
    expect(await session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
  });

  it('does not pipeline where it is not offered', async () => {
    let early = '';
    const session = await open({
      async mail(peer) {
        await sleep(50);
        early = peer.received;
        peer.send('250 ok\r\n');
      },
    });
    expect(await session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
    expect(early).toMatch(/MAIL FROM:<sender@example.com>\r\n$/);
  });

  it('understands replies that come byte by byte and in many lines', async () => {
    const session = await open({
      greeting: (peer) => peer.sendBytewise('220-mail.test\r\n220 says a lot\r\n'),
      ehlo: (peer) => peer.sendBytewise('250-mail.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n'),
      final: (peer) => peer.sendBytewise('250-2.0.0 queued\r\n250 2.0.0 as 42\r\n'),
    });
    expect(await session.transmit(message, willing)).toEqual({
      kind: 'accepted',
      reply: { code: 250, enhancedCode: '2.0.0', text: 'queued as 42' },
    });
  });

  it('tells the refusal of MAIL though the pipelined RCPT is refused after it, and goes on', async () => {
    let first = true;
    const session = await open({
      ehlo: '250-x\r\n250 PIPELINING\r\n',
      mail: (peer) => peer.send(first ? '451 4.7.1 greylisted\r\n' : '250 ok\r\n'),
      rcpt: (peer) => {
        peer.send(first ? '503 5.5.1 need MAIL first\r\n' : '250 ok\r\n');
        first = false;
      },
    });
    expect(await session.transmit(message, willing)).toMatchObject({
      kind: 'refused',
      phase: 'mail',
      reply: { code: 451, enhancedCode: '4.7.1', text: 'greylisted' },
    });
    expect(session.usable).toBe(true);
    expect(await session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
  });

  it.each([
    ['mail', { mail: '250 ok\r\n250 and more\r\n' }, 'rcpt'],
    ['rcpt', { rcpt: '250 ok\r\n354 go on\r\n' }, 'data'],
    ['rcpt, half a reply', { rcpt: '250 ok\r\n354' }, 'data'],
    ['data', { data: '354 go on\r\n250 queued already\r\n' }, 'message'],
    ['data, half a reply', { data: '354 go on\r\n250 que' }, 'message'],
  ])('I2: takes no reply that came before its command: after %s', async (_name, answers, phase) => {
    const session = await open(answers);
    const end = await session.transmit(message, willing);
    expect(end).toMatchObject({ kind: 'broken', phase, mayHaveBeenTaken: false });
    expect(session.usable).toBe(false);
    expect(written()).not.toContain(CONTENT_MARK);
  });

  it('does not use a session again on which the server spoke unasked', async () => {
    const session = await open({ final: '250 queued\r\n250 queued twice\r\n' });
    expect(await session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
    await expect.poll(() => session.usable).toBe(false);
    const before = written();
    expect((await session.transmit(message, willing)).kind).toBe('not_begun');
    expect(written()).toBe(before);
  });

  it('carries one message at a time', async () => {
    const session = await open();
    const first = session.transmit(message, willing);
    await expect(session.transmit(message, willing)).rejects.toThrow('one message at a time');
    expect(await first).toMatchObject({ kind: 'accepted' });
  });

  it('I2: large content that was terminated and not answered may have been taken', async () => {
    const session = await open({ final: (peer) => peer.reset() });
    expect(await session.transmit(largeMessage, willing)).toMatchObject({
      kind: 'broken',
      phase: 'final',
      mayHaveBeenTaken: true,
    });
    expect(written().endsWith('\r\n.\r\n')).toBe(true);
  });
});

describe('what cannot be sent is refused before anything is written', () => {
  const content = Buffer.from('Subject: x\r\n\r\nh\u00e9\r\n');
  it.each<[string, Partial<OutgoingMessage>, object]>([
    ['a command in the recipient', { to: 'a@example.com>\r\nRCPT TO:<b@example.com' }, { about: 'to' }],
    ['a command in the return path', { from: 'a@example.com>\r\nDATA' }, { about: 'from' }],
    ['a parameter in the recipient', { to: 'a@example.com> NOTIFY=NEVER' }, { about: 'to' }],
    ['no recipient', { to: '' }, { about: 'to', why: 'address_malformed' }],
    ['SMTPUTF8 not offered', { to: 'jörg@example.com' }, { about: 'to', why: 'address_needs_smtputf8' }],
    [
      'SMTPUTF8 not offered for the sender',
      { from: 'jörg@example.com' },
      { about: 'from', why: 'address_needs_smtputf8' },
    ],
    ['8BITMIME not offered', { content }, { about: 'content', why: 'content_needs_8bitmime' }],
    ['a bare LF', { content: Buffer.from('a\n.\nb\r\n') }, { about: 'content', why: 'content_line_ends' }],
    ['larger than SIZE', { content: Buffer.alloc(101, 'a') }, { about: 'content', why: 'message_too_large' }],
  ])('%s', async (_name, part, expected) => {
    const session = await open({ ehlo: '250-x\r\n250 SIZE 100\r\n' });
    const before = written();
    const end = await session.transmit({ ...message, ...part }, willing);
    expect(end).toMatchObject({ kind: 'unsendable', detail: expect.any(String), ...expected });
    expect(session.usable).toBe(true);
    expect(await session.probe()).toBe(true);
    expect(written()).toBe(`${before}NOOP\r\n`);
  });

  it('says in MAIL FROM what the server offers and the message needs', async () => {
    const session = await open({ ehlo: '250-x\r\n250-SIZE\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n' });
    await session.transmit({ from: '', to: 'jörg@example.com', content }, willing);
    expect(Buffer.from(written(), 'latin1').toString('utf8')).toContain(
      `MAIL FROM:<> SIZE=${content.length} BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<jörg@example.com>\r\n`,
    );
    await session.transmit(message, willing);
    expect(written()).toContain(`MAIL FROM:<sender@example.com> SIZE=${message.content.length}\r\n`);
  });
});

describe('whatever a server answers', () => {
  const code = fc.constantFrom(220, 250, 299, 354, 399, 421, 450, 550);
  const oneReply = code.map((number) => `${number} x\r\n`);
  const anything = fc.oneof(
    { weight: 6, arbitrary: fc.constant(null) },
    { weight: 4, arbitrary: oneReply },
    { weight: 1, arbitrary: fc.tuple(oneReply, oneReply).map((replies) => replies.join('')) },
    { weight: 1, arbitrary: fc.constantFrom('close', 'reset', 'garbage\r\n', '250-half') },
  );
  const script = fc.record({
    pipelining: fc.boolean(),
    owned: fc.boolean(),
    mail: anything,
    rcpt: anything,
    data: anything,
    final: anything,
  });

  it('I2: not taken means never terminated, accepted means answered so, and all else is told as open', async () => {
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(script, async ({ pipelining, owned, ...phases }) => {
        const answers: Answers = { ehlo: pipelining ? '250-x\r\n250 PIPELINING\r\n' : '250 x\r\n' };
        for (const phase of ['mail', 'rcpt', 'data', 'final'] as const) {
          const given = phases[phase];
          if (given === null) continue;
          answers[phase] = (peer) => {
            if (given === 'close') peer.close();
            else if (given === 'reset') peer.reset();
            else peer.send(given);
          };
        }
        // A server that says 354 reads content, whatever else it does.
        if (phases.data?.startsWith('354') || phases.data?.startsWith('399')) delete answers.data;
        const session = await open(answers, { mail: 100, rcpt: 100, data: 100, final: 100, quit: 100 });
        const end = await session.transmit(message, { ...willing, beforeHandOver: async () => owned });
        seen.add(end.kind);
        session.destroy('the test is over');
        await server.peers[0]!.ended();

        const handedOver = written().includes(CONTENT_MARK);
        if (!owned) expect(handedOver).toBe(false);
        if (handedOver) {
          const final = phases.final;
          if (end.kind === 'accepted') expect(final === null || /^2\d\d/.test(final)).toBe(true);
          else if (end.kind === 'refused') expect(final).toMatch(/^[45]\d\d/);
          else expect(end).toMatchObject({ kind: 'broken', phase: 'final', mayHaveBeenTaken: true });
        } else {
          expect(end.kind).not.toBe('accepted');
          if (end.kind === 'broken') expect(end.mayHaveBeenTaken).toBe(false);
        }
        await server.stop();
      }),
      { numRuns: 400 },
    );
    expect([...seen].sort()).toEqual(['accepted', 'broken', 'not_begun', 'refused']);
  });
});
