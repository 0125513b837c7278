import { expect, it } from 'vitest';
import { nextWebhookTry } from '../../../domain/automation/webhookRetry.ts';

it('a webhook is tried fifteen times within a day, with pauses that never shrink', () => {
  const pauses: number[] = [];
  for (let tried = 1, now = 0; ; tried += 1) {
    const next = nextWebhookTry(tried, now);
    if (next === null) break;
    pauses.push(next - now);
    now = next;
  }
  expect(pauses).toHaveLength(14);
  expect(pauses[0]).toBe(10_000);
  expect(pauses).toEqual(pauses.toSorted((a, b) => a - b));
  expect(pauses.at(-1)).toBe(4 * 3600_000);
  expect(pauses.reduce((sum, pause) => sum + pause)).toBeLessThan(24 * 3600_000);
});
