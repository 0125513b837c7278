/** Tags of a record such as `v=DKIM1; p=…`, by name (RFC 6376 section 3.2). */
export function tagsOf(record: string): ReadonlyMap<string, string> {
  const tags = record.split(';').map((tag) => /^\s*(\w+)\s*=(.*)$/s.exec(tag));
  return new Map(
    tags.filter((tag) => tag !== null).map(([, name = '', value = '']) => [name, value.replace(/\s/g, '')]),
  );
}
