import { activityInfo, cancellationSignal } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { EmailComposer } from '../../adapters/mailer/composer.ts';
import type { Mailer } from '../../adapters/mailer/mailer.ts';
import type { Database } from '../../db/connection.ts';
import { countPagesLeft } from '../../db/queries/broadcastPages.ts';
import { prepareRecipients } from '../../db/queries/broadcastPreparing.ts';
import { changeBroadcast, nextBroadcastStep } from '../../db/queries/broadcasts.ts';
import type { BroadcastCommand, BroadcastState } from '../../domain/broadcast/words.ts';
import { beating } from '../beating.ts';
import { clockFrom } from '../clock.ts';
import { takeBack, workThroughPages } from './pages.ts';

/** How long a lane goes on before its workflow looks again whether anything has changed. */
const LANE_MS = 60_000;

export interface BroadcastInput {
  readonly broadcastId: string;
  readonly run: number;
  /** The workflow's time, in milliseconds of the epoch. */
  readonly now: number;
}

/** What the workflow does next; times in milliseconds of the epoch. */
export type StepResult =
  | { readonly kind: 'wait'; readonly until: number }
  | { readonly kind: 'paused' | 'prepare' }
  | { readonly kind: 'send'; readonly pages: number }
  | { readonly kind: 'over'; readonly state: BroadcastState | 'superseded' };

/** How a lane ended: no page left, its time over, the broadcast stopped, or nothing can leave before a time. */
export type LaneResult =
  | { readonly kind: 'none' | 'stopped' }
  | { readonly kind: 'more'; readonly pagesLeft: number }
  | { readonly kind: 'wait'; readonly until: number };

/** Activities that carry a broadcast through. */
export function createBroadcastActivities(parts: {
  db: Database;
  mailer: Mailer;
  composer: EmailComposer;
  messageIdDomain: string;
  /** Most conversations of one lane. */
  broadcastConversations: number;
}) {
  const { db } = parts;
  return {
    /** Moves the broadcast on as far as its time has come, and says what is to be done. */
    async stepOfBroadcast(input: BroadcastInput): Promise<StepResult> {
      const { broadcastId, run } = input;
      const clock = clockFrom(input.now);
      // By the workflow's clock, which no lane's is behind: what it says has come has come for them too.
      const now = new Date(input.now);
      const step = await db.transaction((tx) => nextBroadcastStep(tx, now, broadcastId, run));
      // The lanes have ended, so what is still in the air was a lost worker's, and nobody else comes to it any more.
      if (step.kind === 'over' && step.state === 'cancelled') {
        await takeBack({ ...parts, clock }, { broadcastId, lane: null });
      }
      return step.kind === 'wait' ? { kind: 'wait', until: step.until.getTime() } : step;
    },

    /** Writes down who it goes to, page by page; goes on where it was left. */
    async prepareBroadcast(input: BroadcastInput): Promise<void> {
      await beating(async (betweenChunks) => {
        const clock = clockFrom(input.now);
        await prepareRecipients(db, clock, input.broadcastId, betweenChunks);
      });
    },

    /**
     * Sends page after page: gate, mark, conversation, outcome. Safe to run again after a crash at any line, and beside a
     * twin that was taken for dead.
     */
    async sendPages(input: BroadcastInput & { readonly lane: number }): Promise<LaneResult> {
      const end = await beating(() =>
        workThroughPages(
          { ...parts, conversations: parts.broadcastConversations, clock: clockFrom(input.now) },
          { ...input, milliseconds: LANE_MS },
          cancellationSignal(),
        ),
      );
      switch (end.kind) {
        case 'wait':
          return { kind: 'wait', until: end.until.getTime() };
        case 'more':
          return { kind: 'more', pagesLeft: await countPagesLeft(db, input.broadcastId) };
        default:
          return { kind: end.kind };
      }
    },

    /** Pauses, resumes or cancels for somebody at the Temporal UI. */
    async commandBroadcast(
      input: BroadcastInput & { readonly command: Exclude<BroadcastCommand, 'start'> },
    ): Promise<void> {
      const { workflowExecution } = activityInfo();
      const result = await db.transaction((tx) =>
        changeBroadcast(
          tx,
          { way: 'person', actor: `temporal:${workflowExecution?.workflowId}`, reason: null },
          clockFrom(input.now)(),
          input.broadcastId,
          input.command,
        ),
      );
      if (result.kind === 'not_found') {
        throw ApplicationFailure.nonRetryable(
          `there is no broadcast ${input.broadcastId}`,
          'NoSuchBroadcast',
        );
      }
    },
  };
}

export type BroadcastActivities = ReturnType<typeof createBroadcastActivities>;
