import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A commit whose answer is withheld: the server has carried it out, and the client does not know. */
export interface HeldCommit {
  /** Resolves when the commit was carried out. */
  readonly reached: Promise<void>;
  /** Lets the answer through. */
  release(): void;
}

/** A way to a PostgreSQL server that can be made slow at one point. */
export interface PostgresProxy {
  /** Of the same database, through the proxy. */
  readonly url: string;
  /** Withholds the answer to the commit of the next transaction in which the client says all of these words. */
  holdCommitOf(...words: string[]): HeldCommit;
  close(): Promise<void>;
}

/** Longer than one message of the protocol that the words are looked for in; messages may come in several pieces. */
const TAIL = 16_384;
/** CommandComplete of a commit (PostgreSQL manual, section 54.7). */
const COMMITTED = 'COMMIT\0';

interface Hold {
  readonly words: readonly string[];
  reach(): void;
  readonly released: Promise<void>;
}

export async function startPostgresProxy(databaseUrl: string): Promise<PostgresProxy> {
  const target = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  let wanted: Hold | null = null;

  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    let said = '';
    let hold: Hold | null = null;
    let answers = Promise.resolve();
    client.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString('latin1')).slice(-TAIL);
      if (wanted?.words.every((word) => said.includes(word))) {
        hold = wanted;
        wanted = null;
      }
      upstream.write(chunk);
    });
    upstream.on('data', (chunk: Buffer) => {
      if (hold !== null && chunk.includes(COMMITTED)) {
        const { reach, released } = hold;
        hold = null;
        reach();
        answers = answers.then(() => released);
      }
      answers = answers.then(() => void client.write(chunk));
    });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');

  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: url.href,
    holdCommitOf(...words) {
      const reached = Promise.withResolvers<void>();
      const released = Promise.withResolvers<void>();
      wanted = { words, reach: reached.resolve, released: released.promise };
      return { reached: reached.promise, release: released.resolve };
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
