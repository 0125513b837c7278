import { afterAll, beforeAll, expect, it } from 'vitest';
import { plain } from '../../db/connection.ts';
import { gateSlice, markSlice } from '../../db/queries/broadcastGate.ts';
import { recordDeliveries } from '../../db/queries/broadcastOutcome.ts';
import {
  claimPage,
  leavePage,
  readGatedRecipients,
  readPageRecipients,
} from '../../db/queries/broadcastPages.ts';
import { readMatchingPage } from '../../db/queries/criteria.ts';
import type { AttemptEnd } from '../../db/queries/outcome.ts';
import { searchProspects } from '../../db/queries/prospectSearch.ts';
import { MARK_AT_MOST, PAGE_RECIPIENTS } from '../../domain/broadcast/pacing.ts';
import type { Criteria } from '../../domain/criteria/criteria.ts';
import { createTestAccount, type TestAccount } from '../support/account.ts';
import { listOf, listWith, readyBroadcast, sliceOfNextPage, takeBack } from '../support/broadcasting.ts';

/*
 * A page costs what it holds, wherever it lies and however many there are. Counted by the rows that PostgreSQL looks at,
 * by the plans that it takes for many.
 */

const PEOPLE = 20 * PAGE_RECIPIENTS;

let account: TestAccount;
let listId: string;
let prospectIds: string[];
beforeAll(async () => {
  // One connection, which counts what it read and tells it when asked.
  account = await createTestAccount({ poolSize: 1 });
  const emails = Array.from({ length: PEOPLE }, (_, n) => `p${n}@example.net`);
  ({ listId, prospectIds } = await listOf(account, emails));
});
afterAll(() => account?.close());

/** How many rows of a table are looked at in this, in its indexes and in itself. */
async function looksAt(table: string, what: () => Promise<unknown>): Promise<number> {
  const count = async () => {
    await account.db.query(plain('select pg_stat_force_next_flush()'));
    const [row] = await account.db.query<{ n: number }>(
      plain(`select (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
               + (select sum(idx_tup_read) from pg_stat_user_indexes where relname = $1))::int as n
             from pg_stat_user_tables where relname = $1`),
      [table],
    );
    return row!.n;
  };
  const before = await count();
  await what();
  return (await count()) - before;
}

it('of the members of a list, whatever the page', async () => {
  await account.db.query(plain('analyze'));
  const page = 100;
  // The rows before and after a page are looked at in passing.
  const inPage = 2 * page + 10;
  const member = { list: listId, member: true } as const;
  const last = prospectIds.at(-page - 1)!;
  let found: string[] = [];
  const read = () =>
    readMatchingPage(account.db, member, new Date(), last, page).then((ids) => {
      found = ids;
    });
  expect(await looksAt('list_member', read)).toBeLessThanOrEqual(inPage);
  expect(found).toEqual(prospectIds.slice(-page));
  const oldest = prospectIds[page]!;
  const search = () =>
    searchProspects(account.db, { listId }, { after: oldest, limit: page }, new Date()).then((rows) => {
      found = rows.map(({ id }) => id);
    });
  expect(await looksAt('list_member', search)).toBeLessThanOrEqual(inPage);
  expect(found).toEqual(prospectIds.slice(0, page).toReversed());
});

it('of those whom a list leaves out, or whom one of several lists holds', async () => {
  const others = await listWith(
    account,
    prospectIds.filter((_, index) => index % 2 === 0),
  );
  await account.db.query(plain('analyze'));
  const page = 100;
  // Every second one is passed over, and each may be asked for in both lists.
  const atMost = 12 * page;
  const after = prospectIds[page]!;
  const pageOf = (criteria: Criteria) =>
    looksAt('list_member', () => readMatchingPage(account.db, criteria, new Date(), after, page));
  const member = { list: listId, member: true } as const;
  const other = { list: others, member: true } as const;
  expect(await pageOf({ all: [member, { none: [other] }] })).toBeLessThanOrEqual(atMost);
  expect(await pageOf({ all: [member, { ...other, member: false }] })).toBeLessThanOrEqual(atMost);
  expect(await pageOf({ any: [member, other] })).toBeLessThanOrEqual(atMost);
});

it('of the recipients of a broadcast', async () => {
  const { db } = account;
  const broadcastId = await readyBroadcast(account, listId);
  await db.query(plain('analyze'));
  // Of a million, reading all in their order looks cheaper to PostgreSQL than sorting; of these it does so with this.
  await db.query(plain('set enable_sort = off'));
  const claim = async () => (await claimPage(db, new Date(), broadcastId, 0))!;
  const first = await claim();
  const inPage = 2 * PAGE_RECIPIENTS;
  let recipients = 0;
  const read = async () => {
    recipients = (await readPageRecipients(db, first)).length;
  };
  const looked = await looksAt('broadcast_recipient', read);
  expect(recipients).toBe(PAGE_RECIPIENTS);
  expect(looked).toBeGreaterThanOrEqual(PAGE_RECIPIENTS);
  expect(looked).toBeLessThanOrEqual(inPage);
  const gated = () => readGatedRecipients(db, first);
  expect(await looksAt('broadcast_recipient', gated)).toBeLessThanOrEqual(inPage);
  const leave = () =>
    leavePage(db, new Date(), first, { state: 'done', openFrom: null, mayHaveOrphans: true }, () => []);
  expect(await looksAt('broadcast_recipient', leave)).toBeLessThanOrEqual(inPage);
  await claim();
  // It looks for what was gated and for what was being handed over.
  const takeAllBack = () => takeBack(account, broadcastId, 0);
  expect(await looksAt('broadcast_recipient', takeAllBack)).toBeLessThanOrEqual(2 * inPage);
  await db.query(plain('reset enable_sort'));
});

it('of the sends of a broadcast, of whichever tables statistics are gathered while it runs', async () => {
  const { db } = account;
  const broadcastId = await readyBroadcast(account, listId);
  const end = {
    outcome: 'delivered',
    replyCode: 250,
    enhancedCode: '2.0.0',
    replyText: 'Ok',
    remoteHost: null,
  };
  const sendPage = async () => {
    const slice = await sliceOfNextPage(account, new Date(), broadcastId);
    expect(await gateSlice(db, slice)).toMatchObject({ kind: 'decided', refused: 0 });
    const owned = slice.items.map(({ sendId }) => ({
      sendId,
      attempt: { number: 1, epoch: slice.page.epoch },
    }));
    for (let from = 0; from < owned.length; from += MARK_AT_MOST) {
      const batch = owned.slice(from, from + MARK_AT_MOST);
      expect((await markSlice(db, new Date(), batch)).size).toBe(batch.length);
      const deliveries = batch.map((one) => ({ ...one, end: { ...end } as AttemptEnd }));
      expect(await recordDeliveries(db, new Date(), deliveries)).toBe(batch.length);
    }
    await leavePage(
      db,
      new Date(),
      { broadcastId, ...slice.page },
      { state: 'done', openFrom: null, mayHaveOrphans: true },
      () => [],
    );
  };
  // Each row is found in an index and fetched by up to four statements, and a version that it had may be met before it.
  const atMost = 2 * 2 * 4 * PAGE_RECIPIENTS;
  const expectPageCost = async () => {
    let ofAttempts = 0;
    const ofSends = await looksAt('send', async () => {
      ofAttempts = await looksAt('attempt', sendPage);
    });
    expect(ofSends).toBeGreaterThanOrEqual(PAGE_RECIPIENTS);
    expect(ofSends).toBeLessThanOrEqual(atMost);
    expect(ofAttempts).toBeGreaterThanOrEqual(PAGE_RECIPIENTS);
    expect(ofAttempts).toBeLessThanOrEqual(atMost);
  };
  // As autovacuum comes by them, which is at any moment; the plans made before are thrown away.
  const moments = [
    'broadcast_recipient, broadcast_page',
    'prospect, address, audit_entry',
    'attempt',
    'send',
    'send, attempt, broadcast_recipient',
  ];
  // Of the first page itself reading all is as cheap.
  await sendPage();
  for (let page = 1; page < 10; page += 1) await expectPageCost();
  for (const tables of moments) {
    await db.query(plain(`analyze ${tables}`));
    await expectPageCost();
  }
  const gated = await sliceOfNextPage(account, new Date(), broadcastId, 1);
  await gateSlice(db, gated);
  await db.query(plain('analyze broadcast_recipient'));
  expect(await looksAt('send', () => takeBack(account, broadcastId, 1))).toBeLessThanOrEqual(atMost);
});
