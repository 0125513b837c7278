import { randomBytes } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import { type Database, openDatabase, plain } from '../../db/connection.ts';
import { AddressHasher, ensureAddress } from '../../db/queries/addresses.ts';
import { createSend } from '../../db/queries/sends.ts';
import { prepareSettings } from '../../db/queries/settings.ts';
import { isAddressProblem, type ParsedAddress, parseAddress } from '../../domain/address.ts';
import type { EmailKind, Origin } from '../../domain/words.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';

export const ORIGIN: Origin = { way: 'api', actor: 'test', reason: null };

/** A database of one's own with an account in it, and short ways to put people and emails there. */
export interface TestAccount {
  readonly url: string;
  readonly db: Database;
  readonly hasher: AddressHasher;
  /** Key of the hasher, for processes that work on the same database. */
  readonly addressKey: Uint8Array;
  prospect(email: string): Promise<TestProspect>;
  email(kind?: EmailKind): Promise<string>;
  list(): Promise<string>;
  /** A queued send; a new email each unless one is named. */
  send(
    prospect: TestProspect,
    options?: { emailId?: string; listId?: string; now?: Date },
  ): Promise<TestSend>;
  setting(change: Record<string, unknown>): Promise<void>;
  close(): Promise<void>;
}

export interface TestProspect {
  readonly id: string;
  readonly addressId: string;
  readonly address: ParsedAddress;
}

/** What the gate asks for. */
export interface TestSend {
  readonly sendId: string;
  readonly run: number;
  readonly prospectId: string;
  readonly addressId: string;
  readonly recipientDomain: string;
}

/** @param options.database a migrated and empty one, where the run's PostgreSQL will not do */
export async function createTestAccount(
  options: { poolSize?: number; database?: TestDatabase } = {},
): Promise<TestAccount> {
  const database = options.database ?? (await createTestDatabase());
  const db = openDatabase(database.url, { max: options.poolSize ?? 10 });
  const addressKey = new Uint8Array(randomBytes(32));
  const hasher = new AddressHasher(addressKey);
  await prepareSettings(db, hasher, new Date());
  const account: TestAccount = {
    url: database.url,
    db,
    hasher,
    addressKey,
    async prospect(email) {
      const address = parsed(email);
      const addressId = await ensureAddress(db, hasher, new Date(), address);
      const id = uuidv7();
      await db.query(
        plain(`insert into prospect (id, address_id, email, first_name, created_at, updated_at)
               values ($1, $2, $3, 'Ada', now(), now())`),
        [id, addressId, address.given],
      );
      return { id, addressId, address };
    },
    async email(kind = 'marketing') {
      const id = uuidv7();
      await db.query(
        plain(`with e as (insert into email (id, name, kind, version, created_at, updated_at) values ($1, 'News', $2, 1, now(), now()))
               insert into email_version (email_id, version, subject, from_address, text, created_at)
               values ($1, 1, 'News', 'news@example.com', 'Hello {{ prospect.first_name }}', now())`),
        [id, kind],
      );
      return id;
    },
    async list() {
      const id = uuidv7();
      await db.query(plain('insert into list (id, name, created_at) values ($1, $2, now())'), [
        id,
        `List ${id}`,
      ]);
      return id;
    },
    async send(prospect, options = {}) {
      const emailId = options.emailId ?? (await account.email());
      const created = await db.transaction((tx) =>
        createSend(
          tx,
          hasher,
          options.now ?? new Date(),
          { emailId, prospectId: prospect.id, listId: options.listId ?? null },
          'heed.test',
        ),
      );
      if (created.kind !== 'created') throw new Error(`no send: ${created.kind}`);
      return {
        sendId: created.sendId,
        run: 1,
        prospectId: prospect.id,
        addressId: prospect.addressId,
        recipientDomain: prospect.address.domain,
      };
    },
    async setting(change) {
      for (const [column, value] of Object.entries(change)) {
        await db.query(plain(`update setting set ${column} = $1`), [
          typeof value === 'object' ? JSON.stringify(value) : value,
        ]);
      }
    },
    async close() {
      await db.close();
      await database.drop();
    },
  };
  return account;
}

/** A parsed address, for addresses that are known to be good. */
export function parsed(email: string): ParsedAddress {
  const address = parseAddress(email);
  if (isAddressProblem(address)) throw new Error(address.message);
  return address;
}
