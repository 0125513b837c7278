import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import type { ParsedAddress } from '../../domain/address.ts';
import { plain, type Session } from '../connection.ts';

/**
 * Recognises addresses by HMAC-SHA256 under the account's address key, so that a suppressed address is still known
 * after its text was erased (I6).
 */
export class AddressHasher {
  readonly #key: KeyObject;

  /** @param key at least 32 bytes, the same for the life of the database */
  constructor(key: Uint8Array) {
    if (key.length < 32) throw new RangeError('the address key has fewer than 32 bytes');
    this.#key = createSecretKey(key);
  }

  hash(comparisonForm: string): Buffer {
    return createHmac('sha256', this.#key).update(comparisonForm, 'utf8').digest();
  }
}

const FIND = plain('select id from address where hash = $1');
// An erased address that is used again gets its text back; the row, and with it what it is suppressed for, is the same.
const ENSURE = plain(`
  insert into address (id, hash, email, domain, created_at)
  select * from unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::timestamptz[])
  on conflict (hash) do update set email = excluded.email, domain = excluded.domain, erased_at = null
  where address.email is null`);
const FIND_MANY = plain(
  'select id, hash, email is null as erased from address where hash = any($1::bytea[])',
);

/** Id of an address, or `null` where Heed never met it. */
export async function findAddress(
  on: Session,
  hasher: AddressHasher,
  address: ParsedAddress,
): Promise<string | null> {
  const [row] = await on.query<{ id: string }>(FIND, [hasher.hash(address.comparisonForm)]);
  return row?.id ?? null;
}

/** Ids of addresses by comparison form; those not met before are created, in one order so that two callers cannot deadlock. */
export async function ensureAddresses(
  on: Session,
  hasher: AddressHasher,
  now: Date,
  addresses: readonly ParsedAddress[],
): Promise<Map<string, string>> {
  const byHash = new Map<string, ParsedAddress>();
  for (const address of addresses) byHash.set(hasher.hash(address.comparisonForm).toString('hex'), address);
  const known = await findByHashes(on, [...byHash.keys()]);
  // Only what is missing is written: the statement would lock every row that it meets.
  const missing = [...byHash.keys()].filter((hash) => !known.has(hash)).sort();
  if (missing.length > 0) {
    const all = missing.map((hash) => byHash.get(hash)!);
    await on.query(ENSURE, [
      all.map(() => uuidv7()),
      missing.map((hash) => Buffer.from(hash, 'hex')),
      all.map((address) => address.comparisonForm),
      all.map((address) => address.domain),
      all.map(() => now),
    ]);
    for (const [hash, id] of await findByHashes(on, missing)) known.set(hash, id);
  }
  return new Map([...known].map(([hash, id]) => [byHash.get(hash)!.comparisonForm, id]));
}

/** Ids by hash in hexadecimal digits, of those addresses that still have their text. */
async function findByHashes(on: Session, hashes: readonly string[]): Promise<Map<string, string>> {
  const rows = await on.query<{ id: string; hash: Buffer; erased: boolean }>(FIND_MANY, [
    hashes.map((hash) => Buffer.from(hash, 'hex')),
  ]);
  return new Map(rows.filter((row) => !row.erased).map((row) => [row.hash.toString('hex'), row.id]));
}

/** Id of one address, created where it was not met before. */
export async function ensureAddress(
  on: Session,
  hasher: AddressHasher,
  now: Date,
  address: ParsedAddress,
): Promise<string> {
  const ids = await ensureAddresses(on, hasher, now, [address]);
  return ids.get(address.comparisonForm)!;
}
