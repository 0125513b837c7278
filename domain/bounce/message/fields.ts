/** Fields of one group, names in lower case, values unfolded. */
export type Fields = ReadonlyMap<string, readonly string[]>;

/** Fields of one text that are read: a report about thousands of recipients has fewer. */
const MOST_LINES = 50_000;
const LONGEST_FIELD = 16_000;
const FIELD = /^[ \t]{0,3}([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*:(.*)$/;

/** A line that begins a field, or `null`. */
export function fieldIn(line: string): { name: string; value: string } | null {
  const match = FIELD.exec(line);
  return match ? { name: match[1]!.toLowerCase(), value: match[2]!.trim() } : null;
}

/**
 * Groups of header-like fields (RFC 3464 section 2.1, RFC 5965 section 3), parted by blank lines. Lines that are no
 * field and continue none are passed over.
 */
export function fieldGroups(text: string): Fields[] {
  const groups: Map<string, string[]>[] = [];
  let group = new Map<string, string[]>();
  let last: string[] | null = null;
  for (const line of text.split(/\r\n|\n|\r/, MOST_LINES)) {
    if (line.trim() === '') {
      if (group.size > 0) groups.push(group);
      group = new Map();
      last = null;
      continue;
    }
    const field: ReturnType<typeof fieldIn> = /^[ \t]/.test(line) && last !== null ? null : fieldIn(line);
    if (field) {
      last = group.get(field.name) ?? [];
      last.push(field.value.slice(0, LONGEST_FIELD));
      group.set(field.name, last);
    } else if (last && /^[ \t]/.test(line)) {
      const joined = `${last.at(-1)} ${line.trim()}`;
      if (joined.length <= LONGEST_FIELD) last[last.length - 1] = joined;
    }
  }
  if (group.size > 0) groups.push(group);
  return groups;
}

/** The first value of a field, or `undefined`. */
export function first(fields: Fields, ...names: string[]): string | undefined {
  for (const name of names) {
    const value = fields.get(name)?.find((each) => each !== '');
    if (value !== undefined) return value;
  }
  return undefined;
}
