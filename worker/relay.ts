import type { Logger } from 'pino';
import { listen } from '../db/listener.ts';
import { OUTBOX_CHANNEL } from '../db/queries/outbox.ts';
import { OUTBOX_PARTS, type OutboxPart } from '../db/schema/outboxParts.ts';
import type { DeliveryParts } from './outboxDelivery.ts';
import { PartRelay } from './partRelay.ts';

const LISTEN_AGAIN_MS = 2_000;

export interface Relay {
  /** Stops taking entries and waits for those that are on their way. */
  stop(): Promise<void>;
}

/**
 * Carries the outbox to Temporal, and applies what came in, at least once and in order for each aggregate. Several relays
 * may run side by side. While Temporal or the database is down it tries again, ever more slowly, and loses nothing.
 */
export function startRelay(deps: DeliveryParts & { readonly log: Logger }): Relay {
  const { db, log } = deps;
  const ringAll = (except?: OutboxPart) => {
    for (const part of OUTBOX_PARTS) if (part !== except) parts[part].ring();
  };
  const relayOf = (part: OutboxPart) => new PartRelay(deps, part, () => ringAll(part));
  const parts = Object.fromEntries(OUTBOX_PARTS.map((part) => [part, relayOf(part)])) as Record<
    OutboxPart,
    PartRelay
  >;
  const listening = listen({
    connectionString: db.pool.options.connectionString!,
    channel: OUTBOX_CHANNEL,
    retryMilliseconds: LISTEN_AGAIN_MS,
    onNotice: () => ringAll(),
    onTrouble: (error) => log.debug({ error: error.message }, 'the listener lost its connection'),
  });
  const running = Promise.all(Object.values(parts).map((part) => part.run()));
  return {
    async stop() {
      for (const part of Object.values(parts)) part.stop();
      await running;
      await listening.stop();
    },
  };
}
