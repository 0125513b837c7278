import { performance } from 'node:perf_hooks';
import { activityInfo } from '@temporalio/activity';
import type { WebhookCaller } from '../adapters/callout/webhookCaller.ts';
import type { Database } from '../db/connection.ts';
import type { AddressHasher } from '../db/queries/addresses.ts';
import { Programs } from '../db/queries/automations.ts';
import { type AdvanceParts, advance, noteWebhook, readWebhookCall } from '../db/queries/enrollments.ts';
import type { EnrollmentState } from '../domain/automation/words.ts';

/** Tries at a webhook, which the retry policy of the workflow's proxy spreads over about a day. */
export const WEBHOOK_TRIES = 15;

export interface EnrollmentInput {
  readonly enrollmentId: string;
  readonly run: number;
  /** The workflow's time, in milliseconds of the epoch. */
  readonly now: number;
}

/** What the workflow does next. */
export type Advanced =
  | { readonly kind: 'wait'; readonly until: number | null; readonly reason: string }
  | { readonly kind: 'webhook'; readonly stepId: string }
  | { readonly kind: 'over'; readonly state: EnrollmentState | 'superseded' };

/** Activities of one prospect's way through one automation. */
export function createEnrollmentActivities(parts: {
  db: Database;
  hasher: AddressHasher;
  messageIdDomain: string;
  callWebhook: WebhookCaller;
}) {
  const advancing: AdvanceParts = { ...parts, programs: new Programs() };
  return {
    /**
     * Takes all the steps that can be taken at once, each in a transaction of its own. Safe to run again after a crash
     * at any line: what was applied is passed over.
     */
    async advanceEnrollment(input: EnrollmentInput): Promise<Advanced> {
      const clock = clockFrom(input.now);
      for (;;) {
        const next = await advance(advancing, clock(), input.enrollmentId, input.run);
        if (next.kind === 'wait') return { ...next, until: next.until?.getTime() ?? null };
        if (next.kind !== 'on') return next;
      }
    },

    /** Calls a webhook; throws where another try is to follow, and notes the end of it else. */
    async callWebhook(input: EnrollmentInput & { readonly stepId: string }): Promise<void> {
      const { enrollmentId, run, stepId } = input;
      const { db, callWebhook } = parts;
      const now = clockFrom(input.now)();
      const call = await readWebhookCall(db, advancing.programs, enrollmentId, run, stepId);
      if (call === null) return;
      const result = await callWebhook({
        url: call.url,
        secret: call.secret,
        id: `${enrollmentId}.${stepId}`,
        now: Date.now(),
        body: {
          type: 'automation.step',
          automationId: call.automationId,
          enrollmentId,
          stepId,
          prospectId: call.prospectId,
        },
      });
      if (result.ok) {
        await noteWebhook(db, now, enrollmentId, stepId, 'applied', `http_${result.status}`);
      } else if (result.final || activityInfo().attempt >= WEBHOOK_TRIES) {
        await noteWebhook(db, now, enrollmentId, stepId, 'skipped', result.reason);
      } else {
        throw new Error(`the webhook could not be called: ${result.reason}`);
      }
    },
  };
}

export type EnrollmentActivities = ReturnType<typeof createEnrollmentActivities>;

/** The workflow's time carried forward by a monotonic clock; or this machine's where that is ahead. */
function clockFrom(workflowNow: number): () => Date {
  const startedAt = performance.now();
  return () => new Date(Math.max(Date.now(), Math.round(workflowNow + (performance.now() - startedAt))));
}
