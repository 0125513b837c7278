import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import type { ParsedAddress } from '../../domain/address.ts';
import { plain, type Session, type Transaction } from '../connection.ts';

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
const INSERT = plain(`
  insert into address (id, hash, email, domain, created_at)
  select * from unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::timestamptz[])
  on conflict (hash) do nothing`);
const REVIVE = plain(`
  update address set email = given.email, domain = given.domain, erased_at = null
  from unnest($1::bytea[], $2::text[], $3::text[]) as given(hash, email, domain)
  where address.hash = given.hash and address.email is null`);
const FIND_MANY = plain('select id, hash from address where hash = any($1::bytea[])');

/** Id of an address, or `null` where Heed never met it. */
export async function findAddress(
  on: Session,
  hasher: AddressHasher,
  address: ParsedAddress,
): Promise<string | null> {
  const [row] = await on.query<{ id: string }>(FIND, [hasher.hash(address.comparisonForm)]);
  return row?.id ?? null;
}

/** Ids of the addresses that Heed has met, by comparison form. */
export async function findAddresses(
  on: Session,
  hasher: AddressHasher,
  addresses: readonly ParsedAddress[],
): Promise<Map<string, string>> {
  const byHash = indexByHash(hasher, addresses);
  const known = await findByHashes(on, [...byHash.keys()]);
  return new Map([...known].map(([hash, id]) => [byHash.get(hash)!.comparisonForm, id]));
}

/**
 * Ids of addresses by comparison form. Those not met before are created, in one order so that two callers cannot
 * deadlock; those that are known are not locked, since that comes after their prospects.
 */
export async function ensureAddresses(
  on: Session,
  hasher: AddressHasher,
  now: Date,
  addresses: readonly ParsedAddress[],
): Promise<Map<string, string>> {
  const byHash = indexByHash(hasher, addresses);
  const hashes = [...byHash.keys()].sort();
  let known = await findByHashes(on, hashes);
  const missing = hashes.filter((hash) => !known.has(hash));
  if (missing.length > 0) {
    const [ids, times] = [missing.map(() => uuidv7()), missing.map(() => now)];
    await on.query(INSERT, [ids, ...columns(missing, byHash), times]);
    known = await findByHashes(on, hashes);
  }
  return new Map([...known].map(([hash, id]) => [byHash.get(hash)!.comparisonForm, id]));
}

/**
 * Gives erased addresses that are used again their text back; their rows, and with them what they are suppressed for,
 * are the same. The caller holds their locks.
 */
export async function reviveAddresses(
  tx: Transaction,
  hasher: AddressHasher,
  addresses: readonly ParsedAddress[],
): Promise<void> {
  const byHash = indexByHash(hasher, addresses);
  await tx.query(REVIVE, columns([...byHash.keys()], byHash));
}

/** By hash in hexadecimal digits. */
function indexByHash(hasher: AddressHasher, addresses: readonly ParsedAddress[]): Map<string, ParsedAddress> {
  return new Map(addresses.map((address) => [hasher.hash(address.comparisonForm).toString('hex'), address]));
}

/** Hash, email and domain of each, as arrays for `unnest`. */
function columns(hashes: readonly string[], byHash: ReadonlyMap<string, ParsedAddress>): unknown[] {
  const addresses = hashes.map((hash) => byHash.get(hash)!);
  return [
    hashes.map((hash) => Buffer.from(hash, 'hex')),
    addresses.map((address) => address.comparisonForm),
    addresses.map((address) => address.domain),
  ];
}

async function findByHashes(on: Session, hashes: readonly string[]): Promise<Map<string, string>> {
  const rows = await on.query<{ id: string; hash: Buffer }>(FIND_MANY, [
    hashes.map((hash) => Buffer.from(hash, 'hex')),
  ]);
  return new Map(rows.map((row) => [row.hash.toString('hex'), row.id]));
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
