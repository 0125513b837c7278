import type { Composed, EmailComposer } from '../../adapters/mailer/composer.ts';
import type { Mailer } from '../../adapters/mailer/mailer.ts';
import type { Database } from '../../db/connection.ts';
import type { GateItem } from '../../db/queries/broadcastGate.ts';
import {
  type BroadcastContent,
  claimPage,
  leavePage,
  type Recipient,
  readBroadcastContent,
  readGatedRecipients,
  readPageRecipients,
  reopenPages,
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
import { Stream } from './stream.ts';
import { Turns } from './turns.ts';

/** Recipients whose messages are ready before their gate: two pages keep every conversation busy. */
const AHEAD = PAGE_RECIPIENTS;
/** Of several destinations each has waiting what it carries in so many seconds, or so many: others are not kept by a slow one. */
const ROOM_SECONDS = 20;
const LEAST_ROOM = 50;
/** A destination that has more waiting than it carries in so many seconds is slow: pages are claimed for the others all the same. */
const SLOW_SECONDS = 10;
/** Whoever found no room is looked for again after this. */
const SLOW_MS = 60_000;
/** Most who wait in a lane, however many destinations are slow. */
const MOST_WAITING = 4 * AHEAD;
/** Pages come due without anybody telling the lanes. */
const LOOK_AGAIN_MS = 5_000;
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

/** How a lane ended. `none`: no page was left to claim. `more`: its time was over. `wait`: nothing may leave before. */
export type LaneEnd =
  | { readonly kind: 'none' | 'more' | 'stopped' }
  | { readonly kind: 'wait'; readonly until: Date };

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
  const { pages, lost } = await takeBackPages(db, clock(), broadcastId, lane);
  for (const { attempt, ...send } of lost) {
    const end = lostOutcome(mailer.destinationOf(send.recipientDomain));
    await recordOutcome(db, send, attempt, end, clock());
  }
  await reopenPages(db, pages);
}

class Lane {
  readonly #parts: PagesParts;
  readonly #input: LaneInput;
  readonly #content: BroadcastContent;
  readonly #signal: AbortSignal;
  readonly #turns: Turns | null;
  readonly #streams = new Map<string, Stream>();
  /** Destinations that are closed, and until when. */
  readonly #closed = new Map<string, Date>();
  readonly #works = new Set<PageWork>();
  readonly #changed = new Signal();
  /** Streams whose way out was closed, until they have ended. */
  readonly #closing = new Set<Promise<void>>();
  /** With so many who wait for their gate no other page is claimed. */
  #enough = MOST_WAITING;
  #failure: { readonly error: unknown } | null = null;
  #timeIsOver = false;
  #end: LaneEnd | null = null;

  constructor(parts: PagesParts, input: LaneInput, content: BroadcastContent, signal: AbortSignal) {
    this.#parts = parts;
    this.#input = input;
    this.#content = content;
    this.#signal = signal;
    const { broadcastId, perMinute } = content;
    this.#turns = perMinute === null ? null : new Turns(parts.db, broadcastId, perMinute);
  }

  async run(): Promise<LaneEnd> {
    const abort = () => this.#haltAll();
    const timer = setTimeout(() => {
      this.#timeIsOver = true;
      this.#changed.ring();
    }, this.#input.milliseconds);
    this.#signal.addEventListener('abort', abort, { once: true });
    try {
      await this.#feed();
      await this.#finishStreams();
      await this.#leaveAll();
    } catch (error) {
      this.#haltAll();
      await Promise.allSettled([...this.#streams.values()].map((stream) => stream.finish()));
      await Promise.all(this.#closing);
      throw error;
    } finally {
      clearTimeout(timer);
      this.#signal.removeEventListener('abort', abort);
    }
    this.#signal.throwIfAborted();
    return this.#end ?? { kind: 'none' };
  }

  async #feed(): Promise<void> {
    let lookAgainAt = 0;
    while (!this.#stopped()) {
      await this.#leaveCompleted();
      if (this.#timeIsOver) {
        this.#end = { kind: 'more' };
        return;
      }
      const left = lookAgainAt - performance.now();
      if (left <= 0 && this.#mayClaim()) {
        if (!(await this.#claimNext())) lookAgainAt = performance.now() + LOOK_AGAIN_MS;
      } else if (left > 0 && this.#works.size === 0) return;
      else await this.#changed.orAfter(left > 0 ? left : LOOK_AGAIN_MS);
    }
  }

  /** Whether another page is wanted: those whom nothing slow keeps are about to run out. */
  #mayClaim(): boolean {
    let all = 0;
    let flowing = 0;
    for (const stream of this.#streams.values()) {
      all += stream.waiting;
      if (this.#isOnlyWay || stream.waiting <= stream.carries(SLOW_SECONDS)) flowing += stream.waiting;
    }
    return flowing < AHEAD && all < this.#enough;
  }

  get #isOnlyWay(): boolean {
    return this.#parts.mailer.onlyDestination !== null;
  }

  /** Whether nothing more is to begin: the broadcast was stopped or is held back, or its only way out is closed. */
  #stopped(): boolean {
    if (this.#failure !== null) throw this.#failure.error;
    if (this.#signal.aborted) return true;
    for (const stream of this.#streams.values()) {
      const { stop } = stream;
      if (stop === null) continue;
      if (stop.kind === 'closed' && !this.#isOnlyWay) {
        this.#close(stream, stop.until);
        continue;
      }
      this.#end = stop.kind === 'stopped' ? stop : { kind: 'wait', until: stop.until };
      return true;
    }
    return false;
  }

  /** Where one way out of several is closed, who would leave by it is left for later; a conversation that goes on is not waited for. */
  #close(stream: Stream, until: Date): void {
    this.#streams.delete(stream.destination);
    this.#closed.set(stream.destination, until);
    const closing = stream
      .finish()
      .then(({ prepared, gated }) => {
        for (const { work } of [...prepared, ...gated]) work.leaveForLater(1, until);
      })
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#closing.delete(closing);
        this.#changed.ring();
      });
    this.#closing.add(closing);
  }

  async #claimNext(): Promise<boolean> {
    const { db, clock } = this.#parts;
    const { broadcastId, lane } = this.#input;
    // Where a page may be left for later, those that nobody has looked at come first.
    const page = await claimPage(db, clock(), broadcastId, lane, this.#isOnlyWay ? 'in_order' : 'new_first');
    if (page === null) return false;
    const before = page.epoch > 1 ? await readGatedRecipients(db, page) : [];
    const recipients = [...before, ...(await readPageRecipients(db, page))];
    const work = new PageWork(page, clock(), recipients.length);
    this.#works.add(work);
    const taken = await this.#take(work, recipients);
    // An old page that nobody could be taken of says that there is no use in looking through the next ones soon.
    const isUseless = taken === 0 && recipients.length > 0 && page.epoch > 1;
    const waiting = [...this.#streams.values()].reduce((sum, stream) => sum + stream.waiting, 0);
    this.#enough = isUseless ? Math.max(1, Math.floor(waiting / 2)) : MOST_WAITING;
    return true;
  }

  /** @returns how many were taken in; the others are left for later */
  async #take(work: PageWork, recipients: readonly Recipient[]): Promise<number> {
    const { mailer } = this.#parts;
    let taken = 0;
    for (const [destination, group] of Map.groupBy(recipients, (one) =>
      mailer.destinationOf(one.recipientDomain),
    )) {
      const some = this.#room(work, destination, group);
      taken += some.length;
      await this.#give(work, destination, some);
    }
    return taken;
  }

  /** Those of a page that this lane takes in for a destination; the others are left for later. */
  #room(work: PageWork, destination: string, group: readonly Recipient[]): readonly Recipient[] {
    if (this.#isOnlyWay) return group;
    const now = this.#parts.clock();
    const closedUntil = this.#closed.get(destination);
    if (closedUntil !== undefined && closedUntil > now) {
      work.leaveForLater(group.length, closedUntil);
      return [];
    }
    this.#closed.delete(destination);
    const stream = this.#streams.get(destination);
    const most = Math.max(LEAST_ROOM, stream?.carries(ROOM_SECONDS) ?? group.length);
    const room = Math.max(0, most - (stream?.waiting ?? 0));
    if (group.length <= room) return group;
    work.leaveForLater(group.length - room, new Date(now.getTime() + SLOW_MS));
    return group.slice(0, room);
  }

  async #give(work: PageWork, destination: string, recipients: readonly Recipient[]): Promise<void> {
    for (let from = 0; from < recipients.length && !this.#signal.aborted; from += COMPOSED_AT_A_TIME) {
      const some = recipients.slice(from, from + COMPOSED_AT_A_TIME);
      const prepared = await Promise.all(some.map((recipient) => this.#prepare(work, recipient)));
      this.#streamTo(destination, some[0]!.recipientDomain).add(prepared);
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
      stream = new Stream(
        { ...this.#parts, content: this.#content, turns: this.#turns, settled, hungry },
        destination,
        domain,
      );
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
        if (work.open > 0) continue;
      }
      await this.#leave(work);
    }
  }

  async #leave(work: PageWork): Promise<void> {
    const { db, clock } = this.#parts;
    this.#works.delete(work);
    if (work.lost) return;
    const { page, gateWindows, mayHaveOrphans } = work;
    const isDone = work.open === 0 && work.later === null && !work.readAgain;
    // Whoever was not come to can leave at any time.
    const openFrom = work.open === 0 ? work.later : null;
    await persistently(() =>
      leavePage(db, clock(), page, { state: isDone ? 'done' : 'open', openFrom, mayHaveOrphans }, (before) =>
        sumOfGateWindows([before, gateWindows]),
      ),
    );
  }

  #haltAll(): void {
    for (const stream of this.#streams.values()) stream.halt({ kind: 'stopped' });
    this.#changed.ring();
  }

  async #finishStreams(): Promise<void> {
    // A stream that was made while something stopped the others stops as well.
    if (this.#timeIsOver) for (const stream of this.#streams.values()) stream.windDown();
    else if (this.#end !== null || this.#signal.aborted) this.#haltAll();
    await Promise.all([...this.#streams.values()].map((stream) => stream.finish()));
    await Promise.all(this.#closing);
    if (this.#failure !== null) throw this.#failure.error;
  }

  async #leaveAll(): Promise<void> {
    for (const work of this.#works) await this.#leave(work);
  }
}
