import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { DirectOptions } from '../../../adapters/mailer/direct/directMailer.ts';
import { freePort } from '../../../tools/embedded/service.ts';
import type { Zone } from '../../support/dnsServer.ts';
import type { ScriptedPeer, ScriptedSmtp } from '../../support/scriptedSmtp.ts';
import { selfSignedCertificate } from '../../support/selfSignedCertificate.ts';
import { type Answers, message } from '../smtp/dialogue.ts';
import {
  mailServerAt,
  type Neighbourhood,
  neighbourhood,
  PLAIN_EHLO,
  patient,
  reserveNone,
  reserveReady,
  sendTo,
} from './support.ts';

const running: { stop(): Promise<void> }[] = [];
let around: Neighbourhood | undefined;

afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()));
  await around?.close();
  around = undefined;
});

const plain: Answers = { ehlo: PLAIN_EHLO };

/** Servers at 127.0.0.1, 127.0.0.2 and so on, on one port; `null` is an address where nobody listens. */
async function start(
  servers: readonly (Answers | ((nth: number) => Answers) | null)[],
  zone: Zone,
  more: Partial<DirectOptions> = {},
) {
  const port = await freePort();
  const started: (ScriptedSmtp | null)[] = [];
  for (const [index, answers] of servers.entries()) {
    const server = answers === null ? null : await mailServerAt(`127.0.0.${index + 1}`, port, answers);
    if (server !== null) running.push(server);
    started.push(server);
  }
  around = await neighbourhood(port, zone, more);
  return { mailer: around.mailer, servers: started, dns: around.dns };
}

/** A domain whose servers are 127.0.0.1, 127.0.0.2 and so on, in this order of preference. */
function domainWith(count: number): Zone {
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  return {
    'example.org': { MX: numbers.map((number) => [number, `mx${number}.example.org`] as const) },
    ...Object.fromEntries(numbers.map((number) => [`mx${number}.example.org`, { A: [`127.0.0.${number}`] }])),
  };
}

/** Runs `first`, then `second`, in a script. */
const both =
  (first: (peer: ScriptedPeer) => void, second: (peer: ScriptedPeer) => void) => (peer: ScriptedPeer) => {
    first(peer);
    second(peer);
  };
const says = (text: string) => (peer: ScriptedPeer) => peer.send(text);
const withTls = ({ key, cert }: { key: string; cert: string }): Answers => ({
  starttls: both(says('220 go\r\n'), (peer) => peer.startTls({ key, cert })),
});
const failsHandshake: Answers = { starttls: both(says('220 go\r\n'), says('this is no TLS\r\n')) };

const connections = (server: ScriptedSmtp | null | undefined) => server!.peers.length;

describe('delivery', () => {
  it('goes to the best server of the domain, which is its destination under the domain name', async () => {
    const { mailer, servers } = await start([plain, plain], domainWith(2));
    expect(mailer.destinationOf('example.org')).toBe('mx:example.org');
    const conversation = await reserveReady(mailer, 'example.org');
    expect(conversation).toMatchObject({
      destination: 'mx:example.org',
      remoteHost: 'mx1.example.org [127.0.0.1]',
      speaker: 'exchanger',
    });
    conversation.release();
    expect(await sendTo(mailer, 'example.org')).toMatchObject({ kind: 'accepted' });
    expect(connections(servers[1])).toBe(0);
  });

  it('of several messages to one domain uses one connection', async () => {
    const { mailer, servers } = await start([plain], domainWith(1));
    for (let count = 0; count < 10; count++) await sendTo(mailer, 'example.org');
    expect(connections(servers[0])).toBe(1);
    expect(servers[0]!.peers[0]!.received.match(/^MAIL/gm)).toHaveLength(10);
  });

  it('to domains with the same mail servers uses one connection too', async () => {
    const { mailer, servers } = await start([plain], {
      ...domainWith(1),
      'example.net': { MX: [[1, 'mx1.example.org']] },
    });
    await sendTo(mailer, 'example.org');
    const conversation = await reserveReady(mailer, 'example.net');
    expect(conversation.destination).toBe('mx:example.net');
    conversation.release();
    expect(connections(servers[0])).toBe(1);
  });

  it.each<[string, Answers | null]>([
    ['nobody listens', null],
    ['refuses everybody', { greeting: '554 5.7.1 go away\r\n' }],
    ['is not ready', { greeting: '421 4.3.2 shutting down\r\n' }],
    ['hangs up', { greeting: (peer) => peer.close() }],
    ['refuses EHLO', { ehlo: '550 no\r\n' }],
    ['speaks something else', { greeting: 'SSH-2.0-OpenSSH\r\n' }],
  ])('goes on to the next server where the first %s', async (_, answers) => {
    const { mailer } = await start([answers, plain], domainWith(2));
    const conversation = await reserveReady(mailer, 'example.org');
    expect(conversation.remoteHost).toBe('mx2.example.org [127.0.0.2]');
    conversation.release();
  });

  it('tries every address of a host before the next host', async () => {
    const { mailer } = await start([null, plain, plain], {
      'example.org': {
        MX: [
          [10, 'mx1.example.org'],
          [20, 'mx3.example.org'],
        ],
      },
      'mx1.example.org': { A: ['127.0.0.1', '127.0.0.2'] },
      'mx3.example.org': { A: ['127.0.0.3'] },
    });
    const conversation = await reserveReady(mailer, 'example.org');
    expect(conversation.remoteHost).toBe('mx1.example.org [127.0.0.2]');
    conversation.release();
  });

  it('reaches servers over IPv6', async () => {
    const port = await freePort();
    running.push(await mailServerAt('::1', port, plain));
    around = await neighbourhood(port, { 'example.org': { AAAA: ['::1'] } });
    const conversation = await reserveReady(around.mailer, 'example.org');
    expect(conversation.remoteHost).toBe('example.org [::1]');
    conversation.release();
  });

  it('does not begin with a server that failed a moment ago', async () => {
    const greeting = '421 4.3.2 not now\r\n';
    const { mailer, servers } = await start([{ greeting }, plain], domainWith(2), {
      maxMessagesPerConnection: 1,
    });
    for (let count = 0; count < 3; count++) await sendTo(mailer, 'example.org');
    expect([connections(servers[0]), connections(servers[1])]).toEqual([1, 3]);
  });

  it('never connects to this machine or a private network unless told so', async () => {
    const { mailer, servers } = await start([plain], domainWith(1), { allowPrivateAddresses: false });
    expect(await reserveNone(mailer, 'example.org')).toMatchObject({
      verdict: { action: 'soft', rule: 'private_address' },
    });
    expect(connections(servers[0])).toBe(0);
  });
});

describe('no conversation', () => {
  it.each<[string, Answers | null, object]>([
    [
      'a server that cannot be reached',
      null,
      { phase: 'connect', reply: null, verdict: { action: 'soft', category: 'network', fault: 'recipient' } },
    ],
    [
      'a server that refuses us for a while',
      { greeting: '421 4.7.0 too many connections\r\n' },
      { phase: 'greeting', reply: { code: 421 }, verdict: { action: 'soft', category: 'rate_limit' } },
    ],
    [
      'a server that lists our address',
      { greeting: '554 5.7.1 your IP is listed at zen.spamhaus.org\r\n' },
      {
        phase: 'greeting',
        reply: { code: 554 },
        verdict: { action: 'soft', category: 'reputation', fault: 'ours' },
      },
    ],
  ])('with %s has the verdict of its own', async (_, answers, expected) => {
    const { mailer } = await start([answers], domainWith(1));
    expect(await reserveNone(mailer, 'example.org')).toMatchObject({
      destination: 'mx:example.org',
      ...expected,
    });
  });

  it('with a domain that does not exist is a hard bounce, with one that has no mail too', async () => {
    const { mailer } = await start([], { 'example.net': { MX: [[0, '']] } });
    expect(await reserveNone(mailer, 'example.org')).toMatchObject({
      verdict: { action: 'hard', category: 'host_unknown' },
    });
    expect(await reserveNone(mailer, 'example.net')).toMatchObject({
      verdict: { action: 'hard', category: 'no_mail_accepted' },
    });
  });

  it('tells what a server said rather than the silence of the next one', async () => {
    const { mailer } = await start([{ greeting: '554 5.3.2 closed\r\n' }, null], domainWith(2));
    expect(await reserveNone(mailer, 'example.org')).toMatchObject({
      reply: { code: 554 },
      remoteHost: 'mx1.example.org [127.0.0.1]',
    });
  });

  it('costs everybody who waits one attempt, and those who come soon after none', async () => {
    const { mailer, servers } = await start([{ greeting: '421 4.3.2 no\r\n' }], domainWith(1));
    const all = await Promise.all(Array.from({ length: 20 }, () => reserveNone(mailer, 'example.org')));
    expect(all.every(({ verdict }) => verdict?.action === 'soft')).toBe(true);
    await reserveNone(mailer, 'example.org');
    expect(connections(servers[0])).toBe(1);
  });
});

describe('encryption', () => {
  it('is used where it is offered, whatever the certificate', async () => {
    const { key, cert } = await selfSignedCertificate('other.example.net');
    const { mailer, servers } = await start([withTls({ key, cert })], domainWith(1));
    expect(await sendTo(mailer, 'example.org')).toMatchObject({ kind: 'accepted' });
    expect(servers[0]!.peers[0]!.received.match(/^EHLO/gm)).toHaveLength(2);
  });

  it('that fails in the handshake is left out at once, and remembered', async () => {
    const { mailer, servers } = await start([failsHandshake], domainWith(1), { maxMessagesPerConnection: 1 });
    expect(await sendTo(mailer, 'example.org')).toMatchObject({ kind: 'accepted' });
    expect(connections(servers[0])).toBe(2);
    expect(servers[0]!.peers[1]!.received).not.toContain('STARTTLS');
    await sendTo(mailer, 'example.org');
    expect(connections(servers[0])).toBe(3);
    expect(servers[0]!.peers[2]!.received).not.toContain('STARTTLS');
  });

  it('that is required keeps mail from every server without it, and nothing is said in the clear', async () => {
    const { mailer, servers } = await start([failsHandshake, plain], domainWith(2), {
      protection: 'encrypted',
    });
    expect(await reserveNone(mailer, 'example.org')).toMatchObject({
      phase: 'starttls',
      verdict: { action: 'soft', rule: 'tls_failed' },
    });
    for (const server of servers) expect(server!.peers[0]!.received).not.toContain('MAIL FROM');
  });

  it('that is to be verified takes the certificate of the host alone', async () => {
    const right = await selfSignedCertificate('mx1.example.org');
    const wrong = await selfSignedCertificate('elsewhere.example.net');
    const { mailer } = await start(
      [withTls(right), withTls(wrong)],
      {
        ...domainWith(1),
        'example.net': { MX: [[1, 'mx2.example.net']] },
        'mx2.example.net': { A: ['127.0.0.2'] },
      },
      { protection: 'verified', certificateAuthorities: `${right.cert}\n${wrong.cert}` },
    );
    expect(await sendTo(mailer, 'example.org')).toMatchObject({ kind: 'accepted' });
    expect(await reserveNone(mailer, 'example.net')).toMatchObject({ phase: 'starttls' });
  });
});

describe('limits towards a destination', () => {
  it('of connections are kept, and all messages go', async () => {
    let most = 0;
    const { mailer, servers } = await start(
      [
        {
          ...plain,
          mail: both(() => {
            most = Math.max(most, servers[0]!.open);
          }, says('250 ok\r\n')),
        },
      ],
      domainWith(1),
      {
        perDestination: { connections: 3, messagesPerMinute: 100_000 },
      },
    );
    const ends = await Promise.all(Array.from({ length: 60 }, () => sendTo(mailer, 'example.org')));
    expect(ends.every(({ kind }) => kind === 'accepted')).toBe(true);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(3);
  });

  it('of messages a minute are kept: who would wait for long is told when to come back', async () => {
    const { mailer, servers } = await start([plain], domainWith(1), {
      perDestination: { connections: 3, messagesPerMinute: 4 },
    });
    expect(await sendTo(mailer, 'example.org')).toMatchObject({ kind: 'accepted' });
    const later = await reserveNone(mailer, 'example.org');
    expect(later).toMatchObject({ verdict: null, destination: 'mx:example.org' });
    expect(later.busyMilliseconds).toBeGreaterThan(5_000);
    expect(later.busyMilliseconds).toBeLessThanOrEqual(15_000);
    expect(servers[0]!.peers[0]!.received.match(/^MAIL/gm)).toHaveLength(1);
  });

  it('of messages a minute and a connection count each message of one conversation', async () => {
    const carry = async (more: Partial<DirectOptions>) => {
      const { mailer, servers } = await start([plain], domainWith(1), {
        maxMessagesPerConnection: 3,
        ...more,
      });
      const conversation = await reserveReady(mailer, 'example.org');
      const takesMore = await conversation.transmitAll(() => ({
        message: { ...message, to: 'person@example.org' },
        beginBefore: Number.POSITIVE_INFINITY,
        begun() {},
        ended: (end) => expect(end).toMatchObject({ kind: 'accepted' }),
      }));
      conversation.release();
      await around!.close();
      around = undefined;
      return { takesMore, carried: servers[0]!.peers[0]!.received.match(/^MAIL/gm)!.length };
    };
    expect(await carry({ perDestination: { connections: 3, messagesPerMinute: 4 } })).toEqual({
      takesMore: false,
      carried: 1,
    });
    // A microsecond a message, which no machine is faster than.
    const unlimited = { connections: 3, messagesPerMinute: 60_000_000 };
    expect(await carry({ perDestination: unlimited })).toEqual({ takesMore: false, carried: 3 });
  });

  it('of those who wait are kept, so that a slow domain does not take all workers', async () => {
    const { mailer } = await start([plain], domainWith(1), {
      perDestination: { connections: 1, messagesPerMinute: 100_000 },
      maxWaiting: 3,
    });
    const holder = await reserveReady(mailer, 'example.org');
    const waiting = [1, 2, 3].map(() => reserveReady(mailer, 'example.org'));
    await sleep(50);
    const fourth = await reserveNone(mailer, 'example.org');
    expect(fourth).toMatchObject({ verdict: null });
    expect(fourth.busyMilliseconds).toBeGreaterThan(0);
    holder.release();
    for (const one of waiting) (await one).release();
  });

  it('shrink when the servers say that it is too much', async () => {
    let refuses = true;
    const { mailer, servers } = await start(
      [{ ...plain, rcpt: (peer) => peer.send(refuses ? '451 4.7.0 too many messages\r\n' : '250 ok\r\n') }],
      domainWith(1),
      { perDestination: { connections: 4, messagesPerMinute: 100_000 } },
    );
    const four = await Promise.all([1, 2, 3, 4].map(() => reserveReady(mailer, 'example.org')));
    for (const conversation of four) conversation.release();
    expect(servers[0]!.open).toBe(4);
    expect(await sendTo(mailer, 'example.org')).toMatchObject({ kind: 'refused' });
    refuses = false;
    let most = 0;
    const held = async () => {
      const conversation = await reserveReady(mailer, 'example.org');
      most = Math.max(most, ++now);
      await sleep(5);
      now--;
      conversation.release();
    };
    let now = 0;
    await Promise.all(Array.from({ length: 20 }, held));
    // Connections that are surplus end when they are given back.
    await Promise.all(Array.from({ length: 20 }, held));
    expect(servers[0]!.open).toBe(2);
    expect(most).toBeLessThanOrEqual(4);
  });

  it('do not shrink by greylisting or a full mailbox', async () => {
    const replies = ['451 4.7.1 Greylisted, try again later\r\n', '452 4.2.2 mailbox full\r\n'];
    const { mailer, servers } = await start(
      [{ ...plain, rcpt: (peer) => peer.send(replies.shift() ?? '250 ok\r\n') }],
      domainWith(1),
      { perDestination: { connections: 2, messagesPerMinute: 100_000 } },
    );
    expect(await sendTo(mailer, 'example.org')).toMatchObject({ kind: 'refused' });
    expect(await sendTo(mailer, 'example.org')).toMatchObject({ kind: 'refused' });
    const reserved = await Promise.all([1, 2].map(() => reserveReady(mailer, 'example.org')));
    expect(servers[0]!.open).toBe(2);
    for (const conversation of reserved) conversation.release();
  });
});

describe('all destinations together', () => {
  /** Fifty good domains at 127.0.0.1 and dead ones at 127.0.0.2, each with a host of its own. */
  function manyDomains(good: number, dead: number): Zone {
    const domain = (name: string, address: string): Zone => ({
      [name]: { MX: [[10, `mail.${name}`]] },
      [`mail.${name}`]: { A: [address] },
    });
    return Object.assign(
      {},
      ...Array.from({ length: good }, (_, index) => domain(`good${index}.test`, '127.0.0.1')),
      ...Array.from({ length: dead }, (_, index) => domain(`dead${index}.test`, '127.0.0.2')),
    ) as Zone;
  }

  it('are not held up by a domain whose server never answers', async () => {
    const { mailer, servers } = await start(
      [plain, { greeting: (peer) => peer.ended() }],
      manyDomains(50, 1),
      { maxConnections: 4, timeouts: { greeting: 30_000 } },
    );
    const controller = new AbortController();
    const stuck = Array.from({ length: 20 }, () => mailer.reserve('dead0.test', controller.signal));
    const turnedAway = Promise.allSettled(stuck);
    await expect.poll(() => connections(servers[1])).toBe(1);
    const domains = Array.from({ length: 50 }, (_, index) => `good${index}.test`);
    const ends = await Promise.all(
      domains.flatMap((domain) => [sendTo(mailer, domain), sendTo(mailer, domain)]),
    );
    expect(ends.every(({ kind }) => kind === 'accepted')).toBe(true);
    // Only one connection was ever spent on the dead one, and it still waits.
    expect(connections(servers[1])).toBe(1);
    expect(servers[1]!.open).toBe(1);
    controller.abort(new Error('enough'));
    expect((await turnedAway).every(({ status }) => status === 'rejected')).toBe(true);
  });

  it('never have more connections than the process may; idle ones make room for others', async () => {
    let most = 0;
    const { mailer, servers } = await start(
      [
        {
          ...plain,
          mail: both(() => {
            most = Math.max(most, servers[0]!.open);
          }, says('250 ok\r\n')),
        },
      ],
      manyDomains(30, 0),
      { maxConnections: 3, idleMilliseconds: 60_000 },
    );
    for (let round = 0; round < 2; round++) {
      const domains = Array.from({ length: 30 }, (_, index) => `good${index}.test`);
      const ends = await Promise.all(domains.map((domain) => sendTo(mailer, domain)));
      expect(ends.every(({ kind }) => kind === 'accepted')).toBe(true);
    }
    expect(most).toBeLessThanOrEqual(3);
  });

  it('get a connection in turn: a domain with much mail does not keep others waiting until it is done', async () => {
    const { mailer } = await start([plain], manyDomains(2, 0), {
      maxConnections: 1,
      perDestination: { connections: 1, messagesPerMinute: 100_000 },
      maxMessagesPerConnection: 2,
    });
    const order: string[] = [];
    const send = async (domain: string) => {
      await sendTo(mailer, domain);
      order.push(domain);
    };
    const much = Array.from({ length: 10 }, () => send('good0.test'));
    await Promise.all([...much, send('good1.test')]);
    expect(order.indexOf('good1.test')).toBeLessThan(10);
  });

  it('leave dead domains a part of the connections once they are known to be dead', async () => {
    const { mailer, servers } = await start(
      [plain, { greeting: (peer) => peer.ended() }],
      manyDomains(1, 8),
      { maxConnections: 8, timeouts: { greeting: 200 } },
    );
    await Promise.all(Array.from({ length: 8 }, (_, index) => reserveNone(mailer, `dead${index}.test`)));
    expect(connections(servers[1])).toBe(8);
    expect(await sendTo(mailer, 'good0.test')).toMatchObject({ kind: 'accepted' });
  });

  it('are told when the mailer closes, and open connections end with QUIT', async () => {
    const { mailer, servers } = await start([plain], domainWith(1), {
      perDestination: { connections: 1, messagesPerMinute: 100_000 },
    });
    await sendTo(mailer, 'example.org');
    const held = await reserveReady(mailer, 'example.org');
    const waiting = mailer.reserve('example.org', patient());
    const turnedAway = expect(waiting).rejects.toThrow('closed');
    await sleep(20);
    const closed = mailer.close();
    await turnedAway;
    held.release();
    await closed;
    expect(servers[0]!.peers[0]!.received).toMatch(/QUIT\r\n$/);
    await expect(mailer.reserve('example.org', patient())).rejects.toThrow('closed');
  });
});
