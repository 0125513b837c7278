import { type Check, fail, type Looked, notLookedUp, ok } from '../check.ts';
import { tagsOf } from './tags.ts';

const POLICIES = ['none', 'quarantine', 'reject'];

/** DMARC records of a domain, and the name that they stand at. */
export interface DmarcRecords {
  readonly domain: string;
  /** `_dmarc` of the domain, or, where that has none, of its organizational domain (RFC 7489 section 6.6.3). */
  readonly at: string;
  readonly texts: Looked<string>;
}

function recordsOf(texts: { readonly records: readonly string[] }): string[] {
  return texts.records.filter((text) => /^v=DMARC1\s*(?:;|$)/.test(text));
}

/** Whether signatures count only of the very domain of From (RFC 7489 section 6.3, `adkim`). */
export function asksForStrictDkim({ texts }: DmarcRecords): boolean {
  const [record] = 'failure' in texts ? [] : recordsOf(texts);
  return record !== undefined && tagsOf(record).get('adkim') === 's';
}

export function judgeDmarc({ domain, at, texts }: DmarcRecords): Check {
  const subject = `DMARC of ${domain}`;
  if ('failure' in texts) return notLookedUp(subject, texts.failure);
  const records = recordsOf(texts);
  const [record] = records;
  if (record === undefined) {
    return fail(
      subject,
      'there is no record',
      `Publish a TXT record of ${at}: "v=DMARC1; p=none; rua=mailto:dmarc@${domain}", and look at the reports before you make it stricter.`,
    );
  }
  if (records.length > 1) {
    return fail(subject, 'there are several records, which counts as none', `Leave one at ${at}.`);
  }
  const tags = tagsOf(record);
  const policy = tags.get('p') ?? '';
  if (!POLICIES.includes(policy)) {
    return fail(subject, `no policy in ${record}`, 'Say p=none, p=quarantine or p=reject.');
  }
  // The record of the organizational domain may say something else for the domains below it.
  const below = at === `_dmarc.${domain}` ? undefined : tags.get('sp');
  return ok(subject, `${below === undefined ? `p=${policy}` : `sp=${below}`}, at ${at}`);
}
