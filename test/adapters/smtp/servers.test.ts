import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openSession } from '../../../adapters/smtp/open.ts';
import { type GreenMail, startGreenMail } from '../../support/greenmail.ts';
import { selfSignedCertificate } from '../../support/selfSignedCertificate.ts';
import { CONTENT_MARK, largeMessage, message, mustOpen, serverOptions, willing } from './dialogue.ts';

interface Arrived {
  readonly from: string;
  readonly to: string;
  readonly mailParameters: unknown;
  readonly secure: boolean;
  readonly user: string | undefined;
  readonly content: Buffer;
}

let certificate: Awaited<ReturnType<typeof selfSignedCertificate>>;

beforeAll(async () => {
  certificate = await selfSignedCertificate();
});

describe('with smtp-server', () => {
  let server: SMTPServer | undefined;
  let arrived: Arrived[];

  afterEach(async () => {
    if (server !== undefined) await new Promise<void>((resolve) => server!.close(resolve));
    server = undefined;
  });

  async function start(options: SMTPServerOptions = {}): Promise<number> {
    arrived = [];
    server = new SMTPServer({
      ...certificate,
      authOptional: true,
      closeTimeout: 100,
      onAuth(credentials, _session, done) {
        const known = credentials.username === 'heed' && credentials.password === 'secret';
        done(known ? null : new Error('Unknown user'), { user: credentials.username });
      },
      onRcptTo({ address }, _session, done) {
        if (!address.startsWith('unknown')) return done();
        done(Object.assign(new Error('No such user'), { responseCode: 550 }));
      },
      onData(stream, session, done) {
        const chunks: Buffer[] = [];
        stream.on('data', (chunk: Buffer) => chunks.push(chunk));
        stream.on('end', () => {
          const { mailFrom, rcptTo } = session.envelope;
          arrived.push({
            from: mailFrom === false ? '' : mailFrom.address,
            to: rcptTo[0]!.address,
            mailParameters: mailFrom === false ? false : mailFrom.args,
            secure: session.secure,
            user: session.user,
            content: Buffer.concat(chunks),
          });
          done();
        });
      },
      ...options,
    });
    server.listen(0, '127.0.0.1');
    await once(server.server, 'listening');
    return (server.server.address() as AddressInfo).port;
  }

  const trusting = { tlsOptions: { ca: '' } };
  beforeAll(() => {
    trusting.tlsOptions.ca = certificate.cert;
  });

  it.each([
    ['none', false],
    ['opportunistic', true],
    ['required', true],
    ['implicit', true],
  ] as const)('delivers, TLS %s', async (tls, secure) => {
    const port = await start({ secure: tls === 'implicit' });
    const session = await mustOpen(serverOptions(port, { tls, ...trusting }));
    for (let count = 0; count < 3; count++) {
      expect(await session.transmit(message, willing)).toMatchObject({
        kind: 'accepted',
        reply: { code: 250 },
      });
    }
    await session.quit();
    expect(arrived).toHaveLength(3);
    for (const one of arrived) {
      expect(one).toMatchObject({ from: 'sender@example.com', to: 'person@example.org', secure });
      expect(one.content.equals(Buffer.from(message.content as Uint8Array))).toBe(true);
    }
  });

  it.each([['PLAIN'], ['LOGIN']])('authenticates with %s', async (method) => {
    const port = await start({ authOptional: false, authMethods: [method] });
    const options = serverOptions(port, { tls: 'required', ...trusting });
    const session = await mustOpen({ ...options, auth: { user: 'heed', password: 'secret' } });
    expect(await session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
    await session.quit();
    expect(arrived[0]!.user).toBe('heed');
    const wrong = await openSession({ ...options, auth: { user: 'heed', password: 'wrong' } });
    expect(wrong).toMatchObject({ opened: false, phase: 'auth', reply: { code: 535 } });
  });

  it('tells a refused recipient, and the next message goes through', async () => {
    const session = await mustOpen(serverOptions(await start()));
    expect(await session.transmit({ ...message, to: 'unknown@example.org' }, willing)).toMatchObject({
      kind: 'refused',
      phase: 'rcpt',
      reply: { code: 550, text: 'No such user' },
    });
    expect(await session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
    await session.quit();
    expect(arrived.map((one) => one.to)).toEqual(['person@example.org']);
  });

  it('keeps to SIZE', async () => {
    const session = await mustOpen(serverOptions(await start({ size: 1000 })));
    const content = Buffer.from(`${'x'.repeat(70)}\r\n`.repeat(14));
    expect(await session.transmit({ ...message, content }, willing)).toMatchObject({
      kind: 'unsendable',
      why: 'message_too_large',
    });
    const fitting = content.subarray(0, 72 * 13);
    expect(await session.transmit({ ...message, content: fitting }, willing)).toMatchObject({
      kind: 'accepted',
    });
    await session.quit();
    expect(arrived[0]!.mailParameters).toEqual({ SIZE: String(fitting.length) });
  });

  it('delivers to an internationalised address with SMTPUTF8', async () => {
    const session = await mustOpen(serverOptions(await start()));
    const end = await session.transmit({ ...message, from: '', to: 'jörg@bücher.example' }, willing);
    expect(end).toMatchObject({ kind: 'accepted' });
    await session.quit();
    expect(arrived[0]!.to).toBe('jörg@bücher.example');
  });

  it('delivers large content over TLS', async () => {
    const port = await start();
    const session = await mustOpen(serverOptions(port, { tls: 'required', ...trusting }));
    expect(await session.transmit(largeMessage, willing)).toMatchObject({ kind: 'accepted' });
    await session.quit();
    expect(arrived[0]!.content.equals(Buffer.from(largeMessage.content as Uint8Array))).toBe(true);
  });

  it('delivers any content byte for byte', async () => {
    const session = await mustOpen(serverOptions(await start()));
    const piece = fc.oneof(
      fc.constantFrom('.', '..', '\r\n', '\r\n.\r\n', '\r\n..', '.\r\n', ' ', '\0', '\xff\xfe'),
      fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)) }),
      fc.constantFrom('x'.repeat(8_000), '.\r\n'.repeat(8_000), 'x'.repeat(70_000)),
    );
    const content = fc
      .array(piece, { maxLength: 30 })
      .map((pieces) => Buffer.from(pieces.join('').replace(/\r\n|\r|\n/g, '\r\n'), 'latin1'));
    await fc.assert(
      fc.asyncProperty(content, async (octets) => {
        arrived.length = 0;
        expect(await session.transmit({ ...message, content: octets }, willing)).toMatchObject({
          kind: 'accepted',
        });
        const terminated = octets.length >= 2 && octets.subarray(-2).equals(Buffer.from('\r\n'));
        const expected = terminated ? octets : Buffer.concat([octets, Buffer.from('\r\n')]);
        expect(arrived).toHaveLength(1);
        expect(arrived[0]!.content.equals(expected)).toBe(true);
      }),
      { numRuns: 200 },
    );
    await session.quit();
  });
});

describe('with GreenMail', () => {
  let greenMail: GreenMail;

  beforeAll(async () => {
    greenMail = await startGreenMail(['heed:secret@example.net']);
  });

  afterAll(() => greenMail?.stop());

  it.each([
    ['none', 'smtpPort'],
    ['implicit', 'smtpsPort'],
  ] as const)('delivers, TLS %s, message after message', async (tls, port) => {
    const to = `${tls}@example.org`;
    const session = await mustOpen(
      serverOptions(greenMail[port], { tls, tlsOptions: { rejectUnauthorized: false } }),
    );
    for (let count = 0; count < 3; count++) {
      const content = Buffer.from(`Subject: number ${count}\r\n\r\n.\r\n..${CONTENT_MARK}\r\n`);
      expect(await session.transmit({ ...message, to, content }, willing)).toMatchObject({
        kind: 'accepted',
      });
    }
    await session.quit();
    const messages = await greenMail.messagesOf(to);
    expect(messages.map((one) => one.subject).sort()).toEqual(['number 0', 'number 1', 'number 2']);
    for (const one of messages) expect(one.mimeMessage).toContain(`\r\n.\r\n..${CONTENT_MARK}`);
  });

  it('authenticates, and is told of a wrong password', async () => {
    const options = serverOptions(greenMail.smtpsPort, {
      tls: 'implicit',
      tlsOptions: { rejectUnauthorized: false },
    });
    const right = await openSession({ ...options, auth: { user: 'heed', password: 'secret' } });
    expect(right.opened).toBe(true);
    if (right.opened) await right.session.quit();
    const wrong = await openSession({ ...options, auth: { user: 'heed', password: 'wrong' } });
    expect(wrong).toMatchObject({ opened: false, phase: 'auth', reply: { code: 535 } });
  });

  it('hands nothing over when the attempt was lost', async () => {
    const to = 'nobody@example.org';
    const session = await mustOpen(serverOptions(greenMail.smtpPort));
    expect(
      await session.transmit({ ...message, to }, { ...willing, beforeHandOver: async () => false }),
    ).toEqual({ kind: 'not_begun', why: 'ownership_lost' });
    expect(await session.transmit({ ...message, to: 'after@example.org' }, willing)).toMatchObject({
      kind: 'accepted',
    });
    await session.quit();
    expect(await greenMail.messagesOf('after@example.org')).toHaveLength(1);
    await expect(greenMail.messagesOf(to)).rejects.toThrow(/400|404/);
  });
});
