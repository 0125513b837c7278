import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openSession } from '../../../adapters/smtp/open.ts';
import { checkServerOptions, type SmtpServerOptions } from '../../../adapters/smtp/options.ts';
import { type ScriptedPeer, type ScriptedSmtp, startScriptedSmtp } from '../../support/scriptedSmtp.ts';
import { selfSignedCertificate } from '../../support/selfSignedCertificate.ts';
import { type Answers, message, playServer, serverOptions, willing } from './dialogue.ts';

let server: ScriptedSmtp;
let certificate: Awaited<ReturnType<typeof selfSignedCertificate>>;

beforeAll(async () => {
  certificate = await selfSignedCertificate();
});

afterEach(() => server?.stop());

async function open(answers: Answers, options: Partial<SmtpServerOptions> = {}) {
  server = await startScriptedSmtp((peer) => playServer(peer, answers));
  const result = await openSession(serverOptions(server.port, options));
  const received = () => server.peers[0]!.received;
  return { result, received };
}

const auth = { user: 'heed', password: 'secret' };
const plaintextAuth = { ...auth, allowPlaintext: true };
const plain = Buffer.from('\0heed\0secret').toString('base64');

function startTls(peer: ScriptedPeer): void {
  peer.send('220 go\r\n');
  peer.startTls(certificate);
}

describe('encryption', () => {
  it.each(['250 injected\r\n', '250-half', '2'])(
    'ends the connection when %j is slipped in after the reply to STARTTLS',
    async (injected) => {
      const { result, received } = await open(
        { starttls: `220 go\r\n${injected}` },
        { tls: 'required', auth },
      );
      expect(result).toMatchObject({ opened: false, phase: 'starttls', reply: null });
      expect(received()).not.toContain('AUTH');
      expect(received()).not.toContain('\x16\x03');
    },
  );

  it('forgets what was offered in the clear', async () => {
    let hellos = 0;
    const { result, received } = await open(
      {
        ehlo: (peer) =>
          peer.send(hellos++ === 0 ? '250-x\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n' : '250 x\r\n'),
        starttls: startTls,
      },
      { tls: 'required', auth, tlsOptions: { ca: certificate.cert } },
    );
    expect(hellos).toBe(2);
    expect(result).toMatchObject({ opened: false, phase: 'auth', reply: null });
    expect(received()).not.toContain('AUTH');
  });

  it('goes through STARTTLS with a certificate that it trusts, and sends the password there', async () => {
    const { result, received } = await open(
      { starttls: startTls },
      { tls: 'required', auth, tlsOptions: { ca: certificate.cert } },
    );
    if (!result.opened) throw new Error(result.detail);
    expect(received()).toMatch(/AUTH PLAIN/);
    expect(await result.session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
    await result.session.quit();
  });

  it('does not trust an unknown certificate where TLS is required', async () => {
    const { result } = await open({ starttls: startTls }, { tls: 'required', auth });
    expect(result).toMatchObject({ opened: false, phase: 'starttls', reply: null });
    expect(result.opened || result.detail).toMatch(/self-signed certificate/);
  });

  it('does not trust a certificate for another host', async () => {
    const other = await selfSignedCertificate('other.test', '192.0.2.1');
    const starttls = (peer: ScriptedPeer) => {
      peer.send('220 go\r\n');
      peer.startTls(other);
    };
    const { result } = await open({ starttls }, { tls: 'required', tlsOptions: { ca: other.cert } });
    expect(result).toMatchObject({ opened: false, phase: 'starttls', reply: null });
    expect(result.opened || result.detail).toMatch(/altnames/);
  });

  it('takes any certificate where TLS is opportunistic', async () => {
    const { result } = await open({ starttls: startTls }, { tls: 'opportunistic' });
    expect(result.opened).toBe(true);
  });

  it.each([
    ['STARTTLS is not offered', { ehlo: '250 x\r\n' }],
    ['STARTTLS is refused', { starttls: '454 4.7.0 no TLS now\r\n' }],
  ])(
    'goes on in the clear where TLS is opportunistic and %s, without the password',
    async (_name, answers) => {
      const { result } = await open(answers, { tls: 'opportunistic' });
      expect(result.opened).toBe(true);
      await server.stop();
      const second = await open(answers, { tls: 'opportunistic', auth });
      expect(second.result).toMatchObject({ opened: false, phase: 'auth', reply: null });
      expect(second.received()).not.toContain('AUTH');
    },
  );

  it.each([
    ['is not offered', { ehlo: '250 x\r\n' }, null],
    ['is refused', { starttls: '454 4.7.0 no TLS now\r\n' }, { code: 454 }],
  ])('ends where TLS is required and STARTTLS %s', async (_name, answers, reply) => {
    const { result, received } = await open(answers, { tls: 'required', auth });
    expect(result).toMatchObject({ opened: false, phase: 'starttls', reply });
    expect(received()).not.toContain('AUTH');
  });

  it('says nothing of STARTTLS where TLS is off', async () => {
    const { result, received } = await open({}, { tls: 'none' });
    expect(result.opened).toBe(true);
    expect(received()).toBe('EHLO heed.test\r\n');
  });
});

describe('authentication', () => {
  it('never sends the password over an unencrypted connection unasked', async () => {
    const { result, received } = await open({}, { auth });
    expect(result).toMatchObject({ opened: false, phase: 'auth', reply: null });
    expect(received()).not.toContain('AUTH');
  });

  it('uses AUTH PLAIN with an initial response', async () => {
    const { result, received } = await open({}, { auth: plaintextAuth });
    expect(result.opened).toBe(true);
    expect(received()).toContain(`AUTH PLAIN ${plain}\r\n`);
  });

  it('sends a response that is too long for the command after the challenge', async () => {
    const password = 'x'.repeat(600);
    const { result, received } = await open(
      {
        async auth(peer) {
          peer.send('334 \r\n');
          await peer.line();
          peer.send('235 ok\r\n');
        },
      },
      { auth: { ...plaintextAuth, password } },
    );
    expect(result.opened).toBe(true);
    expect(received()).toContain(
      `AUTH PLAIN\r\n${Buffer.from(`\0heed\0${password}`).toString('base64')}\r\n`,
    );
  });

  const login = async (peer: ScriptedPeer) => {
    peer.send('334 VXNlcm5hbWU6\r\n');
    await peer.line();
    peer.send('334 UGFzc3dvcmQ6\r\n');
    await peer.line();
    peer.send('235 ok\r\n');
  };

  it.each(['250 AUTH LOGIN', '250 auth=login'])('falls back to LOGIN: %s', async (offer) => {
    const { result, received } = await open(
      { ehlo: `250-x\r\n${offer}\r\n`, auth: login },
      { auth: plaintextAuth },
    );
    expect(result.opened).toBe(true);
    expect(received()).toContain('AUTH LOGIN\r\naGVlZA==\r\nc2VjcmV0\r\n');
  });

  it('tries LOGIN where PLAIN was offered and is not had', async () => {
    let tries = 0;
    const { result } = await open(
      {
        ehlo: '250-x\r\n250 AUTH PLAIN LOGIN\r\n',
        auth: (peer) => (tries++ === 0 ? peer.send('504 5.5.4 unknown mechanism\r\n') : login(peer)),
      },
      { auth: plaintextAuth },
    );
    expect(result.opened).toBe(true);
    expect(tries).toBe(2);
  });

  it('tells a wrong password by the reply, tried once', async () => {
    const { result, received } = await open(
      { ehlo: '250-x\r\n250 AUTH PLAIN LOGIN\r\n', auth: '535 5.7.8 bad credentials\r\n' },
      { auth: plaintextAuth },
    );
    expect(result).toMatchObject({
      opened: false,
      phase: 'auth',
      reply: { code: 535, enhancedCode: '5.7.8', text: 'bad credentials' },
    });
    expect(received().match(/AUTH/g)).toHaveLength(1);
  });

  it('says so where no mechanism fits', async () => {
    const { result } = await open({ ehlo: '250-x\r\n250 AUTH XOAUTH2\r\n' }, { auth: plaintextAuth });
    expect(result).toMatchObject({ opened: false, phase: 'auth', reply: null });
  });
});

describe('opening', () => {
  it.each([500, 502])('says HELO to a server that answers EHLO with %i', async (code) => {
    let hellos = 0;
    const { result, received } = await open({
      ehlo: (peer) => peer.send(hellos++ === 0 ? `${code} what?\r\n` : '250 mail.test\r\n'),
    });
    if (!result.opened) throw new Error(result.detail);
    expect(received()).toBe('EHLO heed.test\r\nHELO heed.test\r\n');
    expect(await result.session.transmit(message, willing)).toMatchObject({ kind: 'accepted' });
    expect(received()).toContain('MAIL FROM:<sender@example.com>\r\n');
  });

  it('takes no reply that came before its command', async () => {
    const { result, received } = await open({ greeting: '220 x\r\n250 early\r\n' });
    expect(result).toMatchObject({ opened: false, phase: 'ehlo', reply: null });
    expect(received()).not.toContain('EHLO');
  });

  it('is given up by its signal', async () => {
    server = await startScriptedSmtp((peer) => peer.ended());
    const controller = new AbortController();
    const result = openSession(serverOptions(server.port), controller.signal);
    await expect.poll(() => server.open).toBe(1);
    controller.abort();
    expect(await result).toMatchObject({ opened: false, reply: null });
    await expect.poll(() => server.open).toBe(0);
  });

  it.each([
    { clientName: 'heed.test\r\nRCPT' },
    { clientName: '' },
    { port: 0 },
    { port: 70_000 },
    { host: '' },
    { auth: { user: 'a\0b', password: 'c' } },
  ])('refuses settings that cannot work: %j', (part) => {
    expect(() => checkServerOptions({ ...serverOptions(25), ...part })).toThrow(RangeError);
  });
});
