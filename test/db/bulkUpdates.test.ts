import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createBulkUpdateActivities } from '../../activities/bulkUpdate.ts';
import { takeInFile } from '../../activities/import.ts';
import { type Database, plain } from '../../db/connection.ts';
import { claimBulkUpdate, decideRows, takeNextPage } from '../../db/queries/bulkUpdatePage.ts';
import { previewBulkUpdate, type RowsOf } from '../../db/queries/bulkUpdateRows.ts';
import {
  commandBulkUpdate,
  createUndo,
  failBulkUpdate,
  readBulkUpdate,
} from '../../db/queries/bulkUpdates.ts';
import { createCustomField } from '../../db/queries/customFields.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { gate } from '../../db/queries/gate.ts';
import { appendImportChunk, beginImport, finishUpload } from '../../db/queries/imports.ts';
import { changeList, createDynamicList } from '../../db/queries/lists.ts';
import { eraseProspect } from '../../db/queries/prospectErase.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import { deleteProspect, updateProspect } from '../../db/queries/prospects.ts';
import { addSuppressions } from '../../db/queries/suppressions.ts';
import { unsubscribe } from '../../db/queries/unsubscribe.ts';
import type { Criteria } from '../../domain/criteria/criteria.ts';
import type { Way } from '../../domain/words.ts';
import {
  createTestAccount,
  ORIGIN,
  parsed,
  type TestAccount,
  type TestProspect,
  type TestSend,
} from '../support/account.ts';
import { newAutomation, transition } from '../support/automating.ts';
import { carryOut, newBulkUpdate, newUndo, shownRows } from '../support/bulkUpdating.ts';
import { until } from '../support/until.ts';

const NOW = new Date('2026-03-02T10:00:00Z');
const later = (seconds: number) => new Date(NOW.getTime() + seconds * 1000);

let account: TestAccount;
beforeAll(async () => {
  account = await createTestAccount();
  const fields = [
    { key: 'plan', label: 'Plan', type: 'choice', choices: ['Gold', 'Silver'] },
    { key: 'score', label: 'Score', type: 'number', choices: [] },
    { key: 'visited', label: 'Visited', type: 'datetime', choices: [] },
  ] as const;
  for (const field of fields) await createCustomField(account.db, NOW, field);
});
afterAll(() => account.close());

let groups = 0;

/** People of a group of their own, named by the first part of their addresses, and the criteria that names the group. */
async function people(...names: string[]) {
  const company = `Group ${++groups}`;
  const domain = `group${groups}.example`;
  const byName: Record<string, TestProspect> = {};
  for (const name of names) byName[name] = await account.prospect(`${name}@${domain}`);
  await account.db.query(plain('update prospect set company = $1 where email like $2'), [
    company,
    `%@${domain}`,
  ]);
  const criteria = { field: 'company', operator: 'equals', value: company };
  const of = (name: string): TestProspect => byName[name]!;
  return { company, domain, criteria, of, all: Object.values(byName) };
}

const prospectRow = (prospect: TestProspect) => readRow(prospect.id);

async function readRow(prospectId: string): Promise<Record<string, unknown>> {
  const [row] = await account.db.query(plain('select * from prospect where id = $1'), [prospectId]);
  return row!;
}

async function suppressionsOf(prospect: TestProspect): Promise<string[]> {
  const rows = await account.db.query<{ reason: string; way: string }>(
    plain('select reason, way from suppression where address_id = $1 and list_id is null order by reason'),
    [prospect.addressId],
  );
  return rows.map(({ reason, way }) => `${reason} by ${way}`);
}

/** Whose word the opt-out of everything is. */
async function entryOf(prospect: TestProspect): Promise<Record<string, unknown> | undefined> {
  const [entry] = await account.db.query(
    plain(
      `select way, note from suppression where address_id = $1 and list_id is null and reason = 'opt_out'`,
    ),
    [prospect.addressId],
  );
  return entry;
}

async function audited(prospect: TestProspect): Promise<Record<string, unknown>[]> {
  return account.db.query(
    plain(`select action, way, actor, reason, subject, before, after from audit_entry
           where prospect_id = $1 or (prospect_id is null and address_id = $2) order by id`),
    [prospect.id, prospect.addressId],
  );
}

const flag = (prospect: TestProspect, change: Parameters<typeof setFlags>[4], way: Way = 'api') =>
  account.db.transaction((tx) => setFlags(tx, { ...ORIGIN, way }, NOW, prospect.id, change));

/** The person clicks the link of an email. */
async function clicksUnsubscribe(prospect: TestProspect): Promise<void> {
  const { sendId } = await account.send(prospect);
  await account.db.transaction((tx) =>
    unsubscribe(tx, { way: 'unsubscribe_link' }, later(60), sendId, { everything: true, listIds: [] }),
  );
}

async function importCsv(csv: string): Promise<void> {
  const importId = await beginImport(account.db, NOW, {
    kind: 'prospects',
    fileName: 'people.csv',
    mapping: {},
    actor: 'test',
  });
  await appendImportChunk(account.db, importId, 0, Buffer.from(csv));
  await account.db.transaction((tx) => finishUpload(tx, NOW, importId));
  await takeInFile(account.db, account.hasher, { importId, now: 0 }, async () => {});
}

describe('a field', () => {
  it('is changed of everybody who matches, once, and each row says from what to what', async () => {
    const { criteria, of, company } = await people('ann', 'bea', 'cleo');
    await account.db.query(plain(`update prospect set country = 'Germany' where id = $1`), [of('bea').id]);
    await account.db.query(plain(`update prospect set country = 'DE' where id = $1`), [of('cleo').id]);
    const stranger = await account.prospect('stranger@elsewhere.example');
    const before = await prospectRow(of('ann'));
    const id = await newBulkUpdate(account, { criteria, field: 'country', value: ' Germany ' });
    expect(await carryOut(account, id, { now: NOW })).toMatchObject({
      state: 'done',
      total: 3,
      changed: 2,
      alreadySo: 1,
      refused: 0,
      finishedAt: NOW,
    });
    expect(await shownRows(account, id)).toEqual([
      'ann: null -> "Germany"',
      'bea: already_so',
      'cleo: "DE" -> "Germany"',
    ]);
    // One field, the version and the time; whoever was right already is not touched.
    expect(await prospectRow(of('ann'))).toEqual({
      ...before,
      country: 'Germany',
      version: 2,
      updated_at: NOW,
    });
    expect(await prospectRow(of('bea'))).toMatchObject({ version: 1 });
    expect(await prospectRow(stranger)).toMatchObject({ country: null, version: 1 });
    expect(await audited(of('ann'))).toEqual([
      {
        action: 'prospect.updated',
        way: 'bulk_update',
        actor: 'legal',
        reason: `bulkUpdate:${id} the law of the land`,
        subject: null,
        before: null,
        after: { fields: ['country'] },
      },
    ]);
    expect(await audited(of('bea'))).toEqual([]);
    expect(JSON.stringify(await audited(of('cleo')))).not.toContain(company);
  });

  it.each([
    ['title', null, null, 'ann: "Head" -> null'],
    ['custom.plan', 'gold', 'Gold', 'ann: "Silver" -> "Gold"'],
    ['custom.score', 7, 7, 'ann: 3 -> 7'],
    ['custom.score', null, null, 'ann: 3 -> null'],
  ])('%s is set to %j as the field keeps it', async (field, value, kept, shown) => {
    const { criteria, of } = await people('ann');
    await account.db.query(
      plain(`update prospect set title = 'Head', custom = '{"plan": "Silver", "score": 3}' where id = $1`),
      [of('ann').id],
    );
    const id = await newBulkUpdate(account, { criteria, field, value });
    await carryOut(account, id);
    expect(await shownRows(account, id)).toEqual([shown]);
    const row = await prospectRow(of('ann'));
    const { custom } = row as { custom: Record<string, unknown> };
    if (field === 'title') expect(row.title).toBe(kept);
    else expect(custom[field.slice('custom.'.length)] ?? null).toBe(kept);
    if (field === 'custom.plan') expect(custom.score).toBe(3);
    if (kept === null && field !== 'title') expect(custom).toEqual({ plan: 'Silver' });
  });

  it('of nobody is done at once', async () => {
    const nobody = { field: 'company', operator: 'equals', value: 'No such company' };
    const id = await newBulkUpdate(account, { criteria: nobody, field: 'city', value: 'Bonn' });
    expect(await carryOut(account, id)).toMatchObject({ state: 'done', total: 0, changed: 0 });
  });
});

describe('who is meant', () => {
  it('is decided once: who comes to match later is not changed, who matches no more or is gone is refused', async () => {
    const { criteria, of, company } = await people('ann', 'bea', 'cleo', 'dora');
    const late = await account.prospect('late@elsewhere.example');
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    await decideRows(account.db, NOW, id, 500);
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, later(1), of('bea').id, null, {
        fields: { company: 'Other' },
      }),
    );
    await account.db.transaction((tx) => deleteProspect(tx, ORIGIN, later(1), of('cleo').id, null));
    await account.db.transaction((tx) => mergeProspects(tx, ORIGIN, later(1), of('ann').id, of('dora').id));
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, later(1), late.id, null, { fields: { company } }),
    );
    expect(await carryOut(account, id, { now: later(2) })).toMatchObject({
      total: 4,
      changed: 1,
      refused: 3,
    });
    expect(await shownRows(account, id)).toEqual([
      'ann: null -> "Bonn"',
      'bea: refused (no_longer_matches)',
      'cleo: refused (gone)',
      'dora: refused (gone)',
    ]);
    expect(await prospectRow(of('bea'))).toMatchObject({ city: null });
    expect(await prospectRow(late)).toMatchObject({ city: null });
  });

  it('does not depend on how long it was paused: windows of time end when it was decided', async () => {
    const { criteria, of } = await people('ann');
    await account.db.query(plain('update prospect set created_at = $2 where id = $1'), [of('ann').id, NOW]);
    const recent = { all: [criteria, { field: 'createdAt', operator: 'withinLast', days: 1 }] };
    const id = await newBulkUpdate(account, { criteria: recent, field: 'city', value: 'Bonn' });
    await decideRows(account.db, later(3600), id, 500);
    expect(await carryOut(account, id, { now: later(30 * 86_400) })).toMatchObject({
      changed: 1,
      refused: 0,
    });
  });

  it('does not leave out who is active while it runs: what happens meanwhile lies in the last days, too', async () => {
    const { criteria, of } = await people('ann', 'bea', 'cleo', 'dora');
    await account.db.query(plain('update prospect set updated_at = $2 where company = $1'), [
      criteria.value,
      NOW,
    ]);
    await account.db.query(plain('update prospect set custom = $2 where id = $1'), [
      of('bea').id,
      { visited: later(-60).toISOString() },
    ]);
    const recent = {
      all: [
        { any: ['updatedAt', 'custom.visited'].map((field) => ({ field, operator: 'withinLast', days: 1 })) },
        { history: 'sent', happened: false, withinDays: 7 },
        criteria,
      ],
    };
    const id = await newBulkUpdate(account, { criteria: recent, field: 'city', value: 'Bonn' });
    await decideRows(account.db, NOW, id, 500);
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, later(60), of('ann').id, null, {
        fields: { title: 'Head' },
      }),
    );
    await account.db.query(plain('update prospect set custom = $2, updated_at = $3 where id = $1'), [
      of('bea').id,
      { visited: later(60).toISOString() },
      later(60),
    ]);
    const send = await account.send(of('cleo'));
    expect((await gate(account.db, { ...send, trigger: 'schedule', now: later(60) })).kind).toBe('open');
    await carryOut(account, id, { now: later(3600) });
    expect(await shownRows(account, id)).toEqual([
      'ann: null -> "Bonn"',
      'bea: null -> "Bonn"',
      'cleo: refused (no_longer_matches)',
      'dora: null -> "Bonn"',
    ]);
  });

  it('may be known by dynamic lists; where they can be worked out no more it fails, and what was changed stays', async () => {
    const { criteria, of } = await people('ann', 'bea');
    const manyConditions = (count: number) => ({
      any: [criteria, ...Array.from({ length: count }, (_, n) => ({ ...criteria, value: `Nobody ${n}` }))],
    });
    const lists: string[] = [];
    for (const count of [280, 280, 280, 280, 280, 280, 280, 1]) {
      const name = `List ${groups} ${lists.length}`;
      const made = await account.db.transaction((tx) =>
        createDynamicList(tx, NOW, name, false, manyConditions(count) as Criteria),
      );
      if (made.kind === 'created') lists.push(made.listId);
    }
    const members = { any: lists.map((list) => ({ list, member: true })) };
    const id = await newBulkUpdate(account, { criteria: members, field: 'city', value: 'Bonn' });
    await decideRows(account.db, NOW, id, 1);
    const epoch = await claimBulkUpdate(account.db, id);
    expect(await takeNextPage(account.db, NOW, id, epoch!)).toBe(true);
    await account.db.transaction((tx) =>
      changeList(tx, NOW, lists.at(-1)!, { criteria: manyConditions(280) as Criteria }),
    );
    const { takeBulkUpdateSlice } = createBulkUpdateActivities(account);
    const slice = new MockActivityEnvironment().run(takeBulkUpdateSlice, { bulkUpdateId: id, now: 0 });
    expect(await slice).toEqual({ state: 'failed', total: 2, changed: 1, alreadySo: 0, refused: 0 });
    expect(await readBulkUpdate(account.db, id)).toMatchObject({ failure: 'lists:too_large' });
    const audit = await account.db.query(
      plain('select action, actor, after from audit_entry where subject = $1 order by id desc limit 1'),
      [id],
    );
    expect(audit).toEqual([
      {
        action: 'bulk_update.failed',
        actor: 'heed',
        after: { state: 'failed', failure: 'lists:too_large' },
      },
    ]);
    expect(await prospectRow(of('ann'))).toMatchObject({ city: 'Bonn' });
    expect(await prospectRow(of('bea'))).toMatchObject({ city: null });
  });
});

describe('a flag', () => {
  it('I3, I4, I6: set to Yes puts the addresses on the list, touches no other flag, and is written down once a row', async () => {
    const { criteria, of } = await people('ann', 'bea', 'cleo');
    await flag(of('bea'), { bounced: true }, 'bounce');
    await flag(of('cleo'), { emailOptOut: true });
    const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: true });
    expect(await carryOut(account, id)).toMatchObject({ total: 3, changed: 2, alreadySo: 1, refused: 0 });
    expect(await shownRows(account, id)).toEqual([
      'ann: false -> true',
      'bea: false -> true',
      'cleo: already_so',
    ]);
    expect(await prospectRow(of('ann'))).toMatchObject({ email_opt_out: true, bounced: false, version: 2 });
    expect(await suppressionsOf(of('ann'))).toEqual(['opt_out by bulk_update']);
    expect(await prospectRow(of('bea'))).toMatchObject({ email_opt_out: true, bounced: true });
    expect(await suppressionsOf(of('bea'))).toEqual(['bounced by bounce', 'opt_out by bulk_update']);
    expect(await suppressionsOf(of('cleo'))).toEqual(['opt_out by api']);
    const told = { way: 'bulk_update', actor: 'legal', reason: `bulkUpdate:${id} the law of the land` };
    expect(await audited(of('ann'))).toEqual([
      {
        ...told,
        action: 'suppression.added',
        subject: 'opt_out',
        before: null,
        after: { reason: 'opt_out' },
      },
      { ...told, action: 'flag.changed', subject: 'emailOptOut', before: false, after: true },
    ]);
  });

  it('I1: set to Yes ends the waiting retries of who comes to be opted out, and of nobody else', async () => {
    const { criteria, of } = await people('ann', 'bea');
    const [waiting, already] = [await account.send(of('ann')), await account.send(of('bea'))];
    await flag(of('bea'), { bounced: true });
    const other = await account.send(await account.prospect(`x@other${groups}.example`));
    await account.db.query(plain(`update send set state = 'waiting' where id = any($1)`), [
      [waiting.sendId, other.sendId],
    ]);
    const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: true });
    await carryOut(account, id);
    const sends = await account.db.query<{ id: string; state: string; outcome: string | null }>(
      plain('select id, state, outcome from send where id = any($1) order by id'),
      [[waiting.sendId, already.sendId, other.sendId]],
    );
    expect(sends.map(({ state, outcome }) => [state, outcome])).toEqual([
      ['final', 'suppressed'],
      ['final', 'suppressed'],
      ['waiting', null],
    ]);
    const messages = await account.db.query(
      plain(`select message ->> 'type' as type from outbox where aggregate = $1 order by id`),
      [`send:${waiting.sendId}`],
    );
    expect(messages.at(-1)).toEqual({ type: 'endSend' });
  });

  it('I4: set to No takes that reason off the current addresses and no other', async () => {
    const { criteria, of } = await people('ann', 'bea');
    await flag(of('ann'), { emailOptOut: true, bounced: true });
    await account.db.transaction((tx) =>
      addSuppressions(tx, ORIGIN, NOW, [{ addressId: of('ann').addressId, reason: 'manual' }]),
    );
    const id = await newBulkUpdate(account, { criteria, field: 'bounced', value: false });
    expect(await carryOut(account, id)).toMatchObject({ changed: 1, alreadySo: 1 });
    expect(await prospectRow(of('ann'))).toMatchObject({ email_opt_out: true, bounced: false });
    expect(await suppressionsOf(of('ann'))).toEqual(['manual by api', 'opt_out by api']);
  });

  it.each<[string, Way, boolean]>([
    ['the link of an email', 'unsubscribe_link', true],
    ['one click', 'one_click', true],
    ['mail', 'unsubscribe_mail', true],
    ['a complaint', 'complaint', true],
    ['somebody with a key', 'api', false],
    ['an import', 'import', false],
  ])('Email Opt Out = No by bulk update, of who said no by %s', async (_, way, refused) => {
    const { criteria, of } = await people('ann');
    await flag(of('ann'), { emailOptOut: true }, way);
    const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: false });
    await carryOut(account, id);
    expect(await shownRows(account, id)).toEqual([
      refused ? 'ann: refused (own_opt_out)' : 'ann: true -> false',
    ]);
    expect(await prospectRow(of('ann'))).toMatchObject({ email_opt_out: refused });
    expect(await suppressionsOf(of('ann'))).toEqual(refused ? [`opt_out by ${way}`] : []);
  });

  it('who said no by link stays out of reach with another address, and as who was merged', async () => {
    const { criteria, of, domain, company } = await people('ann', 'bea', 'cleo');
    await flag(of('ann'), { emailOptOut: true }, 'unsubscribe_link');
    await flag(of('bea'), { emailOptOut: true }, 'one_click');
    await flag(of('cleo'), { emailOptOut: true });
    const address = parsed(`moved@${domain}`);
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, NOW, of('ann').id, null, { address }),
    );
    await account.db.transaction((tx) => mergeProspects(tx, ORIGIN, NOW, of('cleo').id, of('bea').id));
    const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: false });
    await carryOut(account, id);
    expect(await shownRows(account, id)).toEqual([
      'cleo: refused (own_opt_out)',
      'moved: refused (own_opt_out)',
    ]);
    expect(company).not.toBe('');
  });

  it('running continuous automations look at who was changed, as after any other change', async () => {
    const { criteria, of } = await people('ann', 'bea');
    const automation = await newAutomation(account, [{ id: 'leave', type: 'leave' }], {
      who: { field: 'emailOptOut', operator: 'equals', value: true },
      when: { mode: 'continuous' },
    });
    await transition(account, automation, 'activate', NOW);
    await account.db.query(plain(`delete from outbox where aggregate like 'changed:%'`));
    const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: true });
    await carryOut(account, id);
    const told = await account.db.query<{ ids: string[] }>(
      plain(`select message -> 'prospectIds' as ids from outbox where aggregate like 'changed:%'`),
    );
    expect(new Set(told.flatMap(({ ids }) => ids))).toEqual(new Set([of('ann').id, of('bea').id]));
    await transition(account, automation, 'stop', NOW);
  });
});

describe('undoing', () => {
  it('gives exactly the rows that were changed their own former values back, and nobody else', async () => {
    const { criteria, of, all } = await people('ann', 'bea', 'cleo', 'dora', 'eve');
    await account.db.query(plain(`update prospect set city = split_part(email, '@', 1) where id = any($1)`), [
      all.map(({ id }) => id),
    ]);
    await account.db.query(plain(`update prospect set city = 'Bonn' where id = $1`), [of('cleo').id]);
    await account.db.query(plain('update prospect set city = null where id = $1'), [of('eve').id]);
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    expect(await carryOut(account, id)).toMatchObject({ changed: 4, alreadySo: 1 });
    const change = (name: string, city: string) =>
      account.db.transaction((tx) =>
        updateProspect(tx, account.hasher, ORIGIN, NOW, of(name).id, null, { fields: { city } }),
      );
    await change('bea', 'Mainz');
    await change('dora', 'dora');
    const undo = await newUndo(account, id);
    const of_ = { criteria: null, field: 'city', value: null, undoes: id };
    expect(await previewBulkUpdate(account.db, of_, NOW)).toMatchObject({
      changed: { count: 2 },
      alreadySo: { count: 1 },
      refused: [{ refusal: 'changed_since', count: 1 }],
    });
    expect(await carryOut(account, undo)).toMatchObject({ total: 4, changed: 2, alreadySo: 1, refused: 1 });
    expect(await shownRows(account, undo)).toEqual([
      'ann: "Bonn" -> "ann"',
      'bea: refused (changed_since)',
      'dora: already_so',
      'eve: "Bonn" -> null',
    ]);
    expect(await prospectRow(of('cleo'))).toMatchObject({ city: 'Bonn' });
    expect(await prospectRow(of('bea'))).toMatchObject({ city: 'Mainz' });
    expect(await prospectRow(of('eve'))).toMatchObject({ city: null });

    // An undo is a bulk update: it can be undone, too.
    const again = await newUndo(account, undo);
    await carryOut(account, again);
    expect(await shownRows(account, again)).toEqual(['ann: "ann" -> "Bonn"', 'eve: null -> "Bonn"']);
  });

  it('gives people back to email who had never said no themselves, and leaves those who meanwhile did', async () => {
    const names = ['ann', 'bea', 'cleo', 'dora', 'eve', 'fay'];
    const { criteria, of, domain } = await people(...names);
    await flag(of('bea'), { emailOptOut: true });
    const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: true });
    expect(await carryOut(account, id)).toMatchObject({ changed: 5, alreadySo: 1 });
    await clicksUnsubscribe(of('cleo'));
    // Asked on the phone, both of them: by either way of the API.
    await flag(of('dora'), { emailOptOut: true });
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, NOW, of('eve').id, null, { emailOptOut: true }),
    );
    await importCsv(`Email,Email Opt Out\nfay@${domain},yes\n`);
    const undo = await newUndo(account, id);
    expect(await carryOut(account, undo)).toMatchObject({ total: 5, changed: 1, refused: 4 });
    expect(await shownRows(account, undo)).toEqual([
      'ann: true -> false',
      'cleo: refused (own_opt_out)',
      'dora: refused (changed_since)',
      'eve: refused (changed_since)',
      'fay: refused (changed_since)',
    ]);
    expect(await suppressionsOf(of('ann'))).toEqual([]);
    expect(await suppressionsOf(of('bea'))).toEqual(['opt_out by api']);
    expect(await suppressionsOf(of('cleo'))).toEqual(['opt_out by unsubscribe_link']);
    for (const name of names.slice(1)) {
      expect(await prospectRow(of(name))).toMatchObject({ email_opt_out: true });
    }
    // I6: the person's own word is written down, though the flag was Yes already; and it is no change of the flag.
    const own = (await audited(of('cleo'))).filter(({ way }) => way === 'unsubscribe_link');
    expect(own.map(({ action }) => action)).toEqual(['suppression.added', 'send.refused']);
  });

  it('leaves Bounced to who really bounced since', async () => {
    const { criteria, of } = await people('ann', 'bea');
    const id = await newBulkUpdate(account, { criteria, field: 'bounced', value: true });
    await carryOut(account, id);
    await account.db.transaction((tx) =>
      addSuppressions(tx, { way: 'bounce', actor: 'heed', reason: null }, NOW, [
        { addressId: of('bea').addressId, reason: 'bounced' },
      ]),
    );
    const undo = await newUndo(account, id);
    await carryOut(account, undo);
    expect(await shownRows(account, undo)).toEqual(['ann: true -> false', 'bea: refused (changed_since)']);
    expect(await prospectRow(of('bea'))).toMatchObject({ bounced: true });
  });

  it('I4: gives Bounced back to the address that it was taken off, and not to the one that the person has now', async () => {
    const { criteria, of, domain } = await people('ann', 'bea');
    for (const name of ['ann', 'bea']) await flag(of(name), { bounced: true }, 'bounce');
    const id = await newBulkUpdate(account, { criteria, field: 'bounced', value: false });
    await carryOut(account, id);
    const address = parsed(`new@${domain}`);
    await account.db.transaction((tx) =>
      updateProspect(tx, account.hasher, ORIGIN, NOW, of('bea').id, null, { address }),
    );
    const undo = await newUndo(account, id);
    await carryOut(account, undo);
    expect(await shownRows(account, undo)).toEqual(['ann: false -> true', 'new: refused (changed_since)']);
    expect(await prospectRow(of('bea'))).toMatchObject({ bounced: false });
  });

  it('gives an opt-out back as the word of who had said it, so that no other undo takes it back', async () => {
    const { criteria, of } = await people('ann', 'bea');
    const law = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: true });
    await carryOut(account, law);
    await account.db.transaction((tx) =>
      setFlags(tx, { way: 'api', actor: 'phone', reason: 'asked on the phone' }, NOW, of('ann').id, {
        emailOptOut: true,
      }),
    );
    const slip = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: false });
    expect(await carryOut(account, slip)).toMatchObject({ changed: 2 });
    const mended = await newUndo(account, slip);
    await carryOut(account, mended);
    expect(await entryOf(of('ann'))).toEqual({ way: 'api', note: 'asked on the phone' });
    expect(await entryOf(of('bea'))).toEqual({
      way: 'bulk_update',
      note: `bulkUpdate:${law} the law of the land`,
    });

    // The undo of that undo finds them as it left them, and so does one more.
    const again = await newUndo(account, mended);
    await carryOut(account, again);
    expect(await shownRows(account, again)).toEqual(['ann: true -> false', 'bea: true -> false']);
    const back = await newUndo(account, again);
    await carryOut(account, back);
    expect(await entryOf(of('ann'))).toEqual({ way: 'api', note: 'asked on the phone' });

    const lifted = await newUndo(account, law);
    await carryOut(account, lifted);
    expect(await shownRows(account, lifted)).toEqual(['ann: refused (changed_since)', 'bea: true -> false']);
    expect(await prospectRow(of('ann'))).toMatchObject({ email_opt_out: true });
  });

  it('leaves what another bulk update has said since', async () => {
    const { criteria, of } = await people('ann', 'bea');
    const first = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: true });
    await carryOut(account, first);
    await flag(of('ann'), { emailOptOut: false });
    const second = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: true });
    await carryOut(account, second);
    expect(await shownRows(account, second)).toEqual(['ann: false -> true', 'bea: already_so']);
    const undo = await newUndo(account, first);
    await carryOut(account, undo);
    expect(await shownRows(account, undo)).toEqual(['ann: refused (changed_since)', 'bea: true -> false']);
    expect(await entryOf(of('ann'))).toMatchObject({ note: `bulkUpdate:${second} the law of the land` });
  });

  it('asked for twice at the same time with one key is made once, and both are told so', async () => {
    const { criteria } = await people('ann');
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    await carryOut(account, id);
    const request = { idempotencyKey: `twice-${id}`, requestHash: Buffer.from('undo') };
    const asked = await account.db.transaction(async (tx) => {
      await tx.query(plain('select from bulk_update where id = $1 for update'), [id]);
      const undos = [1, 2, 3].map(() =>
        account.db.transaction((own) => createUndo(own, ORIGIN, NOW, id, request)),
      );
      await until('all of them wait', async () => {
        const waiting = await account.db.query(
          plain(
            `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
          ),
        );
        return waiting.length === 3;
      });
      return { undos };
    });
    const made = await Promise.all(asked.undos);
    expect(made.map(({ kind }) => kind).sort()).toEqual(['created', 'existing', 'existing']);
  });

  it('is done once, of one that is over; one that broke off may be made again', async () => {
    const { criteria, of } = await people('ann', 'bea');
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    const ask = () =>
      account.db.transaction((tx) =>
        createUndo(tx, ORIGIN, NOW, id, { idempotencyKey: `${Math.random()}`, requestHash: Buffer.from('') }),
      );
    expect(await ask()).toEqual({ kind: 'not_over' });
    await carryOut(account, id);
    const first = await newUndo(account, id);
    expect(await ask()).toEqual({ kind: 'undone', by: first });
    await decideRows(account.db, NOW, first, 1);
    const epoch = await claimBulkUpdate(account.db, first);
    expect(await takeNextPage(account.db, NOW, first, epoch!)).toBe(true);
    await account.db.transaction((tx) => commandBulkUpdate(tx, ORIGIN, NOW, first, 'cancel'));
    const second = await newUndo(account, id);
    await carryOut(account, second);
    expect(await shownRows(account, second)).toEqual(['ann: already_so', 'bea: "Bonn" -> null']);
    expect(await ask()).toEqual({ kind: 'undone', by: second });
    expect(await prospectRow(of('bea'))).toMatchObject({ city: null });
  });
});

describe('whatever is killed, frozen or done twice', () => {
  it('I7: a page is taken once; who lost the epoch takes none', async () => {
    const { criteria } = await people('ann', 'bea', 'cleo');
    const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: true });
    await Promise.all([1, 2, 3].map(() => decideRows(account.db, NOW, id, 1)));
    expect(await readBulkUpdate(account.db, id)).toMatchObject({ total: 3, state: 'running' });
    const first = await claimBulkUpdate(account.db, id);
    expect(await takeNextPage(account.db, NOW, id, first!)).toBe(true);
    const second = await claimBulkUpdate(account.db, id);
    expect(await takeNextPage(account.db, NOW, id, first!)).toBe(false);
    // Two threads of the one that has it, at the same time.
    const both = await Promise.all([1, 2, 3, 4].map(() => takeNextPage(account.db, NOW, id, second!)));
    expect(both.filter(Boolean)).toHaveLength(2);
    expect(await readBulkUpdate(account.db, id)).toMatchObject({ state: 'done', changed: 3 });
    const audit = await account.db.query<{ n: number }>(
      plain(`select count(*)::int as n from audit_entry where action = 'flag.changed' and reason like $1`),
      [`bulkUpdate:${id}%`],
    );
    expect(audit).toEqual([{ n: 3 }]);
  });

  it('who is meant is decided by nobody once it is cancelled, and nothing of it stays', async () => {
    const { criteria } = await people('ann');
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    await account.db.transaction((tx) => commandBulkUpdate(tx, ORIGIN, NOW, id, 'cancel'));
    await decideRows(account.db, NOW, id, 500);
    expect(await readBulkUpdate(account.db, id)).toMatchObject({ state: 'cancelled', total: null });
    const pages = await account.db.query(plain('select 1 from bulk_update_page where bulk_update_id = $1'), [
      id,
    ]);
    expect(pages).toEqual([]);
  });

  it('no page begins after a pause or a cancellation was committed, and each is told to the workflow and written down', async () => {
    const { criteria, of } = await people('ann', 'bea');
    const id = await newBulkUpdate(account, { criteria, field: 'city', value: 'Bonn' });
    await decideRows(account.db, NOW, id, 1);
    const epoch = await claimBulkUpdate(account.db, id);
    const command = (what: 'pause' | 'resume' | 'cancel') =>
      account.db.transaction((tx) => commandBulkUpdate(tx, ORIGIN, NOW, id, what));
    expect(await command('resume')).toBe('wrong_state');
    expect(await command('pause')).toBe('done');
    expect(await command('pause')).toBe('wrong_state');
    expect(await takeNextPage(account.db, NOW, id, epoch!)).toBe(false);
    expect(await claimBulkUpdate(account.db, id)).toBe(null);
    expect(await command('resume')).toBe('done');
    expect(await takeNextPage(account.db, NOW, id, epoch!)).toBe(true);
    expect(await command('cancel')).toBe('done');
    expect(await command('resume')).toBe('wrong_state');
    expect(await takeNextPage(account.db, NOW, id, epoch!)).toBe(false);
    await account.db.transaction((tx) => failBulkUpdate(tx, NOW, id, 'late'));
    expect(await readBulkUpdate(account.db, id)).toMatchObject({
      state: 'cancelled',
      changed: 1,
      failure: null,
    });
    expect(await prospectRow(of('bea'))).toMatchObject({ city: null });
    const told = await account.db.query(
      plain(`select message ->> 'type' as type from outbox where aggregate = $1 order by id`),
      [`bulkUpdate:${id}`],
    );
    expect(told.map(({ type }) => type)).toEqual(['startBulkUpdate', ...Array(3).fill('wakeBulkUpdate')]);
    const audit = await account.db.query(
      plain('select action, actor from audit_entry where subject = $1 order by id'),
      [id],
    );
    expect(audit).toEqual([
      { action: 'bulk_update.created', actor: 'legal' },
      { action: 'bulk_update.paused', actor: 'test' },
      { action: 'bulk_update.resumed', actor: 'test' },
      { action: 'bulk_update.cancelled', actor: 'test' },
    ]);
    expect(await command('cancel')).toBe('wrong_state');
  });
});

describe('beside gates and other writers of the same people', () => {
  it('I1, I3: nobody waits in a circle, no gate opens after the page was committed, and flags are what the list says', async () => {
    const names = Array.from({ length: 120 }, (_, n) => `p${n}`);
    const { criteria, all } = await people(...names);
    const emailId = await account.email();
    const sends: TestSend[] = [];
    for (const prospect of all) sends.push(await account.send(prospect, { emailId }));
    const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: true });
    await decideRows(account.db, NOW, id, 10);
    const epoch = await claimBulkUpdate(account.db, id);
    // After a deadlock a transaction is begun anew.
    let begunAnew = 0;
    const db: Database = {
      ...account.db,
      transaction: (work) => {
        let tries = 0;
        return account.db.transaction((tx) => {
          tries += 1;
          if (tries > 1) begunAnew += 1;
          return work(tx);
        });
      },
    };
    const openedAfter: string[] = [];
    const carried = async () => {
      while (await takeNextPage(db, NOW, id, epoch!));
    };
    const gates = async () => {
      for (const send of sends.toReversed()) {
        const refusedBefore = (await readRow(send.prospectId)).email_opt_out;
        const decision = await gate(db, { ...send, trigger: 'schedule', now: NOW });
        if (refusedBefore && decision.kind === 'open') openedAfter.push(send.sendId);
      }
    };
    const flags = async () => {
      for (const { id: prospectId } of all.toReversed())
        await db.transaction((tx) => setFlags(tx, ORIGIN, NOW, prospectId, { bounced: true }));
    };
    await Promise.all([carried(), gates(), flags()]);
    expect(openedAfter).toEqual([]);
    expect(begunAnew).toBe(0);
    expect(await readBulkUpdate(account.db, id)).toMatchObject({ state: 'done', total: 120, changed: 120 });
    for (const prospect of all) {
      expect(await prospectRow(prospect)).toMatchObject({ email_opt_out: true, bounced: true });
      expect(await suppressionsOf(prospect)).toEqual(['bounced by api', 'opt_out by bulk_update']);
    }
  });
});

describe('a preview', () => {
  it('says what the run then does, with examples, and changes nothing', async () => {
    const { criteria, of } = await people('ann', 'bea', 'cleo', 'dora');
    await flag(of('ann'), { emailOptOut: true });
    await flag(of('bea'), { emailOptOut: true }, 'one_click');
    const asked = { criteria, field: 'emailOptOut', value: false, undoes: null } as RowsOf;
    const counts = () =>
      account.db.query(
        plain(`select (select count(*) from bulk_update) as updates, (select count(*) from audit_entry) as entries,
               (select sum(version) from prospect) as versions, (select count(*) from outbox) as messages`),
      );
    const before = await counts();
    const preview = await previewBulkUpdate(account.db, asked, NOW);
    expect(await counts()).toEqual(before);
    expect(preview).toEqual({
      changed: { count: 1, examples: [{ prospectId: of('ann').id, before: true, after: false }] },
      alreadySo: { count: 2, examples: expect.any(Array) },
      refused: [
        {
          refusal: 'own_opt_out',
          count: 1,
          examples: [{ prospectId: of('bea').id, before: true, after: false }],
        },
      ],
    });
    expect(preview.alreadySo.examples.map(({ prospectId }) => prospectId).sort()).toEqual(
      [of('cleo').id, of('dora').id].sort(),
    );
    const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: false });
    expect(await carryOut(account, id)).toMatchObject({ changed: 1, alreadySo: 2, refused: 1 });
  });
});

it('I6: erasing a person leaves no note about them in the outcome', async () => {
  const { criteria, of } = await people('ann');
  await account.db.transaction((tx) =>
    setFlags(tx, { ...ORIGIN, reason: 'Ann rang' }, NOW, of('ann').id, { emailOptOut: true }),
  );
  const id = await newBulkUpdate(account, { criteria, field: 'emailOptOut', value: false });
  await carryOut(account, id);
  const notes = () =>
    account.db.query(plain('select note from bulk_update_row where bulk_update_id = $1'), [id]);
  expect(await notes()).toEqual([{ note: 'Ann rang' }]);
  await account.db.transaction((tx) => eraseProspect(tx, ORIGIN, NOW, of('ann').id));
  expect(await notes()).toEqual([{ note: null }]);
});

it('I6: erasing a person leaves no value of theirs in the outcome', async () => {
  const { criteria, of } = await people('ann', 'bea');
  await account.db.query(plain(`update prospect set phone = '+49 30 1234' where id = $1`), [of('ann').id]);
  const id = await newBulkUpdate(account, { criteria, field: 'phone', value: '+49 30 0' });
  await carryOut(account, id);
  await account.db.transaction((tx) => eraseProspect(tx, ORIGIN, NOW, of('ann').id));
  const rows = await account.db.query(
    plain('select before, after from bulk_update_row where bulk_update_id = $1 and prospect_id = $2'),
    [id, of('ann').id],
  );
  expect(rows).toEqual([{ before: null, after: null }]);
  const undo = await newUndo(account, id);
  await carryOut(account, undo);
  expect(await shownRows(account, undo)).toEqual([': refused (gone)', 'bea: "+49 30 0" -> null']);
});
