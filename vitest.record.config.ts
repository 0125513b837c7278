import base from './vitest.config.ts';

/** For `npm run record:histories`, which writes test/workflows/histories/ from the real server. */
export default { test: { ...base.test, include: ['test/workflows/*.record.ts'] } };
