import { randomUUID } from 'node:crypto';

/** What the demo shows of a send. */
export interface SendRow {
  readonly id: string;
  readonly prospectId: string;
  readonly state: string;
  readonly outcome: string | null;
  readonly attemptCount: number;
  readonly workflow: { readonly url: string | null };
}

/** Heed's API, as anybody would call it. */
export class HeedClient {
  readonly #base: string;
  readonly #key: string;

  constructor(base: string, key: string) {
    this.#base = base;
    this.#key = key;
  }

  async call<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<T> {
    const isText = typeof body === 'string';
    const answer = await fetch(`${this.#base}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#key}`,
        ...(body !== undefined && { 'content-type': isText ? 'text/csv' : 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: isText ? body : JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  /** Every item of a paged answer. */
  async all<T>(path: string): Promise<T[]> {
    const items: T[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page: { items: T[]; nextCursor: string | null } = await this.call(
        'GET',
        `${path}${path.includes('?') ? '&' : '?'}limit=200${cursor && `&cursor=${encodeURIComponent(cursor)}`}`,
      );
      items.push(...page.items);
      cursor = page.nextCursor;
    }
    return items;
  }

  send(emailId: string, prospectId: string): Promise<SendRow> {
    return this.call('POST', '/sends', { emailId, prospectId }, { 'idempotency-key': randomUUID() });
  }
}
