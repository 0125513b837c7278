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
  type OutboxEntry,
  removeFromOutbox,
  sendAggregate,
  takeFromOutbox,
} from '../db/queries/outbox.ts';
import { startNextRunIfUnfinished } from '../db/queries/runs.ts';
import { OUTBOX_PARTS, type OutboxPart } from '../db/schema/outboxParts.ts';
import { isOver } from '../domain/bulkUpdate/words.ts';
import type { InboundReader } from '../domain/inbound.ts';
import type { SendOutcome } from '../domain/words.ts';
import { deliverToAutomations, enrollAllChanged } from './automationRelay.ts';
import { deliverToBroadcasts } from './broadcastRelay.ts';
import { Resting } from './resting.ts';

const BATCH = 100;
const DOMAIN_PAGE = 500;
const NO_ID = '00000000-0000-0000-0000-000000000000';
/** NOTIFY only wakes; what it missed is found by the sweep. */
const SWEEP_MS = 2_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
/** Prospects that are looked at in one batch: their filters take a while. */
const CHANGED_AT_ONCE = 1_000;

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
  const resting = new Resting();
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
    let outOfReach = false;
    while (!stopping) {
      try {
        const { delivered, failed } = await drain(deps, resting, () => stopping);
        pause = FIRST_PAUSE_MS;
        if (failed > 0) log.warn({ failed }, 'outbox entries could not be delivered and will be tried again');
        if (outOfReach && delivered > 0) {
          resting.clear();
          alarm.ring();
        }
        outOfReach = failed > 0 && delivered === 0;
        await alarm.wait(Math.min(SWEEP_MS, resting.untilNext(performance.now())));
      } catch (error) {
        log.warn({ error: message(error) }, 'the outbox cannot be read and will be tried again');
        await delay(stopping ? 0 : pause);
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      }
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

/**
 * One batch of each part in turn, so that none waits for the end of another; those that are to be quick come before each of
 * those that may be long.
 */
const ROUND: readonly OutboxPart[] = ['changes', 'single', 'under_way', 'changes', 'single', 'starts'];
/** Batches go on behind the last one for so long; then what was passed over, or committed late, is looked for again. */
const LOOK_AGAIN_MS = 1_000;

/**
 * Delivers what there is, round by round, until a round delivers nothing. An entry that fails holds up its aggregate
 * alone, and a part that cannot be told does not hold up the others.
 */
async function drain(
  deps: RelayParts,
  resting: Resting,
  stopping: () => boolean,
): Promise<{ delivered: number; failed: number }> {
  const total = { delivered: 0, failed: 0 };
  const after: Record<OutboxPart, number> = { changes: 0, single: 0, under_way: 0, starts: 0 };
  let fromStartAt = performance.now();
  for (;;) {
    const isFromStart = OUTBOX_PARTS.every((part) => after[part] === 0);
    const before = total.delivered;
    const broken: unknown[] = [];
    for (const part of ROUND) {
      if (stopping()) return total;
      try {
        const batch = await deliverBatch(deps, resting, part, after[part]);
        total.delivered += batch.delivered;
        total.failed += batch.failed;
        after[part] = batch.nextAfter;
      } catch (error) {
        broken.push(error);
      }
    }
    if (broken.length > 0) throw broken[0];
    const deliveredNothing = total.delivered === before;
    if (deliveredNothing && isFromStart) return total;
    if (deliveredNothing || performance.now() - fromStartAt > LOOK_AGAIN_MS) {
      for (const part of OUTBOX_PARTS) after[part] = 0;
      fromStartAt = performance.now();
    }
  }
}

async function deliverBatch(
  deps: RelayParts,
  resting: Resting,
  part: OutboxPart,
  afterId: number,
): Promise<{ delivered: number; failed: number; nextAfter: number }> {
  return deps.db.transaction(async (tx) => {
    const except = resting.ids(performance.now());
    const taken = await takeFromOutbox(tx, { part, afterId, except, limit: BATCH });
    const entries = part === 'changes' ? aboutSoMany(taken, CHANGED_AT_ONCE) : taken;
    const once: Once = {
      wakeSalesforcePush: onlyOnce(() => deps.processes.wakeSalesforcePush()),
      enrollChanged: onlyOnce(() => enrollAllChanged(deps, entries)),
    };
    const results = await Promise.allSettled(entries.map((entry) => deliver(deps, entry, once)));
    const done = entries.flatMap(({ id }, index) => (results[index]!.status === 'fulfilled' ? [id] : []));
    await removeFromOutbox(tx, done);
    resting.delivered(done);
    let failed = 0;
    for (const [index, result] of results.entries()) {
      if (result.status === 'fulfilled') continue;
      const { id } = entries[index]!;
      if (result.reason instanceof TooEarly) {
        resting.early(id, performance.now());
        continue;
      }
      failed++;
      resting.failed(id, performance.now());
      deps.log.debug({ error: message(result.reason) }, 'not delivered');
    }
    const isFull = taken.length === BATCH;
    return { delivered: done.length, failed, nextAfter: isFull ? entries.at(-1)!.id : 0 };
  });
}

/** The first of them, at least one, that name no more prospects than this together. */
function aboutSoMany(entries: readonly OutboxEntry[], atMost: number): readonly OutboxEntry[] {
  let named = 0;
  const end = entries.findIndex(({ message }, index) => {
    if (message.type === 'prospectsChanged') named += message.prospectIds.length;
    return index > 0 && named > atMost;
  });
  return end < 0 ? entries : entries.slice(0, end);
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
      return;
    default:
      throw new Error(
        `${JSON.stringify(message satisfies never)} is of a newer version, whose worker tells it`,
      );
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
