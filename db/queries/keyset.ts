/** A page of keyset pagination. */
export interface Page {
  /** Id of the last item of the page before. */
  readonly after?: string;
  readonly limit: number;
}

/** The conditions that a filter really has, so that each search gets a plan for what it asks. */
export class Conditions {
  readonly values: unknown[] = [];
  readonly #all: string[];

  /** @param always conditions that hold without a value */
  constructor(...always: string[]) {
    this.#all = always;
  }

  /** @param sql with `?` where the value stands; not added where the value is absent */
  add(sql: string, value: unknown): void {
    this.#all.push(...this.numbered(sql, value));
  }

  /** The same as a condition for whoever puts it elsewhere; none where the value is absent. */
  numbered(sql: string, value: unknown): string[] {
    if (value === undefined) return [];
    this.values.push(value);
    return [sql.replaceAll('?', `$${this.values.length}`)];
  }

  /** Adds a condition that numbers its values itself, from one more than {@link values} has. */
  addNumbered(sql: string, values: readonly unknown[]): void {
    this.values.push(...values);
    this.#all.push(sql);
  }

  /** `where …`, or nothing. */
  get where(): string {
    return this.#all.length === 0 ? '' : `where ${this.#all.join(' and ')}`;
  }

  /** `limit …`, whose value comes last. */
  limit(count: number): string {
    this.values.push(count);
    return `limit $${this.values.length}`;
  }
}

/** Pattern of LIKE for what begins so. */
export function beginsWith(prefix: string): string {
  return `${prefix.replace(/[\\%_]/g, '\\$&')}%`;
}
