import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { gate } from '../../db/queries/gate.ts';
import { takeInPage } from '../../db/queries/importPage.ts';
import { beginImport } from '../../db/queries/imports.ts';
import { eraseProspect } from '../../db/queries/prospectErase.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { createProspect, deleteProspect, updateProspect } from '../../db/queries/prospects.ts';
import { addSuppressions, removeSuppressions } from '../../db/queries/suppressions.ts';
import { createTestAccount, ORIGIN, parsed, type TestAccount } from '../support/account.ts';

let account: TestAccount;
beforeAll(async () => {
  account = await createTestAccount({ poolSize: 20 });
});
afterAll(() => account.close());

const NOW = new Date('2026-03-02T10:00:00Z');
const ADDRESSES = 16;
const WORKERS = 8;
const STEPS = 60;

const emails = Array.from({ length: ADDRESSES }, (_, index) => parsed(`c${index}@example.net`));
const any = <T>(choices: readonly T[]): T => choices[Math.floor(Math.random() * choices.length)]!;

async function currentProspects() {
  return account.db.query<{ id: string; addressId: string; email: string }>(
    plain('select id, address_id as "addressId", email from prospect where deleted_at is null order by id'),
  );
}

/** One thing that a person, an import or a worker does to the same few people as all the others. */
async function act(): Promise<void> {
  const { db, hasher } = account;
  const people = await currentProspects();
  const [one, other] = [people.length > 0 ? any(people) : null, people.length > 0 ? any(people) : null];
  const create = () =>
    db.transaction((tx) => createProspect(tx, hasher, ORIGIN, NOW, { address: any(emails) }));
  if (one === null || other === null) {
    await create();
    return;
  }
  await any([
    create,
    create,
    () =>
      db.transaction((tx) =>
        updateProspect(tx, hasher, ORIGIN, NOW, one.id, null, {
          address: any(emails),
          fields: { lastName: String(Math.random()) },
        }),
      ),
    () => db.transaction((tx) => deleteProspect(tx, ORIGIN, NOW, one.id, null)),
    () => db.transaction((tx) => eraseProspect(tx, ORIGIN, NOW, one.id)),
    () => db.transaction((tx) => mergeProspects(tx, ORIGIN, NOW, one.id, other.id)),
    () =>
      db.transaction((tx) =>
        setFlags(tx, ORIGIN, NOW, one.id, { emailOptOut: Math.random() < 0.5, bounced: Math.random() < 0.5 }),
      ),
    () =>
      db.transaction((tx) =>
        addSuppressions(tx, ORIGIN, NOW, [
          { addressId: one.addressId, reason: 'opt_out' },
          { addressId: other.addressId, reason: 'bounced' },
        ]),
      ),
    () =>
      db.transaction((tx) =>
        removeSuppressions(tx, ORIGIN, NOW, [
          { addressId: one.addressId, reason: 'bounced' },
          { addressId: other.addressId, reason: 'opt_out' },
        ]),
      ),
    takeInEverybody,
    sendTo(one),
    sendTo(other),
  ])();
}

/** An import of all these people, some opted out by it. */
async function takeInEverybody(): Promise<void> {
  const importId = await beginImport(account.db, NOW, {
    kind: 'prospects',
    fileName: 'x.csv',
    mapping: {},
    actor: 'test',
  });
  await account.db.query(plain(`update import_job set state = 'queued' where id = $1`), [importId]);
  const taken = await takeInPage(account.db, account.hasher, NOW, {
    importId,
    from: 0,
    to: 1,
    nextLine: 2,
    isLast: true,
    kind: 'prospects',
    rows: emails.map((address) => ({
      address,
      fields: { company: String(Math.random()) },
      custom: {},
      emailOptOut: Math.random() < 0.2,
      bounced: Math.random() < 0.2,
      problems: [],
    })),
  });
  expect(taken).toBe('taken');
}

let emailId: string;

function sendTo(person: { id: string; addressId: string; email: string }) {
  return async () => {
    let send: Awaited<ReturnType<TestAccount['send']>>;
    try {
      send = await account.send({ ...person, address: parsed(person.email) }, { emailId });
    } catch (error) {
      // Deleted meanwhile.
      if (/no_prospect/.test(String(error))) return;
      throw error;
    }
    await gate(account.db, { ...send, trigger: 'schedule', now: NOW });
  };
}

describe('many writers on the same few people', () => {
  it('I3, I4: never deadlock, and leave flags and addresses in agreement', async () => {
    emailId = await account.email();
    await Promise.all(
      Array.from({ length: WORKERS }, async () => {
        for (let step = 0; step < STEPS; step += 1) {
          await act();
        }
      }),
    );
    // By chance nobody may be left, and there would be nothing to look at.
    await takeInEverybody();
    const wrong = await account.db.query(
      plain(`
        select p.id from prospect p join address a on a.id = p.address_id
        where p.deleted_at is null and (a.email is null
          or p.bounced <> exists (select from suppression s where s.address_id = a.id and s.reason = 'bounced')
          or p.email_opt_out <> exists (select from suppression s where s.address_id = a.id and s.reason = 'opt_out'))`),
    );
    expect(wrong).toEqual([]);
    // I4: nothing that is unfinished belongs to somebody who has left its address.
    const stray = await account.db.query(
      plain(`
        select s.id from send s join prospect p on p.id = s.prospect_id
        where s.state not in ('final', 'attempting') and (p.deleted_at is not null or p.address_id <> s.address_id)`),
    );
    expect(stray).toEqual([]);
    expect(await currentProspects()).toHaveLength(ADDRESSES);
    const [row] = await account.db.query<{ deadlocks: string }>(
      plain('select deadlocks from pg_stat_database where datname = current_database()'),
    );
    expect(Number(row!.deadlocks)).toBe(0);
  }, 120_000);

  it('I4: one of two who come to an address at once has it', async () => {
    for (let round = 0; round < 20; round += 1) {
      const address = parsed(`new-${randomUUID()}@example.net`);
      const ids = await Promise.all(
        [1, 2].map(async () => {
          const created = await account.db.transaction((tx) =>
            createProspect(tx, account.hasher, ORIGIN, NOW, {
              address: parsed(`old-${randomUUID()}@example.net`),
            }),
          );
          if (created.kind !== 'created') throw new Error(created.kind);
          return created.prospect.id;
        }),
      );
      const results = await Promise.all([
        ...ids.map((id) =>
          account.db.transaction((tx) =>
            updateProspect(tx, account.hasher, ORIGIN, NOW, id, null, { address }),
          ),
        ),
        account.db.transaction((tx) => createProspect(tx, account.hasher, ORIGIN, NOW, { address })),
      ]);
      expect(results.filter((result) => result.kind === 'exists')).toHaveLength(2);
    }
  });
});
