import { setTimeout as sleep } from 'node:timers/promises';
import { cancellationSignal } from '@temporalio/activity';
import type { Database } from '../db/connection.ts';
import { Programs } from '../db/queries/automations.ts';
import { enrollPage } from '../db/queries/enrolling.ts';
import { countWaitingStarts } from '../db/queries/outbox.ts';
import { beating } from './beating.ts';
import { clockFrom } from './clock.ts';

/** So many enrollments may wait for their start: what else the relay has to tell comes behind them. */
const WAITING_STARTS = 500;
const LOOK_AGAIN_MS = 200;
/** Nobody stays out for longer because of a relay that stands still. */
const PATIENCE_MS = 60_000;

export interface EnrollPageInput {
  readonly automationId: string;
  readonly run: number;
  /** The last prospect looked at; `null` at the start. */
  readonly after: string | null;
  /** The workflow's time, in milliseconds of the epoch. */
  readonly now: number;
}

export type EnrolledPage =
  | { readonly kind: 'wait'; readonly until: number }
  | { readonly kind: 'page'; readonly enrolled: number; readonly next: string | null }
  | { readonly kind: 'over' };

/** Activities that enroll everybody who matches. */
export function createAutomationActivities({ db }: { db: Database }) {
  const programs = new Programs();
  return {
    /**
     * Enrolls one page of those who match, once most of those before them are on their way. Done twice it enrolls nobody
     * twice.
     */
    async enrollNextPage(input: EnrollPageInput): Promise<EnrolledPage> {
      const { automationId: id, run, after } = input;
      const clock = clockFrom(input.now);
      return beating(async () => {
        await untilMostHaveStarted(db);
        const page = await enrollPage(db, programs, clock(), { id, run }, after);
        return page.kind === 'wait' ? { ...page, until: page.until.getTime() } : page;
      });
    },
  };
}

export type AutomationActivities = ReturnType<typeof createAutomationActivities>;

async function untilMostHaveStarted(db: Database): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  while (performance.now() < until && (await countWaitingStarts(db, WAITING_STARTS)) >= WAITING_STARTS) {
    await sleep(LOOK_AGAIN_MS, undefined, { signal: cancellationSignal() });
  }
}
