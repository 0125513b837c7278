import type { Composed, EmailComposer } from '../../adapters/mailer/composer.ts';
import type { Mailer } from '../../adapters/mailer/mailer.ts';
import type { Database } from '../../db/connection.ts';
import type { GateItem } from '../../db/queries/broadcastGate.ts';
import {
  type BroadcastContent,
  claimPage,
  leavePage,
  queueForWorkflows,
  type Recipient,
  readBroadcastContent,
  readGatedRecipients,
  readPageRecipients,
  takeBackPages,
} from '../../db/queries/broadcastPages.ts';
import { recordOutcome } from '../../db/queries/outcome.ts';
import { sumOfGateWindows } from '../../domain/broadcast/gateWindows.ts';
import { PAGE_RECIPIENTS } from '../../domain/broadcast/pacing.ts';
import { lostOutcome } from '../attemptEnd.ts';
import { persistently } from '../persistently.ts';
import { PageWork, type Prepared } from './outgoing.ts';
import { newSendId } from './sendIds.ts';
import { Signal } from './signal.ts';
import { type Stop, Stream } from './stream.ts';

/** Recipients whose messages are ready before their gate: two pages keep every conversation busy. */
const AHEAD = PAGE_RECIPIENTS;
/** Messages that are made at a time: signing them is done by the thread pool. */
const COMPOSED_AT_A_TIME = 50;

export interface PagesParts {
  readonly db: Database;
  readonly mailer: Mailer;
  readonly composer: EmailComposer;
  /** Right side of the Message-IDs. */
  readonly messageIdDomain: string;
  /** Most conversations of one lane. */
  readonly conversations: number;
  readonly clock: () => Date;
}

export interface LaneInput {
  readonly broadcastId: string;
  /** Which of the broadcast's lanes: what it had claimed before is taken back first. */
  readonly lane: number;
  /** No page is claimed after so many milliseconds. */
  readonly milliseconds: number;
}

/** How a lane ended. `none`: no page was left to claim. `more`: its time was over. */
export type LaneEnd = { readonly kind: 'none' | 'more' } | Stop;

/**
 * Works through pages of a broadcast, one after the other and a page ahead, until none is left, its time is over or
 * something stops it. Safe to run again after a crash at any line, and beside a twin that was taken for dead.
 *
 * @throws what went wrong with the database, or the signal's reason; what was on its way is taken back by the next run
 */
export async function workThroughPages(
  parts: PagesParts,
  input: LaneInput,
  signal: AbortSignal,
): Promise<LaneEnd> {
  await takeBack(parts, input);
  const content = await readBroadcastContent(parts.db, input.broadcastId);
  if (content === null) return { kind: 'stopped' };
  return new Lane(parts, input, content, signal).run();
}

/** Takes back what lost workers had, of a lane or (`null`) of all; of what was being handed over nobody heard the end. */
export async function takeBack(
  { db, mailer, clock }: Pick<PagesParts, 'db' | 'mailer' | 'clock'>,
  { broadcastId, lane }: { readonly broadcastId: string; readonly lane: number | null },
): Promise<void> {
  for (const { attempt, ...send } of await takeBackPages(db, clock(), broadcastId, lane)) {
    const end = lostOutcome(mailer.destinationOf(send.recipientDomain));
    await recordOutcome(db, send, attempt, end, clock());
  }
}

class Lane {
  readonly #parts: PagesParts;
  readonly #input: LaneInput;
  readonly #content: BroadcastContent;
  readonly #signal: AbortSignal;
  readonly #streams = new Map<string, Stream>();
  /** Destinations that nothing goes to any more. */
  readonly #closed = new Set<string>();
  readonly #works = new Set<PageWork>();
  readonly #changed = new Signal();
  #end: LaneEnd | null = null;

  constructor(parts: PagesParts, input: LaneInput, content: BroadcastContent, signal: AbortSignal) {
    this.#parts = parts;
    this.#input = input;
    this.#content = content;
    this.#signal = signal;
  }

  async run(): Promise<LaneEnd> {
    const abort = () => this.#haltAll();
    this.#signal.addEventListener('abort', abort, { once: true });
    try {
      await this.#feed();
      await this.#finishStreams();
      await this.#leaveAll();
    } catch (error) {
      this.#haltAll();
      await Promise.allSettled([...this.#streams.values()].map((stream) => stream.finish()));
      throw error;
    } finally {
      this.#signal.removeEventListener('abort', abort);
    }
    this.#signal.throwIfAborted();
    return this.#end ?? { kind: 'more' };
  }

  async #feed(): Promise<void> {
    const until = performance.now() + this.#input.milliseconds;
    let more = true;
    while (!(await this.#stopped())) {
      await this.#leaveCompleted();
      if (this.#end?.kind === 'stopped') return;
      if (!more) {
        if (this.#works.size === 0) return;
        await this.#changed.wait();
      } else if (this.#waiting() >= AHEAD) {
        await this.#changed.wait();
      } else if (performance.now() >= until) {
        more = false;
      } else {
        more = await this.#claimNext();
        if (!more) this.#end = { kind: 'none' };
      }
    }
  }

  /** Whether nothing more is to begin: the broadcast was stopped, or its only way out is closed. */
  async #stopped(): Promise<boolean> {
    if (this.#signal.aborted) return true;
    for (const stream of this.#streams.values()) {
      if (stream.stop === null || this.#closed.has(stream.destination)) continue;
      if (stream.stop.kind === 'wait' && this.#streams.size > 1 && this.#content.perMinute === null) {
        await this.#close(stream);
        continue;
      }
      this.#end = stream.stop;
      return true;
    }
    return false;
  }

  /** Where one way out of several is closed, who would leave by it gets a workflow each that waits for it. */
  async #close(stream: Stream): Promise<void> {
    this.#closed.add(stream.destination);
    const { prepared, gated } = await stream.finish();
    await this.#giveToWorkflows(prepared);
    // They get theirs when the page is done.
    for (const { work } of gated) work.open -= 1;
  }

  async #giveToWorkflows(left: readonly Prepared[]): Promise<void> {
    const { db, clock } = this.#parts;
    for (const [work, group] of Map.groupBy(left, (one) => one.work)) {
      const given = await queueForWorkflows(db, clock(), {
        ...this.#content,
        items: group.map(({ item }) => item),
        createdAt: work.createdAt,
      });
      // Whoever got no send, since the address changed, is read again; nobody else would tell that there is to be none.
      work.open -= group.length;
      work.readAgain = true;
      if (given === 0 && (await readBroadcastContent(db, this.#input.broadcastId)) === null) {
        this.#end = { kind: 'stopped' };
      }
    }
  }

  #waiting(): number {
    let waiting = 0;
    for (const stream of this.#streams.values()) waiting += stream.waiting;
    return waiting;
  }

  async #claimNext(): Promise<boolean> {
    const { db, clock } = this.#parts;
    const page = await claimPage(db, this.#input.broadcastId, this.#input.lane);
    if (page === null) return false;
    const before = page.epoch > 1 ? await readGatedRecipients(db, page) : [];
    const recipients = [...before, ...(await readPageRecipients(db, page))];
    const work = new PageWork(page, clock(), recipients.length);
    this.#works.add(work);
    await this.#take(work, recipients);
    return true;
  }

  async #take(work: PageWork, recipients: readonly Recipient[]): Promise<void> {
    for (let from = 0; from < recipients.length && !this.#signal.aborted; from += COMPOSED_AT_A_TIME) {
      const some = recipients.slice(from, from + COMPOSED_AT_A_TIME);
      const prepared = await Promise.all(some.map((recipient) => this.#prepare(work, recipient)));
      for (const [destination, group] of Map.groupBy(prepared, ({ item }) =>
        this.#parts.mailer.destinationOf(item.recipientDomain),
      )) {
        if (this.#closed.has(destination)) await this.#giveToWorkflows(group);
        else this.#streamTo(destination, group[0]!.item.recipientDomain).add(group);
      }
    }
  }

  async #prepare(work: PageWork, recipient: Recipient): Promise<Prepared> {
    const { composer, messageIdDomain } = this.#parts;
    const { prospect, gated, ...rest } = recipient;
    const sendId = gated?.sendId ?? newSendId();
    const messageId = gated?.messageId ?? `<${sendId}@${messageIdDomain}>`;
    const item: GateItem = { ...rest, sendId, messageId };
    const composed: Composed = await composer.compose({
      ...item,
      kind: this.#content.kind,
      email: this.#content.email,
      createdAt: gated?.createdAt ?? work.createdAt,
      prospect,
    });
    return { item, work, composed, gatedBefore: gated !== null };
  }

  #streamTo(destination: string, domain: string): Stream {
    let stream = this.#streams.get(destination);
    if (stream === undefined) {
      const settled = (work: PageWork) => {
        work.open -= 1;
        if (work.open === 0) this.#changed.ring();
      };
      const hungry = () => this.#changed.ring();
      stream = new Stream({ ...this.#parts, content: this.#content, settled, hungry }, destination, domain);
      this.#streams.set(destination, stream);
    }
    return stream;
  }

  async #leaveCompleted(): Promise<void> {
    for (const work of [...this.#works]) {
      if (work.open > 0) continue;
      if (work.readAgain && !work.lost) {
        work.readAgain = false;
        const recipients = await readPageRecipients(this.#parts.db, work.page);
        work.open += recipients.length;
        await this.#take(work, recipients);
        if (recipients.length > 0) continue;
      }
      await this.#leave(work, 'done');
    }
  }

  async #leave(work: PageWork, state: 'open' | 'done'): Promise<void> {
    const { db, clock } = this.#parts;
    this.#works.delete(work);
    if (work.lost) return;
    await persistently(() =>
      leavePage(db, clock(), work.page, state, (before) => sumOfGateWindows([before, work.gateWindows])),
    );
  }

  #haltAll(): void {
    for (const stream of this.#streams.values()) stream.halt({ kind: 'stopped' });
    this.#changed.ring();
  }

  async #finishStreams(): Promise<void> {
    if (this.#end !== null && this.#end.kind !== 'none') this.#haltAll();
    for (const stream of this.#streams.values()) {
      if (!this.#closed.has(stream.destination)) await stream.finish();
    }
  }

  async #leaveAll(): Promise<void> {
    for (const work of this.#works) {
      const done = work.open === 0 && !work.readAgain;
      await this.#leave(work, done ? 'done' : 'open');
    }
  }
}
