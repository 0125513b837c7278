import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { plain } from '../../db/connection.ts';
import { eraseProspect } from '../../db/queries/prospectErase.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { deleteProspect, updateProspect } from '../../db/queries/prospects.ts';
import { readSalesforceConnection } from '../../db/queries/salesforceConnection.ts';
import { listFailures } from '../../db/queries/salesforceFailures.ts';
import { lastRun, listRuns } from '../../db/queries/salesforceRuns.ts';
import { changeSalesforceSettings } from '../../db/queries/salesforceSettings.ts';
import { addSuppressions, removeSuppressions } from '../../db/queries/suppressions.ts';
import { createTestAccount, ORIGIN, parsed, type TestAccount } from '../support/account.ts';
import { type SyncedAccount, startSynced } from '../support/salesforce.ts';

/* The sync against the simulator, through the real jsforce, with a database of its own. */

const LINK = { way: 'unsubscribe_link', actor: 'recipient', reason: null } as const;

let account: TestAccount;
let synced: SyncedAccount;
beforeEach(async () => {
  account = await createTestAccount();
  synced = await startSynced(account);
});
afterEach(async () => {
  await synced.close();
  await account.close();
});

const org = () => synced.simulator.org;
const lead = (id: string) => org().find('Lead', id)!;
const contact = (id: string) => org().find('Contact', id)!;

async function suppressions(email: string): Promise<string[]> {
  const rows = await account.db.query<{ reason: string }>(
    plain(
      'select s.reason from suppression s join address a on a.id = s.address_id where a.email = $1 order by 1',
    ),
    [email],
  );
  return rows.map((row) => row.reason);
}

/** Requests that are made by `work`. */
async function requestsOf(work: () => Promise<unknown>): Promise<number> {
  const before = synced.simulator.traffic.total;
  await work();
  return synced.simulator.traffic.total - before;
}

describe('the first reconciliation', () => {
  test('I4: records created already opted out suppress their address, prospect or not', async () => {
    const prospect = await account.prospect('ada@example.com');
    synced.record('Lead', 'ADA@example.com', { HasOptedOutOfEmail: true });
    synced.record('Contact', 'nobody@example.com', { HasOptedOutOfEmail: true });
    const { run } = await synced.run('full');
    expect(run).toMatchObject({ state: 'done', counts: { records: 2, newRecords: 2, heedOptOutsSet: 2 } });
    expect(await synced.flagsOf(prospect.id)).toEqual({ emailOptOut: true, bounced: false });
    expect(await suppressions('nobody@example.com')).toEqual(['opt_out']);
  });

  test('an opt-out of Heed goes to every record of the address', async () => {
    const prospect = await account.prospect('ada@example.com');
    await synced.flag(prospect.id, { emailOptOut: true });
    const [a, b] = [synced.record('Lead', 'ada@example.com'), synced.record('Contact', 'ada@example.com')];
    await synced.run('full');
    await synced.settle();
    expect([lead(a).HasOptedOutOfEmail, contact(b).HasOptedOutOfEmail]).toEqual([true, true]);
  });

  test('a record that says Yes takes the other records of the person along', async () => {
    const [a, b] = [
      synced.record('Lead', 'ada@example.com'),
      synced.record('Contact', 'ada@example.com', { HasOptedOutOfEmail: true }),
    ];
    await synced.run('full');
    await synced.settle();
    expect([lead(a).HasOptedOutOfEmail, contact(b).HasOptedOutOfEmail]).toEqual([true, true]);
  });

  test('a dry run tells what would change on both sides, and changes nothing', async () => {
    const prospect = await account.prospect('ada@example.com');
    await synced.flag(prospect.id, { bounced: true });
    const id = synced.record('Lead', 'ada@example.com', { HasOptedOutOfEmail: true, FirstName: 'Augusta' });
    const { run } = await synced.run('dry_run');
    expect(run.counts).toEqual({
      records: 1,
      newRecords: 1,
      heedOptOutsSet: 1,
      heedFields: 3,
      salesforceBouncesSet: 1,
    });
    expect(run.samples).toContainEqual({
      recordId: id,
      object: 'Lead',
      side: 'heed',
      subject: 'emailOptOut',
      change: 'set',
    });
    expect(await synced.flagsOf(prospect.id)).toEqual({ emailOptOut: false, bounced: true });
    expect(lead(id).EmailBouncedReason).toBeNull();
    expect(await account.db.query(plain('select from salesforce_record'))).toEqual([]);
  });

  test('nothing is changed before it was allowed', async () => {
    await account.db.query(plain('update salesforce_setting set allowed_at = null'));
    synced.record('Lead', 'ada@example.com', { HasOptedOutOfEmail: true });
    expect((await synced.run('full')).run.state).toBe('not_allowed');
    expect((await synced.run('changes')).run.state).toBe('not_allowed');
    expect(await suppressions('ada@example.com')).toEqual([]);
  });

  test('pages go on where they were left', async () => {
    for (let n = 0; n < 4_100; n += 1)
      synced.record('Lead', `p${n}@example.com`, { HasOptedOutOfEmail: n % 10 === 0 });
    const { client } = synced.deps;
    const { query } = client;
    let pages = 0;
    // The newest records of both objects, two pages, and the third goes wrong.
    Object.assign(client, {
      query: (...asked: Parameters<typeof query>) => {
        pages += 1;
        if (pages === 5) synced.simulator.traffic.add({ kind: 'unavailable', times: 1 });
        return query(...asked);
      },
    });
    const first = await synced.run('full');
    expect(first.standing.kind).toBe('paused');
    expect(first.run).toMatchObject({ state: 'running', counts: { records: 4_000 } });
    synced.ahead += 60_000;
    pages = 5;
    const { run } = await synced.run('full', first.run.id);
    expect(run).toMatchObject({ state: 'done', counts: { records: 4_100, heedOptOutsSet: 410 } });
    // The rest of the leads, and the contacts: nothing is read twice.
    expect(pages).toBe(7);
  }, 60_000);
});

describe('changes', () => {
  let prospectId: string;
  let id: string;
  beforeEach(async () => {
    prospectId = (await account.prospect('ada@example.com')).id;
    id = synced.record('Lead', 'ada@example.com');
    await synced.run('full');
    await synced.settle();
  });

  test('opted out in Salesforce, taken back there again', async () => {
    org().update('Lead', id, { HasOptedOutOfEmail: true });
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(true);
    org().update('Lead', id, { HasOptedOutOfEmail: false });
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(false);
    expect(lead(id).HasOptedOutOfEmail).toBe(false);
  });

  test('I6: what came from Salesforce says so in the audit trail', async () => {
    org().update('Lead', id, { HasOptedOutOfEmail: true });
    await synced.settle();
    const entries = await account.db.query(
      plain(`select way, before, after from audit_entry where prospect_id = $1 and action = 'flag.changed'`),
      [prospectId],
    );
    expect(entries).toEqual([{ way: 'salesforce', before: false, after: true }]);
  });

  test('opted out in Heed, and taken back there', async () => {
    await synced.flag(prospectId, { emailOptOut: true });
    await synced.settle();
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
    await synced.flag(prospectId, { emailOptOut: false });
    await synced.settle();
    expect(lead(id).HasOptedOutOfEmail).toBe(false);
  });

  test('a No from Salesforce does not take back what the person said by link, unless the account lets it', async () => {
    await synced.flag(prospectId, { emailOptOut: true }, LINK);
    await synced.settle();
    org().update('Lead', id, { HasOptedOutOfEmail: false });
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(true);
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
    await account.db.transaction((tx) =>
      changeSalesforceSettings(tx, ORIGIN, new Date(), { mayTakeBack: true }),
    );
    org().update('Lead', id, { HasOptedOutOfEmail: false });
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(false);
  });

  test('who says no by link though Salesforce said it before, has said it', async () => {
    org().update('Lead', id, { HasOptedOutOfEmail: true });
    await synced.settle();
    await synced.flag(prospectId, { emailOptOut: true }, LINK);
    org().update('Lead', id, { HasOptedOutOfEmail: false });
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(true);
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
  });

  test('both changed: the opt-out wins', async () => {
    await synced.flag(prospectId, { emailOptOut: true });
    await synced.settle();
    // Said again in Heed, taken back in Salesforce.
    await synced.flag(prospectId, { emailOptOut: false });
    await synced.flag(prospectId, { emailOptOut: true });
    org().update('Lead', id, { HasOptedOutOfEmail: false });
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(true);
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
  });

  test('I3: a bounce sets both fields and no opt-out; it is cleared on both sides together', async () => {
    await account.db.transaction(async (tx) => {
      const [row] = await tx.query<{ address_id: string }>(plain('select address_id from prospect'));
      await addSuppressions(tx, { ...ORIGIN, way: 'bounce' }, new Date('2026-11-23T10:00:00Z'), [
        { addressId: row!.address_id, reason: 'bounced', note: 'x'.repeat(300) },
      ]);
    });
    await synced.settle();
    expect(lead(id)).toMatchObject({
      EmailBouncedDate: '2026-11-23T10:00:00.000+0000',
      IsEmailBounced: true,
      HasOptedOutOfEmail: false,
    });
    expect(lead(id).EmailBouncedReason).toHaveLength(255);
    org().update('Lead', id, { EmailBouncedReason: null, EmailBouncedDate: null });
    await synced.settle();
    expect(await synced.flagsOf(prospectId)).toEqual({ emailOptOut: false, bounced: false });
  });

  test('a bounce that Salesforce saw is read back', async () => {
    org().update('Lead', id, {
      EmailBouncedReason: '550 <ada@example.com> unknown',
      EmailBouncedDate: '2026-11-23T10:00:00Z',
    });
    await synced.settle();
    expect(await synced.flagsOf(prospectId)).toEqual({ emailOptOut: false, bounced: true });
    const [row] = await account.db.query(plain('select note from suppression'));
    expect(row).toEqual({ note: '550 <…@example.com> unknown' });
  });

  test('an echo changes nothing and asks for nothing more', async () => {
    await synced.flag(prospectId, { emailOptOut: true });
    await synced.settle();
    const modified = lead(id).SystemModstamp;
    const audited = await account.db.query(plain('select count(*) from audit_entry'));
    // One query an object, and no write.
    expect(await requestsOf(() => synced.run('changes'))).toBe(2);
    expect(await requestsOf(() => synced.push())).toBe(0);
    expect(lead(id).SystemModstamp).toBe(modified);
    expect(await account.db.query(plain('select count(*) from audit_entry'))).toEqual(audited);
  });

  test('a change that does not go to Salesforce asks nothing of it', async () => {
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, new Date(), prospectId, null, {
        fields: { city: 'London' },
      }),
    );
    expect(await account.db.query(plain('select key from salesforce_push'))).toEqual([{ key: id }]);
    expect(await requestsOf(() => synced.push())).toBe(0);
    expect(await account.db.query(plain('select key from salesforce_push'))).toEqual([]);
  });

  test('a write whose answer was lost is no change of Salesforce', async () => {
    await synced.flag(prospectId, { emailOptOut: true });
    synced.simulator.traffic.add({ kind: 'drop_after', times: 1, path: 'composite' });
    await synced.push();
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
    await synced.flag(prospectId, { emailOptOut: false });
    synced.ahead += 60_000;
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(false);
    expect(lead(id).HasOptedOutOfEmail).toBe(false);
  });

  test('mapped fields go both ways where the table says so, the newer change where both have changed', async () => {
    await account.db.transaction((tx) =>
      changeSalesforceSettings(tx, ORIGIN, new Date(), {
        mappings: [
          { object: 'Lead', salesforceField: 'Title', field: 'title', direction: 'both', empty: 'clear' },
        ],
      }),
    );
    const titleOf = async () =>
      (await account.db.query<{ title: string | null }>(plain('select title from prospect')))[0]!.title;
    const set = (title: string | null) =>
      account.db.transaction((tx) =>
        updateProspect(tx, account.hasher, ORIGIN, new Date(), prospectId, null, { fields: { title } }),
      );
    org().update('Lead', id, { Title: 'Clerk' });
    await synced.settle();
    expect(await titleOf()).toBe('Clerk');
    await set('Owner');
    await synced.settle();
    expect(lead(id).Title).toBe('Owner');
    await set(null);
    await synced.settle();
    expect(lead(id).Title).toBeNull();
    await set('Head');
    org().clockOffset += 10_000;
    org().update('Lead', id, { Title: 'Chief' });
    await synced.settle();
    expect([await titleOf(), lead(id).Title]).toEqual(['Chief', 'Chief']);
  });

  test('I4: a new address in Salesforce takes the opt-out along and leaves the bounce behind', async () => {
    await synced.flag(prospectId, { emailOptOut: true, bounced: true });
    await synced.settle();
    org().update('Lead', id, { Email: 'augusta@example.com' });
    await synced.settle();
    expect(await synced.flagsOf(prospectId)).toEqual({ emailOptOut: true, bounced: false });
    expect(await suppressions('ada@example.com')).toEqual(['bounced', 'opt_out']);
    expect(await suppressions('augusta@example.com')).toEqual(['opt_out']);
    expect(lead(id)).toMatchObject({
      HasOptedOutOfEmail: true,
      EmailBouncedReason: null,
      EmailBouncedDate: null,
    });
  });

  test('a new address in Heed goes to the record', async () => {
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, new Date(), prospectId, null, {
        address: parsed('augusta@example.com'),
      }),
    );
    await synced.settle();
    expect(lead(id).Email).toBe('augusta@example.com');
    org().update('Lead', id, { HasOptedOutOfEmail: true });
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(true);
  });

  test('a deleted record leaves what it said; restored it has no base, so that the opt-out wins', async () => {
    await synced.flag(prospectId, { emailOptOut: true });
    await synced.settle();
    org().delete('Lead', id);
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(true);
    org().undelete('Lead', id);
    org().update('Lead', id, { HasOptedOutOfEmail: false });
    await synced.settle();
    expect([(await synced.flagsOf(prospectId)).emailOptOut, lead(id).HasOptedOutOfEmail]).toEqual([
      true,
      true,
    ]);
  });

  test('a merged record hands its opt-out and its prospect on', async () => {
    const other = await account.prospect('lovelace@example.com');
    const second = synced.record('Lead', 'lovelace@example.com', { HasOptedOutOfEmail: true });
    await synced.settle();
    org().merge('Lead', id, [second]);
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(true);
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
    const merged = await account.db.query(plain('select merged_into from prospect where id = $1'), [
      other.id,
    ]);
    expect(merged).toEqual([{ merged_into: prospectId }]);
  });

  test.each(['was deleted', 'was merged into another'] as const)(
    'I4: a merged record hands its opt-out on though its prospect %s',
    async (what) => {
      const other = await account.prospect('lovelace@example.com');
      const second = synced.record('Lead', 'lovelace@example.com');
      await synced.settle();
      await synced.flag(prospectId, { emailOptOut: true }, LINK);
      const third = await account.prospect('countess@example.com');
      await account.db.transaction(async (tx) => {
        if (what === 'was deleted') await deleteProspect(tx, ORIGIN, new Date(), prospectId, null);
        else await mergeProspects(tx, ORIGIN, new Date(), third.id, prospectId);
      });
      org().merge('Lead', second, [id]);
      await synced.settle();
      expect((await synced.flagsOf(other.id)).emailOptOut).toBe(true);
      expect(lead(second).HasOptedOutOfEmail).toBe(true);
    },
  );

  test('a converted lead is followed to its contact', async () => {
    await synced.flag(prospectId, { emailOptOut: true });
    const contactId = org().convert(id);
    await synced.settle();
    expect(contact(contactId).HasOptedOutOfEmail).toBe(true);
    org().update('Contact', contactId, { HasOptedOutOfEmail: false });
    await synced.settle();
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(false);
  });

  test.each([null, 'not an address'])(
    'an opt-out that comes as Email becomes %s holds for the address that was there',
    async (Email) => {
      // Salesforce itself takes no such text; records that were loaded without its checks have one.
      org().update('Lead', id, { HasOptedOutOfEmail: true, Email: null });
      if (Email !== null) (lead(id) as { Email: string }).Email = Email;
      await synced.settle();
      expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(true);
      expect(await suppressions('ada@example.com')).toEqual(['opt_out']);
    },
  );

  describe('Email becomes an address that another prospect has', () => {
    let other: string;
    let others: string;
    beforeEach(async () => {
      other = (await account.prospect('augusta@example.com')).id;
      others = synced.record('Contact', 'augusta@example.com');
      await synced.settle();
    });
    const flags = () => Promise.all([prospectId, other].map((each) => synced.flagsOf(each)));
    const saysNo = () => [lead(id).HasOptedOutOfEmail, contact(others).HasOptedOutOfEmail];

    test.each(['read', 'pushed'] as const)(
      'I4: an opt-out of Heed that was not pushed yet goes along, and is on both addresses, where it is %s first',
      async (first) => {
        await synced.flag(prospectId, { emailOptOut: true }, LINK);
        org().update('Lead', id, { Email: 'augusta@example.com' });
        if (first === 'pushed') await synced.push();
        await synced.settle();
        expect(await suppressions('ada@example.com')).toEqual(['opt_out']);
        expect(await suppressions('augusta@example.com')).toEqual(['opt_out']);
        expect((await flags()).map((each) => each.emailOptOut)).toEqual([true, true]);
        expect(saysNo()).toEqual([true, true]);
      },
    );

    test('I4: so does one of a prospect who has left the address of the record', async () => {
      await account.db.transaction((tx) =>
        updateProspect(tx, account.hasher, ORIGIN, new Date(), prospectId, null, {
          address: parsed('countess@example.com'),
          emailOptOut: true,
        }),
      );
      org().update('Lead', id, { Email: 'augusta@example.com' });
      await synced.settle();
      expect((await flags()).map((each) => each.emailOptOut)).toEqual([true, true]);
      expect(saysNo()).toEqual([true, true]);
    });

    test('what was taken back in Salesforce meanwhile does not come to the other', async () => {
      await synced.flag(prospectId, { emailOptOut: true });
      await synced.settle();
      org().update('Lead', id, { Email: 'augusta@example.com', HasOptedOutOfEmail: false });
      await synced.settle();
      expect((await flags()).map((each) => each.emailOptOut)).toEqual([true, false]);
      expect(saysNo()).toEqual([false, false]);
    });

    test('I3: a bounce does not', async () => {
      await synced.flag(prospectId, { bounced: true });
      org().update('Lead', id, { Email: 'augusta@example.com' });
      await synced.settle();
      expect(await flags()).toEqual([
        { emailOptOut: false, bounced: true },
        { emailOptOut: false, bounced: false },
      ]);
    });
  });

  test.each(['who has the address still', 'who has another address by now', 'who is no prospect'] as const)(
    'I4: an opt-out that comes after Email was emptied is of the person %s',
    async (who) => {
      const nobody = synced.record('Lead', 'nobody@example.com');
      await synced.settle();
      const [record, address] =
        who === 'who is no prospect' ? [nobody, 'nobody@example.com'] : [id, 'ada@example.com'];
      org().update('Lead', record, { Email: null });
      await synced.settle();
      expect(await account.db.query(plain('select reason from suppression'))).toEqual([]);
      if (who === 'who has another address by now') {
        await account.db.transaction((tx) =>
          updateProspect(tx, account.hasher, ORIGIN, new Date(), prospectId, null, {
            address: parsed('augusta@example.com'),
          }),
        );
        await synced.settle();
      }
      org().update('Lead', record, { HasOptedOutOfEmail: true });
      await synced.settle();
      const at = who === 'who has another address by now' ? 'augusta@example.com' : address;
      expect(await suppressions(at)).toEqual(['opt_out']);
      expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(who !== 'who is no prospect');

      // Taken back in Heed it is not set anew by what the record has said all along.
      const [row] = await account.db.query<{ id: string }>(plain('select id from address where email = $1'), [
        at,
      ]);
      await account.db.transaction((tx) =>
        removeSuppressions(tx, ORIGIN, new Date(), [{ addressId: row!.id, reason: 'opt_out' }]),
      );
      org().update('Lead', record, { Title: 'Clerk' });
      await synced.settle();
      await synced.run('full');
      expect(await suppressions(at)).toEqual([]);
    },
  );

  test('I4: an opt-out of Heed while there was no Email comes to the one that follows', async () => {
    org().update('Lead', id, { Email: null });
    await synced.settle();
    await synced.flag(prospectId, { emailOptOut: true });
    await synced.settle();
    org().update('Lead', id, { Email: 'augusta@example.com' });
    await synced.settle();
    expect(await suppressions('augusta@example.com')).toEqual(['opt_out']);
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
  });

  test('a record without an address is written down once, not by every reconciliation', async () => {
    org().update('Lead', id, { Email: null, HasOptedOutOfEmail: true });
    await synced.settle();
    const rows = () => account.db.query(plain('select xmin, * from salesforce_record'));
    const before = await rows();
    await synced.run('full');
    expect(await rows()).toEqual(before);
  });

  test('a slow transaction is read though Heed was down when it could first be seen', async () => {
    const { org: salesforce } = synced.simulator;
    const slow = synced.record('Lead', 'grace@example.com');
    const newest = synced.record('Lead', 'hedy@example.com');
    const late = salesforce.find('Lead', slow)!;
    // It is not committed yet: nobody sees it.
    salesforce.purge('Lead', slow);
    await synced.run('changes');
    const modstamp = salesforce.find('Lead', newest)!.SystemModstamp;
    salesforce.restore({
      next: 100,
      records: {
        Lead: [...salesforce.rows('Lead'), { ...late, HasOptedOutOfEmail: true, SystemModstamp: modstamp! }],
        Contact: [],
      },
    });
    synced.ahead += 3_600_000;
    await synced.run('changes');
    expect(await suppressions('grace@example.com')).toEqual(['opt_out']);
  });

  test('what is older than the cursor is read again until no transaction could be late any more', async () => {
    const read = async () => (await synced.run('changes')).run.counts.records ?? 0;
    expect(await read()).toBe(1);
    synced.ahead += 3_600_000;
    expect(await read()).toBe(1);
    expect(await read()).toBe(0);
  });

  test('runs are told in the order of their times, whatever their ids', async () => {
    const ids = ['f0000000-0000-4000-8000-000000000000', '10000000-0000-4000-8000-000000000000'];
    for (const each of ids) {
      synced.ahead += 60_000;
      await synced.run('changes', each);
    }
    expect((await lastRun(account.db, 'changes'))?.id).toBe(ids[1]);
    expect((await listRuns(account.db, 'changes', null, 2)).map((run) => run.id)).toEqual(ids.toReversed());
    expect((await listRuns(account.db, 'changes', ids[1]!, 1)).map((run) => run.id)).toEqual([ids[0]]);
  });

  test('a record that is gone for good is no record any more', async () => {
    org().delete('Lead', id);
    org().purge('Lead', id);
    await synced.flag(prospectId, { emailOptOut: true });
    await synced.settle();
    await synced.run('full');
    expect(await account.db.query(plain('select state from salesforce_record'))).toEqual([
      { state: 'deleted' },
    ]);
  });
});

describe('who becomes what', () => {
  test('records become prospects where the account wants it', async () => {
    await account.db.transaction((tx) =>
      changeSalesforceSettings(tx, ORIGIN, new Date(), { prospectsFrom: ['Lead'] }),
    );
    synced.record('Lead', 'ada@example.com', { FirstName: 'Ada', HasOptedOutOfEmail: true });
    synced.record('Contact', 'grace@example.com');
    await synced.run('full');
    await synced.settle();
    expect(
      await account.db.query(plain('select email, first_name, last_name, email_opt_out from prospect')),
    ).toEqual([{ email: 'ada@example.com', first_name: 'Ada', last_name: 'Lovelace', email_opt_out: true }]);
  });

  test('I6: who was erased does not come back with their record, and stays suppressed', async () => {
    await account.db.transaction((tx) =>
      changeSalesforceSettings(tx, ORIGIN, new Date(), { prospectsFrom: ['Lead'] }),
    );
    const id = synced.record('Lead', 'ada@example.com', { FirstName: 'Ada', HasOptedOutOfEmail: true });
    await synced.run('full');
    const [prospect] = await account.db.query<{ id: string }>(plain('select id from prospect'));
    await account.db.transaction((tx) => eraseProspect(tx, ORIGIN, new Date(), prospect!.id));
    org().update('Lead', id, { Title: 'Countess' });
    await synced.settle();
    await synced.run('full');
    expect(await account.db.query(plain('select id from prospect where deleted_at is null'))).toEqual([]);
    expect(await account.db.query(plain('select email from address'))).toEqual([{ email: null }]);
    expect(await account.db.query(plain('select reason from suppression'))).toEqual([{ reason: 'opt_out' }]);
    expect(JSON.stringify(await account.db.query(plain('select * from salesforce_record')))).not.toMatch(
      /ada@|countess|lovelace/i,
    );
  });

  test('prospects become leads where the account wants it, once', async () => {
    await account.db.transaction((tx) =>
      changeSalesforceSettings(tx, ORIGIN, new Date(), { createsLeads: true }),
    );
    const existing = synced.record('Contact', 'grace@example.com');
    await synced.run('full');
    await account.prospect('grace@example.com');
    const prospect = await account.prospect('ada@example.com');
    await synced.flag(prospect.id, { emailOptOut: true });
    // The lead is made and the answer lost: it is not made twice.
    synced.simulator.traffic.add({ kind: 'drop_after', times: 1, path: 'composite' });
    await synced.push();
    synced.ahead += 60_000;
    await synced.settle();
    const leads = [...org().rows('Lead')];
    expect(leads).toMatchObject([{ Email: 'ada@example.com', FirstName: 'Ada', HasOptedOutOfEmail: true }]);
    expect(contact(existing).Email).toBe('grace@example.com');
    expect(await account.db.query(plain('select from salesforce_record'))).toHaveLength(2);
  });
});

describe('trouble', () => {
  let prospectId: string;
  let id: string;
  beforeEach(async () => {
    prospectId = (await account.prospect('ada@example.com')).id;
    id = synced.record('Lead', 'ada@example.com');
    await synced.run('full');
    await synced.settle();
  });
  const failures = () => listFailures(account.db, false, null, 10);

  test('a locked row is tried again', async () => {
    org().lock(id, 1);
    await synced.flag(prospectId, { emailOptOut: true });
    const next = await synced.push();
    expect(next!.getTime()).toBeGreaterThan(Date.now());
    expect(await failures()).toMatchObject([{ key: id, code: 'UNABLE_TO_LOCK_ROW', kind: 'locked' }]);
    synced.ahead += 10_000;
    await synced.push();
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
    expect(await failures()).toEqual([]);
  });

  test('I1: a refused field does not hold the opt-out up', async () => {
    await account.db.transaction((tx) =>
      changeSalesforceSettings(tx, ORIGIN, new Date(), {
        mappings: [
          { object: 'Lead', salesforceField: 'Title', field: 'title', direction: 'both', empty: 'keep' },
        ],
      }),
    );
    org().validationRules.push({ object: 'Lead', field: 'Title', refuses: 'Boss', message: 'No bosses' });
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, new Date(), prospectId, null, {
        fields: { title: 'Boss' },
        emailOptOut: true,
      }),
    );
    await synced.push();
    expect(lead(id)).toMatchObject({ HasOptedOutOfEmail: true, Title: null });
    expect(await failures()).toMatchObject([
      { code: 'FIELD_CUSTOM_VALIDATION_EXCEPTION', kind: 'refused', message: 'No bosses' },
    ]);
    org().validationRules = [];
    synced.ahead += 3_600_001;
    await synced.settle();
    expect(lead(id).Title).toBe('Boss');
    expect(await failures()).toEqual([]);
  });

  test('I1: a value of a wrong type, for which Salesforce refuses all records, holds no other up', async () => {
    org().addCustomField('Lead', 'Score__c', 'double');
    await account.db.transaction((tx) =>
      changeSalesforceSettings(tx, ORIGIN, new Date(), {
        mappings: [
          {
            object: 'Lead',
            salesforceField: 'Score__c',
            field: 'title',
            direction: 'to_salesforce',
            empty: 'keep',
          },
          {
            object: 'Lead',
            salesforceField: 'FirstName',
            field: 'firstName',
            direction: 'to_salesforce',
            empty: 'keep',
          },
        ],
      }),
    );
    const others = await Promise.all(
      ['b', 'c', 'd', 'e'].map(async (name) => ({
        prospect: await account.prospect(`${name}@example.com`),
        lead: synced.record('Lead', `${name}@example.com`),
      })),
    );
    await synced.settle();
    for (const { prospect } of others.slice(0, 3)) {
      await account.db.transaction((tx) =>
        updateProspect(tx, account.hasher, ORIGIN, new Date(), prospect.id, null, {
          fields: { firstName: 'Grace' },
        }),
      );
    }
    await synced.flag(others[3]!.prospect.id, { emailOptOut: true });
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, new Date(), prospectId, null, {
        fields: { title: 'Boss' },
        emailOptOut: true,
      }),
    );
    const requests = await requestsOf(() => synced.push());
    expect(requests).toBeLessThan(12);
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
    expect(lead(id).Score__c ?? null).toBeNull();
    expect(lead(others[3]!.lead).HasOptedOutOfEmail).toBe(true);
    for (const other of others.slice(0, 3)) expect(lead(other.lead).FirstName).toBe('Grace');
    expect(await failures()).toMatchObject([{ key: id, code: 'JSON_PARSER_ERROR', kind: 'refused' }]);
    expect(await readSalesforceConnection(account.db)).toMatchObject({ pauseKind: null, stopped: null });
  });

  test('a request that is refused as it is stops the sync with a message, and is tried again soon', async () => {
    const { client } = synced.deps;
    const { query } = client;
    Object.assign(client, { query: () => query('SELECT Id FROM Lead WHERE', 'all') });
    expect((await synced.run('changes')).run).toMatchObject({
      state: 'stopped',
      failure: expect.stringMatching(/^MALFORMED_QUERY: /),
    });
    Object.assign(client, { query });
    expect((await synced.run('changes')).run.state).toBe('done');
  });

  test('a duplicate rule that blocks a new address is told, and the opt-out goes all the same', async () => {
    synced.record('Contact', 'augusta@example.com');
    org().duplicateRule = 'block';
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, new Date(), prospectId, null, {
        address: parsed('augusta@example.com'),
        emailOptOut: true,
      }),
    );
    await synced.push();
    expect(lead(id)).toMatchObject({ Email: 'ada@example.com', HasOptedOutOfEmail: true });
    expect(await failures()).toMatchObject([{ key: id, kind: 'duplicate', code: 'DUPLICATES_DETECTED' }]);
  });

  test('a hidden field stops the sync with field, object and permission, and nothing is taken for "not opted out"', async () => {
    org().update('Lead', id, { HasOptedOutOfEmail: true });
    await synced.settle();
    org().setAccess('Lead', 'HasOptedOutOfEmail', 'hidden');
    org().update('Lead', id, { Title: 'Clerk' });
    const { run } = await synced.run('changes');
    expect(run.state).toBe('stopped');
    expect(run.failure).toBe(
      'Lead.HasOptedOutOfEmail: the integration user needs the permission "Read Access" on this field.',
    );
    expect((await synced.flagsOf(prospectId)).emailOptOut).toBe(true);
    expect(await account.db.query(plain('select kind from alert where cleared_at is null'))).toEqual([
      { kind: 'salesforce_stopped' },
    ]);
    org().setAccess('Lead', 'HasOptedOutOfEmail', 'edit');
    expect((await synced.run('changes')).run.state).toBe('done');
    expect((await readSalesforceConnection(account.db)).stopped).toBeNull();
  });

  test('a compound field in the mapping table stops it, and is never stored as what it is not', async () => {
    org().update('Lead', id, { City: 'London', Country: 'United Kingdom' });
    await account.db.transaction((tx) =>
      changeSalesforceSettings(tx, ORIGIN, new Date(), {
        mappings: [
          {
            object: 'Lead',
            salesforceField: 'Address',
            field: 'city',
            direction: 'from_salesforce',
            empty: 'keep',
          },
        ],
      }),
    );
    const { run } = await synced.run('changes');
    expect(run).toMatchObject({
      state: 'stopped',
      failure: expect.stringMatching(/^Lead\.Address: .*compound field.*Street, City/),
    });
    expect(await account.db.query(plain('select city from prospect'))).toEqual([{ city: null }]);
  });

  test('a read-only field stops it too, and what waits is not lost', async () => {
    org().setAccess('Lead', 'HasOptedOutOfEmail', 'readonly');
    await synced.flag(prospectId, { emailOptOut: true });
    await synced.push();
    expect((await readSalesforceConnection(account.db)).stopped).toMatch(/Lead\.HasOptedOutOfEmail.*Edit/);
    org().setAccess('Lead', 'HasOptedOutOfEmail', 'edit');
    synced.ahead += 3_600_001;
    await synced.settle();
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
  });

  test('an outage is waited for, ever longer, and nothing is lost', async () => {
    await synced.flag(prospectId, { emailOptOut: true });
    synced.simulator.traffic.add({ kind: 'unavailable', times: 2 });
    const first = (await synced.push())!.getTime() - Date.now();
    expect(await requestsOf(() => synced.push())).toBe(0);
    synced.ahead += 10_000;
    const second = (await synced.push())!.getTime() - Date.now() - synced.ahead;
    expect(second).toBeGreaterThan(first);
    synced.ahead += 60_000;
    await synced.settle();
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
  });

  test('a session that ended is renewed once a request', async () => {
    const issued = synced.simulator.tokens.issued;
    synced.simulator.tokens.expireSessions();
    await synced.flag(prospectId, { emailOptOut: true });
    await synced.push();
    expect(lead(id).HasOptedOutOfEmail).toBe(true);
    expect(synced.simulator.tokens.issued).toBe(issued + 1);
  });

  test('sessions that end at once are not renewed without end', async () => {
    const { tokens } = synced.simulator;
    const issued = tokens.issued;
    tokens.isValid = () => false;
    await synced.flag(prospectId, { emailOptOut: true });
    const next = await synced.push();
    expect(next!.getTime()).toBeGreaterThan(Date.now());
    expect(tokens.issued).toBe(issued + 1);
  });

  test('a reserve of the daily limit is kept', async () => {
    const { traffic } = synced.simulator;
    Object.assign(traffic, { used: 79, allowed: 100 });
    await synced.flag(prospectId, { emailOptOut: true });
    await synced.push();
    expect(traffic.used).toBe(80);
    expect(await readSalesforceConnection(account.db)).toMatchObject({ pauseKind: 'daily_limit' });
    expect(lead(id).HasOptedOutOfEmail).toBe(false);
    traffic.used = 0;
  });

  test('another org is refused', async () => {
    await account.db.query(plain(`update salesforce_connection set org_id = '00D000000000009AAA'`));
    const { run } = await synced.run('changes');
    expect(run).toMatchObject({
      state: 'stopped',
      failure: expect.stringContaining('HEED_SALESFORCE_LOGIN_URL'),
    });
  });
});

test('a page that was read is not applied once the lock that keeps writes away is lost', async () => {
  synced.record('Lead', 'ada@example.com', { HasOptedOutOfEmail: true });
  const { client } = synced.deps;
  const { query } = client;
  let asked = 0;
  Object.assign(client, {
    query: async (...args: Parameters<typeof query>) => {
      const rows = await query(...args);
      asked += 1;
      // The page, after the two that look for the newest change: its reader was frozen for too long.
      if (asked === 3) await account.db.query(plain(LOSE_LOCK));
      return rows;
    },
  });
  await expect(synced.run('full')).rejects.toThrow();
  expect(await suppressions('ada@example.com')).toEqual([]);
  const { run } = await synced.run('full');
  expect(run.state).toBe('done');
  expect(await suppressions('ada@example.com')).toEqual(['opt_out']);
});

/** Ends the connections that hold an advisory lock, as PostgreSQL does with one that idles in a transaction. */
const LOSE_LOCK = `
  select pg_terminate_backend(l.pid) from pg_locks l
  where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())`;
