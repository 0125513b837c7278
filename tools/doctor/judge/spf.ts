import { type Check, fail, type Looked, notLookedUp, ok, warn } from '../check.ts';

/** What evaluating SPF (RFC 7208 section 2.6) for one of our addresses came to. */
export interface SpfResult {
  readonly result: string;
  readonly record: string | null;
  /** Why, in the words of whoever evaluated it. */
  readonly comment: string | null;
}

/** `all` with the qualifier that lets everybody pass (RFC 7208 section 5.1). */
const EVERYBODY = /(?:^|\s)\+?all(?:\s|$)/i;
const LETS_EVERYBODY = 'It lets everybody send in your name: end it with -all or ~all.';

/** @param address that we send from */
export function judgeSpf(domain: string, address: string, { result, record, comment }: SpfResult): Check {
  const subject = `SPF of ${domain} for ${address}`;
  const mechanism = `${address.includes(':') ? 'ip6' : 'ip4'}:${address}`;
  const found = record === null ? result : `${result}: ${record}`;
  const why = comment === null ? found : `${found} (${comment})`;
  switch (result) {
    case 'pass':
      return EVERYBODY.test(record ?? '') ? warn(subject, found, LETS_EVERYBODY) : ok(subject, found);
    case 'none':
      return fail(
        subject,
        'there is no record',
        `Publish a TXT record of ${domain}: "v=spf1 ${mechanism} -all".`,
      );
    case 'temperror':
      return notLookedUp(subject, comment ?? result);
    case 'permerror':
      return fail(
        subject,
        why,
        'Mend the record, which counts as none: one record, at most 10 lookups, at most 2 of them for names that are not there (RFC 7208 section 4.6.4).',
      );
    default:
      return fail(subject, found, `Add ${mechanism} to the record, in front of its "all".`);
  }
}

/** SPF where a relay sends: which addresses it has is its owner's to say. */
export function judgeSpfOfRelay(domain: string, relay: string, texts: Looked<string>): Check {
  const subject = `SPF of ${domain}`;
  if ('failure' in texts) return notLookedUp(subject, texts.failure);
  const records = texts.records.filter((text) => /^v=spf1(?: |$)/i.test(text));
  const [record] = records;
  if (record === undefined) {
    const fix = `Publish the "v=spf1 …" record that the owner of ${relay} names.`;
    return fail(subject, 'there is no record', fix);
  }
  if (records.length > 1) {
    return fail(subject, 'there are several records, which counts as none', 'Join them into one.');
  }
  if (EVERYBODY.test(record)) return warn(subject, record, LETS_EVERYBODY);
  return ok(subject, `${record} (whether it covers ${relay} is known to the owner of that)`);
}
