import base from './vitest.config.ts';

/** For `npm run test:proof`: what takes too long for every run, at its full size. */
export default {
  test: {
    ...base.test,
    include: ['test/faults/automation.test.ts'],
    provide: { automationProspects: 5_000 },
  },
};
