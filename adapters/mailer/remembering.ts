/** Results kept: most names are among the first few hundred, and of what does not repeat no more is kept. */
const REMEMBERED = 2_000;

/** Remembers what was worked out for a key, so that the same work is not done again soon. */
export type Memory<Key, Result> = (key: Key, work: (key: Key) => Result) => Result;

export function createMemory<Key, Result>(): Memory<Key, Result> {
  const remembered = new Map<Key, Result>();
  return (key, work) => {
    const known = remembered.get(key);
    if (known !== undefined) return known;
    const result = work(key);
    if (remembered.size >= REMEMBERED) remembered.clear();
    remembered.set(key, result);
    return result;
  };
}

/** The same function, which works once for the same argument as long as it remembers it. */
export function remembering<Argument, Result>(
  work: (argument: Argument) => Result,
): (argument: Argument) => Result {
  const memory = createMemory<Argument, Result>();
  return (argument) => memory(argument, work);
}
