import type { Place } from '../connectionPool.ts';

/** Somebody who shares the places. */
export interface Claimant {
  /** Called when a place may be had; takes what it needs. */
  serve(): void;
  readonly idleSince: number | null;
  /** Ends a connection that nobody uses. */
  shedIdle(): void;
}

/** Of all places, those whose last connection failed share this part: dead domains never take the rest. */
const PART_FOR_SUSPECTS = 4;

/**
 * The connections that this process may have open at once, shared by all destinations. When there are none left,
 * destinations get one each in turn, and idle connections of others are ended for them.
 */
export class Places {
  readonly #total: number;
  readonly #forSuspects: number;
  readonly #claimants: () => Iterable<Claimant>;
  #used = 0;
  #suspects = 0;
  /** Connections that are being ended to make room. */
  #ending = 0;
  /** In the order in which they will be served. */
  readonly #waiting = new Set<Claimant>();

  /** @param claimants all who have places, to look for idle connections among them */
  constructor(total: number, claimants: () => Iterable<Claimant>) {
    this.#total = total;
    this.#forSuspects = Math.max(1, Math.floor(total / PART_FOR_SUSPECTS));
    this.#claimants = claimants;
  }

  /** Takes a place, or notes that the claimant waits for one. */
  take(claimant: Claimant, suspect: boolean): Place | null {
    if (this.#used >= this.#total || (suspect && this.#suspects >= this.#forSuspects)) {
      this.#waiting.add(claimant);
      this.makeRoom();
      return null;
    }
    this.#used++;
    let suspected = suspect;
    if (suspected) this.#suspects++;
    const clear = () => {
      if (suspected) this.#suspects--;
      suspected = false;
    };
    return {
      proven: clear,
      free: () => {
        clear();
        this.#used--;
        if (this.#ending > 0) this.#ending--;
        this.#serveWaiting();
      },
    };
  }

  /** Where somebody waits, ends the connection that is idle for the longest. */
  makeRoom(): void {
    if (this.#used < this.#total || this.#ending >= this.#waiting.size) return;
    let longest: Claimant | null = null;
    for (const claimant of this.#claimants()) {
      const since = claimant.idleSince;
      if (since !== null && since < (longest?.idleSince ?? Number.POSITIVE_INFINITY)) longest = claimant;
    }
    if (longest === null) return;
    this.#ending++;
    longest.shedIdle();
  }

  #serveWaiting(): void {
    for (const claimant of [...this.#waiting]) {
      if (this.#used >= this.#total) return;
      this.#waiting.delete(claimant);
      claimant.serve();
    }
  }
}
