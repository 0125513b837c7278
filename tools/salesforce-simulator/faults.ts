import { SalesforceError } from './errors.ts';

/** What goes wrong with requests, on demand. */
export const FAULT_KINDS = [
  /** 503: maintenance or overload. */
  'unavailable',
  /** 403 REQUEST_LIMIT_EXCEEDED: too many long requests at once. */
  'concurrent_limit',
  /** The connection breaks before anything was done. */
  'drop',
  /** The connection breaks after it was done, before the answer. */
  'drop_after',
  /** 500 UNKNOWN_EXCEPTION. */
  'broken',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export interface Fault {
  readonly kind: FaultKind;
  /** How many requests it meets. */
  times: number;
  /** Part of the path that it is about; all where left out. */
  readonly path?: string;
}

/** Requests of a day and what goes wrong with them. */
export class Traffic {
  /** Requests in the last 24 hours, and how many are allowed: "API Request Limits and Allocations". */
  used = 0;
  allowed = 100_000;
  latencyMs = 0;
  /** Requests per path, without the parameters. */
  readonly counts = new Map<string, number>();
  #faults: Fault[] = [];

  add(fault: Fault): void {
    this.#faults.push(fault);
  }

  /** Everything goes well again. */
  calm(): void {
    this.#faults = [];
    this.latencyMs = 0;
  }

  /** The fault that this request meets. */
  take(path: string): FaultKind | null {
    const fault = this.#faults.find((each) => each.times > 0 && path.includes(each.path ?? ''));
    if (fault === undefined) return null;
    fault.times -= 1;
    this.#faults = this.#faults.filter((each) => each.times > 0);
    return fault.kind;
  }

  /**
   * Counts a request. A list of versions counts for nothing (headers_api_usage.htm).
   *
   * @throws SalesforceError when the requests of the day are used up (errorcodes.htm, REQUEST_LIMIT_EXCEEDED)
   */
  count(path: string): void {
    this.counts.set(path, (this.counts.get(path) ?? 0) + 1);
    if (this.used >= this.allowed) {
      throw new SalesforceError('REQUEST_LIMIT_EXCEEDED', 'TotalRequests Limit exceeded.', 403);
    }
    this.used += 1;
  }

  /** Sforce-Limit-Info (headers_api_usage.htm). */
  get limitInfo(): string {
    return `api-usage=${this.used}/${this.allowed}`;
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }
}

/** @throws SalesforceError for kinds that are answers */
export function raiseFault(kind: FaultKind): void {
  if (kind === 'unavailable') {
    throw new SalesforceError(
      'SERVER_UNAVAILABLE',
      'The server is too busy to handle the request. Try again.',
      503,
    );
  }
  if (kind === 'concurrent_limit') {
    throw new SalesforceError('REQUEST_LIMIT_EXCEEDED', 'ConcurrentPerOrgLongTxn Limit exceeded.', 403);
  }
  if (kind === 'broken') throw new SalesforceError('UNKNOWN_EXCEPTION', 'An unexpected error occurred.', 500);
}
