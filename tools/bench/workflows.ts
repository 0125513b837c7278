import { proxyActivities } from '@temporalio/workflow';

export { automation } from '../../workflows/automation.ts';
export { emailSend } from '../../workflows/emailSend.ts';
export { enrollment } from '../../workflows/enrollment.ts';

const { nothing } = proxyActivities<{ nothing(input: object): Promise<object> }>({
  startToCloseTimeout: '1 minute',
});

/** What Temporal itself costs. */
export async function empty(): Promise<void> {}

/** The least that a workflow which does anything costs. */
export async function oneActivity(input: object): Promise<object> {
  return nothing({ ...input, trigger: 'schedule', now: Date.now() });
}
