import type { WebhookCaller } from '../adapters/callout/webhookCaller.ts';
import type { Database } from '../db/connection.ts';
import type { AddressHasher } from '../db/queries/addresses.ts';
import { Programs } from '../db/queries/automations.ts';
import {
  type AdvanceParts,
  advance,
  type NotedStep,
  noteWebhook,
  noteWebhookRetry,
  readWebhookCall,
} from '../db/queries/enrollments.ts';
import { nextWebhookTry } from '../domain/automation/webhookRetry.ts';
import type { EnrollmentState } from '../domain/automation/words.ts';
import { clockFrom } from './clock.ts';

export interface EnrollmentInput {
  readonly enrollmentId: string;
  readonly run: number;
  /** The workflow's time, in milliseconds of the epoch. */
  readonly now: number;
}

/** What the workflow does next. */
export type NextMove =
  | { readonly kind: 'wait'; readonly until: number | null; readonly reason: string }
  | { readonly kind: 'webhook'; readonly stepId: string }
  | { readonly kind: 'over'; readonly state: EnrollmentState | 'superseded' };

export interface Advanced {
  readonly next: NextMove;
  /** The steps that were noted on the way, each as it is now. */
  readonly noted: readonly NotedStep[];
}

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
      const steps = new Map<string, NotedStep>();
      for (;;) {
        const { next, noted } = await advance(advancing, clock(), input.enrollmentId, input.run);
        for (const step of noted) steps.set(step.id, step);
        if (next.kind === 'on') continue;
        return {
          next: next.kind === 'wait' ? { ...next, until: next.until?.getTime() ?? null } : next,
          noted: [...steps.values()],
        };
      }
    },

    /**
     * Calls a webhook once and notes what came of it: that is the end of the step, or when the next try is. A worker that
     * is lost meanwhile leaves no note, and the call is made again under the same id.
     */
    async callWebhook(input: EnrollmentInput & { readonly stepId: string }): Promise<void> {
      const { enrollmentId, run, stepId } = input;
      const { db, callWebhook } = parts;
      const clock = clockFrom(input.now);
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
      const now = clock();
      if (result.ok) return noteWebhook(db, now, enrollmentId, stepId, 'applied', `http_${result.status}`);
      const next = result.final ? null : nextWebhookTry(call.tries + 1, now.getTime());
      if (next === null) return noteWebhook(db, now, enrollmentId, stepId, 'skipped', result.reason);
      await noteWebhookRetry(db, now, enrollmentId, stepId, result.reason, new Date(next));
    },
  };
}

export type EnrollmentActivities = ReturnType<typeof createEnrollmentActivities>;
