import { noSuchColumn, SalesforceError } from './errors.ts';

/** A value of a record or a literal. Times are compared as the numbers that they are. */
export type Value = string | number | boolean | null;
export type Row = Readonly<Record<string, Value>>;

/** A query that was understood. */
export interface SoqlQuery {
  readonly object: string;
  /** `null`: COUNT(). */
  readonly fields: readonly string[] | null;
  readonly matches: (row: Row) => boolean;
  readonly orderBy: readonly { readonly field: string; readonly descending: boolean }[];
  readonly limit: number | null;
  /** Every field that it names, with where it stands in the query. */
  readonly named: ReadonlySet<string>;
}

const TOKEN =
  /\s*(?:('(?:[^'\\]|\\.)*')|(\d{4}-\d{2}-\d{2}T[\d:.]+(?:Z|[+-]\d{2}:?\d{2}))|(-?\d+(?:\.\d+)?)|(<=|>=|!=|<>|[=<>(),])|([A-Za-z_][\w.]*))/y;

type Token = { readonly kind: 'text' | 'time' | 'number' | 'sign' | 'word'; readonly text: string };

/**
 * Reads the part of SOQL that the sync uses: SELECT of fields or COUNT(), FROM one object, WHERE with comparisons, IN,
 * AND, OR and parentheses, ORDER BY, LIMIT.
 *
 * Source: SOQL and SOSL Reference, "SELECT" (sforce_api_calls_soql_select.htm); AND and OR may not be mixed without
 * parentheses (sforce_api_calls_soql_select_logicaloperators.htm); times have no quotes
 * (sforce_api_calls_soql_select_dateformats.htm).
 *
 * @throws SalesforceError MALFORMED_QUERY
 */
export function parseSoql(soql: string): SoqlQuery {
  const tokens = tokenize(soql);
  const named = new Set<string>();
  let at = 0;
  const malformed = () =>
    new SalesforceError('MALFORMED_QUERY', `unexpected token: '${tokens[at]?.text ?? '<EOF>'}'`);
  const peek = (word: string) => tokens[at]?.text.toUpperCase() === word && tokens[at]?.kind !== 'text';
  const take = (word: string): boolean => {
    if (!peek(word)) return false;
    at += 1;
    return true;
  };
  const need = (word: string): void => {
    if (!take(word)) throw malformed();
  };
  const name = (): string => {
    const token = tokens[at];
    if (token?.kind !== 'word') throw malformed();
    at += 1;
    return token.text;
  };
  const field = (): string => {
    const found = name();
    named.add(found);
    return found;
  };

  need('SELECT');
  const fields = peek('COUNT') ? null : [field()];
  if (fields === null) {
    need('COUNT');
    need('(');
    need(')');
  } else while (take(',')) fields.push(field());
  need('FROM');
  const object = name();
  const matches = take('WHERE') ? condition() : () => true;
  const orderBy: { field: string; descending: boolean }[] = [];
  if (take('ORDER')) {
    need('BY');
    do {
      const by = field();
      const descending = take('DESC');
      if (!descending) take('ASC');
      orderBy.push({ field: by, descending });
    } while (take(','));
  }
  const limit = take('LIMIT') ? Number(literal()) : null;
  if (at < tokens.length) throw malformed();
  return { object, fields, matches, orderBy, limit, named };

  function condition(): (row: Row) => boolean {
    const first = term();
    const [all, any] = [[first], [first]];
    while (take('AND')) all.push(term());
    if (all.length > 1) return (row) => all.every((each) => each(row));
    while (take('OR')) any.push(term());
    return any.length > 1 ? (row) => any.some((each) => each(row)) : first;
  }

  function term(): (row: Row) => boolean {
    if (take('(')) {
      const inner = condition();
      need(')');
      return inner;
    }
    const by = field();
    if (take('IN')) {
      need('(');
      const among = new Set<Value>([folded(literal())]);
      while (take(',')) among.add(folded(literal()));
      need(')');
      return (row) => among.has(folded(comparable(row[by])));
    }
    const sign = tokens[at]?.text ?? '';
    if (!['=', '!=', '<>', '<', '<=', '>', '>='].includes(sign)) throw malformed();
    at += 1;
    const wanted = literal();
    return (row) => compares(sign, comparable(row[by]), wanted);
  }

  function literal(): Value {
    const token = tokens[at];
    if (token === undefined) throw malformed();
    at += 1;
    if (token.kind === 'text') return token.text.slice(1, -1).replace(/\\(.)/g, '$1');
    if (token.kind === 'time') return new Date(token.text).getTime();
    if (token.kind === 'number') return Number(token.text);
    const word = token.text.toUpperCase();
    if (word === 'TRUE' || word === 'FALSE') return word === 'TRUE';
    if (word === 'NULL') return null;
    at -= 1;
    throw malformed();
  }
}

function tokenize(soql: string): Token[] {
  const kinds = ['text', 'time', 'number', 'sign', 'word'] as const;
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  while (soql.slice(TOKEN.lastIndex).trim() !== '') {
    const place = TOKEN.lastIndex;
    const match = TOKEN.exec(soql);
    if (match === null) throw new SalesforceError('MALFORMED_QUERY', `unexpected token at ${place}`);
    const index = match.slice(1).findIndex((part) => part !== undefined);
    tokens.push({ kind: kinds[index]!, text: match[index + 1]! });
  }
  return tokens;
}

const TIME = /^\d{4}-\d{2}-\d{2}T.*\+0000$/;

/** A time as its milliseconds, anything else as it is. */
function comparable(value: Value | undefined): Value {
  if (typeof value === 'string' && TIME.test(value)) return Date.parse(value.replace('+0000', 'Z'));
  return value ?? null;
}

/** Texts are compared without regard to letter case, ids with it: "Comparison Operators" (…_comparisonoperators.htm). */
function compares(sign: string, value: Value, wanted: Value): boolean {
  const [one, other] = [folded(value), folded(wanted)];
  if (sign === '=') return one === other;
  if (sign === '!=' || sign === '<>') return one !== other;
  if (one === null || other === null) return false;
  if (sign === '<') return one < other;
  if (sign === '<=') return one <= other;
  return sign === '>' ? one > other : one >= other;
}

function folded(value: Value): Value {
  if (typeof value !== 'string') return value;
  return /^00[0-9A-Za-z]{13}(?:[A-Z0-5]{3})?$/.test(value) ? value.slice(0, 15) : value.toLowerCase();
}

/** Rows in the order that the query asks for, no more than it asks for. Rows come in the order of their ids. */
export function evaluate(query: SoqlQuery, rows: Iterable<Row>): Row[] {
  const inIdOrder =
    query.orderBy.length === 0 || (query.orderBy.length === 1 && query.orderBy[0]!.field === 'Id');
  const found: Row[] = [];
  for (const row of rows) {
    if (!query.matches(row)) continue;
    found.push(row);
    if (inIdOrder && query.limit !== null && found.length >= query.limit) return found;
  }
  if (!inIdOrder) found.sort((one, other) => order(query, one, other));
  return query.limit === null ? found : found.slice(0, query.limit);
}

function order(query: SoqlQuery, one: Row, other: Row): number {
  for (const { field, descending } of query.orderBy) {
    const [a, b] = [one[field] ?? '', other[field] ?? ''];
    if (a !== b) return (a < b ? -1 : 1) * (descending ? -1 : 1);
  }
  return 0;
}

/** @throws SalesforceError INVALID_FIELD where it names a field that is not among these */
export function requireFields(query: SoqlQuery, visible: ReadonlyMap<string, unknown>): void {
  for (const field of query.named) if (!visible.has(field)) throw noSuchColumn(field, query.object);
}
