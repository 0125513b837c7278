import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { WorkflowProcesses } from '../adapters/temporal/processes.ts';
import type { Database, Transaction } from '../db/connection.ts';
import { listen } from '../db/listener.ts';
import { readBulkUpdate } from '../db/queries/bulkUpdates.ts';
import { endSuppressedSendsOfDomain } from '../db/queries/ending.ts';
import { HEED } from '../db/queries/gate.ts';
import { applyInbound } from '../db/queries/inbound.ts';
import {
  addToOutbox,
  OUTBOX_CHANNEL,
  OUTBOX_PARTS,
  type OutboxEntry,
  type OutboxPart,
  removeFromOutbox,
  sendAggregate,
  takeFromOutbox,
} from '../db/queries/outbox.ts';
import { startNextRunIfUnfinished } from '../db/queries/runs.ts';
import { isOver } from '../domain/bulkUpdate/words.ts';
import type { InboundReader } from '../domain/inbound.ts';
import type { SendOutcome } from '../domain/words.ts';
import { deliverToAutomations, enrollAllChanged } from './automationRelay.ts';
import { deliverToBroadcasts } from './broadcastRelay.ts';

const BATCH = 100;
const DOMAIN_PAGE = 500;
const NO_ID = '00000000-0000-0000-0000-000000000000';
/** NOTIFY only wakes; what it missed is found by the sweep. */
const SWEEP_MS = 2_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
/** What came in too early waits for the end of an attempt, which is written down in a moment or after minutes. */
const TOO_EARLY_MS = 1_000;

export interface Relay {
  /** Stops taking entries and waits for those that are on their way. */
  stop(): Promise<void>;
}

interface RelayParts {
  readonly db: Database;
  readonly processes: WorkflowProcesses;
  /** Understands what came in. */
  readonly readInbound: InboundReader;
  readonly log: Logger;
  readonly now?: () => Date;
}

/**
 * Carries the outbox to Temporal, and applies what came in, at least once and in order for each aggregate. Several relays may run side by side.
 * While Temporal or the database is down it tries again, ever more slowly, and loses nothing.
 */
export function startRelay(deps: RelayParts): Relay {
  const { db, log } = deps;
  const alarm = new Alarm();
  const early: Early = new Map();
  let stopping = false;
  const listening = listen({
    connectionString: db.pool.options.connectionString!,
    channel: OUTBOX_CHANNEL,
    retryMilliseconds: SWEEP_MS,
    onNotice: () => alarm.ring(),
    onTrouble: (error) => log.debug({ error: error.message }, 'the listener lost its connection'),
  });
  const running = (async () => {
    let pause = FIRST_PAUSE_MS;
    while (!stopping) {
      try {
        const failed = await drain(deps, early, () => stopping);
        if (failed === 0) {
          pause = FIRST_PAUSE_MS;
          await alarm.wait(SWEEP_MS);
          continue;
        }
        log.warn({ failed }, 'outbox entries could not be delivered and will be tried again');
      } catch (error) {
        log.warn({ error: message(error) }, 'the outbox cannot be read and will be tried again');
      }
      await delay(stopping ? 0 : pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  })();
  return {
    async stop() {
      stopping = true;
      alarm.ring();
      await running;
      await listening.stop();
    },
  };
}

/** Entries that came too early, by id, and until when they rest. Milliseconds of a clock that never goes back. */
type Early = Map<number, number>;

/** Delivers what there is, in passes over the whole outbox so that an entry that fails holds up its aggregate alone. */
async function drain(deps: RelayParts, early: Early, stopping: () => boolean): Promise<number> {
  for (;;) {
    // What could not be delivered is passed over until the next pass; what got its id earlier may be committed later.
    const after: Record<OutboxPart, number> = { changes: 0, single: 0, under_way: 0, starts: 0 };
    let delivered = 0;
    let failed = 0;
    const isOver = async (part: OutboxPart) => {
      for (const [id, until] of early) {
        if (until > performance.now()) continue;
        early.delete(id);
        after.single = Math.min(after.single, id - 1);
      }
      const batch = await deliverBatch(deps, early, part, after[part]);
      delivered += batch.delivered;
      failed += batch.failed;
      after[part] = batch.leftId ?? after[part];
      return batch.isEmpty;
    };
    // Between two batches whatever is more urgent and has come up is told.
    const allAreOver = async () => {
      for (const part of OUTBOX_PARTS) if (!(await isOver(part))) return false;
      return true;
    };
    while (!stopping() && !(await allAreOver()));
    if (delivered === 0 || stopping()) return failed;
  }
}

async function deliverBatch(
  deps: RelayParts,
  early: Early,
  part: OutboxPart,
  afterId: number,
): Promise<{
  delivered: number;
  failed: number;
  /** The last one that was taken and stays. */
  leftId: number | null;
  isEmpty: boolean;
}> {
  return deps.db.transaction(async (tx) => {
    const taken = await takeFromOutbox(tx, part, BATCH, afterId);
    const entries = taken.filter(({ id }) => !early.has(id));
    const once: Once = {
      wakeSalesforcePush: onlyOnce(() => deps.processes.wakeSalesforcePush()),
      enrollChanged: onlyOnce(() => enrollAllChanged(deps, entries)),
    };
    const results = await Promise.allSettled(entries.map((entry) => deliver(deps, entry, once)));
    const done = entries.filter((_, index) => results[index]!.status === 'fulfilled');
    await removeFromOutbox(
      tx,
      done.map((entry) => entry.id),
    );
    let failed = 0;
    for (const [index, result] of results.entries()) {
      if (result.status === 'fulfilled') continue;
      if (result.reason instanceof TooEarly) {
        early.set(entries[index]!.id, performance.now() + TOO_EARLY_MS);
        continue;
      }
      failed++;
      deps.log.debug({ error: message(result.reason) }, 'not delivered');
    }
    const left = taken.findLast((entry) => !done.includes(entry));
    return { delivered: done.length, failed, leftId: left?.id ?? null, isEmpty: taken.length === 0 };
  });
}

/** It tells of an attempt that has not ended: nothing failed, and its turn comes later. */
class TooEarly extends Error {}

async function deliver(
  { db, processes, readInbound, now = () => new Date() }: RelayParts,
  entry: OutboxEntry,
  once: Once,
): Promise<void> {
  const { aggregate, message } = entry;
  switch (message.type) {
    case 'startSend':
      return processes.startSend(message);
    case 'endSend':
      // A workflow that is gone has nothing to be told: the row is final already.
      await processes.endSend({ ...message, outcome: message.outcome as SendOutcome });
      return;
    case 'retrySend':
      if (await processes.retrySend({ ...message, commandId: entry.id })) return;
      // In a transaction of its own, as the pages of a domain below: two deliveries of one batch never wait for each
      // other's locks. Repeated it does nothing, for the send has left that run.
      await db.transaction((own) => retryInNextRun(own, now(), message));
      return;
    case 'wakeSend':
      if (await processes.wakeSend(message)) return;
      await db.transaction((own) => startNextRunIfUnfinished(own, now(), message.sendId, message.run));
      return;
    case 'startImport':
      return processes.startImport(message.importId);
    case 'endImport':
      await processes.endImport(message.importId);
      return;
    case 'startBulkUpdate':
      return processes.startBulkUpdate(message.bulkUpdateId);
    case 'wakeBulkUpdate':
      if (await processes.wakeBulkUpdate(message.bulkUpdateId)) return;
      // One that is over has nothing to be told; of one that is not, the workflow was lost.
      if (isOver((await readBulkUpdate(db, message.bulkUpdateId))?.state ?? 'done')) return;
      return processes.startBulkUpdate(message.bulkUpdateId);
    case 'applyInbound':
      if ((await applyInbound(db, now(), readInbound, message.inboundId)) === 'too_early')
        throw new TooEarly();
      return;
    case 'pushToSalesforce':
      return once.wakeSalesforcePush();
    case 'startSalesforceRun':
      return processes.startSalesforceRun(message);
    case 'startEnrollment':
    case 'wakeEnrollment':
    case 'startAutomation':
    case 'wakeAutomation':
    case 'followAutomation':
    case 'moveEnrollments':
    case 'wakeHeldBack':
    case 'wakePausedSends':
      return deliverToAutomations({ db, processes }, now(), { aggregate, message });
    case 'prospectsChanged':
      return once.enrollChanged();
    case 'startBroadcast':
    case 'wakeBroadcast':
    case 'endSendsOfBroadcast':
      return deliverToBroadcasts({ db, processes }, now(), message);
    case 'endSendsOfDomain':
      // All of them at once: what was said no to is over for everybody who looks, before workflows are told one by one.
      for (let after: string | null = NO_ID; after !== null; ) {
        const page: string = after;
        after = await db.transaction((own) =>
          endSuppressedSendsOfDomain(own, HEED, now(), message.domain, page, DOMAIN_PAGE),
        );
      }
  }
}

/** What is done once for a batch, however many of its entries ask for it. */
interface Once {
  wakeSalesforcePush(): Promise<void>;
  enrollChanged(): Promise<void>;
}

function onlyOnce(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= work();
    return done;
  };
}

/** The workflow was lost, and a new one would only wait for the time of the next attempt: it is asked to hurry too. */
async function retryInNextRun(
  tx: Transaction,
  now: Date,
  { sendId, run }: { readonly sendId: string; readonly run: number },
): Promise<void> {
  if (!(await startNextRunIfUnfinished(tx, now, sendId, run))) return;
  await addToOutbox(tx, now, [
    { aggregate: sendAggregate(sendId), message: { type: 'retrySend', sendId, run: run + 1 } },
  ]);
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Wakes whoever waits; a ring while nobody waits is remembered. */
class Alarm {
  #rung = false;
  #wake: (() => void) | null = null;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async wait(milliseconds: number): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, milliseconds);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#wake = null;
    this.#rung = false;
  }
}
