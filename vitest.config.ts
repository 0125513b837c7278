import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: './test/support/globalSetup.ts',
    // Every test file in a process of its own: a time-skipping server and a worker a file, and nothing left over.
    pool: 'forks',
    // Two processes beside PostgreSQL and Temporal are what two cores bear without timers running late.
    maxWorkers: 2,
    // Two pages of prospects.
    provide: { automationProspects: 600 },
    testTimeout: 180_000,
    hookTimeout: 240_000,
    teardownTimeout: 30_000,
  },
});
