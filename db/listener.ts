import pg from 'pg';

/** A connection that hears NOTIFY. */
export interface Listener {
  stop(): Promise<void>;
}

/**
 * Hears a channel on a connection of its own; one that breaks is made anew. What is told while there is none is missed,
 * so that `onNotice` is also called after every new connection.
 *
 * @param options.retryMilliseconds pause before a broken connection is made anew
 */
export function listen(options: {
  connectionString: string;
  channel: string;
  retryMilliseconds: number;
  onNotice: () => void;
  onTrouble: (error: Error) => void;
}): Listener {
  let client: pg.Client | null = null;
  let reconnect: NodeJS.Timeout | null = null;
  let stopped = false;

  const connect = async (): Promise<void> => {
    const next = new pg.Client({
      connectionString: options.connectionString,
      keepAlive: true,
      application_name: 'heed listener',
    });
    client = next;
    const again = () => {
      if (client !== next) return;
      client = null;
      next.end().catch(() => {});
      if (stopped) return;
      reconnect = setTimeout(() => void connect(), options.retryMilliseconds);
    };
    next.on('notification', options.onNotice);
    next.on('error', (error) => {
      options.onTrouble(error);
      again();
    });
    next.on('end', again);
    try {
      await next.connect();
      await next.query(`listen ${pg.escapeIdentifier(options.channel)}`);
      options.onNotice();
    } catch (error) {
      options.onTrouble(error as Error);
      again();
    }
  };
  void connect();

  return {
    async stop() {
      stopped = true;
      if (reconnect !== null) clearTimeout(reconnect);
      const current = client;
      client = null;
      await current?.end().catch(() => {});
    },
  };
}
