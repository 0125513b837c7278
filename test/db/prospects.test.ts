import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { createCustomField, readCustomFields } from '../../db/queries/customFields.ts';
import {
  addListMembers,
  createList,
  readList,
  readLists,
  removeListMembers,
} from '../../db/queries/lists.ts';
import { searchProspects } from '../../db/queries/prospectSearch.ts';
import {
  createProspect,
  deleteProspect,
  findProspectByEmail,
  type Prospect,
  type ProspectInput,
  type ProspectPatch,
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
const someEmail = () => `p-${randomUUID()}@example.net`;

function tryCreate(email: string, input: Partial<ProspectInput> = {}) {
  return account.db.transaction((tx) =>
    createProspect(tx, account.hasher, ORIGIN, NOW, { address: parsed(email), ...input }),
  );
}

async function create(email: string, input: Partial<ProspectInput> = {}): Promise<Prospect> {
  const created = await tryCreate(email, input);
  if (created.kind !== 'created') throw new Error(created.kind);
  return created.prospect;
}

function tryUpdate(id: string, patch: ProspectPatch, version: number | null = null) {
  return account.db.transaction((tx) => updateProspect(tx, account.hasher, ORIGIN, NOW, id, version, patch));
}

async function update(id: string, patch: ProspectPatch): Promise<Prospect> {
  const updated = await tryUpdate(id, patch);
  if (updated.kind !== 'updated') throw new Error(updated.kind);
  return updated.prospect;
}

function remove(id: string) {
  return account.db.transaction((tx) => deleteProspect(tx, ORIGIN, NOW, id, null));
}

async function reasonsOf(addressId: string): Promise<string[]> {
  const rows = await account.db.query<{ entry: string }>(
    plain(
      `select reason || coalesce(':' || list_id, '') as entry from suppression where address_id = $1 order by entry`,
    ),
    [addressId],
  );
  return rows.map((row) => row.entry);
}

async function auditOf(prospectId: string) {
  return account.db.query<{ action: string; subject: string; before: unknown; after: unknown; way: string }>(
    plain('select action, subject, before, after, way from audit_entry where prospect_id = $1 order by id'),
    [prospectId],
  );
}

async function sendOutcome(sendId: string) {
  const [row] = await account.db.query<{ state: string; outcome: string; outcome_reason: string }>(
    plain('select state, outcome, outcome_reason from send where id = $1'),
    [sendId],
  );
  return row;
}

async function sendTo(prospect: Prospect, listId?: string) {
  return account.send(
    { id: prospect.id, addressId: prospect.addressId, address: parsed(prospect.email) },
    listId ? { listId } : {},
  );
}

describe('creating a prospect', () => {
  it('keeps its fields, typed custom fields and the address as it was given', async () => {
    await createCustomField(account.db, NOW, {
      key: 'tier',
      label: 'Tier',
      type: 'choice',
      choices: ['Gold', ' Silver '],
    });
    const prospect = await create('Änn.Doe@Bücher.Example', {
      fields: { firstName: ' Änn ', timeZone: 'europe/berlin' },
      custom: { tier: 'silver' },
    });
    expect(prospect).toMatchObject({
      email: 'Änn.Doe@xn--bcher-kva.example',
      fields: { firstName: 'Änn', lastName: null, timeZone: 'Europe/Berlin' },
      custom: { tier: 'Silver' },
      emailOptOut: false,
      bounced: false,
      version: 1,
    });
    expect(await readProspect(account.db, prospect.id)).toEqual(prospect);
    expect(await findProspectByEmail(account.db, account.hasher, parsed('änn.doe@BÜCHER.example'))).toEqual(
      prospect,
    );
  });

  it('gives one prospect per normalised address', async () => {
    const first = await create('One@example.org');
    expect(await tryCreate('oNE@EXAMPLE.org')).toEqual({ kind: 'exists', prospectId: first.id });
  });

  it('names every field with a problem and leaves nothing behind', async () => {
    const email = someEmail();
    expect(
      await tryCreate(email, { fields: { timeZone: 'Nowhere' }, custom: { tier: 'Bronze' } }),
    ).toMatchObject({
      kind: 'invalid',
      problems: [{ field: 'timeZone' }, { field: 'custom.tier' }],
    });
    expect(await account.db.query(plain('select 1 from address where email = $1'), [email])).toEqual([]);
  });

  it('of the same address at once, leaves one, whoever comes first', async () => {
    const email = someEmail();
    const results = await Promise.all(Array.from({ length: 8 }, () => tryCreate(email)));
    const created = results.filter((result) => result.kind === 'created');
    expect(created).toHaveLength(1);
    const { id } = created[0]!.prospect;
    expect(results.filter((result) => result.kind === 'exists' && result.prospectId === id)).toHaveLength(7);
  });

  it('I3, I6: sets only the flag that is asked for, puts its reason on the address and writes it down', async () => {
    const prospect = await create(someEmail(), { emailOptOut: true, bounced: false });
    expect(prospect).toMatchObject({ emailOptOut: true, bounced: false });
    expect(await reasonsOf(prospect.addressId)).toEqual(['opt_out']);
    expect(await auditOf(prospect.id)).toEqual([
      {
        action: 'prospect.created',
        subject: null,
        before: null,
        after: { emailOptOut: false, bounced: false },
        way: 'api',
      },
      { action: 'flag.changed', subject: 'emailOptOut', before: false, after: true, way: 'api' },
    ]);
  });

  it('I4: gives it the flags of its address, whatever was asked for', async () => {
    const known = await create(someEmail(), { emailOptOut: true, bounced: true });
    await remove(known.id);
    const again = await create(known.email.toUpperCase(), { emailOptOut: false, bounced: false });
    expect(again).toMatchObject({ addressId: known.addressId, emailOptOut: true, bounced: true });
    expect(await reasonsOf(again.addressId)).toEqual(['bounced', 'opt_out']);
  });
});

describe('updating a prospect', () => {
  it('changes what is named, empties with null, and names the changed fields in the audit, not their values', async () => {
    const prospect = await create(someEmail(), { fields: { firstName: 'Ada', company: 'Example' } });
    const updated = await update(prospect.id, { fields: { firstName: 'Grace', company: null } });
    expect(updated).toMatchObject({ version: 2, fields: { firstName: 'Grace', company: null } });
    const entry = (await auditOf(prospect.id)).at(-1);
    expect(entry).toMatchObject({
      action: 'prospect.updated',
      before: null,
      after: { fields: ['firstName', 'company'] },
    });
  });

  it('writes nothing where nothing changes', async () => {
    const prospect = await create(someEmail(), { fields: { firstName: 'Ada' } });
    expect(
      await update(prospect.id, { address: parsed(prospect.email), fields: { firstName: 'Ada' } }),
    ).toEqual(prospect);
    expect(await auditOf(prospect.id)).toHaveLength(1);
  });

  it('refuses to change a version that the caller has not seen', async () => {
    const prospect = await create(someEmail());
    await update(prospect.id, { fields: { firstName: 'Ada' } });
    expect(await tryUpdate(prospect.id, { fields: { firstName: 'Eve' } }, prospect.version)).toEqual({
      kind: 'version_conflict',
      version: 2,
    });
    const results = await Promise.all(
      ['x', 'y', 'z'].map((firstName) => tryUpdate(prospect.id, { fields: { firstName } }, 2)),
    );
    expect(results.map((result) => result.kind).sort()).toEqual([
      'updated',
      'version_conflict',
      'version_conflict',
    ]);
  });

  it('does not find what was deleted', async () => {
    const prospect = await create(someEmail());
    await remove(prospect.id);
    expect(await tryUpdate(prospect.id, { fields: { firstName: 'Eve' } })).toEqual({ kind: 'not_found' });
    expect(await remove(prospect.id)).toEqual({ kind: 'not_found' });
  });

  it('refuses an address that another prospect has, and changes nothing', async () => {
    const [one, other] = [await create(someEmail()), await create(someEmail())];
    expect(await tryUpdate(one.id, { address: parsed(other.email), fields: { firstName: 'Eve' } })).toEqual({
      kind: 'exists',
      prospectId: other.id,
    });
    expect(await readProspect(account.db, one.id)).toEqual(one);
  });

  it('takes another spelling for the same address: nothing is cancelled', async () => {
    const prospect = await create(someEmail());
    const send = await sendTo(prospect);
    const updated = await update(prospect.id, { address: parsed(prospect.email.replace('p-', 'P-')) });
    expect(updated.email).toBe(prospect.email.replace('p-', 'P-'));
    expect(updated.addressId).toBe(prospect.addressId);
    expect(await sendOutcome(send.sendId)).toMatchObject({ state: 'queued' });
  });

  it('I4: a new address leaves Bounced with the old one and takes opt-outs and complaints along', async () => {
    const listId = await account.list();
    const prospect = await create(someEmail(), { bounced: true, emailOptOut: true });
    await account.db.transaction((tx) =>
      addSuppressions(tx, ORIGIN, NOW, [
        { addressId: prospect.addressId, reason: 'complaint' },
        { addressId: prospect.addressId, reason: 'opt_out', listId },
        { addressId: prospect.addressId, reason: 'manual' },
      ]),
    );
    const updated = await update(prospect.id, { address: parsed(someEmail()) });
    expect(updated).toMatchObject({ bounced: false, emailOptOut: true });
    expect(await reasonsOf(prospect.addressId)).toEqual([
      'bounced',
      'complaint',
      'manual',
      'opt_out',
      `opt_out:${listId}`,
    ]);
    expect(await reasonsOf(updated.addressId)).toEqual(['complaint', 'opt_out', `opt_out:${listId}`]);
    const changes = (await auditOf(prospect.id)).slice(-2);
    expect(changes).toEqual([
      {
        action: 'prospect.address_changed',
        subject: null,
        before: { addressId: prospect.addressId },
        after: { addressId: updated.addressId },
        way: 'api',
      },
      { action: 'flag.changed', subject: 'bounced', before: true, after: false, way: 'api' },
    ]);
  });

  it('I4: changing the address cancels what waits for the old one', async () => {
    const prospect = await create(someEmail());
    const send = await sendTo(prospect);
    await update(prospect.id, { address: parsed(someEmail()) });
    expect(await sendOutcome(send.sendId)).toEqual({
      state: 'final',
      outcome: 'cancelled',
      outcome_reason: 'address_changed',
    });
  });

  it('I4: an address that bounced or opted out before makes its new owner so', async () => {
    const former = await create(someEmail(), { bounced: true, emailOptOut: true });
    await remove(former.id);
    const prospect = await create(someEmail());
    const updated = await update(prospect.id, { address: parsed(former.email) });
    expect(updated).toMatchObject({ bounced: true, emailOptOut: true });
    expect(await reasonsOf(prospect.addressId)).toEqual([]);
    expect((await auditOf(prospect.id)).slice(-2)).toMatchObject([
      { action: 'flag.changed', subject: 'emailOptOut', before: false, after: true },
      { action: 'flag.changed', subject: 'bounced', before: false, after: true },
    ]);
  });

  it('I4: Email Opt Out = No takes opt_out off the current address only', async () => {
    const prospect = await create(someEmail(), { emailOptOut: true, bounced: true });
    const moved = await update(prospect.id, { address: parsed(someEmail()) });
    const back = await update(prospect.id, { emailOptOut: false });
    expect(back).toMatchObject({ emailOptOut: false, bounced: false });
    expect(await reasonsOf(moved.addressId)).toEqual([]);
    expect(await reasonsOf(prospect.addressId)).toEqual(['bounced', 'opt_out']);
  });

  it('sets flags on the address that is then current', async () => {
    const prospect = await create(someEmail());
    const moved = await update(prospect.id, { address: parsed(someEmail()), emailOptOut: true });
    expect(await reasonsOf(moved.addressId)).toEqual(['opt_out']);
    expect(await reasonsOf(prospect.addressId)).toEqual([]);
  });
});

describe('deleting a prospect', () => {
  it('I4: cancels what waits, leaves the lists, keeps the address and its suppressions', async () => {
    const list = await createList(account.db, NOW, `List ${randomUUID()}`);
    if (list.kind === 'invalid') throw new Error(list.problem);
    const prospect = await create(someEmail());
    const send = await sendTo(prospect);
    await account.db.transaction((tx) => addListMembers(tx, NOW, list.listId, [prospect.id]));
    await update(prospect.id, { bounced: true });
    expect(await remove(prospect.id)).toEqual({ kind: 'deleted' });
    expect(await readProspect(account.db, prospect.id)).toBeNull();
    expect(await findProspectByEmail(account.db, account.hasher, parsed(prospect.email))).toBeNull();
    expect(await readList(account.db, list.listId)).toMatchObject({ members: 0 });
    expect(await reasonsOf(prospect.addressId)).toEqual(['bounced']);
    // Bounced had ended the send before.
    expect(await sendOutcome(send.sendId)).toMatchObject({ outcome: 'suppressed' });
    expect((await auditOf(prospect.id)).at(-1)).toMatchObject({ action: 'prospect.deleted' });
  });

  it('cancels what waits', async () => {
    const prospect = await create(someEmail());
    const send = await sendTo(prospect);
    await remove(prospect.id);
    expect(await sendOutcome(send.sendId)).toEqual({
      state: 'final',
      outcome: 'cancelled',
      outcome_reason: 'prospect_deleted',
    });
  });
});

describe('searching prospects', () => {
  it('finds by the beginning of email, last name or company, newest first, page by page', async () => {
    const word = `q${randomUUID().slice(0, 8)}`;
    const byEmail = await create(`${word}@example.net`);
    const byName = await create(someEmail(), { fields: { lastName: `${word.toUpperCase()}son` } });
    const byCompany = await create(someEmail(), { fields: { company: `${word}%_ Ltd` } });
    await create(someEmail(), { fields: { lastName: `Mac${word}` } });
    const find = (prefix: string, page: { after?: string; limit: number } = { limit: 10 }) =>
      searchProspects(account.db, { prefix }, page, NOW);
    expect(await find(word.toUpperCase())).toEqual([byCompany, byName, byEmail]);
    expect(await find(word, { limit: 2 })).toEqual([byCompany, byName]);
    expect(await find(word, { limit: 2, after: byName.id })).toEqual([byEmail]);
    expect(await find(`${word}%_`)).toEqual([byCompany]);
    expect(await find(`${word}_`)).toEqual([]);
    await remove(byEmail.id);
    expect(await find(word)).toEqual([byCompany, byName]);
  });

  it('narrows by flags, list and times', async () => {
    const word = `f${randomUUID().slice(0, 8)}`;
    const listed = await create(`${word}1@example.net`, { emailOptOut: true });
    const other = await create(`${word}2@example.net`, { bounced: true });
    const listId = await account.list();
    await account.db.transaction((tx) => addListMembers(tx, NOW, listId, [listed.id]));
    const find = async (filter: Parameters<typeof searchProspects>[1]) =>
      (await searchProspects(account.db, { prefix: word, ...filter }, { limit: 10 }, NOW)).map(
        ({ id }) => id,
      );
    expect(await find({ emailOptOut: true })).toEqual([listed.id]);
    expect(await find({ emailOptOut: false })).toEqual([other.id]);
    expect(await find({ bounced: true })).toEqual([other.id]);
    expect(await find({ listId })).toEqual([listed.id]);
    expect(await find({ createdFrom: NOW })).toHaveLength(2);
    expect(await find({ createdBefore: NOW })).toEqual([]);
    expect(await find({ updatedFrom: new Date(NOW.getTime() + 1) })).toEqual([]);
  });
});

describe('lists', () => {
  it('have a name each and hold a prospect once', async () => {
    const name = `News ${randomUUID()}`;
    const created = await createList(account.db, NOW, ` ${name} `);
    if (created.kind !== 'created') throw new Error(created.kind);
    const { listId } = created;
    expect(await createList(account.db, NOW, name.toUpperCase())).toEqual({ kind: 'exists', listId });
    expect(await createList(account.db, NOW, '  ')).toEqual({ kind: 'invalid', problem: 'name_empty' });

    const prospect = await create(someEmail());
    const nobody = randomUUID();
    const add = () =>
      account.db.transaction((tx) => addListMembers(tx, NOW, listId, [prospect.id, prospect.id, nobody]));
    expect(await add()).toEqual({ kind: 'added', added: 1, unknown: [nobody] });
    expect(await add()).toEqual({ kind: 'added', added: 0, unknown: [nobody] });
    expect(await readList(account.db, listId)).toMatchObject({ name, members: 1 });
    expect((await readLists(account.db, null, 100)).map(({ id }) => id)).toContain(listId);
    expect(await removeListMembers(account.db, listId, [prospect.id])).toBe(1);
    expect(await readList(account.db, listId)).toMatchObject({ members: 0 });
    expect(
      await account.db.transaction((tx) => addListMembers(tx, NOW, randomUUID(), [prospect.id])),
    ).toEqual({ kind: 'no_list' });
  });
});

describe('custom fields', () => {
  it('have a key for good and a fitting definition', async () => {
    const base = { label: 'Seats', type: 'number', choices: [] } as const;
    expect(await createCustomField(account.db, NOW, { key: 'seats', ...base })).toEqual({ kind: 'created' });
    expect(await createCustomField(account.db, NOW, { key: 'seats', ...base, type: 'text' })).toEqual({
      kind: 'exists',
    });
    expect(await readCustomFields(account.db)).toContainEqual({ key: 'seats', ...base });
    for (const [field, problem] of [
      [{ key: 'Seats!', ...base }, 'key_invalid'],
      [{ key: 'x', ...base, label: ' ' }, 'label_empty'],
      [{ key: 'x', ...base, type: 'choice' }, 'choices_missing'],
      [{ key: 'x', ...base, choices: ['1'] }, 'choices_not_allowed'],
    ] as const) {
      expect(await createCustomField(account.db, NOW, field)).toEqual({ kind: 'invalid', problem });
    }
  });
});
