import { describe, expect, it } from 'vitest';
import { settlePause } from '../../../domain/automation/waiting.ts';

describe('looking again for the end of transactions that were under way', () => {
  it('is soon at first, and never more than five seconds late', () => {
    expect([-50, 0, 200, 4_000, 8_000, 60_000, 100_000, 3_600_000].map(settlePause)).toEqual([
      200, 200, 200, 200, 400, 3_000, 5_000, 5_000,
    ]);
  });

  it('is done some hundred times in twenty minutes, not thousands', () => {
    let rounds = 0;
    for (let waited = 0; waited < 20 * 60_000; waited += settlePause(waited)) rounds += 1;
    expect(rounds).toBeLessThan(350);
  });
});
