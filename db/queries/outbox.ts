import { bigintArray } from '../arrays.ts';
import { plain, type Session, type Transaction } from '../connection.ts';
import type { OutboxPart } from '../schema/outboxParts.ts';

interface Paged {
  /** The last one that an entry before this one came to. */
  readonly after?: string;
}

/** What the relay is to tell Temporal. Ids and codes only: nothing personal leaves the database. */
export type OutboxMessage =
  | {
      readonly type: 'startSend';
      readonly sendId: string;
      readonly run: number;
      readonly recipientDomain: string;
      /** It had a workflow before, or its first attempt as one of many. */
      readonly goesOn?: true;
    }
  | {
      readonly type: 'endSend';
      readonly sendId: string;
      readonly run: number;
      readonly outcome: string;
      readonly reason: string | null;
      /** Of many that end at once. */
      readonly oneOfMany?: true;
    }
  | { readonly type: 'retrySend'; readonly sendId: string; readonly run: number }
  /** What it was held for is over. */
  | { readonly type: 'wakeSend'; readonly sendId: string; readonly run: number }
  | { readonly type: 'startImport'; readonly importId: string }
  | { readonly type: 'endImport'; readonly importId: string }
  | { readonly type: 'startBulkUpdate'; readonly bulkUpdateId: string }
  /** It was paused, resumed or cancelled. */
  | { readonly type: 'wakeBulkUpdate'; readonly bulkUpdateId: string }
  /** What came in is understood and applied, by the relay itself. */
  | { readonly type: 'applyInbound'; readonly inboundId: string }
  /** Unfinished sends to a domain that was suppressed are ended page by page, outside the writer's transaction. */
  | ({ readonly type: 'endSendsOfDomain'; readonly domain: string } & Paged)
  | { readonly type: 'startEnrollment'; readonly enrollmentId: string; readonly run: number }
  /** Something that the enrollment may wait for has happened. */
  | {
      readonly type: 'wakeEnrollment';
      readonly enrollmentId: string;
      /** The current one when left out. */
      readonly run?: number;
    }
  | { readonly type: 'startAutomation'; readonly automationId: string; readonly run: number }
  | { readonly type: 'wakeAutomation'; readonly automationId: string; readonly run: number }
  /** The enrollments of an automation follow its new state, page by page. */
  | ({ readonly type: 'followAutomation'; readonly automationId: string } & Paged)
  /** Those inside of an automation go over to this version, page by page. */
  | ({ readonly type: 'moveEnrollments'; readonly automationId: string; readonly version: number } & Paged)
  /** Marketing email goes out again, or is held back otherwise: broadcasts and enrollments are woken, page by page. */
  | ({ readonly type: 'wakeHeldBack' } & Paged)
  /** The same for sends by themselves. */
  | ({ readonly type: 'wakePausedSends' } & Paged)
  | { readonly type: 'startBroadcast'; readonly broadcastId: string; readonly run: number }
  /** Somebody paused, resumed or cancelled it. */
  | { readonly type: 'wakeBroadcast'; readonly broadcastId: string; readonly run: number }
  /** Sends of a cancelled broadcast that wait for another attempt are ended page by page. */
  | ({ readonly type: 'endSendsOfBroadcast'; readonly broadcastId: string } & Paged)
  /** Records or prospects were queued on their way to Salesforce. Written by triggers, too. */
  | { readonly type: 'pushToSalesforce' }
  | { readonly type: 'startSalesforceRun'; readonly runId: string; readonly mode: string }
  /** Running continuous automations look at these prospects again. Written by triggers. */
  | { readonly type: 'prospectsChanged'; readonly prospectIds: readonly string[] };

/** An entry as the relay takes it. Its id is the command id that makes a repeated signal harmless. */
export interface OutboxEntry {
  readonly id: number;
  readonly aggregate: string;
  readonly message: OutboxMessage;
}

/** Channel on which a commit with new entries wakes the relay. */
export const OUTBOX_CHANNEL = 'heed_outbox';

const INSERT = plain(`
  insert into outbox (aggregate, message, created_at)
  select e->>'aggregate', e->'message', $2 from jsonb_array_elements($1::jsonb) with ordinality as l(e, n) order by n`);
const NOTIFY = plain(`select pg_notify('${OUTBOX_CHANNEL}', '')`);

/** Adds entries in the transaction of what they tell about; the relay is woken by the commit. */
export async function addToOutbox(
  tx: Transaction,
  now: Date,
  entries: readonly { aggregate: string; message: OutboxMessage }[],
): Promise<void> {
  if (entries.length === 0) return;
  await tx.query(INSERT, [JSON.stringify(entries), now]);
  await tx.query(NOTIFY);
}

/** Aggregate of everything about one send: its entries go out in order. */
export function sendAggregate(sendId: string): string {
  return `send:${sendId}`;
}

/** Aggregate of everything about one enrollment; the triggers build it, too. */
export function enrollmentAggregate(enrollmentId: string): string {
  return `enrollment:${enrollmentId}`;
}

/** Aggregate of what is told to the workflow of one automation. */
export function automationAggregate(automationId: string): string {
  return `automation:${automationId}`;
}

/** What is told about one automation. */
export type AutomationMessage = Extract<OutboxMessage, { automationId: string }>;

/** An entry about one automation: its workflow does not wait until its enrollments were gone through. */
export function automationEntry(message: AutomationMessage) {
  const isPaged = message.type === 'followAutomation' || message.type === 'moveEnrollments';
  const aggregate = automationAggregate(message.automationId);
  return { aggregate: isPaged ? `${aggregate}:enrollments` : aggregate, message };
}

const TAKE = plain(`
  select id, aggregate, message from outbox o
  where not exists (select 1 from outbox earlier where earlier.aggregate = o.aggregate and earlier.id < o.id)
    and part = $1 and id > $2 and id <> all($3::bigint[])
  order by id limit $4 for update skip locked`);
const REMOVE = plain('delete from outbox where id = any($1::bigint[])');

/** Which entries are to be taken. */
export interface OutboxTake {
  readonly part: OutboxPart;
  /** Those behind this one. */
  readonly afterId: number;
  /** These not. */
  readonly except: readonly number[];
  readonly limit: number;
}

/**
 * Takes the first undelivered entry of each aggregate, where it is of this part, and locks them for this transaction. What
 * another relay holds is passed over. Whatever is not removed before the commit stays for the next time.
 */
export async function takeFromOutbox(tx: Transaction, take: OutboxTake): Promise<OutboxEntry[]> {
  const rows = await tx.query<{ id: string; aggregate: string; message: OutboxMessage }>(TAKE, [
    take.part,
    take.afterId,
    bigintArray(take.except),
    take.limit,
  ]);
  return rows.map((row) => ({ id: Number(row.id), aggregate: row.aggregate, message: row.message }));
}

/** Removes entries that were delivered. */
export async function removeFromOutbox(tx: Transaction, ids: readonly number[]): Promise<void> {
  if (ids.length > 0) await tx.query(REMOVE, [ids]);
}

/** How many enrollments wait for their workflow's start, counted no further than `atMost`. */
export async function countWaitingStarts(on: Session, atMost: number): Promise<number> {
  const [row] = await on.query<{ waiting: number }>(
    plain(`select count(*)::int as waiting
           from (select from outbox where part = 'starts' and message->>'type' = 'startEnrollment' limit $1) found`),
    [atMost],
  );
  return row!.waiting;
}

/** How many entries wait, and since when the oldest does. */
export async function outboxBacklog(on: Session): Promise<{ entries: number; oldestAt: Date | null }> {
  const [row] = await on.query<{ entries: string; oldest: Date | null }>(
    plain('select count(*) as entries, min(created_at) as oldest from outbox'),
  );
  return { entries: Number(row?.entries ?? 0), oldestAt: row?.oldest ?? null };
}
