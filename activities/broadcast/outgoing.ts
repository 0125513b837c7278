import type { Composed } from '../../adapters/mailer/composer.ts';
import type { GateItem } from '../../db/queries/broadcastGate.ts';
import type { ClaimedPage } from '../../db/queries/broadcastPages.ts';
import type { AttemptOwnership } from '../../db/queries/gate.ts';
import { type GateWindows, noGateWindows } from '../../domain/broadcast/gateWindows.ts';

/** A claimed page while it is worked through. */
export class PageWork {
  readonly page: ClaimedPage;
  /** When its messages were made. */
  readonly createdAt: Date;
  readonly gateWindows: GateWindows = noGateWindows();
  /** Recipients that are worked on and have no outcome yet. */
  open: number;
  /** When the first of those may leave who were left for later; `null` where nobody was. */
  later: Date | null = null;
  /** Somebody has to be read again, since their address changed meanwhile. */
  readAgain = false;
  /** Another lane has it now. */
  lost = false;
  /**
   * Somebody in it may have an attempt that nobody makes any more: it was claimed before, or an outcome here was not for
   * us to tell.
   */
  mayHaveOrphans: boolean;

  constructor(page: ClaimedPage, createdAt: Date, recipients: number) {
    this.page = page;
    this.createdAt = createdAt;
    this.open = recipients;
    this.mayHaveOrphans = page.epoch > 1;
  }

  /** Leaves so many of them to whoever claims the page from then on. */
  leaveForLater(recipients: number, from: Date): void {
    this.open -= recipients;
    if (this.later === null || from < this.later) this.later = from;
  }
}

/** A recipient with their message, before the gate. */
export interface Prepared {
  readonly item: GateItem;
  readonly work: PageWork;
  readonly composed: Composed;
  /** Gated before, by an owner of the page who did not come to it. */
  readonly gatedBefore: boolean;
}

/** A recipient whose attempt has begun. */
export interface Gated extends Prepared {
  readonly attempt: AttemptOwnership;
  /** By `performance.now()`. */
  readonly decidedAt: number;
}
