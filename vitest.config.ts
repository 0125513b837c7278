import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Those that wait for minutes come first, or the last of them runs alone beside an idle process. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const [long, others] = [sorted.filter(isLong), sorted.filter((file) => !isLong(file))];
    return [...long, ...others];
  }
}
const isLong = ({ moduleId }: TestSpecification) => /\/test\/(faults|e2e)\//.test(moduleId);

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: './test/support/globalSetup.ts',
    // Every test file in a process of its own: a time-skipping server and a worker a file, and nothing left over.
    pool: 'forks',
    // Two processes beside PostgreSQL and Temporal are what two cores bear without timers running late.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    // `npm run test:proof` takes 5,000.
    provide: { automationProspects: 300 },
    testTimeout: 180_000,
    hookTimeout: 240_000,
    teardownTimeout: 30_000,
  },
});
