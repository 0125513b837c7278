import type { Database } from '../db/connection.ts';
import { judgeRates } from '../db/queries/alerting.ts';
import type { RateAlert } from '../domain/alerting.ts';

/** Activities that look after the sender's reputation. */
export function createAlertingActivities({ db }: { db: Database }) {
  return {
    /** Raises and clears the alerts about rates. @returns those that stand */
    async judgeRates(input: { readonly now: number }): Promise<RateAlert[]> {
      return judgeRates(db, new Date(Math.max(Date.now(), input.now)));
    },
  };
}

export type AlertingActivities = ReturnType<typeof createAlertingActivities>;
