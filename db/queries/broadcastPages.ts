import type { EmailKind } from '../../domain/words.ts';
import {
  type Database,
  plain,
  prepared,
  type Session,
  type Statement,
  type Transaction,
} from '../connection.ts';
import { cancelGatedSends } from './broadcasts.ts';
import { byIndex } from './byIndex.ts';
import { type AttemptOwnership, HEED } from './gate.ts';
import { startNextRuns } from './runs.ts';

/** A page that a lane has claimed; its epoch is what the lane must still hold to gate anybody in it. */
export interface ClaimedPage {
  readonly broadcastId: string;
  readonly number: number;
  readonly epoch: number;
}

/** What is the same for all recipients of a broadcast. */
export interface BroadcastContent {
  readonly broadcastId: string;
  readonly kind: EmailKind;
  readonly perMinute: number | null;
  readonly email: {
    readonly id: string;
    readonly version: number;
    readonly subject: string;
    readonly fromName: string | null;
    readonly fromAddress: string;
    readonly replyTo: string | null;
    readonly html: string | null;
    readonly text: string | null;
  };
}

const CONTENT = plain(`
  select e.kind, b.per_minute, v.email_id, v.version, v.subject, v.from_name, v.from_address, v.reply_to,
    v.html, v.text
  from broadcast b join email e on e.id = b.email_id
  join email_version v on v.email_id = b.email_id and v.version = b.email_version
  where b.id = $1 and b.state = 'sending'`);

/** @returns `null` where the broadcast is not being sent now */
export async function readBroadcastContent(
  on: Session,
  broadcastId: string,
): Promise<BroadcastContent | null> {
  const [row] = await on.query<Record<string, never>>(CONTENT, [broadcastId]);
  if (row === undefined) return null;
  return {
    broadcastId,
    kind: row.kind!,
    perMinute: row.per_minute!,
    email: {
      id: row.email_id!,
      version: row.version!,
      subject: row.subject!,
      fromName: row.from_name!,
      fromAddress: row.from_address!,
      replyTo: row.reply_to!,
      html: row.html!,
      text: row.text!,
    },
  };
}

const claim = (order: string) =>
  `update broadcast_page set state = 'claimed', lane = $2, epoch = epoch + 1, open_from = null
   where broadcast_id = $1 and number = (
     select number from broadcast_page
     where broadcast_id = $1 and state = 'open' and (open_from is null or open_from <= $3)
     order by ${order} limit 1 for update skip locked)
   returning number, epoch`;
const CLAIM = {
  in_order: prepared('claim_broadcast_page', claim('number')),
  new_first: prepared('claim_new_broadcast_page', claim('epoch > 0, number')),
} as const;

/**
 * Gives a lane the next page that nobody has and whose time has come.
 *
 * @param order whether pages come first that nobody has looked at
 * @returns `null` where there is none
 */
export async function claimPage(
  on: Session,
  now: Date,
  broadcastId: string,
  lane: number,
  order: keyof typeof CLAIM = 'in_order',
): Promise<ClaimedPage | null> {
  const [row] = await on.query<{ number: number; epoch: number }>(CLAIM[order], [broadcastId, lane, now]);
  return row === undefined ? null : { broadcastId, ...row };
}

/** A recipient as it was read, before the gate. */
export interface Recipient {
  readonly prospectId: string;
  readonly addressId: string;
  /** The address as given; `null` where it was gated before, and the person was erased since. */
  readonly recipient: string | null;
  readonly recipientDomain: string;
  readonly listId: string | null;
  /** Row of the prospect as the merge fields see it. */
  readonly prospect: Readonly<Record<string, unknown>>;
  /** The send, where somebody gated it who never came to hand it over. */
  readonly gated: { readonly sendId: string; readonly messageId: string; readonly createdAt: Date } | null;
}

/*
 * Whatever belongs to the recipients of pages is asked for in one order: page, recipients, then for each recipient its own
 * rows. `offset 0` keeps each step what it is. As plain joins they were planned by what statistics there were just then:
 * by a ninth of all recipients, the estimate for any two bounds; or by a two-hundredth of all sends for one prospect, as
 * long as there are none, and all sends were read for each page.
 */
/** Those of the pages `g`. */
const RECIPIENTS_OF_PAGE = `cross join lateral (
     select prospect_id, list_id from broadcast_recipient
     where broadcast_id = g.broadcast_id and prospect_id between g.first_id and g.last_id offset 0)`;
/** Their sends whose first attempt is being made. Written so that only the prospect's own sends are looked through. */
const THEIR_SENDS = `cross join lateral (
     select * from send where prospect_id = r.prospect_id and broadcast_id is not distinct from g.broadcast_id
       and state = 'attempting' and run = 0 offset 0)`;
/** Attempts of those sends that are in this state. */
const theirAttempts = (state: 'gated' | 'handing_over') => `cross join lateral (
     select * from attempt where send_id = s.id and state = '${state}' offset 0)`;
const THEIR_PROSPECT = 'cross join lateral (select * from prospect where id = r.prospect_id offset 0)';
const MERGE_FIELDS = `p.id, p.first_name, p.last_name, p.company, p.title, p.phone, p.country, p.state, p.city, p.postal_code,
     p.website, p.lead_source, p.time_zone, p.custom`;

/**
 * Recipients of a page that have no send yet; an address that has one in this broadcast gets no second one. Whoever was
 * deleted, merged away or erased since it was prepared gets none: of the erased there is no address to send to.
 */
const RECIPIENTS = prepared(
  'broadcast_page_recipients',
  `select r.list_id, p.address_id, p.email, a.domain, ${MERGE_FIELDS}
   from broadcast_page g
   ${RECIPIENTS_OF_PAGE} r
   ${THEIR_PROSPECT} p
   cross join lateral (select domain from address where id = p.address_id offset 0) a
   where g.broadcast_id = $1 and g.number = $2 and p.deleted_at is null
     and not exists (select from send where broadcast_id = $1 and address_id = p.address_id offset 0)
     and not exists (select from send where prospect_id = r.prospect_id and broadcast_id is not distinct from $1 offset 0)
   order by r.prospect_id`,
);

/** Sends of a page that were gated and are in nobody's hands any more. */
const GATED = plain(`
  select s.id as send_id, s.message_id, s.created_at, s.list_id, s.address_id, s.recipient as email, s.recipient_domain as domain,
    ${MERGE_FIELDS}
  from broadcast_page g
  ${RECIPIENTS_OF_PAGE} r
  ${THEIR_SENDS} s
  ${theirAttempts('gated')} a
  ${THEIR_PROSPECT} p
  where g.broadcast_id = $1 and g.number = $2 order by r.prospect_id`);

/** Who in a page has no send yet. */
export async function readPageRecipients(db: Database, page: ClaimedPage): Promise<Recipient[]> {
  return readRecipients(db, RECIPIENTS, page);
}

/** Whom an earlier owner of the page gated and did not come to: they are gated anew. For a page that was just claimed. */
export async function readGatedRecipients(db: Database, page: ClaimedPage): Promise<Recipient[]> {
  return readRecipients(db, GATED, page);
}

async function readRecipients(db: Database, statement: Statement, page: ClaimedPage): Promise<Recipient[]> {
  return db.transaction(async (tx) => {
    const [, rows] = await Promise.all([byIndex(tx), tx.query(statement, [page.broadcastId, page.number])]);
    return toRecipients(rows);
  });
}

function toRecipients(rows: readonly Record<string, unknown>[]): Recipient[] {
  return (rows as readonly Record<string, never>[]).map((row) => ({
    prospectId: row.id!,
    addressId: row.address_id!,
    recipient: row.email!,
    recipientDomain: row.domain!,
    listId: row.list_id!,
    prospect: row,
    gated:
      row.send_id === undefined
        ? null
        : { sendId: row.send_id, messageId: row.message_id!, createdAt: row.created_at! },
  }));
}

const PAGES_LEFT = plain(
  `select count(*)::int as left from broadcast_page where broadcast_id = $1 and state <> 'done'`,
);

/** How many pages of a broadcast are not done. */
export async function countPagesLeft(on: Session, broadcastId: string): Promise<number> {
  const [row] = await on.query<{ left: number }>(PAGES_LEFT, [broadcastId]);
  return row!.left;
}

const TAKE_BACK = plain(`
  update broadcast_page set state = 'claimed', epoch = epoch + 1
  where broadcast_id = $1 and (lane = $2 and state = 'claimed' or $2::int is null and state <> 'done' and epoch > 0)
  returning number, epoch`);
const REOPEN = plain(`
  update broadcast_page g set state = 'open', lane = null
  from unnest($2::int[], $3::int[]) as t(number, epoch)
  where g.broadcast_id = $1 and g.number = t.number and g.epoch = t.epoch and g.state = 'claimed'`);
const LEAVE = plain(`
  update broadcast_page
  set state = $4, lane = null, epoch = epoch + 1, finished_at = $5, gate_windows = $6, open_from = $7
  where broadcast_id = $1 and number = $2 and epoch = $3 returning number`);
const WINDOWS = plain('select gate_windows from broadcast_page where broadcast_id = $1 and number = $2');

/** What was being handed over in these pages. It keeps its epoch: its owner may yet tell what became of it. */
const LOST = plain(`
  select s.id as "sendId", s.prospect_id as "prospectId", s.address_id as "addressId", s.recipient_domain as "recipientDomain",
    a.number, a.epoch
  from broadcast_page g
  ${RECIPIENTS_OF_PAGE} r
  ${THEIR_SENDS} s
  ${theirAttempts('handing_over')} a
  where g.broadcast_id = $1 and g.number = any($2::int[])`);
/** Whoever gated these loses them. */
const RAISE_GATED = plain(`
  update attempt a set epoch = a.epoch + 1
  from broadcast_page g
  ${RECIPIENTS_OF_PAGE} r
  ${THEIR_SENDS} s
  where g.broadcast_id = $1 and g.number = any($2::int[]) and a.send_id = s.id and a.state = 'gated'`);

/**
 * Sends of a page that is done whose attempt nobody makes any more: each gets a workflow, which gates anew what was only
 * gated and makes unknown what was being handed over.
 */
const ORPHANS = plain(`
  with left_behind as materialized (
    select s.id from broadcast_page g
    ${RECIPIENTS_OF_PAGE} r
    ${THEIR_SENDS} s
    where g.broadcast_id = $1 and g.number = any($2::int[])
  ), locked as (
    select s.id, s.recipient_domain from left_behind l
    join send s on s.id = l.id and s.state = 'attempting' and s.run = 0
    order by s.id for no key update of s
  ), raised as (
    update attempt a set epoch = a.epoch + 1 from locked l
    where a.send_id = l.id and a.state = 'gated'
  )
  select id, recipient_domain as "recipientDomain" from locked`);

/** What is gated in pages of a cancelled broadcast; those of any other are not looked through. */
const GATED_OF_CANCELLED = prepared(
  'gated_of_cancelled_broadcast',
  `select s.id from broadcast_page g
  ${RECIPIENTS_OF_PAGE} r
  ${THEIR_SENDS} s
  ${theirAttempts('gated')} a
  where g.broadcast_id = $1 and g.number = any($2::int[])
    and (select state from broadcast where id = $1) = 'cancelled'`,
);

/** Nobody claims a page of a cancelled broadcast again, so what is left gated in it ends when it is given up. */
async function cancelLeftBehind(
  tx: Transaction,
  now: Date,
  broadcastId: string,
  pages: readonly number[],
): Promise<void> {
  const rows = await tx.query<{ id: string }>(GATED_OF_CANCELLED, [broadcastId, pages]);
  await cancelGatedSends(
    tx,
    HEED,
    now,
    rows.map((row) => row.id),
  );
}

/** A send that was being handed over when its worker was lost. */
export interface LostSend {
  readonly sendId: string;
  readonly prospectId: string;
  readonly addressId: string;
  readonly recipientDomain: string;
  readonly attempt: AttemptOwnership;
}

/** What was taken back from a lost worker. */
export interface TakenBack {
  /** To be opened again once what is lost was recorded. */
  readonly pages: readonly ClaimedPage[];
  /** What was being handed over, to be recorded as unknown (I2). */
  readonly lost: readonly LostSend[];
}

/**
 * Takes the pages back that a lane had when its worker was lost, which can neither gate nor mark in them any more. What
 * it had only gated is gated anew by whoever claims the page, or is cancelled with the broadcast. The pages stay claimed
 * until {@link reopenPages}: who is lost in between leaves something to be taken back again.
 *
 * @param lane `null` where all lanes are over: then whatever was ever claimed and is not done
 */
export async function takeBackPages(
  db: Database,
  now: Date,
  broadcastId: string,
  lane: number | null,
): Promise<TakenBack> {
  return db.transaction(async (tx) => {
    await byIndex(tx);
    const pages = await tx.query<{ number: number; epoch: number }>(TAKE_BACK, [broadcastId, lane]);
    if (pages.length === 0) return { pages: [], lost: [] };
    const numbers = pages.map((page) => page.number);
    await cancelLeftBehind(tx, now, broadcastId, numbers);
    const of = [broadcastId, numbers];
    await tx.query(RAISE_GATED, of);
    const lost = await tx.query<Omit<LostSend, 'attempt'> & AttemptOwnership & Record<string, unknown>>(
      LOST,
      of,
    );
    return {
      pages: pages.map((page) => ({ broadcastId, ...page })),
      lost: lost.map(({ number, epoch, ...send }) => ({ ...send, attempt: { number, epoch } })),
    };
  });
}

/** Lets lanes claim pages that were taken back. */
export async function reopenPages(on: Session, pages: readonly ClaimedPage[]): Promise<void> {
  if (pages.length === 0) return;
  const { broadcastId } = pages[0]!;
  await on.query(REOPEN, [broadcastId, pages.map((page) => page.number), pages.map((page) => page.epoch)]);
}

/** How a page is left: `done` where everybody in it has a send, else `open` for whoever claims it next. */
export interface PageLeft {
  readonly state: 'open' | 'done';
  /** Nobody claims it before, since nobody left in it could leave; `null`: at any time. */
  readonly openFrom: Date | null;
  /** Whether somebody in it may have an attempt that nobody makes any more; where it is done, they are looked for. */
  readonly mayHaveOrphans: boolean;
}

/**
 * Leaves a page.
 *
 * @param addWindows how long it was from gate to MAIL FROM for what was sent since it was claimed
 * @returns false where somebody else has it by now
 */
export async function leavePage(
  db: Database,
  now: Date,
  page: ClaimedPage,
  { state, openFrom, mayHaveOrphans }: PageLeft,
  addWindows: (before: readonly number[]) => readonly number[],
): Promise<boolean> {
  return db.transaction(async (tx) => {
    await byIndex(tx);
    const [before] = await tx.query<{ gate_windows: number[] }>(WINDOWS, [page.broadcastId, page.number]);
    const left = await tx.query(LEAVE, [
      page.broadcastId,
      page.number,
      page.epoch,
      state,
      state === 'done' ? now : null,
      addWindows(before?.gate_windows ?? []),
      openFrom,
    ]);
    if (left.length === 0) return false;
    await cancelLeftBehind(tx, now, page.broadcastId, [page.number]);
    if (state === 'done' && mayHaveOrphans) await handOrphansOver(tx, now, page);
    return true;
  });
}

async function handOrphansOver(tx: Transaction, now: Date, page: ClaimedPage): Promise<void> {
  const orphans = await tx.query<{ id: string; recipientDomain: string }>(ORPHANS, [
    page.broadcastId,
    [page.number],
  ]);
  await startNextRuns(tx, now, orphans);
}

/*
 * By the database's clock: those of the workers differ, and the furthest ahead would keep all others waiting. `least` and
 * `greatest` leave nulls out of account.
 */
const PACE = plain(`
  with t as (select clock_timestamp() as now)
  update broadcast set paced_until = greatest(paced_until, t.now) + $2 * interval '1 millisecond'
  from t where id = $1 and greatest(paced_until, t.now) <= t.now + $3 * interval '1 millisecond'
  returning ceil(extract(epoch from paced_until - t.now) * 1000)::int - $2::int as wait`);
const NEXT_TURN = plain(`
  select ceil(extract(epoch from paced_until - clock_timestamp()) * 1000)::int - $2::int as wait
  from broadcast where id = $1`);
/** Asked again no sooner, in milliseconds. */
const LEAST_WAIT = 20;

/** When messages of a limited broadcast may leave: `taken` where it is soon, `later` where it is to be asked for again. */
export interface Turn {
  readonly kind: 'taken' | 'later';
  /** How long until then. */
  readonly milliseconds: number;
}

/**
 * Takes so many milliseconds of a broadcast's limit, which all of its workers share.
 *
 * @param ahead how far off a turn may be to be taken, in milliseconds
 */
export async function takeTurn(
  on: Session,
  broadcastId: string,
  milliseconds: number,
  ahead: number,
): Promise<Turn> {
  const [taken] = await on.query<{ wait: number }>(PACE, [broadcastId, milliseconds, ahead]);
  if (taken !== undefined) return { kind: 'taken', milliseconds: Math.max(0, taken.wait) };
  const [next] = await on.query<{ wait: number | null }>(NEXT_TURN, [broadcastId, ahead]);
  return { kind: 'later', milliseconds: Math.max(LEAST_WAIT, next?.wait ?? 0) };
}
