import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { plain } from '../db/connection.ts';
import { type OutboxEntry, removeFromOutbox, takeFromOutbox } from '../db/queries/outbox.ts';
import type { OutboxPart } from '../db/schema/outboxParts.ts';
import { Alarm } from './alarm.ts';
import { type DeliveryParts, deliver, onceFor, TooEarly } from './outboxDelivery.ts';
import { Resting } from './resting.ts';

const BATCH = 100;
/** Prospects that are looked at in one batch: their filters take a while. */
const CHANGED_AT_ONCE = 1_000;
/** NOTIFY only wakes; what it missed is found by the sweep. */
const SWEEP_MS = 2_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
/** So often a long pass looks at what it left behind: what rested, what was committed late, the next of its aggregate. */
const LOOK_BACK_MS = 1_000;
const WARN_EVERY_MS = 60_000;
/** The transaction that holds a batch is seen to be alive; one of a frozen process is ended by PostgreSQL after 30 s. */
const BEAT_MS = 10_000;
const BEAT = plain('select');

interface Batch {
  readonly delivered: number;
  /** The last one that was dealt with; 0 where there was none. */
  readonly lastId: number;
  /** There may be more behind it. */
  readonly isFull: boolean;
}

/** Delivers the entries of one part of the outbox, as long as the relay runs. */
export class PartRelay {
  readonly #deps: DeliveryParts & { readonly log: Logger };
  readonly #part: OutboxPart;
  readonly #onDelivered: () => void;
  readonly #alarm = new Alarm();
  readonly #resting = new Resting();
  readonly #stop = new AbortController();
  #warnedAt = Number.NEGATIVE_INFINITY;

  /** @param onDelivered what is next of the same aggregates may belong to another part */
  constructor(deps: DeliveryParts & { readonly log: Logger }, part: OutboxPart, onDelivered: () => void) {
    this.#deps = deps;
    this.#part = part;
    this.#onDelivered = onDelivered;
  }

  /** There may be something to deliver. */
  ring(): void {
    this.#alarm.ring();
  }

  /** Takes nothing any more; what is on its way is waited for by `run`. */
  stop(): void {
    this.#stop.abort();
    this.#alarm.ring();
  }

  async run(): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    while (!this.#isStopping) {
      try {
        await this.#drain();
        pause = FIRST_PAUSE_MS;
        await this.#alarm.wait(Math.min(SWEEP_MS, this.#resting.untilNext(performance.now())));
      } catch (error) {
        this.#deps.log.warn(
          { part: this.#part, error: textOf(error) },
          'the outbox cannot be read, or what was delivered not be removed; it will be tried again',
        );
        await this.#rest(pause);
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      }
    }
  }

  get #isStopping(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Pass after pass over the part, until one delivers nothing. */
  async #drain(): Promise<void> {
    for (let delivered = 1; delivered > 0 && !this.#isStopping; ) delivered = await this.#pass();
  }

  /** From the first entry to the last, whatever of them fails. @returns how many were delivered */
  async #pass(): Promise<number> {
    let delivered = 0;
    let cursor = 0;
    let lookedBackAt = performance.now();
    while (!this.#isStopping) {
      const looksBack = performance.now() - lookedBackAt > LOOK_BACK_MS;
      if (looksBack) lookedBackAt = performance.now();
      const batch = await this.#deliverBatch(looksBack ? 0 : cursor);
      if (batch.delivered > 0) this.#onDelivered();
      delivered += batch.delivered;
      cursor = Math.max(cursor, batch.lastId);
      if (!batch.isFull) break;
      if (batch.delivered === 0) await this.#rest(FIRST_PAUSE_MS);
    }
    return delivered;
  }

  async #deliverBatch(afterId: number): Promise<Batch> {
    const { db } = this.#deps;
    return db.transaction(async (tx) => {
      const except = this.#resting.ids(performance.now());
      const taken = await takeFromOutbox(tx, { part: this.#part, afterId, except, limit: BATCH });
      const entries = this.#part === 'changes' ? this.#lookedAtTogether(taken) : taken;
      const beat = setInterval(() => tx.query(BEAT).catch(() => {}), BEAT_MS);
      try {
        const done = await this.#deliverAll(entries);
        await removeFromOutbox(tx, done);
        return {
          delivered: done.length,
          lastId: entries.at(-1)?.id ?? 0,
          isFull: taken.length === BATCH || entries.length < taken.length,
        };
      } finally {
        clearInterval(beat);
      }
    });
  }

  /** @returns ids of those that were delivered */
  async #deliverAll(entries: readonly OutboxEntry[]): Promise<number[]> {
    const { log } = this.#deps;
    const startedAt = performance.now();
    const once = onceFor(this.#deps, entries);
    const results = await Promise.allSettled(entries.map((entry) => deliver(this.#deps, entry, once)));
    const now = performance.now();
    const done: number[] = [];
    let failed = 0;
    for (const [index, result] of results.entries()) {
      const { id } = entries[index]!;
      if (result.status === 'fulfilled') done.push(id);
      else if (result.reason instanceof TooEarly) this.#resting.early(id, now);
      else {
        failed += 1;
        this.#resting.failed(id, now, now - startedAt);
        log.debug({ part: this.#part, error: textOf(result.reason) }, 'not delivered');
      }
    }
    this.#resting.delivered(done);
    if (failed > 0 && now - this.#warnedAt > WARN_EVERY_MS) {
      this.#warnedAt = now;
      log.warn({ part: this.#part, failed }, 'outbox entries could not be delivered and will be tried again');
    }
    return done;
  }

  /** The first of them that name no more prospects than go together; one that failed before is looked at alone. */
  #lookedAtTogether(entries: readonly OutboxEntry[]): readonly OutboxEntry[] {
    const first = entries[0];
    if (first !== undefined && this.#resting.hasFailed(first.id)) return [first];
    let named = 0;
    const end = entries.findIndex(({ id, message }, index) => {
      if (message.type === 'prospectsChanged') named += message.prospectIds.length;
      return index > 0 && (named > CHANGED_AT_ONCE || this.#resting.hasFailed(id));
    });
    return end < 0 ? entries : entries.slice(0, end);
  }

  async #rest(milliseconds: number): Promise<void> {
    await delay(milliseconds, undefined, { signal: this.#stop.signal }).catch(() => {});
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
