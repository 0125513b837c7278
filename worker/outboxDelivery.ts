import type { WorkflowProcesses } from '../adapters/temporal/processes.ts';
import type { Database, Transaction } from '../db/connection.ts';
import { readBulkUpdate } from '../db/queries/bulkUpdates.ts';
import { endSuppressedSendsOfDomain } from '../db/queries/ending.ts';
import { HEED } from '../db/queries/gate.ts';
import { applyInbound } from '../db/queries/inbound.ts';
import { addToOutbox, type OutboxEntry, sendAggregate } from '../db/queries/outbox.ts';
import { startNextRunIfUnfinished } from '../db/queries/runs.ts';
import { isOver } from '../domain/bulkUpdate/words.ts';
import type { InboundReader } from '../domain/inbound.ts';
import type { SendOutcome } from '../domain/words.ts';
import { deliverToAutomations, enrollAllChanged } from './automationRelay.ts';
import { deliverToBroadcasts } from './broadcastRelay.ts';
import { onePage } from './onePage.ts';

const DOMAIN_PAGE = 500;

/** What entries are delivered to. */
export interface DeliveryParts {
  readonly db: Database;
  readonly processes: WorkflowProcesses;
  /** Understands what came in. */
  readonly readInbound: InboundReader;
  readonly now?: () => Date;
}

/** It tells of an attempt that has not ended: nothing failed, and its turn comes later. */
export class TooEarly extends Error {}

/** What is done once for a batch, however many of its entries ask for it. */
export interface Once {
  wakeSalesforcePush(): Promise<void>;
  enrollChanged(): Promise<void>;
}

export function onceFor(parts: DeliveryParts, entries: readonly OutboxEntry[]): Once {
  return {
    wakeSalesforcePush: onlyOnce(() => parts.processes.wakeSalesforcePush()),
    enrollChanged: onlyOnce(() => enrollAllChanged(parts, entries)),
  };
}

function onlyOnce(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= work();
    return done;
  };
}

/**
 * Does what an entry tells; doing it again does no harm.
 *
 * @throws TooEarly
 */
export async function deliver(
  { db, processes, readInbound, now = () => new Date() }: DeliveryParts,
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
      // In a transaction of its own, as all that a delivery writes: two of one batch never wait for each other's locks.
      // Repeated it does nothing, for the send has left that run.
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
      return deliverToBroadcasts({ db, processes }, now(), { aggregate, message });
    case 'endSendsOfDomain':
      return onePage(db, now(), { aggregate, message }, (own, after) =>
        endSuppressedSendsOfDomain(own, HEED, now(), message.domain, after, DOMAIN_PAGE),
      );
    default:
      throw new Error(
        `${JSON.stringify(message satisfies never)} is of a newer version, whose worker tells it`,
      );
  }
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
