import { proxyActivities } from '@temporalio/workflow';
import type { AlertingActivities } from '../activities/alerting.ts';
import type { RateAlert } from '../domain/alerting.ts';

const { judgeRates } = proxyActivities<AlertingActivities>({
  // One query over a day's attempts.
  startToCloseTimeout: '2 minutes',
  // The next check comes anyway.
  retry: { initialInterval: '2 seconds', maximumAttempts: 3 },
});

/** Looks at the rates of complaints, dead addresses and refusals of us; started by a Schedule. */
export async function rateCheck(): Promise<{ standing: RateAlert[] }> {
  return { standing: await judgeRates({ now: Date.now() }) };
}
