import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureAddress } from '../../db/queries/addresses.ts';
import { setFlags } from '../../db/queries/flags.ts';
import { gate } from '../../db/queries/gate.ts';
import {
  type ExportedSuppression,
  explainAddress,
  exportSuppressions,
  searchDomainSuppressions,
  searchSuppressions,
} from '../../db/queries/suppressionSearch.ts';
import {
  addDomainSuppression,
  addDomainSuppressions,
  addSuppressions,
  removeDomainSuppression,
  type SuppressionEntry,
} from '../../db/queries/suppressions.ts';
import { createTestAccount, ORIGIN, parsed, type TestAccount } from '../support/account.ts';

let account: TestAccount;
beforeAll(async () => {
  account = await createTestAccount();
});
afterAll(() => account.close());

const NOW = new Date('2026-03-02T10:00:00Z');
const addressOf = (email: string) => ensureAddress(account.db, account.hasher, NOW, parsed(email));
const suppress = (...entries: SuppressionEntry[]) =>
  account.db.transaction((tx) => addSuppressions(tx, ORIGIN, NOW, entries));

describe('searching the Global Suppression List', () => {
  it('narrows by address, reason, list and way, newest first, page by page', async () => {
    const word = `s${randomUUID().slice(0, 8)}`;
    const [first, second] = [
      await addressOf(`${word}.1@example.net`),
      await addressOf(`${word}.2@example.net`),
    ];
    const listId = await account.list();
    await suppress({ addressId: first, reason: 'manual', note: 'asked by phone' });
    await suppress({ addressId: second, reason: 'complaint' });
    await suppress({ addressId: second, reason: 'opt_out', listId });
    const find = async (filter: Parameters<typeof searchSuppressions>[1], after?: string, limit = 10) =>
      searchSuppressions(account.db, { prefix: word, ...filter }, { limit, ...(after && { after }) });
    const all = await find({});
    expect(all.map(({ email, reason, listId }) => [email, reason, listId])).toEqual([
      [`${word}.2@example.net`, 'opt_out', listId],
      [`${word}.2@example.net`, 'complaint', null],
      [`${word}.1@example.net`, 'manual', null],
    ]);
    expect(all[2]).toMatchObject({ note: 'asked by phone', way: 'api', actor: 'test', createdAt: NOW });
    expect(await find({}, undefined, 2)).toEqual(all.slice(0, 2));
    expect(await find({}, all[1]!.id, 2)).toEqual(all.slice(2));
    expect(await find({ reason: 'manual' })).toEqual(all.slice(2));
    expect(await find({ listId })).toEqual(all.slice(0, 1));
    expect(await find({ listId: null })).toEqual(all.slice(1));
    expect(await find({ addressId: first, way: 'api' })).toEqual(all.slice(2));
    expect(await find({ way: 'import' })).toEqual([]);
  });

  it('finds domains by their beginning', async () => {
    const word = `d${randomUUID().slice(0, 8)}`;
    await account.db.transaction(async (tx) => {
      expect(await addDomainSuppression(tx, ORIGIN, NOW, `${word}.example`, 'gone')).toBe(true);
      const entries = ['.example', '.test'].map((end) => ({ domain: `${word}${end}`, note: null }));
      expect(await addDomainSuppressions(tx, ORIGIN, NOW, entries)).toEqual([`${word}.test`]);
    });
    const found = await searchDomainSuppressions(account.db, { prefix: word }, { limit: 10 });
    expect(found.map(({ domain, note }) => [domain, note])).toEqual([
      [`${word}.test`, null],
      [`${word}.example`, 'gone'],
    ]);
    await account.db.transaction((tx) => removeDomainSuppression(tx, ORIGIN, NOW, `${word}.test`));
    expect(await searchDomainSuppressions(account.db, { prefix: word }, { limit: 10 })).toEqual([found[1]]);
  });

  it('exports every entry once, domains first, however many pages it takes', async () => {
    const word = `e${randomUUID().slice(0, 8)}`;
    const ids = await Promise.all(
      Array.from({ length: 1500 }, (_, n) => addressOf(`${word}.${n}@example.net`)),
    );
    await suppress(...ids.map((addressId) => ({ addressId, reason: 'manual' as const })));
    await account.db.transaction((tx) => addDomainSuppression(tx, ORIGIN, NOW, `${word}.example`, null));
    const exported: ExportedSuppression[] = [];
    for await (const entry of exportSuppressions(account.db)) exported.push(entry);
    const mine = exported.filter((entry) => (entry.email ?? entry.domain)!.startsWith(word));
    expect(new Set(mine.map((entry) => entry.email)).size).toBe(1501);
    expect(mine).toHaveLength(1501);
    expect(mine[0]).toEqual({
      email: null,
      domain: `${word}.example`,
      reason: 'manual',
      list: null,
      note: null,
      createdAt: NOW,
    });
  });
});

describe('explaining why an address may not be mailed', () => {
  const explain = (email: string, about: Parameters<typeof explainAddress>[3] = { kind: 'marketing' }) =>
    explainAddress(account.db, account.hasher, parsed(email), about);

  it('tells of an address that Heed never met, suppressed domains included', async () => {
    const domain = `n${randomUUID().slice(0, 8)}.example`;
    expect(await explain(`nobody@mail.${domain}`)).toEqual({
      decision: { allowed: true },
      addressId: null,
      prospectId: null,
      entries: [],
      domains: [],
    });
    await account.db.transaction((tx) => addDomainSuppression(tx, ORIGIN, NOW, domain, null));
    expect(await explain(`nobody@mail.${domain}`)).toMatchObject({
      decision: { allowed: false, because: [`domain:${domain}`] },
      domains: [{ domain }],
    });
    expect((await explain(`nobody@not${domain}`)).decision).toEqual({ allowed: true });
  });

  it('I1: says what the gate says', async () => {
    const listId = await account.list();
    const prospect = await account.prospect(`x${randomUUID()}@example.net`);
    await suppress({ addressId: prospect.addressId, reason: 'opt_out', listId });
    await account.db.transaction((tx) => setFlags(tx, ORIGIN, NOW, prospect.id, { bounced: true }));
    const send = await account.send(prospect, { listId });
    const explanation = await explain(prospect.address.given, { kind: 'marketing', listId });
    expect(explanation).toMatchObject({ addressId: prospect.addressId, prospectId: prospect.id });
    expect(explanation.entries).toHaveLength(2);
    if (explanation.decision.allowed) throw new Error('it is suppressed');
    expect(await gate(account.db, { ...send, trigger: 'schedule', now: NOW })).toEqual({
      kind: 'refused',
      outcome: 'suppressed',
      reason: explanation.decision.because.join(' '),
    });
    expect((await explain(prospect.address.given)).decision).toEqual({
      allowed: false,
      because: ['prospect:bounced', 'address:bounced'],
    });
  });

  it('lets transactional mail pass an opt-out only where the account has allowed it', async () => {
    const prospect = await account.prospect(`x${randomUUID()}@example.net`);
    await account.db.transaction((tx) => setFlags(tx, ORIGIN, NOW, prospect.id, { emailOptOut: true }));
    const about = { kind: 'transactional' } as const;
    expect((await explain(prospect.address.given, about)).decision).toMatchObject({ allowed: false });
    await account.setting({ transactional_passes_opt_out: true });
    expect((await explain(prospect.address.given, about)).decision).toEqual({ allowed: true });
    expect((await explain(prospect.address.given)).decision).toMatchObject({ allowed: false });
    await account.setting({ transactional_passes_opt_out: false });
  });
});
