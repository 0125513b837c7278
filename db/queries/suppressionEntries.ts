import type { SuppressionReason } from '../../domain/words.ts';
import { plain, type Session } from '../connection.ts';
import type { DomainSuppression } from './suppressionSearch.ts';

/** What an entry of the Global Suppression List is about. */
export type EntryTarget =
  | {
      readonly kind: 'address';
      readonly addressId: string;
      readonly reason: SuppressionReason;
      readonly listId: string | null;
    }
  | { readonly kind: 'domain'; readonly domain: string };

const ADDRESS_ENTRY = plain(
  'select address_id as "addressId", reason, list_id as "listId" from suppression where id = $1',
);
const DOMAIN_ENTRY = plain('select domain from domain_suppression where id = $1');
const BY_DOMAIN = plain(
  'select id, domain, way, actor, note, created_at as "createdAt" from domain_suppression where domain = $1',
);

/** The entry with this id, of an address or of a domain; `null` where there is none. */
export async function findEntry(on: Session, id: string): Promise<EntryTarget | null> {
  const [[address], [domain]] = await Promise.all([
    on.query<{ addressId: string; reason: SuppressionReason; listId: string | null }>(ADDRESS_ENTRY, [id]),
    on.query<{ domain: string }>(DOMAIN_ENTRY, [id]),
  ]);
  if (address !== undefined) return { kind: 'address', ...address };
  return domain === undefined ? null : { kind: 'domain', domain: domain.domain };
}

/** The entry of exactly this domain; `null` where there is none. */
export async function readDomainSuppression(on: Session, domain: string): Promise<DomainSuppression | null> {
  const [row] = await on.query<DomainSuppression & Record<string, unknown>>(BY_DOMAIN, [domain]);
  return row ?? null;
}
