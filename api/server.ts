import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Api } from './context.ts';

/** A large file over a slow line may take this long to come in. Milliseconds. */
const REQUEST_TIMEOUT = 3_600_000;
/** How long requests under way may take after the server was asked to stop. Milliseconds. */
const GRACE = 10_000;

export interface RunningServer {
  readonly port: number;
  /** Takes no more requests, and resolves when those under way are answered, at the latest after ten seconds. */
  stop(): Promise<void>;
}

/** The port is somebody else's. */
export class PortTaken extends Error {
  override readonly name = 'PortTaken';
}

/**
 * Serves the API over HTTP.
 *
 * @param port 0 for any that is free
 * @throws PortTaken
 */
export async function serveApi(app: Api, host: string, port: number): Promise<RunningServer> {
  const server = createAdaptorServer({
    fetch: app.fetch,
    serverOptions: { requestTimeout: REQUEST_TIMEOUT },
  }) as Server;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? new PortTaken(`Port ${port} of ${host} is taken.`) : error);
    });
    server.listen(port, host, () => resolve());
  });
  return {
    port: (server.address() as AddressInfo).port,
    stop: () =>
      new Promise((resolve) => {
        const timer = setTimeout(() => server.closeAllConnections(), GRACE);
        server.close(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}
