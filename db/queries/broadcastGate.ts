import { parentDomains } from '../../domain/address.ts';
import { decideSuppression } from '../../domain/suppression.ts';
import type { EmailKind, SendOutcome, SuppressionReason } from '../../domain/words.ts';
import { integerArray, textArray, uuidArray } from '../arrays.ts';
import { type Database, plain, prepared, type Transaction } from '../connection.ts';
import { shareGates } from './broadcasts.ts';
import { byIndex, queryByIndex } from './byIndex.ts';
import { causesAsText } from './ending.ts';
import type { AttemptOwnership } from './gate.ts';
import { lockPageToAttempt, parentsOf } from './locks.ts';

/** A recipient who is to be gated for the first time; the send is made by the gate. */
export interface GateItem {
  /** Id that the send gets. */
  readonly sendId: string;
  readonly prospectId: string;
  /** The prospect's address when it was read. */
  readonly addressId: string;
  /** `null` where it was gated before, and the person was erased since. */
  readonly recipient: string | null;
  readonly recipientDomain: string;
  readonly listId: string | null;
  readonly messageId: string;
}

/** Recipients of one page who are gated together. */
export interface GateSlice {
  readonly broadcastId: string;
  readonly page: { readonly number: number; readonly epoch: number };
  readonly kind: EmailKind;
  readonly email: { readonly id: string; readonly version: number };
  readonly items: readonly GateItem[];
  /** When their messages were made; the sends keep it, so that every attempt is the same message. */
  readonly createdAt: Date;
  readonly now: Date;
}

export type SliceDecision =
  | {
      readonly kind: 'decided';
      /** Sends whose attempt has begun, with the page's epoch; MAIL FROM is to follow within two seconds. */
      readonly open: ReadonlySet<string>;
      /** By `performance.now()`, while the locks were held and the commit was still to come. */
      readonly decidedAt: number;
      /** How many were refused; their sends are final. */
      readonly refused: number;
    }
  /** The broadcast was paused or cancelled. */
  | { readonly kind: 'stopped' }
  /** The account's kill switch for marketing email is on. */
  | { readonly kind: 'held_back' }
  /** Another lane has the page now. */
  | { readonly kind: 'superseded' };

/** The first attempt of a send; all of a page are begun with the page's epoch. */
export const FIRST_ATTEMPT = 1;

const STANDING = prepared(
  'broadcast_page_standing',
  `select b.state = 'sending' as sending, g.epoch = $3 and g.state = 'claimed' as owned,
     setting.transactional_passes_opt_out as passes
   from broadcast b join broadcast_page g on g.broadcast_id = b.id and g.number = $2 cross join setting
   where b.id = $1 for share of g`,
);
const MARKETING_PAUSED = prepared('marketing_is_paused', 'select marketing_paused as paused from setting');
/** Only those against whom there is anything: of a hundred thousand they are few. */
const OBJECTIONS = prepared(
  'objections_against_a_slice',
  `select r.id, p.deleted_at is not null as gone, p.address_id <> r.address_id as moved, p.email_opt_out, p.bounced,
     (select array_agg(x.reason) from suppression x where x.address_id = r.address_id and x.list_id is null) as address_reasons,
     (select array_agg(x.reason) from suppression x where x.address_id = r.address_id and x.list_id = r.list_id) as list_reasons,
     exists (select from send s where s.broadcast_id = $5 and s.address_id = r.address_id offset 0) as served
   from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[]) as r(id, prospect_id, address_id, list_id)
   join prospect p on p.id = r.prospect_id
   where p.deleted_at is not null or p.address_id <> r.address_id or p.email_opt_out or p.bounced
     -- With an offset it is asked for each, and never of all that there are at once.
     or exists (select from suppression x where x.address_id = r.address_id and (x.list_id is null or x.list_id = r.list_id) offset 0)
     or exists (select from send s where s.broadcast_id = $5 and s.address_id = r.address_id offset 0)`,
);
const DOMAIN_ENTRIES = prepared(
  'suppressed_domains_of',
  'select domain from domain_suppression where domain = any($1::text[])',
);

/** Arrays that name the new sends; the same for those that begin and those that are refused. */
const GIVEN_ARRAYS = '$1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::text[]';
const GIVEN_COLUMNS = 'id, prospect_id, address_id, recipient, recipient_domain, list_id, message_id';
const SEND_COLUMNS = `id, email_id, email_version, kind, prospect_id, address_id, recipient, recipient_domain, list_id, broadcast_id,
       message_id, run, attempt_count, created_at`;
const sendValues = (recipient: string) =>
  `id, $8, $9, $10, prospect_id, address_id, ${recipient}, recipient_domain, list_id, $11, message_id, 0, 1, $14`;
/** Whoever was erased since they were read left no address, and it is not written back; the locks are held. */
const RECIPIENT_UNLESS_ERASED = `(select given.recipient from prospect p join address a on a.id = given.address_id
       where p.id = given.prospect_id and p.email <> '' and a.erased_at is null)`;

/**
 * One copy an address: whoever was served is none of these. Their addresses are locked, so nobody else can make theirs
 * meanwhile; that is asked beforehand, since `on conflict` makes the whole an eighth dearer.
 */
const BEGIN = prepared(
  'begin_first_attempts',
  `with made as (
     insert into send (${SEND_COLUMNS}, state, slot, schedule_started_at, first_attempt_at)
     select ${sendValues('recipient')}, 'attempting', 0, $12, $12 from unnest(${GIVEN_ARRAYS}) as given(${GIVEN_COLUMNS})
     returning id, prospect_id, address_id
   ), begun as (
     insert into attempt (send_id, number, epoch, state, trigger, gated_at)
     select id, 1, $13, 'gated', 'schedule', $12 from made
   )
   insert into audit_entry (at, action, way, actor, prospect_id, address_id, send_id, subject, before, after)
   select $12, 'attempt.gated', 'system', 'heed', prospect_id, address_id, id, '1', '{"state":"queued"}', $15 from made`,
);
const REFUSE = plain(`with made as (
     insert into send (${SEND_COLUMNS}, state, outcome, outcome_reason, finished_at)
     select ${sendValues(RECIPIENT_UNLESS_ERASED)}, 'final', given.outcome, given.reason, $12
     from unnest(${GIVEN_ARRAYS}, $15::text[], $16::text[]) as given(${GIVEN_COLUMNS}, outcome, reason)
     -- Somebody who is gone may have left the address to one who is emailed now.
     on conflict (broadcast_id, address_id) where broadcast_id is not null do nothing
     returning id, prospect_id, address_id, outcome, outcome_reason
   ), ended as (
     insert into attempt (send_id, number, epoch, state, trigger, outcome, gated_at, finished_at)
     select id, 1, $13, 'finished', 'schedule', 'refused', $12, $12 from made
   )
   insert into audit_entry (at, action, way, actor, prospect_id, address_id, send_id, subject, before, after)
   select $12, case outcome when 'suppressed' then 'send.refused' else 'send.cancelled' end, 'system', 'heed', prospect_id,
     address_id, id, outcome_reason, '{"state":"queued"}', jsonb_build_object('state', 'final', 'outcome', outcome) from made`);

interface Objection extends Record<string, unknown> {
  id: string;
  gone: boolean;
  moved: boolean;
  email_opt_out: boolean;
  bounced: boolean;
  address_reasons: SuppressionReason[] | null;
  list_reasons: SuppressionReason[] | null;
  /** The address has its copy of this broadcast. */
  served: boolean;
}

interface Refusal {
  readonly item: GateItem;
  readonly outcome: Extract<SendOutcome, 'suppressed' | 'cancelled'>;
  readonly reason: string;
}

/**
 * Decides whether the first attempts of a slice may begin, and records that they do: one short transaction for all of
 * them, under the locks and in the order of the single gate (I1). What everybody's suppressions are is read in statements
 * after the one that locks. Whatever goes wrong throws, and nothing is sent: it fails closed.
 */
export async function gateSlice(db: Database, slice: GateSlice): Promise<SliceDecision> {
  return db.transaction(async (tx) => {
    const { items } = slice;
    const domains = [...new Set(items.map((item) => item.recipientDomain))];
    const columns = columnsOf(items);
    const { sendIds, prospectIds, addressIds, listIds } = columns;
    // Issued together: they share a round trip and still run in this order, the reads each in a statement of its own.
    const [, , [standing], , objections, entries, [marketing]] = await Promise.all([
      byIndex(tx),
      shareGates(tx, slice.broadcastId),
      tx.query<{ sending: boolean; owned: boolean; passes: boolean }>(STANDING, [
        slice.broadcastId,
        slice.page.number,
        slice.page.epoch,
      ]),
      lockPageToAttempt(tx, { domains, prospectIds, addressIds }),
      tx.query<Objection>(OBJECTIONS, [sendIds, prospectIds, addressIds, listIds, slice.broadcastId]),
      tx.query<{ domain: string }>(DOMAIN_ENTRIES, [textArray(parentsOf(domains))]),
      tx.query<{ paused: boolean }>(MARKETING_PAUSED),
    ]);
    const decidedAt = performance.now();
    if (standing?.owned !== true) return { kind: 'superseded' };
    if (!standing.sending) return { kind: 'stopped' };
    if (slice.kind === 'marketing' && marketing!.paused) return { kind: 'held_back' };

    const refusals = refusalsOf(slice, standing.passes, objections, entries);
    // Of them nothing is decided now: they are read again.
    const passedOver = new Set(objections.filter(isPassedOver).map((one) => one.id));
    const refused = new Set(refusals.map(({ item }) => item.sendId));
    const clear = items.filter(({ sendId }) => !refused.has(sendId) && !passedOver.has(sendId));
    // Nearly always everybody: written down once for all that is asked of them.
    const clearColumns = clear.length === items.length ? columns : columnsOf(clear);
    await Promise.all([begin(tx, slice, clear.length, clearColumns), refuse(tx, slice, refusals)]);
    const open = new Set(clear.map((item) => item.sendId));
    return { kind: 'decided', open, decidedAt, refused: refusals.length };
  });
}

/** Whose address has its copy, or is no longer the one that was read. */
function isPassedOver({ served, moved, gone }: Objection): boolean {
  return served || (moved && !gone);
}

function refusalsOf(
  slice: GateSlice,
  transactionalPassesOptOut: boolean,
  objections: readonly Objection[],
  entries: readonly { domain: string }[],
): Refusal[] {
  if (objections.length === 0 && entries.length === 0) return [];
  const against = new Map(objections.map((one) => [one.id, one]));
  const suppressed = new Set(entries.map(({ domain }) => domain));
  return slice.items.flatMap((item): Refusal[] => {
    const one = against.get(item.sendId);
    if (one !== undefined && isPassedOver(one)) return [];
    const domainEntries =
      suppressed.size === 0
        ? []
        : parentDomains(item.recipientDomain).filter((domain) => suppressed.has(domain));
    const decision = decideSuppression({
      kind: slice.kind,
      optedOut: one?.email_opt_out ?? false,
      bounced: one?.bounced ?? false,
      addressReasons: one?.address_reasons ?? [],
      listReasons: one?.list_reasons ?? [],
      domainEntries,
      transactionalPassesOptOut,
    });
    if (!decision.allowed) return [{ item, outcome: 'suppressed', reason: causesAsText(decision.because) }];
    return one?.gone ? [{ item, outcome: 'cancelled', reason: 'prospect_gone' }] : [];
  });
}

async function begin(tx: Transaction, slice: GateSlice, count: number, columns: Columns): Promise<void> {
  if (count === 0) return;
  const after = JSON.stringify({ state: 'attempting', epoch: slice.page.epoch });
  await tx.query(BEGIN, [...valuesOf(slice, columns), after]);
}

async function refuse(tx: Transaction, slice: GateSlice, refusals: readonly Refusal[]): Promise<void> {
  if (refusals.length === 0) return;
  await tx.query(REFUSE, [
    ...valuesOf(slice, columnsOf(refusals.map(({ item }) => item))),
    textArray(refusals.map(({ outcome }) => outcome)),
    textArray(refusals.map(({ reason }) => reason)),
  ]);
}

function valuesOf(slice: GateSlice, columns: Columns): unknown[] {
  const { sendIds, prospectIds, addressIds, recipients, domains, listIds, messageIds } = columns;
  return [
    ...[sendIds, prospectIds, addressIds, recipients, domains, listIds, messageIds],
    slice.email.id,
    slice.email.version,
    slice.kind,
    slice.broadcastId,
    slice.now,
    slice.page.epoch,
    slice.createdAt,
  ];
}

/** What is known of new sends, an array a column. */
interface Columns {
  readonly sendIds: Buffer;
  readonly prospectIds: Buffer;
  readonly addressIds: Buffer;
  readonly recipients: Buffer;
  readonly domains: Buffer;
  readonly listIds: Buffer;
  readonly messageIds: Buffer;
}

function columnsOf(items: readonly GateItem[]): Columns {
  return {
    sendIds: uuidArray(items.map((item) => item.sendId)),
    prospectIds: uuidArray(items.map((item) => item.prospectId)),
    addressIds: uuidArray(items.map((item) => item.addressId)),
    recipients: textArray(items.map((item) => item.recipient)),
    domains: textArray(items.map((item) => item.recipientDomain)),
    listIds: uuidArray(items.map((item) => item.listId)),
    messageIds: textArray(items.map((item) => item.messageId)),
  };
}

/** A send whose attempt somebody owns. */
export interface OwnedSend {
  readonly sendId: string;
  readonly attempt: AttemptOwnership;
}

const MARK = prepared(
  'mark_slice_handing_over',
  `with marked as (
     update attempt a set state = 'handing_over', handing_over_at = $4
     from unnest($1::uuid[], $2::int[], $3::int[]) as o(id, number, epoch)
     where a.send_id = o.id and a.number = o.number and a.epoch = o.epoch and a.state = 'gated'
     returning a.send_id
   )
   -- Nearly always all, which need not be named.
   select case when count(*) < cardinality($1::uuid[]) then coalesce(array_agg(send_id), '{}') end as some from marked`,
);
const UNMARK = prepared(
  'unmark_handing_over',
  `update attempt set state = 'gated', handing_over_at = null
   where send_id = $1 and number = $2 and epoch = $3 and state = 'handing_over'`,
);

/**
 * Marks that these messages may be taken over from now on.
 *
 * @returns those that were; the others belong to somebody else now, and nothing of them may be handed over
 */
export async function markSlice(db: Database, now: Date, owned: readonly OwnedSend[]): Promise<Set<string>> {
  const ids = owned.map((one) => one.sendId);
  const [marked] = await queryByIndex<{ some: string[] | null }>(db, MARK, [
    uuidArray(ids),
    integerArray(owned.map((one) => one.attempt.number)),
    integerArray(owned.map((one) => one.attempt.epoch)),
    now,
  ]);
  return new Set(marked!.some ?? ids);
}

/** Takes the mark back from a message of which nothing was said to any server, to be gated anew. */
export async function unmark(db: Database, { sendId, attempt }: OwnedSend): Promise<void> {
  await db.query(UNMARK, [sendId, attempt.number, attempt.epoch]);
}
