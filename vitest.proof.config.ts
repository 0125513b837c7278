import base from './vitest.config.ts';

/** For `npm run test:proof`: what takes too long for every run, or more of it than every run has time for. */
export default {
  test: {
    ...base.test,
    include: ['test/**/*.proof.ts', 'test/faults/automation.test.ts'],
    provide: { automationProspects: 5_000 },
  },
};
