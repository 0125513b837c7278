import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { ReplyParser, type ServerReply } from './replyParser.ts';

/** More replies than any pipelined group of commands of ours has: the server is flooding us. */
const MAX_QUEUED_REPLIES = 8;

/** Octets that are read at once; a pipelined group's replies are some hundred. */
const READ_OCTETS = 4_096;

/** With two addresses of a host, how long the first may take before the next is tried, in milliseconds. */
const ADDRESS_ATTEMPT_MILLISECONDS = 3_000;

/** What came instead of silence: a reply, or the end of the connection and why. */
export type Received =
  | { readonly kind: 'reply'; readonly reply: ServerReply }
  | { readonly kind: 'ended'; readonly detail: string };

/**
 * One connection as a sequence of replies: socket, parser and deadlines. It knows nothing of commands and phases.
 * Nothing here throws; a connection ends once, with the reason in {@link ended}, and is destroyed by that.
 */
export class Wire {
  #socket: Socket;
  #parser = new ReplyParser();
  readonly #replies: ServerReply[] = [];
  #connected = false;
  #remoteAddress: string | null = null;
  #ended: string | null = null;
  /** Whoever waits for a reply, a flush or a handshake looks again when anything happens. */
  #wake: (() => void) | null = null;
  readonly #whenEnded: (() => void)[] = [];

  /** Starts to connect; see {@link connected}. */
  constructor(host: string, port: number) {
    this.#socket = connectTcp({
      host,
      port,
      noDelay: true,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_MILLISECONDS,
      onread: {
        // Read into again and again: a new buffer and a stream's events for each reply cost as much as the reply.
        buffer: Buffer.allocUnsafe(READ_OCTETS),
        callback: (length, buffer) => {
          this.#take(buffer.subarray(0, length));
          return true;
        },
      },
    });
    this.#socket.once('connect', () => {
      this.#connected = true;
      this.#remoteAddress = this.#socket.remoteAddress ?? null; // unknown where it was reset already
      this.#wakeUp();
    });
    this.#listen(this.#socket);
  }

  /** Waits until the connection is there; `false`: it never was, for the reason in {@link ended}. */
  async connected(milliseconds: number): Promise<boolean> {
    await this.#until(() => this.#connected, milliseconds);
    return this.#connected;
  }

  /** Why the connection is over, or `null` while it is not. Replies that came before the end can still be read. */
  get ended(): string | null {
    return this.#ended;
  }

  /** Address of the server, `null` until connected. */
  get remoteAddress(): string | null {
    return this.#remoteAddress;
  }

  /** A reply that is here already, or the end: what a command must not be written after. */
  get unread(): Received | null {
    const reply = this.#replies[0];
    if (reply !== undefined) return { kind: 'reply', reply };
    return this.#ended === null ? null : { kind: 'ended', detail: this.#ended };
  }

  /** Whether the server has sent anything that was not read, half a reply included. */
  get hasInput(): boolean {
    return this.#replies.length > 0 || this.#parser.midReply;
  }

  /** Calls back once when the connection ends. */
  onEnd(listener: () => void): void {
    if (this.#ended === null) this.#whenEnded.push(listener);
    else listener();
  }

  /**
   * Writes, in one segment where it fits. What becomes of it is told by the next reply or the end.
   *
   * @param parts octets, or texts of 7-bit characters
   */
  write(...parts: readonly (string | Uint8Array)[]): void {
    if (this.#ended !== null) return;
    // Copying some thousand octets costs less than a stream does for each further part, and texts least of all.
    if (parts.every((part) => typeof part === 'string')) this.#socket.write(parts.join(''), 'latin1');
    else this.#socket.write(Buffer.concat(parts.map(octetsOf)));
  }

  /** Writes and waits until the operating system has taken it all, or the connection ended, or a reply came. */
  async flush(block: Uint8Array, milliseconds: number): Promise<void> {
    if (this.#ended !== null) return;
    let flushed = false;
    this.#socket.write(block, (error) => {
      if (error) return this.end(describe(error));
      flushed = true;
      this.#wakeUp();
    });
    await this.#until(() => flushed || this.#replies.length > 0, milliseconds);
  }

  /** The next reply, waited for that long at most; a timeout ends the connection. One caller at a time. */
  async receive(milliseconds: number): Promise<Received> {
    if (this.#replies.length === 0) await this.#until(() => this.#replies.length > 0, milliseconds);
    const reply = this.#replies.shift();
    return reply === undefined
      ? { kind: 'ended', detail: this.#ended ?? 'no reply' }
      : { kind: 'reply', reply };
  }

  /**
   * Begins TLS on the open connection and waits for the handshake; {@link ended} tells of its failure. Whatever the
   * server sent in the clear is not carried over (RFC 3207 section 4.2): the caller has looked at {@link hasInput}.
   */
  async startTls(host: string, options: ConnectionOptions, milliseconds: number): Promise<void> {
    if (this.#ended !== null) return;
    const plain = this.#socket;
    for (const event of ['data', 'end', 'close', 'error']) plain.removeAllListeners(event);
    plain.on('error', () => {}); // told by the TLS socket as well
    this.#parser = new ReplyParser();
    let secured = false;
    try {
      const name = isIP(host) === 0 ? { servername: host } : {};
      this.#socket = connectTls({ ...options, ...name, host, socket: plain }, () => {
        secured = true;
        this.#wakeUp();
      });
    } catch (error) {
      plain.destroy();
      this.end(describe(error));
      return;
    }
    this.#listen(this.#socket);
    await this.#until(() => secured, milliseconds);
  }

  /** Ends the connection at once. Only the first reason counts. */
  end(detail: string): void {
    if (this.#ended !== null) return;
    this.#ended = detail;
    this.#socket.destroy();
    for (const listener of this.#whenEnded.splice(0)) listener();
    this.#wakeUp();
  }

  #listen(socket: Socket): void {
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (error) => this.end(describe(error)));
    socket.on('end', () => this.end('the server closed the connection'));
    socket.on('close', () => this.end('the connection was closed'));
  }

  #take(chunk: Uint8Array): void {
    if (this.#ended !== null) return;
    this.#replies.push(...this.#parser.push(chunk));
    if (this.#parser.fault !== null) this.end(`this is not SMTP: ${this.#parser.fault}`);
    else if (this.#replies.length > MAX_QUEUED_REPLIES)
      this.end('the server sends replies that nobody asked for');
    else this.#wakeUp();
  }

  #wakeUp(): void {
    this.#wake?.();
  }

  /** Resolves when `reached` holds or the connection ends, by the deadline at the latest, which ends it. */
  #until(reached: () => boolean, milliseconds: number): Promise<void> {
    if (reached() || this.#ended !== null) return Promise.resolve();
    return new Promise((resolve) => {
      const look = () => {
        if (!reached() && this.#ended === null) return;
        clearTimeout(timer);
        this.#wake = null;
        resolve();
      };
      // A process that was stopped and woken up finds its timers due before it has read what came meanwhile.
      const timer = setTimeout(() => {
        setImmediate(() => {
          if (this.#wake === look) this.end(`timed out after ${milliseconds} ms`);
        });
      }, milliseconds);
      this.#wake = look;
    });
  }
}

function octetsOf(part: string | Uint8Array): Uint8Array {
  return typeof part === 'string' ? Buffer.from(part, 'latin1') : part;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Several addresses were tried: each one's failure is in `errors`, the message is empty.
  if (error instanceof AggregateError) return error.errors.map(describe).join('; ');
  return error.message;
}
