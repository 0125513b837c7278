import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { TLSSocket, type TLSSocketOptions } from 'node:tls';

/** The server's side of one connection, for a script that behaves as no honest server would. */
export class ScriptedPeer {
  #socket: Socket;
  #chunks: Buffer[] = [];
  #unread = Buffer.alloc(0);
  #over = false;
  #wake: (() => void) | null = null;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#listen();
  }

  /** Everything the client has written so far, decrypted. */
  get received(): string {
    return Buffer.concat(this.#chunks).toString('latin1');
  }

  /** Writes as it is; mind the CRLF. */
  send(text: string): void {
    this.#socket.write(text, 'latin1');
  }

  /** Writes each byte in a segment of its own. */
  async sendBytewise(text: string): Promise<void> {
    for (const byte of Buffer.from(text, 'latin1')) {
      await new Promise((resolve) => this.#socket.write(Buffer.of(byte), resolve));
      await new Promise(setImmediate);
    }
  }

  /** The client's next line without CRLF, `null` at the end of the connection. */
  async line(): Promise<string | null> {
    const end = await this.#find('\r\n');
    if (end === -1) return null;
    return this.#consume(end + 2).slice(0, -2);
  }

  /** Content up to the final dot, dots still stuffed; `null` when the connection ends before it. */
  async content(): Promise<string | null> {
    const end = await this.#find('\r\n.\r\n', '.\r\n');
    // The CRLF before the dot may be that of DATA.
    if (end === 0 && this.#unread.indexOf('.\r\n') === 0) return this.#consume(3).slice(0, 0);
    return end === -1 ? null : this.#consume(end + 5).slice(0, -3);
  }

  /** Waits until the client has ended the connection. */
  async ended(): Promise<void> {
    while (!this.#over) await this.more();
  }

  /** Waits until the client writes more, or ends the connection. */
  more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Ends the connection with FIN. */
  close(): void {
    this.#socket.end();
  }

  /** Ends the connection with RST. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  /** Stops reading, so that what the client writes fills the buffers. */
  stopReading(): void {
    this.#socket.pause();
  }

  /** Goes on with TLS as the server. */
  startTls(options: TLSSocketOptions): void {
    const plain = this.#socket;
    plain.removeAllListeners();
    plain.on('error', () => {});
    this.#socket = new TLSSocket(plain, { ...options, isServer: true });
    this.#listen();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #listen(): void {
    this.#socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#unread = Buffer.concat([this.#unread, chunk]);
      this.#wake?.();
    });
    const over = () => {
      this.#over = true;
      this.#wake?.();
    };
    for (const event of ['end', 'close', 'error']) this.#socket.on(event, over);
  }

  async #find(text: string, atStart?: string): Promise<number> {
    for (;;) {
      if (atStart !== undefined && this.#unread.indexOf(atStart, 0, 'latin1') === 0) return 0;
      const index = this.#unread.indexOf(text, 0, 'latin1');
      if (index !== -1 || this.#over) return index;
      await this.more();
    }
  }

  #consume(length: number): string {
    const text = this.#unread.toString('latin1', 0, length);
    this.#unread = this.#unread.subarray(length);
    return text;
  }
}

export interface ScriptedSmtp {
  readonly port: number;
  /** One for each connection so far. */
  readonly peers: readonly ScriptedPeer[];
  /** Connections that are open now. */
  readonly open: number;
  stop(): Promise<void>;
}

/**
 * A TCP server on loopback that plays a script with each connection; `nth` counts them from 0.
 *
 * @param host another loopback address where several servers share a port
 */
export async function startScriptedSmtp(
  script: (peer: ScriptedPeer, nth: number) => Promise<void>,
  port = 0,
  host = '127.0.0.1',
): Promise<ScriptedSmtp> {
  const peers: ScriptedPeer[] = [];
  const failures: unknown[] = [];
  let open = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    open++;
    socket.once('close', () => open--);
    const peer = new ScriptedPeer(socket);
    peers.push(peer);
    script(peer, peers.length - 1).catch((error) => failures.push(error));
  }).listen(port, host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    peers,
    get open() {
      return open;
    },
    async stop() {
      for (const peer of peers) peer.destroy();
      server.close();
      await once(server, 'close');
      if (failures.length > 0) throw failures[0];
    },
  };
}
