import type { Database } from '../db/connection.ts';
import { Programs } from '../db/queries/automations.ts';
import { enrollPage } from '../db/queries/enrolling.ts';

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
    /** Enrolls one page of those who match. Done twice it enrolls nobody twice. */
    async enrollNextPage(input: EnrollPageInput): Promise<EnrolledPage> {
      const now = new Date(Math.max(Date.now(), input.now));
      const { automationId: id, run, after } = input;
      const page = await enrollPage(db, programs, now, { id, run }, after);
      return page.kind === 'wait' ? { ...page, until: page.until.getTime() } : page;
    },
  };
}

export type AutomationActivities = ReturnType<typeof createAutomationActivities>;
