import { createMiddleware } from 'hono/factory';
import type { ApiEnv, Log } from '../context.ts';
import { loggedPath } from '../public/loggedPath.ts';

/** One log entry a request. The path without its query: a query can hold addresses. */
export function accessLog(log: Log, now: () => Date) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const begun = now().getTime();
    await next();
    log.info(
      {
        requestId: c.get('requestId'),
        key: c.get('key')?.id,
        method: c.req.method,
        path: loggedPath(c.req.path),
        status: c.res.status,
        milliseconds: now().getTime() - begun,
      },
      'request',
    );
  });
}
