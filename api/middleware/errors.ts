import type { ErrorHandler } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ApiEnv, Log } from '../context.ts';
import { ApiProblem, problemResponse } from '../problems.ts';
import { isDatabaseUnavailable } from './databaseTrouble.ts';

const RETRY_AFTER_SECONDS = '5';

/** Turns whatever was thrown into a problem; what is not known is logged and tells the caller nothing but its request id. */
export function errorHandler(log: Log): ErrorHandler<ApiEnv> {
  return (error, c) => {
    const problem = toProblem(error);
    if (problem.kind === 'internal' || problem.kind === 'unavailable') {
      log.error({ err: error, requestId: c.get('requestId') }, `${c.req.method} ${c.req.path} failed`);
    }
    return problemResponse(c, problem);
  };
}

function toProblem(error: Error): ApiProblem {
  if (error instanceof ApiProblem) return error;
  if (error instanceof HTTPException) return fromFramework(error);
  if (isDatabaseUnavailable(error)) {
    return new ApiProblem(
      'unavailable',
      'The database cannot be reached or is too busy. Try again in a few seconds.',
      {
        headers: { 'retry-after': RETRY_AFTER_SECONDS },
      },
    );
  }
  return new ApiProblem('internal', 'The request could not be carried out because of a fault in Heed.');
}

/** What the framework itself refuses: a body that is no JSON, or of another content type. */
function fromFramework(error: HTTPException): ApiProblem {
  if (error.status === 415) {
    return new ApiProblem('unsupported-media-type', 'The body must be application/json.', {
      headers: { accept: 'application/json' },
    });
  }
  if (error.status === 400) return new ApiProblem('malformed-json', 'The body could not be read as JSON.');
  return new ApiProblem('internal', 'The request could not be carried out because of a fault in Heed.');
}
