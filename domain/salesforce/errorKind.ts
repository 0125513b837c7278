/** Kinds of error, by what is to be done about them. */
export const ERROR_KINDS = [
  /** Somebody else holds the row; soon it will be free. */
  'locked',
  /** Requests of the day are used up. */
  'daily_limit',
  /** Too many requests at once. */
  'concurrent_limit',
  /** The session has ended. */
  'session',
  /** Salesforce is not there, or broken for now. */
  'unavailable',
  /** The record is deleted, merged away, or there is none. */
  'gone',
  /** The lead was converted and is read-only. */
  'converted',
  /** A duplicate rule refuses it. */
  'duplicate',
  /** The integration user may not read or write a field or object: the sync stops. */
  'access',
  /** The record is refused as it is: a validation rule, a length, a missing field. A person has to look. */
  'refused',
] as const;
export type ErrorKind = (typeof ERROR_KINDS)[number];

/**
 * Codes with a meaning of their own; every other code refuses the record.
 *
 * Source: REST API Developer Guide, errorcodes.htm; SOAP API Developer Guide, StatusCode
 * (sforce_api_calls_concepts_core_data_objects.htm).
 */
const KINDS: Readonly<Record<string, ErrorKind>> = {
  UNABLE_TO_LOCK_ROW: 'locked',
  INVALID_SESSION_ID: 'session',
  SERVER_UNAVAILABLE: 'unavailable',
  UNKNOWN_EXCEPTION: 'unavailable',
  QUERY_TIMEOUT: 'unavailable',
  REQUEST_RUNNING_TOO_LONG: 'unavailable',
  // The rest of a query was asked for too late: it is asked for anew.
  INVALID_QUERY_LOCATOR: 'unavailable',
  TXN_SECURITY_METERING_ERROR: 'unavailable',
  ENTITY_IS_DELETED: 'gone',
  NOT_FOUND: 'gone',
  INVALID_CROSS_REFERENCE_KEY: 'gone',
  CANNOT_UPDATE_CONVERTED_LEAD: 'converted',
  DUPLICATES_DETECTED: 'duplicate',
  INVALID_FIELD: 'access',
  INVALID_TYPE: 'access',
  INVALID_FIELD_FOR_INSERT_UPDATE: 'access',
  INSUFFICIENT_ACCESS: 'access',
  INSUFFICIENT_ACCESS_OR_READONLY: 'access',
  API_DISABLED_FOR_ORG: 'access',
  API_CURRENTLY_DISABLED: 'access',
};

/** @param code `errorCode` of an answer or `statusCode` of a record's result */
export function errorKindOf(code: string, message: string): ErrorKind {
  // One code for two limits: only the message tells them apart.
  if (code === 'REQUEST_LIMIT_EXCEEDED')
    return /concurrent/i.test(message) ? 'concurrent_limit' : 'daily_limit';
  return KINDS[code] ?? (/^ERROR_HTTP_(?:420|429|5\d\d)$/.test(code) ? 'unavailable' : 'refused');
}

/** Kinds that pass by themselves, so that a request as a whole is only waited for. */
const PASSING: readonly ErrorKind[] = ['locked', 'daily_limit', 'concurrent_limit', 'session', 'unavailable'];

/** Whether a request that failed so will be carried out later, as it is. */
export function passes(kind: ErrorKind): boolean {
  return PASSING.includes(kind);
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** First pause, and the longest, in milliseconds. */
const PAUSES: Readonly<Record<ErrorKind, readonly [number, number]>> = {
  locked: [2 * SECOND, 2 * MINUTE],
  concurrent_limit: [5 * SECOND, 2 * MINUTE],
  unavailable: [5 * SECOND, 5 * MINUTE],
  session: [SECOND, MINUTE],
  // The limit is of the last 24 hours, so a little comes free all the time.
  daily_limit: [15 * MINUTE, 15 * MINUTE],
  gone: [MINUTE, 60 * MINUTE],
  converted: [MINUTE, 60 * MINUTE],
  access: [MINUTE, 10 * MINUTE],
  // A person has to change something first; until then it is tried now and then.
  duplicate: [60 * MINUTE, 24 * 60 * MINUTE],
  refused: [60 * MINUTE, 24 * 60 * MINUTE],
};

/**
 * How long to wait before the next try, in milliseconds: doubling up to the longest pause of the kind.
 *
 * @param failures how often it has failed so, at least 1
 */
export function pauseAfter(kind: ErrorKind, failures: number): number {
  const [first, longest] = PAUSES[kind];
  return Math.min(first * 2 ** Math.min(failures - 1, 20), longest);
}
