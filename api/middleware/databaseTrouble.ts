/** Errors of the connection (Node.js), and SQLSTATEs (PostgreSQL manual, appendix A), after which trying again helps. */
const CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  '40001',
  '40P01',
  '53300',
  '57014',
  '57P01',
  '57P02',
  '57P03',
  '57P05',
]);
/** What node-postgres says without a code. */
const MESSAGES =
  /connection terminated|timeout exceeded when trying to connect|not queryable|connection ended/i;

/** Whether an error means that PostgreSQL cannot be reached now or is too busy, rather than that we asked nonsense. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as { code?: string };
  if (code !== undefined && (CODES.has(code) || code.startsWith('08'))) return true;
  if (MESSAGES.test(error.message)) return true;
  // Several addresses were tried (Node.js), or the query builder wrapped what happened.
  if (error instanceof AggregateError && error.errors.some(isDatabaseUnavailable)) return true;
  return isDatabaseUnavailable(error.cause);
}
