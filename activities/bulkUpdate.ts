import { activityInfo } from '@temporalio/activity';
import type { Database } from '../db/connection.ts';
import { claimBulkUpdate, decideRows, PAGE_ROWS, takeNextPage } from '../db/queries/bulkUpdatePage.ts';
import { commandBulkUpdate, failBulkUpdate, readBulkUpdate } from '../db/queries/bulkUpdates.ts';
import { ListsRefused } from '../db/queries/criteriaSql.ts';
import type { BulkUpdateProgress } from '../domain/bulkUpdate/progress.ts';
import type { BulkUpdateCommand } from '../domain/bulkUpdate/words.ts';
import type { Origin } from '../domain/words.ts';
import { beating } from './beating.ts';

/** How long a worker goes on before it tells the workflow how far it is. */
const SLICE_MS = 10_000;

export interface BulkUpdateInput {
  readonly bulkUpdateId: string;
  /** The workflow's time, in milliseconds of the epoch. */
  readonly now: number;
}

/**
 * Activities that carry bulk updates out.
 *
 * @param parts.pageRows rows a transaction
 * @param parts.sliceMs milliseconds of work between two words to the workflow
 */
export function createBulkUpdateActivities(parts: { db: Database; pageRows?: number; sliceMs?: number }) {
  const { db, pageRows = PAGE_ROWS, sliceMs = SLICE_MS } = parts;

  const progressOf = async (id: string): Promise<BulkUpdateProgress> => {
    const job = await readBulkUpdate(db, id);
    if (job === null) return { state: 'cancelled', total: null, changed: 0, alreadySo: 0, refused: 0 };
    const { state, total, changed, alreadySo, refused } = job;
    return { state, total, changed, alreadySo, refused };
  };

  return {
    /** Decides who is meant, unless that was done before. */
    async decideBulkUpdate(input: BulkUpdateInput): Promise<BulkUpdateProgress> {
      const { bulkUpdateId: id } = input;
      await beating(() =>
        orFail(db, input, async () => {
          await decideRows(db, timeOf(input), id, pageRows);
        }),
      );
      return progressOf(id);
    },

    /**
     * Goes on from the last page committed, for some seconds or until it is paused or over. Safe to run again after a
     * crash at any line, and beside a twin that was taken for dead.
     */
    async takeBulkUpdateSlice(input: BulkUpdateInput): Promise<BulkUpdateProgress> {
      const { bulkUpdateId: id } = input;
      await beating((betweenPages) =>
        orFail(db, input, async () => {
          const epoch = await claimBulkUpdate(db, id);
          if (epoch === null) return;
          const endsAt = performance.now() + sliceMs;
          do {
            await betweenPages();
            if (!(await takeNextPage(db, timeOf(input), id, epoch))) return;
          } while (performance.now() < endsAt);
        }),
      );
      return progressOf(id);
    },

    /** What somebody told the workflow itself is committed like a call of the API; where it does not fit, nothing is done. */
    async commandBulkUpdate(
      input: BulkUpdateInput & { readonly command: BulkUpdateCommand },
    ): Promise<BulkUpdateProgress> {
      const { bulkUpdateId: id, command } = input;
      const origin: Origin = {
        way: 'person',
        actor: `temporal:${activityInfo().workflowExecution?.workflowId}`,
        reason: null,
      };
      await db.transaction((tx) => commandBulkUpdate(tx, origin, timeOf(input), id, command));
      return progressOf(id);
    },
  };
}

export type BulkUpdateActivities = ReturnType<typeof createBulkUpdateActivities>;

/** What PostgreSQL will refuse each time ends the bulk update: SQLSTATE classes 22 (data) and 23 (constraints). */
async function orFail(db: Database, input: BulkUpdateInput, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const failure = failureOf(error);
    if (failure === null) throw error;
    await db.transaction((tx) => failBulkUpdate(tx, timeOf(input), input.bulkUpdateId, failure));
  }
}

function failureOf(error: unknown): string | null {
  if (error instanceof ListsRefused) return `lists:${error.kind}`;
  const code = (error as { code?: string }).code ?? '';
  return /^2[23]/.test(code) ? `database:${code}` : null;
}

function timeOf({ now }: BulkUpdateInput): Date {
  return new Date(Math.max(Date.now(), now));
}
