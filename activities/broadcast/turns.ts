import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../../db/connection.ts';
import { takeTurn } from '../../db/queries/broadcastPages.ts';
import { burstSize, milliseconds } from '../../domain/broadcast/pacing.ts';

/** A turn is taken so long before it comes at the earliest: whoever stops meanwhile wastes no more than that. */
export const TURN_AHEAD_MS = 1_000;

/** Turns of a broadcast with a limit, which all of its lanes share: one is asked for after the other. */
export class Turns {
  readonly #db: Database;
  readonly #broadcastId: string;
  readonly #perMinute: number;
  /** Turns that came and that nobody had use for. */
  #spare = 0;
  /** When whoever came before has theirs. */
  #before: Promise<unknown> = Promise.resolve();

  constructor(db: Database, broadcastId: string, perMinute: number) {
    this.#db = db;
    this.#broadcastId = broadcastId;
    this.#perMinute = perMinute;
  }

  /**
   * Waits until so many messages may leave.
   *
   * @returns false where `signal` aborted before the turn was taken
   * @throws what went wrong with the database
   */
  async take(messages: number, signal: AbortSignal): Promise<boolean> {
    const taken = this.#before.then(() => this.#take(messages, signal));
    this.#before = taken.catch(() => {});
    const wait = await taken;
    if (wait === null) return false;
    await sleep(wait);
    return true;
  }

  /** Leaves turns that had come to whoever asks next; no more than leave together, for they do not add up. */
  giveBack(messages: number): void {
    this.#spare = Math.min(this.#spare + messages, burstSize(this.#perMinute));
  }

  /** @returns how long until it comes, in milliseconds; `null` where `signal` aborted */
  async #take(messages: number, signal: AbortSignal): Promise<number | null> {
    if (this.#spare >= messages) {
      this.#spare -= messages;
      return 0;
    }
    const needed = milliseconds(messages, this.#perMinute);
    while (!signal.aborted) {
      const turn = await takeTurn(this.#db, this.#broadcastId, needed, TURN_AHEAD_MS);
      if (turn.kind === 'taken') return turn.milliseconds;
      await sleep(turn.milliseconds, undefined, { signal }).catch(() => {});
    }
    return null;
  }
}
