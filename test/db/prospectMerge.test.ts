import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { addListMembers } from '../../db/queries/lists.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { searchProspects } from '../../db/queries/prospectSearch.ts';
import {
  createProspect,
  type ProspectInput,
  readProspect,
  updateProspect,
} from '../../db/queries/prospects.ts';
import { addSuppressions } from '../../db/queries/suppressions.ts';
import { createTestAccount, ORIGIN, parsed, type TestAccount } from '../support/account.ts';

let account: TestAccount;
beforeAll(async () => {
  account = await createTestAccount();
});
afterAll(() => account.close());

const NOW = new Date('2026-03-02T10:00:00Z');

async function create(input: Partial<ProspectInput> = {}) {
  const address = parsed(`m-${randomUUID()}@example.net`);
  const created = await account.db.transaction((tx) =>
    createProspect(tx, account.hasher, ORIGIN, NOW, { address, ...input }),
  );
  if (created.kind !== 'created') throw new Error(created.kind);
  return { ...created.prospect, address };
}

function tryMerge(winnerId: string, loserId: string) {
  return account.db.transaction((tx) => mergeProspects(tx, ORIGIN, NOW, winnerId, loserId));
}

async function merge(winnerId: string, loserId: string) {
  const merged = await tryMerge(winnerId, loserId);
  if (merged.kind !== 'merged') throw new Error(merged.kind);
  return merged.prospect;
}

async function reasonsOf(addressId: string) {
  const rows = await account.db.query<{ reason: string; list_id: string | null }>(
    plain('select reason, list_id from suppression where address_id = $1 order by reason'),
    [addressId],
  );
  return rows.map(({ reason, list_id }) => (list_id === null ? reason : `${reason}:${list_id}`));
}

describe('merging two prospects', () => {
  it('fills the empty fields of the winner, unites the lists and takes the loser away', async () => {
    const winner = await create({ fields: { firstName: 'Ada', company: 'Example' } });
    const loser = await create({ fields: { firstName: 'A.', lastName: 'Lovelace' } });
    const [both, losersOnly] = [await account.list(), await account.list()];
    await account.db.transaction(async (tx) => {
      await addListMembers(tx, NOW, both, [winner.id, loser.id]);
      await addListMembers(tx, NOW, losersOnly, [loser.id]);
    });
    const merged = await merge(winner.id, loser.id);
    expect(merged).toMatchObject({
      id: winner.id,
      addressId: winner.addressId,
      fields: { firstName: 'Ada', lastName: 'Lovelace', company: 'Example' },
    });
    expect(await readProspect(account.db, loser.id)).toBeNull();
    for (const listId of [both, losersOnly]) {
      expect(await searchProspects(account.db, { listId }, { limit: 5 }, NOW)).toEqual([merged]);
    }
    const [row] = await account.db.query(
      plain('select merged_into, deleted_at from prospect where id = $1'),
      [loser.id],
    );
    expect(row).toEqual({ merged_into: winner.id, deleted_at: NOW });
    const audit = await account.db.query(
      plain(
        `select prospect_id, subject, after from audit_entry where action = 'prospect.merged' and prospect_id = any($1) order by id`,
      ),
      [[winner.id, loser.id]],
    );
    expect(audit).toEqual([
      { prospect_id: winner.id, subject: 'winner', after: { from: loser.id, fields: ['lastName'] } },
      { prospect_id: loser.id, subject: 'loser', after: { into: winner.id } },
    ]);
  });

  it('I4: an opt-out of the loser reaches the address of the winner and ends what waits there', async () => {
    const [winner, loser] = [await create(), await create({ emailOptOut: true })];
    const send = await account.send(winner);
    expect(await merge(winner.id, loser.id)).toMatchObject({ emailOptOut: true, bounced: false });
    expect(await reasonsOf(winner.addressId)).toEqual(['opt_out']);
    const [row] = await account.db.query(plain('select outcome, outcome_reason from send where id = $1'), [
      send.sendId,
    ]);
    expect(row).toEqual({ outcome: 'suppressed', outcome_reason: 'prospect:opt_out address:opt_out' });
    const flags = await account.db.query(
      plain(
        `select prospect_id, before, after from audit_entry where action = 'flag.changed' and prospect_id = any($1) order by id`,
      ),
      [[winner.id]],
    );
    expect(flags).toEqual([{ prospect_id: winner.id, before: false, after: true }]);
  });

  it('I4: what either said no to holds for both addresses, also when the loser comes back by import or by hand', async () => {
    const [winner, loser] = [await create({ emailOptOut: true }), await create()];
    const listId = await account.list();
    await account.db.transaction((tx) =>
      addSuppressions(tx, ORIGIN, NOW, [
        { addressId: loser.addressId, reason: 'complaint' },
        { addressId: loser.addressId, reason: 'opt_out', listId },
        { addressId: loser.addressId, reason: 'manual' },
      ]),
    );
    await merge(winner.id, loser.id);
    expect(await reasonsOf(winner.addressId)).toEqual(['complaint', 'opt_out', `opt_out:${listId}`].sort());
    const again = await account.db.transaction((tx) =>
      createProspect(tx, account.hasher, ORIGIN, NOW, { address: loser.address }),
    );
    expect(again).toMatchObject({ kind: 'created', prospect: { emailOptOut: true, bounced: false } });
  });

  it('I4: Bounced stays what the current address of the winner holds', async () => {
    const [alive, dead] = [await create(), await create({ bounced: true })];
    expect(await merge(alive.id, dead.id)).toMatchObject({ bounced: false, emailOptOut: false });
    expect(await reasonsOf(dead.addressId)).toEqual(['bounced']);
    expect(await reasonsOf(alive.addressId)).toEqual([]);

    const [bounced, fine] = [await create({ bounced: true }), await create()];
    expect(await merge(bounced.id, fine.id)).toMatchObject({ bounced: true });
    expect(await reasonsOf(fine.addressId)).toEqual([]);
  });

  it('I4: cancels what waits for the loser and nothing of the winner', async () => {
    const [winner, loser] = [await create(), await create()];
    const [kept, cancelled] = [await account.send(winner), await account.send(loser)];
    await merge(winner.id, loser.id);
    const rows = await account.db.query(
      plain('select id, state, outcome, outcome_reason from send where id = any($1) order by id'),
      [[kept.sendId, cancelled.sendId]],
    );
    expect(rows).toEqual([
      { id: kept.sendId, state: 'queued', outcome: null, outcome_reason: null },
      { id: cancelled.sendId, state: 'final', outcome: 'cancelled', outcome_reason: 'prospect_merged' },
    ]);
  });

  it('refuses what cannot be merged', async () => {
    const [one, other, third] = [await create(), await create(), await create()];
    expect(await tryMerge(one.id, one.id)).toEqual({ kind: 'same' });
    await merge(one.id, other.id);
    expect(await tryMerge(third.id, other.id)).toEqual({ kind: 'not_found', prospectId: other.id });
    expect(await tryMerge(other.id, third.id)).toEqual({ kind: 'not_found', prospectId: other.id });
  });

  it('of two at once, in opposite directions, leaves one winner', async () => {
    for (let round = 0; round < 10; round += 1) {
      const [one, other] = [await create(), await create()];
      const results = await Promise.all([tryMerge(one.id, other.id), tryMerge(other.id, one.id)]);
      expect(results.map((result) => result.kind).sort()).toEqual(['merged', 'not_found']);
    }
  });

  it('leaves nothing half done where the loser changes its address at the same time', async () => {
    for (let round = 0; round < 10; round += 1) {
      const [winner, loser] = [await create(), await create({ emailOptOut: true })];
      const address = parsed(`m-${randomUUID()}@example.net`);
      const [merged, moved] = await Promise.all([
        tryMerge(winner.id, loser.id),
        account.db.transaction((tx) =>
          updateProspect(tx, account.hasher, ORIGIN, NOW, loser.id, null, { address }),
        ),
      ]);
      expect(merged).toMatchObject({ kind: 'merged', prospect: { emailOptOut: true } });
      expect(['updated', 'not_found']).toContain(moved.kind);
    }
  });
});
