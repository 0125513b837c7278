import { type ParsedAddress, parentDomains } from '../../domain/address.ts';
import { decideSuppression, type SuppressionDecision } from '../../domain/suppression.ts';
import type { EmailKind, SuppressionReason, Way } from '../../domain/words.ts';
import { plain, type Session } from '../connection.ts';
import type { AddressHasher } from './addresses.ts';
import { beginsWith, Conditions, type Page } from './keyset.ts';

/** One reason for which an address is not to be emailed. */
export interface Suppression {
  readonly id: string;
  readonly addressId: string;
  /** In the form that addresses are compared by; `null` where the person was erased. */
  readonly email: string | null;
  readonly reason: SuppressionReason;
  /** The one list that it holds for; `null` for all mail. */
  readonly listId: string | null;
  readonly way: Way;
  readonly actor: string;
  readonly note: string | null;
  readonly createdAt: Date;
}

/** A domain that is not to be emailed, with everything below it. */
export interface DomainSuppression {
  readonly id: string;
  readonly domain: string;
  readonly way: Way;
  readonly actor: string;
  readonly note: string | null;
  readonly createdAt: Date;
}

/** Which suppressions; whatever is absent does not narrow the search. */
export interface SuppressionFilter {
  /** Beginning of the email address. */
  readonly prefix?: string;
  readonly addressId?: string;
  readonly reason?: SuppressionReason;
  /** Only within this list; `null` for those that hold for all mail. */
  readonly listId?: string | null;
  readonly way?: Way;
}

const COLUMNS = `s.id, s.address_id as "addressId", a.email, s.reason, s.list_id as "listId", s.way, s.actor, s.note,
  s.created_at as "createdAt"`;
const DOMAIN_COLUMNS = 'id, domain, way, actor, note, created_at as "createdAt"';

/**
 * Suppressed addresses, the newest entry first.
 *
 * @returns a full page, or fewer where there are no more
 */
export async function searchSuppressions(
  on: Session,
  filter: SuppressionFilter,
  page: Page,
): Promise<Suppression[]> {
  const conditions = new Conditions();
  const prefix = filter.prefix?.normalize('NFC').trim().toLowerCase();
  conditions.add('s.id < ?', page.after);
  conditions.add(
    's.address_id in (select id from address where email like ?)',
    prefix ? beginsWith(prefix) : undefined,
  );
  conditions.add('s.address_id = ?', filter.addressId);
  conditions.add('s.reason = ?', filter.reason);
  conditions.add('s.list_id is not distinct from ?::uuid', filter.listId);
  conditions.add('s.way = ?', filter.way);
  return on.query<Suppression & Record<string, unknown>>(
    plain(
      `select ${COLUMNS} from suppression s join address a on a.id = s.address_id
       ${conditions.where} order by s.id desc ${conditions.limit(page.limit)}`,
    ),
    conditions.values,
  );
}

/**
 * Suppressed domains, the newest first.
 *
 * @param filter.prefix beginning of the domain
 * @returns a full page, or fewer where there are no more
 */
export async function searchDomainSuppressions(
  on: Session,
  filter: { readonly prefix?: string },
  page: Page,
): Promise<DomainSuppression[]> {
  const conditions = new Conditions();
  const prefix = filter.prefix?.trim().toLowerCase();
  conditions.add('id < ?', page.after);
  conditions.add('domain like ?', prefix ? beginsWith(prefix) : undefined);
  return on.query<DomainSuppression & Record<string, unknown>>(
    plain(
      `select ${DOMAIN_COLUMNS} from domain_suppression ${conditions.where} order by id desc ${conditions.limit(page.limit)}`,
    ),
    conditions.values,
  );
}

/** A line of the exported Global Suppression List: an address or a domain, never both. */
export interface ExportedSuppression {
  readonly email: string | null;
  readonly domain: string | null;
  readonly reason: SuppressionReason;
  readonly list: string | null;
  readonly note: string | null;
  readonly createdAt: Date;
}

const EXPORT_DOMAINS = plain(`
  select id, null as email, domain, 'manual' as reason, null as list, note, created_at as "createdAt" from domain_suppression
  where id > $1 order by id limit $2`);
const EXPORT_ADDRESSES = plain(`
  select s.id, a.email, null as domain, s.reason, l.name as list, s.note, s.created_at as "createdAt"
  from suppression s join address a on a.id = s.address_id left join list l on l.id = s.list_id
  where s.id > $1 and a.email is not null order by s.id limit $2`);

const NIL = '00000000-0000-0000-0000-000000000000';
const EXPORT_PAGE = 1000;

/**
 * The whole list, domains first and then addresses by age, read page by page so that neither memory nor a long
 * transaction grows with it. What is added meanwhile may be in it or not; erased addresses have no text to export.
 */
export async function* exportSuppressions(on: Session): AsyncGenerator<ExportedSuppression, void, undefined> {
  for (const statement of [EXPORT_DOMAINS, EXPORT_ADDRESSES]) {
    let after = NIL;
    for (;;) {
      const rows = await on.query<ExportedSuppression & { id: string } & Record<string, unknown>>(statement, [
        after,
        EXPORT_PAGE,
      ]);
      for (const { id: _, ...suppression } of rows) yield suppression;
      if (rows.length < EXPORT_PAGE) break;
      after = rows.at(-1)!.id;
    }
  }
}

/** Why an address may be mailed or not, as the gate would find it now. */
export interface AddressExplanation {
  readonly decision: SuppressionDecision;
  /** `null` where Heed never met the address; a domain may forbid it all the same. */
  readonly addressId: string | null;
  readonly prospectId: string | null;
  /** Every entry on the address, with the lists' own. */
  readonly entries: readonly Suppression[];
  /** Suppressed domains that cover the address. */
  readonly domains: readonly DomainSuppression[];
}

const FACTS = plain(`
  select a.id as address_id, p.id as prospect_id, coalesce(p.email_opt_out, false) as email_opt_out,
    coalesce(p.bounced, false) as bounced, setting.transactional_passes_opt_out
  from setting left join address a on a.hash = $1 left join prospect p on p.address_id = a.id and p.deleted_at is null`);
const ENTRIES = plain(`
  select ${COLUMNS} from suppression s join address a on a.id = s.address_id where a.hash = $1 order by s.id`);
const DOMAINS = plain(
  `select ${DOMAIN_COLUMNS} from domain_suppression where domain = any($1::text[]) order by domain`,
);

/**
 * Why may this address not be mailed? Decided on what the gate looks at, also for an address that Heed never met. Nothing
 * is locked: it tells what holds now and promises nothing.
 *
 * @param about.listId the list that a send would go to
 */
export async function explainAddress(
  on: Session,
  hasher: AddressHasher,
  address: ParsedAddress,
  about: { readonly kind: EmailKind; readonly listId?: string | null },
): Promise<AddressExplanation> {
  const hash = hasher.hash(address.comparisonForm);
  const [[facts], entries, domains] = await Promise.all([
    on.query<{
      address_id: string | null;
      prospect_id: string | null;
      email_opt_out: boolean;
      bounced: boolean;
      transactional_passes_opt_out: boolean;
    }>(FACTS, [hash]),
    on.query<Suppression & Record<string, unknown>>(ENTRIES, [hash]),
    on.query<DomainSuppression & Record<string, unknown>>(DOMAINS, [parentDomains(address.domain)]),
  ]);
  if (facts === undefined) throw new Error('the account has no settings yet; they are made when Heed starts');
  const reasonsWithin = (listId: string | null) =>
    entries.filter((entry) => entry.listId === listId).map((entry) => entry.reason);
  return {
    decision: decideSuppression({
      kind: about.kind,
      optedOut: facts.email_opt_out,
      bounced: facts.bounced,
      addressReasons: reasonsWithin(null),
      listReasons: about.listId ? reasonsWithin(about.listId) : [],
      domainEntries: domains.map((entry) => entry.domain),
      transactionalPassesOptOut: facts.transactional_passes_opt_out,
    }),
    addressId: facts.address_id,
    prospectId: facts.prospect_id,
    entries,
    domains,
  };
}
