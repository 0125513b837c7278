import type { Resolver } from 'node:dns/promises';
import { isIPv4 } from 'node:net';
import type { Looked } from './check.ts';
import type { ReverseName } from './judge/hostNames.ts';

async function look<T>(lookup: Promise<T[]>): Promise<Looked<T>> {
  try {
    return { records: await lookup };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ENOTFOUND' || code === 'ENODATA' ? { records: [] } : { failure: code ?? message };
  }
}

/** TXT records, the strings of each joined. */
export async function textsOf(resolver: Resolver, name: string): Promise<Looked<string>> {
  const texts = await look(resolver.resolveTxt(name));
  return 'failure' in texts ? texts : { records: texts.records.map((strings) => strings.join('')) };
}

/** Addresses of both kinds; a failure only where there are none. */
export async function addressesOf(resolver: Resolver, host: string): Promise<Looked<string>> {
  const both = await Promise.all([look(resolver.resolve4(host)), look(resolver.resolve6(host))]);
  const records = both.flatMap((each) => ('records' in each ? each.records : []));
  const failed = both.find((each) => 'failure' in each);
  return records.length === 0 && failed !== undefined ? failed : { records };
}

/** Names of an address, each with the addresses that it leads to, in lower case. */
export async function namesOf(resolver: Resolver, address: string): Promise<Looked<ReverseName>> {
  const names = await look(resolver.resolvePtr(reverseName(address)));
  if ('failure' in names) return names;
  const confirmed = names.records.map(async (given) => {
    const name = given.toLowerCase().replace(/\.$/, '');
    const found = await addressesOf(resolver, name);
    return { name, addresses: 'records' in found ? found.records : [] };
  });
  return { records: await Promise.all(confirmed) };
}

/** The name whose PTR records name an address (RFC 1035 section 3.5, RFC 3596 section 2.5). */
function reverseName(address: string): string {
  if (isIPv4(address)) return `${address.split('.').reverse().join('.')}.in-addr.arpa`;
  const [head = '', tail = ''] = address.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':'));
  const [before, after] = [groups(head), groups(tail)];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  const digits = [...before, ...zeros, ...after].map((group) => group.padStart(4, '0')).join('');
  return `${[...digits].reverse().join('.')}.ip6.arpa`;
}
