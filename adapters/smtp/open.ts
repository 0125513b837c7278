import type { SmtpPhase, SmtpReply } from '../../domain/bounce/verdict.ts';
import { type Extensions, NO_EXTENSIONS, readExtensions } from './extensions.ts';
import type { SmtpCredentials, SmtpServerOptions } from './options.ts';
import { quit } from './quit.ts';
import type { ServerReply } from './replyParser.ts';
import { SmtpSession } from './session.ts';
import { DEFAULT_TIMEOUTS, type SmtpTimeouts } from './timeouts.ts';
import { Wire } from './wire.ts';

/** Why no session came about. */
export interface OpenFailure {
  /** `starttls` stands for every failure of TLS, implicit TLS included. */
  readonly phase: SmtpPhase;
  readonly reply: SmtpReply | null;
  /** For people; names neither user nor password. */
  readonly detail: string;
  readonly remoteHost: string;
}

export type OpenResult =
  | { readonly opened: true; readonly session: SmtpSession }
  | ({ readonly opened: false } & OpenFailure);

/** The longest command line, RFC 4954 section 3 and RFC 5321 section 4.5.3.1.4, in octets with CRLF. */
const MAX_COMMAND_OCTETS = 512;

/** Leaves the steps below; caught at the top of them. */
class OpenFault extends Error {
  readonly phase: SmtpPhase;
  readonly reply: SmtpReply | null;

  constructor(phase: SmtpPhase, reply: ServerReply | null, detail: string) {
    super(detail);
    this.phase = phase;
    this.reply = reply && { code: reply.code, enhancedCode: reply.enhancedCode, text: reply.text };
  }
}

/**
 * Connects, reads the greeting, says EHLO, encrypts and authenticates as configured (RFC 5321 section 3.1, RFC 3207,
 * RFC 4954), so that MAIL FROM may follow.
 *
 * @param signal gives up the attempt; it then fails in the phase that it was in.
 */
export async function openSession(options: SmtpServerOptions, signal?: AbortSignal): Promise<OpenResult> {
  const timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
  const wire = new Wire(options.address ?? options.host, options.port);
  const giveUp = () => wire.end('given up by ourselves');
  signal?.addEventListener('abort', giveUp, { once: true });
  if (signal?.aborted) giveUp();
  const remoteHost = () =>
    wire.remoteAddress === null ? options.host : `${options.host} [${wire.remoteAddress}]`;
  try {
    const extensions = await new Opening(options, wire, timeouts).run();
    return { opened: true, session: new SmtpSession(wire, extensions, timeouts, remoteHost()) };
  } catch (error) {
    if (!(error instanceof OpenFault)) throw error;
    void quit(wire, timeouts.quit);
    return {
      opened: false,
      phase: error.phase,
      reply: error.reply,
      detail: error.message,
      remoteHost: remoteHost(),
    };
  } finally {
    signal?.removeEventListener('abort', giveUp);
  }
}

class Opening {
  readonly #options: SmtpServerOptions;
  readonly #wire: Wire;
  readonly #timeouts: SmtpTimeouts;

  constructor(options: SmtpServerOptions, wire: Wire, timeouts: SmtpTimeouts) {
    this.#options = options;
    this.#wire = wire;
    this.#timeouts = timeouts;
  }

  async run(): Promise<Extensions> {
    const { tls, auth } = this.#options;
    if (!(await this.#wire.connected(this.#timeouts.connect))) this.#failIfEnded('connect');
    if (tls === 'implicit') await this.#encrypt();
    const greeting = await this.#hear('greeting');
    if (greeting.code !== 220)
      throw new OpenFault('greeting', greeting, 'the server does not take mail from us now');

    let encrypted = tls === 'implicit';
    let extensions = await this.#hello();
    if ((tls === 'opportunistic' && extensions.startTls) || tls === 'required') {
      if (!extensions.startTls)
        throw new OpenFault('starttls', null, 'TLS is required and STARTTLS is not offered');
      encrypted = await this.#startTls();
      // What was said in the clear counts no more, RFC 3207 section 4.2.
      if (encrypted) extensions = await this.#hello();
    }
    if (auth !== undefined) {
      if (!encrypted && auth.allowPlaintext !== true) {
        throw new OpenFault('auth', null, 'the connection is not encrypted, so the password is not sent');
      }
      await this.#authenticate(auth, extensions.auth);
    }
    return extensions;
  }

  async #hello(): Promise<Extensions> {
    const reply = await this.#say('ehlo', `EHLO ${this.#options.clientName}`);
    if (reply.code === 250) return readExtensions(reply.lines);
    // The codes of a server that does not know EHLO, RFC 5321 section 3.2.
    if (reply.code !== 500 && reply.code !== 502) throw new OpenFault('ehlo', reply, 'EHLO was refused');
    const older = await this.#say('ehlo', `HELO ${this.#options.clientName}`);
    if (older.code !== 250) throw new OpenFault('ehlo', older, 'EHLO and HELO were refused');
    return NO_EXTENSIONS;
  }

  /** Whether the connection is encrypted now: a refusal is borne only where TLS is opportunistic. */
  async #startTls(): Promise<boolean> {
    const reply = await this.#say('starttls', 'STARTTLS');
    if (reply.code !== 220) {
      if (this.#options.tls === 'opportunistic' && reply.code !== 421) return false;
      throw new OpenFault('starttls', reply, 'STARTTLS was refused');
    }
    if (this.#wire.hasInput) {
      throw new OpenFault('starttls', null, 'plaintext was slipped in after the reply to STARTTLS');
    }
    await this.#encrypt();
    return true;
  }

  async #encrypt(): Promise<void> {
    const { host, tls, tlsOptions } = this.#options;
    const verify = tls !== 'opportunistic';
    await this.#wire.startTls(host, { rejectUnauthorized: verify, ...tlsOptions }, this.#timeouts.starttls);
    this.#failIfEnded('starttls');
  }

  async #authenticate(credentials: SmtpCredentials, offered: ReadonlySet<string>): Promise<void> {
    let reply: ServerReply | null = null;
    if (offered.has('PLAIN')) reply = await this.#authPlain(credentials);
    // 504: the mechanism was offered and is not had, RFC 4954 section 4.
    if (offered.has('LOGIN') && (reply === null || reply.code === 504))
      reply = await this.#authLogin(credentials);
    if (reply === null)
      throw new OpenFault('auth', null, 'the server offers neither AUTH PLAIN nor AUTH LOGIN');
    if (reply.code !== 235) throw new OpenFault('auth', reply, 'user and password were not taken');
  }

  /** RFC 4616. */
  async #authPlain({ user, password }: SmtpCredentials): Promise<ServerReply> {
    const response = base64(`\0${user}\0${password}`);
    const command = `AUTH PLAIN ${response}`;
    if (command.length + 2 <= MAX_COMMAND_OCTETS) return this.#say('auth', command);
    const challenge = await this.#say('auth', 'AUTH PLAIN');
    return challenge.code === 334 ? this.#say('auth', response) : challenge;
  }

  async #authLogin({ user, password }: SmtpCredentials): Promise<ServerReply> {
    let reply = await this.#say('auth', 'AUTH LOGIN');
    if (reply.code === 334) reply = await this.#say('auth', base64(user));
    if (reply.code === 334) reply = await this.#say('auth', base64(password));
    return reply;
  }

  #say(phase: SmtpPhase, command: string): Promise<ServerReply> {
    const early = this.#wire.unread;
    if (early?.kind === 'reply') {
      const { reply } = early;
      throw new OpenFault(
        phase,
        reply.code === 421 ? reply : null,
        'the server sent a reply before its command',
      );
    }
    this.#wire.write(`${command}\r\n`);
    return this.#hear(phase);
  }

  async #hear(phase: SmtpPhase): Promise<ServerReply> {
    const received = await this.#wire.receive(this.#timeouts[phase]);
    if (received.kind === 'ended') throw new OpenFault(phase, null, received.detail);
    return received.reply;
  }

  #failIfEnded(phase: SmtpPhase): void {
    if (this.#wire.ended !== null) throw new OpenFault(phase, null, this.#wire.ended);
  }
}

function base64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}
