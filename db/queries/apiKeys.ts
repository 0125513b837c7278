import { createHash, randomBytes } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import type { Origin } from '../../domain/words.ts';
import { type Database, plain, prepared, type Session, type Transaction } from '../connection.ts';
import { SCOPES } from '../schema/operations.ts';
import { addAuditEntries } from './audit.ts';

/** What a key may do; each scope includes those before it: read < write < admin. */
export type Scope = (typeof SCOPES)[number];

/** Whom a request comes from. */
export interface AuthenticatedKey {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
}

/** A key as it is shown: never the key itself. */
export interface ApiKeyRow {
  readonly id: string;
  readonly name: string;
  readonly scope: Scope;
  readonly createdAt: Date;
  readonly revokedAt: Date | null;
}

/** 32 random bytes in base64url behind a prefix by which leaked keys are found. */
const FORM = /^heed_[A-Za-z0-9_-]{43}$/;
/** Any number; whoever makes or revokes keys takes the advisory lock of this name first. */
const KEYS_LOCK = 4_801_002;

const FIND = prepared(
  'find_api_key',
  'select id, name, scopes from api_key where hash = $1 and revoked_at is null',
);
const INSERT = plain('insert into api_key (id, name, hash, scopes, created_at) values ($1, $2, $3, $4, $5)');
const LOCK = plain(`select pg_advisory_xact_lock(${KEYS_LOCK})`);
const LIST = plain(`
  select id, name, scopes, created_at, revoked_at from api_key
  where $1::uuid is null or id < $1 order by id desc limit $2`);
const READ = plain('select id, name, scopes, revoked_at from api_key where id = $1');
const REVOKE = plain('update api_key set revoked_at = $2 where id = $1');
const OTHER_ADMINS = plain(
  `select 1 from api_key where revoked_at is null and 'admin' = any(scopes) and id is distinct from $1 limit 1`,
);

/** Whether one of the scopes includes the one that is needed. */
export function reaches(scopes: readonly Scope[], needed: Scope): boolean {
  return scopes.some((scope) => SCOPES.indexOf(scope) >= SCOPES.indexOf(needed));
}

/** The holder of a key, or `null`. Looked up by its SHA-256, so how long it takes tells nothing about a key. */
export async function findApiKey(on: Session, key: string): Promise<AuthenticatedKey | null> {
  if (!FORM.test(key)) return null;
  const [row] = await on.query<{ id: string; name: string; scopes: Scope[] }>(FIND, [hashOf(key)]);
  return row ?? null;
}

/** Makes a key. It is given out here and never again. */
export async function createApiKey(
  tx: Transaction,
  origin: Origin,
  now: Date,
  name: string,
  scope: Scope,
): Promise<{ id: string; key: string }> {
  const id = uuidv7();
  const key = `heed_${randomBytes(32).toString('base64url')}`;
  await tx.query(INSERT, [id, name, hashOf(key), [scope], now]);
  await addAuditEntries(tx, origin, now, [
    { action: 'api_key.created', subject: id, after: { name, scope } },
  ]);
  return { id, key };
}

/**
 * Makes the first key, with the scope admin, where nobody has one. Of several processes that start at once, one does.
 *
 * @param show is given the key before it is committed: better a key that was shown and is none than one nobody saw
 */
export async function createFirstApiKey(db: Database, now: Date, show: (key: string) => void): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.query(LOCK);
    const admins = await tx.query(OTHER_ADMINS, [null]);
    if (admins.length > 0) return;
    const origin: Origin = { way: 'system', actor: 'heed', reason: 'first start' };
    show((await createApiKey(tx, origin, now, 'first key', 'admin')).key);
  });
}

/** Keys, newest first, revoked ones too. */
export async function listApiKeys(on: Session, afterId: string | null, limit: number): Promise<ApiKeyRow[]> {
  const rows = await on.query<{
    id: string;
    name: string;
    scopes: Scope[];
    created_at: Date;
    revoked_at: Date | null;
  }>(LIST, [afterId, limit]);
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    scope: widest(row.scopes),
    createdAt: row.created_at,
    revokedAt: row.revoked_at,
  }));
}

/**
 * Revokes a key for good.
 *
 * @returns `last_admin` where nobody could make keys any more; nothing is changed then
 */
export async function revokeApiKey(
  tx: Transaction,
  origin: Origin,
  now: Date,
  id: string,
): Promise<'done' | 'not_found' | 'last_admin'> {
  await tx.query(LOCK);
  const [row] = await tx.query<{ name: string; scopes: Scope[]; revoked_at: Date | null }>(READ, [id]);
  if (row === undefined) return 'not_found';
  if (row.revoked_at !== null) return 'done';
  if (reaches(row.scopes, 'admin') && (await tx.query(OTHER_ADMINS, [id])).length === 0) return 'last_admin';
  await tx.query(REVOKE, [id, now]);
  await addAuditEntries(tx, origin, now, [
    { action: 'api_key.revoked', subject: id, before: { name: row.name, scope: widest(row.scopes) } },
  ]);
  return 'done';
}

function widest(scopes: readonly Scope[]): Scope {
  return SCOPES.findLast((scope) => scopes.includes(scope)) ?? 'read';
}

function hashOf(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
