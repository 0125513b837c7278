import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { QueuedMessage, Transmission } from '../../../adapters/mailer/mailer.ts';
import { type ScriptedPeer, type ScriptedSmtp, startScriptedSmtp } from '../../support/scriptedSmtp.ts';
import { until } from '../../support/until.ts';
import { mustOpen, serverOptions } from './dialogue.ts';

/* Message after message over one connection, the end of one together with the envelope of the next (RFC 2920). */

const EHLO = '250-mail.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n';
const OK = '250 2.0.0 ok\r\n';
let server: ScriptedSmtp | undefined;
afterEach(async () => {
  await server?.stop();
  server = undefined;
});

/** What the server says about each message; a function does what it likes with the connection. */
interface Script {
  readonly mail?: string;
  readonly rcpt?: string;
  readonly data?: string;
  readonly final?: string | ((peer: ScriptedPeer) => void | Promise<void>);
}

/** Messages whose content the server has had to its final dot, by their recipients. */
interface Served {
  readonly taken: string[];
}

async function serve(peer: ScriptedPeer, scripts: readonly Script[], served: Served, ehlo = EHLO) {
  peer.send('220 mail.test ESMTP\r\n');
  let nth = -1;
  for (;;) {
    const line = await peer.line();
    if (line === null) return;
    const script = scripts[nth] ?? {};
    if (line.startsWith('EHLO')) peer.send(ehlo);
    else if (line.startsWith('MAIL')) {
      nth += 1;
      peer.send(scripts[nth]?.mail ?? OK);
    } else if (line.startsWith('RCPT')) peer.send(script.rcpt ?? OK);
    else if (line === 'DATA') {
      const says = script.data ?? '354 go on\r\n';
      peer.send(says);
      if (!says.startsWith('354')) continue;
      const content = await peer.content();
      if (content === null) return;
      served.taken.push(/To: (\S+)/.exec(content)?.[1] ?? 'nobody');
      const { final = OK } = script;
      if (typeof final === 'string') peer.send(final);
      else await final(peer);
    } else if (line === 'RSET') peer.send(OK);
    else if (line === 'QUIT') peer.send('221 bye\r\n');
  }
}

interface Ends {
  readonly ends: Transmission[];
  readonly begun: number[];
  readonly more: boolean;
}

function messageTo(nth: number, ended: (end: Transmission) => void): QueuedMessage {
  return {
    message: {
      from: 'sender@example.com',
      to: `p${nth}@example.org`,
      content: Buffer.from(`To: p${nth}@example.org\r\n\r\n.dots and all\r\n`),
    },
    beginBefore: performance.now() + 60_000,
    begun() {},
    ended,
  };
}

/** Sends so many messages, to `p0@example.org` and so on. */
async function sendAll(
  count: number,
  scripts: readonly Script[],
  options: { ehlo?: string; window?: (nth: number) => number } = {},
): Promise<Ends & { readonly peer: ScriptedPeer; readonly taken: readonly string[] }> {
  const served: Served = { taken: [] };
  server = await startScriptedSmtp((peer) => serve(peer, scripts, served, options.ehlo));
  const session = await mustOpen({
    ...serverOptions(server.port),
    // However busy the machine is, the server of these tests counts as prompt.
    timeouts: { prompt: 60_000 },
  });
  const ends: Transmission[] = [];
  const begun: number[] = [];
  let next = 0;
  const more = await session.transmitAll((): QueuedMessage | null => {
    if (next === count) return null;
    const nth = next;
    next += 1;
    const ended = (end: Transmission) => {
      if (ends[nth] !== undefined) throw new Error('it ended twice');
      ends[nth] = end;
    };
    return {
      ...messageTo(nth, ended),
      beginBefore: performance.now() + (options.window?.(nth) ?? 60_000),
      begun: () => begun.push(nth),
    };
  });
  await session.quit();
  return { ends, begun, more, peer: server.peers[0]!, taken: served.taken };
}

const kinds = (ends: readonly Transmission[]) => ends.map((end) => end.kind);

describe('message after message', () => {
  it('writes the end of one and the envelope of the next together once the server has shown that it is prompt', async () => {
    const { ends, begun, more, peer, taken } = await sendAll(4, []);
    expect(kinds(ends)).toEqual(['accepted', 'accepted', 'accepted', 'accepted']);
    expect(taken).toEqual(['p0@example.org', 'p1@example.org', 'p2@example.org', 'p3@example.org']);
    expect(begun).toEqual([0, 1, 2, 3]);
    expect(more).toBe(true);
    expect(peer.received).toContain(
      '..dots and all\r\n.\r\nMAIL FROM:<sender@example.com>\r\nRCPT TO:<p3@example.org>\r\nDATA\r\n',
    );
  });

  it('asks one thing after the other where PIPELINING is not offered', async () => {
    const { ends, taken, peer } = await sendAll(3, [], { ehlo: '250 mail.test\r\n' });
    expect(kinds(ends)).toEqual(['accepted', 'accepted', 'accepted']);
    expect(taken).toHaveLength(3);
    expect(peer.received).not.toContain('RSET');
  });

  it('one refusal is that of its message alone, wherever it comes', async () => {
    const no = '550 5.1.1 no such user\r\n';
    const out = '503 5.5.1 no valid recipients\r\n';
    const { ends, taken, more } = await sendAll(9, [
      {},
      { mail: '452 4.3.1 full\r\n', rcpt: out, data: out },
      {},
      { rcpt: no, data: out },
      {},
      { final: '554 5.7.1 not this\r\n' },
      {},
      { data: '451 4.3.0 later\r\n' },
    ]);
    expect(ends.map((end) => (end.kind === 'refused' ? [end.phase, end.reply.code] : end.kind))).toEqual([
      'accepted',
      ['mail', 452],
      'accepted',
      ['rcpt', 550],
      'accepted',
      ['final', 554],
      'accepted',
      ['data', 451],
      'accepted',
    ]);
    expect(taken).not.toContain('p3@example.org');
    expect(more).toBe(true);
  });

  it('a server that asks for content without a recipient gets none of it', async () => {
    const { ends, taken, peer } = await sendAll(3, [
      {},
      { rcpt: '550 5.1.1 no such user\r\n', final: '554 5.5.1 no valid recipients\r\n' },
    ]);
    expect(kinds(ends)).toEqual(['accepted', 'refused', 'accepted']);
    expect(taken).toEqual(['p0@example.org', 'nobody', 'p2@example.org']);
    expect(peer.received).not.toContain('To: p1@example.org');
  });

  it('a connection that ends behind a final dot leaves one message in doubt, and the next one untouched (I2)', async () => {
    const { ends, taken, more } = await sendAll(4, [{}, {}, { final: (peer) => peer.reset() }]);
    expect(ends.slice(0, 2).map(({ kind }) => kind)).toEqual(['accepted', 'accepted']);
    expect(ends[2]).toMatchObject({ kind: 'broken', phase: 'final', mayHaveBeenTaken: true });
    expect(ends[3]).toEqual({ kind: 'not_begun', why: 'conversation_over', reply: null });
    expect(taken).toHaveLength(3);
    expect(more).toBe(false);
  });

  it('421 to the final dot ends the conversation for the next one too', async () => {
    const { ends, more } = await sendAll(3, [{}, { final: '421 4.3.2 closing\r\n' }]);
    expect(ends[1]).toMatchObject({ kind: 'refused', phase: 'final', reply: { code: 421 } });
    expect(ends[2]).toEqual({ kind: 'not_begun', why: 'conversation_over', reply: null });
    expect(more).toBe(false);
  });

  it.each([
    ['prompt', undefined],
    ['without PIPELINING', '250 mail.test\r\n'],
  ])(
    'a server (%s) that ends the conversation in the face of the next one says nothing of that one',
    async (_, ehlo) => {
      const options = ehlo === undefined ? {} : { ehlo };
      const { ends, more, taken } = await sendAll(
        4,
        [{}, {}, { mail: '421 4.7.0 too many messages on this connection\r\n' }],
        options,
      );
      expect(kinds(ends)).toEqual(['accepted', 'accepted', 'not_begun']);
      expect(ends[2]).toMatchObject({
        why: 'conversation_over',
        reply: { code: 421, enhancedCode: '4.7.0' },
      });
      expect(taken).toEqual(['p0@example.org', 'p1@example.org']);
      expect(more).toBe(false);
    },
  );

  it('what the server ends before it took anything is the outcome of the first', async () => {
    const { ends, more } = await sendAll(2, [{ mail: '421 4.3.2 shutting down\r\n' }]);
    expect(ends).toMatchObject([{ kind: 'refused', phase: 'mail', reply: { code: 421 } }]);
    expect(more).toBe(false);
  });

  it('a connection that was closed between two messages takes nobody else on', async () => {
    const takenLeave = (peer: ScriptedPeer) => {
      peer.send(OK);
      peer.close();
    };
    server = await startScriptedSmtp((peer) => serve(peer, [{ final: takenLeave }], { taken: [] }));
    const session = await mustOpen(serverOptions(server.port));
    const ends: Transmission[] = [];
    const only = (left: number) => (): QueuedMessage | null => {
      left -= 1;
      return left < 0 ? null : messageTo(left, (end) => ends.push(end));
    };
    await session.transmitAll(only(1));
    await until('the connection is closed', () => !session.usable);
    expect(await session.transmitAll(only(1))).toBe(false);
    expect(kinds(ends)).toEqual(['accepted']);
  });

  it('a message that the server comes to too late is not begun, and nothing of it is handed over (I1)', async () => {
    const slow = async (peer: ScriptedPeer) => {
      await sleep(150);
      peer.send(OK);
    };
    const { ends, begun, taken } = await sendAll(3, [{}, { final: slow }], {
      window: (nth) => (nth === 2 ? 50 : 60_000),
    });
    expect(ends).toMatchObject([
      { kind: 'accepted' },
      { kind: 'accepted' },
      { kind: 'not_begun', why: 'gate_expired' },
    ]);
    expect(begun).toEqual([0, 1]);
    expect(taken).toEqual(['p0@example.org', 'p1@example.org']);
  });

  it('a message whose decision is too old is passed over, and those behind it go on', async () => {
    const { ends, taken } = await sendAll(3, [], { window: (nth) => (nth === 1 ? -1 : 60_000) });
    expect(kinds(ends)).toEqual(['accepted', 'not_begun', 'accepted']);
    expect(taken).toEqual(['p0@example.org', 'p2@example.org']);
  });

  it('whatever the server says: everybody has one end, and accepted is who was taken and acknowledged', async () => {
    const reply = (good: string) =>
      fc.constantFrom(good, good, good, '451 4.0.0 later\r\n', '550 5.0.0 no\r\n', '421 bye\r\n');
    const final = fc.oneof(
      { weight: 5, arbitrary: reply(OK) },
      { weight: 1, arbitrary: fc.constant((peer: ScriptedPeer) => peer.reset()) },
      { weight: 1, arbitrary: fc.constant((peer: ScriptedPeer) => peer.close()) },
    );
    const script = fc.record({ mail: reply(OK), rcpt: reply(OK), data: reply('354 go on\r\n'), final });
    await fc.assert(
      fc.asyncProperty(fc.array(script, { minLength: 1, maxLength: 8 }), async (scripts) => {
        const { ends, taken } = await sendAll(scripts.length, scripts);
        await server!.stop();
        server = undefined;
        // Whoever came to nothing was not taken by `next`: they stand behind everybody that has an end.
        expect(ends.includes(undefined as never)).toBe(false);
        for (const [nth, end] of ends.entries()) {
          const had = taken.includes(`p${nth}@example.org`);
          if (end.kind === 'accepted') expect(had && scripts[nth]!.final === OK).toBe(true);
          if (had) expect(['accepted', 'refused', 'broken']).toContain(end.kind);
          if (had && end.kind === 'broken') expect(end.mayHaveBeenTaken).toBe(true);
          if (!had && end.kind === 'broken') expect(end.phase).not.toBe('final');
        }
      }),
      { numRuns: 60 },
    );
  });
});
