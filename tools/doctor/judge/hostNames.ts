import { type Check, fail, type Looked, notLookedUp, ok, warn } from '../check.ts';

/** Our name in EHLO (RFC 5321 section 4.1.1.1): receivers look it up. */
export function judgeEhloName(name: string, addresses: Looked<string>): Check {
  const subject = `EHLO name ${name}`;
  if (name.startsWith('[') || !name.includes('.')) {
    return fail(
      subject,
      'it is no full host name',
      'Set HEED_EHLO_NAME to a host name that has an A or AAAA record.',
    );
  }
  if ('failure' in addresses) return notLookedUp(subject, addresses.failure);
  if (addresses.records.length === 0) {
    return fail(
      subject,
      'it has no address',
      `Publish an A record for ${name}, or set HEED_EHLO_NAME to a name that has one.`,
    );
  }
  return ok(subject, `it is ${addresses.records.join(', ')}`);
}

/** Nobody knows which addresses mail leaves from, so their names and SPF cannot be looked at. */
export function unknownAddresses(): Check {
  return warn(
    'Sending address',
    'it is not known: this machine has no public address and the EHLO name leads to none',
    'Give it with --address IP; PTR and SPF are looked at then.',
  );
}

/** A name that an address has, and the addresses that this name has in turn. */
export interface ReverseName {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** Forward-confirmed reverse DNS of an address that we send from (RFC 8601 section 2.7.3). */
export function judgeReverse(address: string, ehloName: string, names: Looked<ReverseName>): Check {
  const subject = `PTR of ${address}`;
  if ('failure' in names) return notLookedUp(subject, names.failure);
  const wanted = `Have whoever gave you the address set its PTR record to ${ehloName}, and publish that name's A or AAAA record.`;
  if (names.records.length === 0) return fail(subject, 'the address has no name', wanted);
  const all = names.records.map(({ name }) => name).join(', ');
  const confirmed = names.records
    .filter(({ addresses }) => addresses.includes(address))
    .map(({ name }) => name);
  if (confirmed.length === 0) return fail(subject, `${all} does not lead back to the address`, wanted);
  if (!confirmed.includes(ehloName.toLowerCase())) {
    return warn(
      subject,
      `it is ${all}, while we say ${ehloName}`,
      `Set HEED_EHLO_NAME to ${confirmed[0]}, or the PTR record to ${ehloName}.`,
    );
  }
  return ok(subject, `it is ${ehloName}, which leads back to the address`);
}
