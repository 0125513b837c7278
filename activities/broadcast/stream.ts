import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type {
  Mailer,
  NoConversation,
  ReadyConversation,
  Transmission,
} from '../../adapters/mailer/mailer.ts';
import type { Database } from '../../db/connection.ts';
import { FIRST_ATTEMPT, gateSlice, markSlice, unmark } from '../../db/queries/broadcastGate.ts';
import type { BroadcastContent } from '../../db/queries/broadcastPages.ts';
import { type AttemptOwnership, type GateDecision, gate } from '../../db/queries/gate.ts';
import { clearHold, raiseHold, readHold } from '../../db/queries/holds.ts';
import type { AttemptEnd } from '../../db/queries/outcome.ts';
import { countGateWindow } from '../../domain/broadcast/gateWindows.ts';
import {
  burstSize,
  conversationsFor,
  handingOverAtMost,
  MARK_AT_MOST,
  PAGE_RECIPIENTS,
  sliceSize,
} from '../../domain/broadcast/pacing.ts';
import { GATE_HOLDS_MS } from '../../domain/gateHolds.ts';
import { endOfRendering, endOfTransmission, endWithoutConversation } from '../attemptEnd.ts';
import { persistently } from '../persistently.ts';
import { type Ended, owned, recordEnded } from './outcomes.ts';
import type { Gated, PageWork, Prepared } from './outgoing.ts';
import { Rate } from './rate.ts';
import { Signal } from './signal.ts';
import { TURN_AHEAD_MS, type Turns } from './turns.ts';

/** A conversation is given back after so many messages, so that others who wait for one get it too. */
const MESSAGES_A_LEASE = 200;
/** A conversation that nobody is left for is given back after this. */
const IDLE_MS = 500;
/** A way out that takes no more for so long is closed until then. */
const BUSY_PATIENCE_MS = 30_000;
/** Whoever turns the kill switch off wakes the broadcast; this is for a wake-up that was lost. */
const HELD_BACK_MS = 15 * 60_000;
/** Outcomes are written down together once there are so many, or the first of them has waited so long. */
const RECORDED_AT_ONCE = 100;
const RECORD_WITHIN_MS = 15;
/** Single gates at a time. */
const GATES_AT_A_TIME = 4;
/** Bursts of a limit that may be granted here and not be gated yet. */
const MOST_BURSTS = 2;

/** Why a stream stopped before it had carried everything. */
export type Stop =
  /** Its way out is held back, or takes no more for now. */
  | { readonly kind: 'closed'; readonly until: Date }
  /** Marketing email is paused. */
  | { readonly kind: 'held_back'; readonly until: Date }
  /** The broadcast was paused or cancelled. */
  | { readonly kind: 'stopped' };

export interface StreamParts {
  readonly db: Database;
  readonly mailer: Mailer;
  readonly content: BroadcastContent;
  /** Most conversations at a time. */
  readonly conversations: number;
  /** Of a broadcast with a limit. */
  readonly turns: Turns | null;
  readonly clock: () => Date;
  /** Told whenever a recipient of a page has an outcome, was refused, or was given up here. */
  readonly settled: (work: PageWork) => void;
  /** Told when it could do with more recipients, and when it has stopped. */
  readonly hungry: () => void;
}

/** Recipients who got no message here. */
interface Unsent {
  readonly prepared: readonly Prepared[];
  readonly gated: readonly Gated[];
}

/**
 * Carries recipients who leave by the same way through gate, mark, conversation and outcome. The four run side by side,
 * each as far ahead as the next one needs: gated are only as many as leave within half a second, marked only as many as
 * the conversations are about to take.
 */
export class Stream {
  readonly destination: string;
  readonly #parts: StreamParts;
  readonly #domain: string;
  readonly #prepared: Prepared[] = [];
  #gated: Gated[] = [];
  #marked: Gated[] = [];
  #ended: Ended[] = [];
  /** At the gate or at the mark: comes to a conversation in a moment. */
  #coming = 0;
  /** Of these, gated and asked about anew. */
  #returning = 0;
  /** In a conversation. */
  #inTheAir = 0;
  /** Marked and without a recorded outcome. */
  #handingOver = 0;
  #lanes = 0;
  #ready = 0;
  /** Messages of the limit whose turn has come. */
  #allowed = 0;
  /** Messages of the limit whose turn is taken and comes in a moment. */
  #turning = 0;
  #complete = false;
  #stop: Stop | null = null;
  /** Given back, since time is over. */
  readonly #left: Prepared[] = [];
  #held = false;
  readonly #rate = new Rate();
  /** Ends what is waited for before anybody is gated. */
  readonly #stopping = new AbortController();
  readonly #changed = new Signal();
  readonly #forLanes = new Signal();
  readonly #running = new Set<Promise<void>>();
  readonly #failures: unknown[] = [];
  #finished: Promise<Unsent> | null = null;

  /** @param domain any recipient domain that leaves by this way */
  constructor(parts: StreamParts, destination: string, domain: string) {
    this.#parts = parts;
    this.destination = destination;
    this.#domain = domain;
    this.#run(this.#gateAll());
    this.#run(this.#markAll());
    this.#run(this.#recordAll());
  }

  /** Recipients that wait for their gate. */
  get waiting(): number {
    return this.#prepared.length;
  }

  get stop(): Stop | null {
    return this.#stop;
  }

  /** How many it is likely to carry within so many seconds: as many as it is given, while that is not known. */
  carries(seconds: number): number {
    return this.#rate.within(seconds);
  }

  /** Takes recipients in. */
  add(prepared: readonly Prepared[]): void {
    this.#prepared.push(...prepared);
    const { conversations, content } = this.#parts;
    const useful = conversationsFor(content.perMinute);
    const wanted = Math.min(conversations, useful, Math.ceil(this.#prepared.length / 50));
    while (this.#lanes < wanted && this.#stop === null) {
      this.#lanes += 1;
      this.#run(this.#lane());
    }
    this.#ring();
  }

  /** Begins nothing more: what is in a conversation ends as it ends, and what was only marked is taken back. */
  halt(stop: Stop): void {
    this.#stop ??= stop;
    this.#stopping.abort();
    this.#ring();
    this.#parts.hungry();
  }

  /** Gates nobody else, except for turns that are taken: who is gated leaves while that holds, or is gated anew later. */
  windDown(): void {
    const { signal } = this.#stopping;
    if (signal.aborted) return;
    this.#left.push(...this.#prepared.splice(this.#granted));
    const timer = setTimeout(() => this.halt({ kind: 'stopped' }), TURN_AHEAD_MS + GATE_HOLDS_MS);
    signal.addEventListener('abort', () => clearTimeout(timer));
  }

  /**
   * Waits until everything that was taken in has an outcome, or the stream has stopped.
   *
   * @returns recipients that are not gated, and those that are but were not handed over
   * @throws what went wrong with the database
   */
  finish(): Promise<Unsent> {
    this.#finished ??= this.#finish();
    return this.#finished;
  }

  async #finish(): Promise<Unsent> {
    this.#complete = true;
    this.#ring();
    while (this.#running.size > 0) await Promise.all(this.#running);
    const marked = this.#marked.splice(0);
    await Promise.all(marked.map((one) => this.#unmark(one)));
    this.#giveTurnsBack();
    if (this.#failures.length > 0) throw this.#failures[0];
    const prepared = [...this.#left.splice(0), ...this.#prepared.splice(0)];
    return { prepared, gated: [...marked, ...this.#gated.splice(0)] };
  }

  /** Nothing is left that could still come to a conversation. */
  get #over(): boolean {
    if (this.#stop !== null) return true;
    return (
      this.#complete &&
      this.#prepared.length === 0 &&
      this.#gated.length === 0 &&
      this.#marked.length === 0 &&
      this.#coming + this.#inTheAir === 0
    );
  }

  /** Messages of the limit that may be gated, or may be in a moment; of a broadcast without a limit, none. */
  get #granted(): number {
    return this.#allowed + this.#turning;
  }

  #ring(): void {
    this.#changed.ring();
    this.#forLanes.ring();
  }

  /** Whatever fails stops the whole stream; {@link finish} tells of it. */
  #run(work: Promise<void>): void {
    const running = work
      .catch((error: unknown) => {
        this.#failures.push(error);
        this.halt({ kind: 'stopped' });
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #gateAll(): Promise<void> {
    while (!this.#over) {
      const size = this.#sliceSize();
      if (!this.#mayGate || this.#ready === 0 || this.#gated.length + this.#returning > size / 2) {
        await this.#changed.wait();
        continue;
      }
      await this.#gateNext(size);
    }
  }

  /** Somebody waits for their gate, and the limit lets them. */
  get #mayGate(): boolean {
    return this.#prepared.length > 0 && (this.#parts.turns === null || this.#allowed > 0);
  }

  #sliceSize(): number {
    const size = sliceSize(this.#rate.perSecond, Math.max(1, this.#ready));
    return this.#parts.turns === null ? size : Math.min(size, this.#allowed);
  }

  async #gateNext(size: number): Promise<void> {
    const { work, gatedBefore } = this.#prepared[0]!;
    let count = 1;
    const most = Math.min(size, this.#prepared.length, PAGE_RECIPIENTS);
    const fits = ({ work: other, gatedBefore: before }: Prepared) => other === work && before === gatedBefore;
    while (count < most && fits(this.#prepared[count]!)) count += 1;
    const slice = this.#prepared.splice(0, count);
    this.#coming += count;
    this.#parts.hungry();
    try {
      if (work.lost) this.#giveUp(slice);
      else if (gatedBefore) await this.#gateEach(slice);
      else await this.#gateTogether(slice, work);
    } finally {
      this.#coming -= count;
      if (this.#prepared.length === 0) this.#giveTurnsBack();
      this.#ring();
    }
  }

  /** Whoever was refused left a turn that somebody else has use for. */
  #giveTurnsBack(): void {
    this.#parts.turns?.giveBack(this.#allowed);
    this.#allowed = 0;
  }

  async #gateTogether(slice: readonly Prepared[], work: PageWork): Promise<void> {
    const { db, content, clock } = this.#parts;
    const decision = await gateSlice(db, {
      ...content,
      page: work.page,
      items: slice.map(({ item }) => item),
      createdAt: work.createdAt,
      now: clock(),
    });
    if (decision.kind === 'stopped' || decision.kind === 'held_back') {
      this.#prepared.unshift(...slice);
      const until = new Date(clock().getTime() + HELD_BACK_MS);
      return this.halt(decision.kind === 'stopped' ? { kind: 'stopped' } : { kind: 'held_back', until });
    }
    if (decision.kind === 'superseded') {
      work.lost = true;
      return this.#giveUp(slice);
    }
    const { open, decidedAt, refused } = decision;
    if (open.size + refused < slice.length) work.readAgain = true;
    const attempt = { number: FIRST_ATTEMPT, epoch: work.page.epoch };
    this.#useUp(open.size);
    for (const one of slice) {
      if (open.has(one.item.sendId)) this.#gated.push({ ...one, attempt, decidedAt });
      else this.#settle(work);
    }
  }

  /** Whom somebody else had gated: one by one, as any attempt that was lost before it was handed over. */
  async #gateEach(slice: Prepared[]): Promise<void> {
    await Promise.all(
      Array.from({ length: GATES_AT_A_TIME }, async () => {
        while (slice.length > 0 && this.#stop === null) {
          const one = slice.pop()!;
          const decision = await this.#gateAgain(one);
          if (decision.kind === 'open') {
            this.#useUp(1);
            this.#gated.push({ ...one, ...decision });
          } else if (decision.kind === 'stopped') slice.push(one);
          else this.#settleElsewhere(one.work);
        }
      }),
    );
    this.#prepared.unshift(...slice);
  }

  /** Whoever is refused takes nothing of the limit. */
  #useUp(turns: number): void {
    if (this.#parts.turns !== null) this.#allowed -= turns;
  }

  /** Asks about an attempt that was gated before; where the broadcast was paused, nothing more begins here. */
  async #gateAgain({ item }: Prepared, held?: AttemptOwnership): Promise<GateDecision> {
    const { db, content, clock } = this.#parts;
    const decision = await gate(db, {
      ...item,
      broadcastId: content.broadcastId,
      run: 0,
      trigger: 'schedule',
      now: clock(),
      ...(held && { held }),
    });
    if (decision.kind === 'stopped') this.halt({ kind: 'stopped' });
    return decision;
  }

  #giveUp(slice: readonly Prepared[]): void {
    for (const { work } of slice) this.#settle(work);
  }

  async #markAll(): Promise<void> {
    const { db, clock } = this.#parts;
    while (!this.#over) {
      const size = Math.min(
        MARK_AT_MOST,
        handingOverAtMost(this.#ready) - this.#handingOver,
        this.#gated.length,
      );
      // Without a conversation nobody is marked: they would be unknown if this process were lost meanwhile.
      if (size <= 0 || this.#marked.length >= this.#ready) {
        await this.#changed.wait();
        continue;
      }
      const batch = this.#gated.splice(0, size);
      this.#coming += size;
      this.#handingOver += size;
      let marked: Set<string>;
      try {
        marked = await markSlice(db, clock(), batch.map(owned));
      } catch (error) {
        // Whether they are marked nobody knows; nothing of them leaves, and the marks are taken back.
        this.halt({ kind: 'stopped' });
        this.#marked.push(...batch);
        throw error;
      } finally {
        this.#coming -= size;
      }
      for (const one of batch) {
        if (marked.has(one.item.sendId)) this.#marked.push(one);
        else this.#forget(one);
      }
      this.#ring();
    }
  }

  async #lane(): Promise<void> {
    while (!this.#over) {
      if (!this.#hasWork) {
        await this.#forLanes.wait();
        continue;
      }
      if (await this.#isHeld()) return;
      // The turn comes first: while it is waited for, others have the conversation.
      if (!this.#mayConverse && !(await this.#takeTurn())) continue;
      const conversation = await this.#reserve();
      if (conversation === 'left') return;
      if (conversation === 'later') continue;
      this.#ready += 1;
      this.#ring();
      try {
        await this.#converse(conversation);
      } finally {
        this.#ready -= 1;
        if (conversation.ready) conversation.release();
      }
    }
  }

  /** Takes the next turn of the limit for those who have none yet, and waits for it. @returns false where nobody had use for it */
  async #takeTurn(): Promise<boolean> {
    const { turns, content } = this.#parts;
    const burst = burstSize(content.perMinute!);
    // What was granted and cannot leave does not add up: it would leave all at once.
    const room = MOST_BURSTS * burst - this.#granted;
    const count = Math.min(burst, room, this.#prepared.length - this.#granted);
    if (this.#coming > 0 || count <= 0) {
      await this.#forLanes.wait();
      return false;
    }
    // Counted before it is taken, so that nobody else here takes one for the same recipients.
    this.#turning += count;
    const taken = await turns!.take(count, this.#stopping.signal);
    this.#turning -= count;
    if (taken) this.#allowed += count;
    return taken;
  }

  /** Whether a fault of ours holds the way out back, which stops the stream. */
  async #isHeld(): Promise<boolean> {
    const { db, clock } = this.#parts;
    const hold = await readHold(db, this.destination);
    this.#held = hold !== null;
    if (hold === null || hold.until <= clock()) return false;
    this.#close(hold.until);
    return true;
  }

  /** @returns `left` where this conversation is not needed, or the stream has stopped; `later` where it is to be asked for again */
  async #reserve(): Promise<ReadyConversation | NoConversation | 'left' | 'later'> {
    const { db, mailer, clock } = this.#parts;
    let conversation: ReadyConversation | NoConversation;
    try {
      conversation = await mailer.reserve(this.#domain, this.#stopping.signal);
    } catch (error) {
      if (this.#stopping.signal.aborted) return 'left';
      throw error;
    }
    if (conversation.ready || conversation.verdict !== null) return conversation;
    if (conversation.busyMilliseconds !== undefined) return this.#busy(conversation.busyMilliseconds);
    const category = conversation.phase === 'auth' ? 'authentication' : 'relay_unavailable';
    return this.#close(await raiseHold(db, clock(), this.destination, category, conversation.detail));
  }

  /** As much as it takes is on its way: one conversation here is enough to wait for more. */
  async #busy(milliseconds: number): Promise<'left' | 'later'> {
    if (this.#lanes > 1) {
      this.#lanes -= 1;
      // What this one was about to do is the others' now.
      this.#forLanes.ring();
      return 'left';
    }
    if (milliseconds > BUSY_PATIENCE_MS) {
      return this.#close(new Date(this.#parts.clock().getTime() + milliseconds));
    }
    // Nobody stays marked meanwhile, who would be unknown if we were lost.
    for (const one of this.#marked.splice(0)) this.#again(one);
    await sleep(milliseconds, undefined, { signal: this.#stopping.signal }).catch(() => {});
    return 'later';
  }

  #close(until: Date): 'left' {
    this.halt({ kind: 'closed', until });
    return 'left';
  }

  /** Somebody is to get a message this way. */
  get #hasWork(): boolean {
    return this.#prepared.length + this.#gated.length + this.#marked.length > 0;
  }

  /** Somebody may get theirs now. */
  get #mayConverse(): boolean {
    return this.#mayGate || this.#gated.length + this.#marked.length > 0;
  }

  /** @returns false where there was nobody for a while: there are other ways out, which may want the connection */
  async #moreToCome(): Promise<boolean> {
    // While the next turn of a limited broadcast is waited for, others who wait for a conversation come first.
    const until = performance.now() + (this.#parts.turns === null ? IDLE_MS : 0);
    while (!this.#mayConverse && this.#coming === 0 && !this.#over) {
      const left = until - performance.now();
      if (left <= 0) return false;
      await this.#forLanes.orAfter(left);
    }
    if (this.#marked.length === 0 && !this.#over) await this.#forLanes.wait();
    return true;
  }

  /** Message after message, until nothing is left or the conversation is to be given back. */
  async #converse(conversation: ReadyConversation | NoConversation): Promise<void> {
    const { perMinute } = this.#parts.content;
    let left = perMinute === null ? MESSAGES_A_LEASE : burstSize(perMinute);
    const next = () => {
      const one = left > 0 && this.#stop === null ? this.#nextMarked() : null;
      if (one !== null) left -= 1;
      return one;
    };
    while (left > 0 && this.#stop === null) {
      if (this.#marked.length === 0) {
        if (this.#over || !(await this.#moreToCome())) return;
      } else if (conversation.ready) {
        if (!(await this.#transmitAll(conversation, next))) return;
      } else {
        const one = next();
        if (one === null) continue;
        this.#end(one, endWithoutConversation({ ...conversation, verdict: conversation.verdict! }));
      }
    }
  }

  /** Whose decision grew too old waits for another one; the conversation is not troubled with them. */
  #nextMarked(): Gated | null {
    for (let one = this.#marked.shift(); one !== undefined; one = this.#marked.shift()) {
      if (this.#marked.length < this.#ready) this.#changed.ring();
      if (performance.now() > one.decidedAt + GATE_HOLDS_MS) {
        this.#again(one);
        continue;
      }
      this.#inTheAir += 1;
      return one;
    }
    return null;
  }

  /** @returns whether the conversation takes more */
  async #transmitAll(conversation: ReadyConversation, next: () => Gated | null): Promise<boolean> {
    const { destination } = conversation;
    const taken = new Set<Gated>();
    const ended = (one: Gated, end: Transmission) => {
      taken.delete(one);
      if (end.kind === 'not_begun') {
        this.#inTheAir -= 1;
        this.#again(one);
      } else this.#end(one, endOfTransmission(end, conversation, one.item));
    };
    try {
      return await conversation.transmitAll(() => {
        for (let one = next(); one !== null; one = next()) {
          const { composed, decidedAt, work } = one;
          if (!composed.ok) {
            this.#end(one, endOfRendering(composed, destination));
            continue;
          }
          const gated = one;
          taken.add(gated);
          return {
            message: composed.message,
            beginBefore: decidedAt + GATE_HOLDS_MS,
            begun: (at) => countGateWindow(work.gateWindows, at - decidedAt),
            ended: (end) => ended(gated, end),
          };
        }
        return null;
      });
    } finally {
      // Whose end was not told, since something failed: their marks tell whoever comes next.
      this.#inTheAir -= taken.size;
    }
  }

  #end(gated: Gated, end: AttemptEnd): void {
    this.#inTheAir -= 1;
    this.#ended.push({ gated, end });
    this.#rate.count();
    if (this.#ended.length === 1 || this.#over) this.#ring();
  }

  /** Nothing of it was handed over: its decision grew too old, or the conversation was over before its turn came. */
  #again(one: Gated): void {
    this.#coming += 1;
    this.#returning += 1;
    this.#run(this.#askAnew(one));
  }

  async #askAnew(one: Gated): Promise<void> {
    let decision: GateDecision;
    try {
      await this.#unmark(one);
      decision = await this.#gateAgain(one, one.attempt);
    } finally {
      this.#coming -= 1;
      this.#returning -= 1;
    }
    this.#handingOver -= 1;
    if (decision.kind === 'open') {
      this.#gated.unshift({ ...one, attempt: decision.attempt, decidedAt: decision.decidedAt });
    } else if (decision.kind === 'stopped') {
      this.#gated.unshift(one);
    } else {
      this.#settleElsewhere(one.work);
    }
    this.#ring();
  }

  /** While this process lives it keeps trying: a mark that stays makes an unknown send of one that nobody began. */
  #unmark(one: Gated): Promise<void> {
    return persistently(() => unmark(this.#parts.db, owned(one)));
  }

  async #recordAll(): Promise<void> {
    while (!(this.#over && this.#ended.length === 0 && this.#coming + this.#inTheAir === 0)) {
      if (this.#ended.length === 0) {
        await this.#changed.wait();
        continue;
      }
      if (this.#ended.length < RECORDED_AT_ONCE && this.#inTheAir > 0) await sleep(RECORD_WITHIN_MS);
      const ended = this.#ended;
      this.#ended = [];
      await this.#record(ended);
      this.#rate.measure();
      this.#handingOver -= ended.length;
      for (const { gated } of ended) this.#parts.settled(gated.work);
      this.#ring();
    }
    // Nobody is left for a conversation that is still waited for.
    this.#stopping.abort();
  }

  async #record(ended: readonly Ended[]): Promise<void> {
    const { db, clock } = this.#parts;
    const { deliveries, heldUntil } = await recordEnded(db, clock, ended);
    if (heldUntil !== null) this.#close(heldUntil);
    else if (this.#held && deliveries > 0) {
      this.#held = false;
      await clearHold(db, clock(), this.destination);
    }
  }

  /** Somebody else has it now. */
  #forget(one: Gated): void {
    this.#handingOver -= 1;
    this.#settleElsewhere(one.work);
  }

  /** What became of somebody was not decided by the page's own gate. */
  #settleElsewhere(work: PageWork): void {
    work.mayHaveOrphans = true;
    this.#settle(work);
  }

  #settle(work: PageWork): void {
    this.#parts.settled(work);
  }
}
