import { createHash, randomUUID } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import { plain } from '../../db/connection.ts';
import { ensureAddresses } from '../../db/queries/addresses.ts';
import type { GateSlice } from '../../db/queries/broadcastGate.ts';
import {
  claimPage,
  type LostSend,
  readPageRecipients,
  reopenPages,
  takeBackPages,
} from '../../db/queries/broadcastPages.ts';
import { prepareRecipients } from '../../db/queries/broadcastPreparing.ts';
import { changeBroadcast, createBroadcast, nextBroadcastStep } from '../../db/queries/broadcasts.ts';
import type { Audience } from '../../domain/broadcast/audience.ts';
import { ORIGIN, parsed, type TestAccount } from './account.ts';

/** Prospects with these addresses, all at once, as members of a new list. */
export async function listOf(
  account: TestAccount,
  emails: readonly string[],
): Promise<{ listId: string; prospectIds: string[] }> {
  const now = new Date();
  const addresses = emails.map(parsed);
  const prospectIds = emails.map(() => uuidv7());
  await account.db.transaction(async (tx) => {
    const ids = await ensureAddresses(tx, account.hasher, now, addresses);
    await tx.query(
      plain(`insert into prospect (id, address_id, email, first_name, company, created_at, updated_at)
             select p.id, p.address_id, p.email, 'Ada', 'Example', $4, $4
             from unnest($1::uuid[], $2::uuid[], $3::text[]) as p(id, address_id, email)`),
      [
        prospectIds,
        addresses.map((address) => ids.get(address.comparisonForm)),
        addresses.map((address) => address.given),
        now,
      ],
    );
  });
  return { listId: await listWith(account, prospectIds), prospectIds };
}

/** A new list with these members. */
export async function listWith(account: TestAccount, prospectIds: readonly string[]): Promise<string> {
  const listId = await account.list();
  await account.db.query(
    plain('insert into list_member (list_id, prospect_id, added_at) select $1, unnest($2::uuid[]), now()'),
    [listId, prospectIds],
  );
  return listId;
}

/** A draft. */
export async function newBroadcast(
  account: TestAccount,
  audience: Audience,
  options: { emailId?: string; perMinute?: number } = {},
): Promise<string> {
  const key = randomUUID();
  const emailId = options.emailId ?? (await account.email());
  const created = await account.db.transaction((tx) =>
    createBroadcast(tx, new Date(), {
      name: 'News',
      emailId,
      audience,
      perMinute: options.perMinute ?? null,
      idempotencyKey: key,
      requestHash: createHash('sha256').update(key).digest(),
    }),
  );
  if (created.kind !== 'created') throw new Error(created.kind);
  return created.broadcastId;
}

/** A broadcast to a list that is started, with its recipients written down, ready for its lanes. */
export async function readyBroadcast(
  account: TestAccount,
  listId: string,
  options: { emailId?: string; perMinute?: number } = {},
): Promise<string> {
  const id = await newBroadcast(account, { listIds: [listId], excludeListIds: [] }, options);
  const now = new Date();
  await account.db.transaction((tx) => changeBroadcast(tx, ORIGIN, now, id, 'start'));
  await account.db.transaction((tx) => nextBroadcastStep(tx, now, id, 1));
  await prepareRecipients(account.db, () => now, id);
  return id;
}

/** Everybody in the next page of a broadcast, claimed for a lane and read, as the gate wants them. */
export async function sliceOfNextPage(
  account: TestAccount,
  now: Date,
  broadcastId: string,
  lane = 0,
): Promise<GateSlice> {
  const page = (await claimPage(account.db, now, broadcastId, lane))!;
  const recipients = await readPageRecipients(account.db, page);
  const [row] = await account.db.query<{ email_id: string }>(
    plain('select email_id from broadcast where id = $1'),
    [broadcastId],
  );
  return {
    broadcastId,
    page,
    kind: 'marketing',
    email: { id: row!.email_id, version: 1 },
    items: recipients.map(({ prospect: _, gated: __, ...item }) => {
      const sendId = randomUUID();
      return { ...item, sendId, messageId: `<${sendId}@heed.test>` };
    }),
    createdAt: now,
    now,
  };
}

/** Takes back what a lost worker had, as the next run of its lane does, but for what was being handed over. */
export async function takeBack(
  { db }: TestAccount,
  broadcastId: string,
  lane: number | null,
): Promise<readonly LostSend[]> {
  const { pages, lost } = await takeBackPages(db, new Date(), broadcastId, lane);
  await reopenPages(db, pages);
  return lost;
}

/** A send of a broadcast as it stands in the database. */
export interface BroadcastSend extends Record<string, unknown> {
  readonly id: string;
  readonly recipient: string;
  readonly state: string;
  readonly outcome: string | null;
  readonly outcome_reason: string | null;
  readonly run: number;
  readonly attempts: readonly { number: number; epoch: number; state: string; outcome: string | null }[];
}

/** Sends of a broadcast by recipient. */
export async function sendsOf(account: TestAccount, broadcastId: string): Promise<BroadcastSend[]> {
  return account.db.query<BroadcastSend>(
    plain(`
      select s.id, s.recipient, s.state, s.outcome, s.outcome_reason, s.run, coalesce((
        select jsonb_agg(jsonb_build_object('number', a.number, 'epoch', a.epoch, 'state', a.state, 'outcome', a.outcome) order by a.number)
        from attempt a where a.send_id = s.id), '[]') as attempts
      from send s where s.broadcast_id = $1 order by s.recipient`),
    [broadcastId],
  );
}
