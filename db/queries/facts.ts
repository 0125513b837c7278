import { parentDomains } from '../../domain/address.ts';
import { decideSuppression, type SuppressionDecision } from '../../domain/suppression.ts';
import type { EmailKind, SendOutcome, SendState, SuppressionReason } from '../../domain/words.ts';
import { prepared, type Session } from '../connection.ts';
import { parentsOf } from './locks.ts';

/** A send with everything that decides whether it may be attempted, as of one statement. */
export interface SendFacts {
  readonly id: string;
  readonly run: number;
  readonly kind: EmailKind;
  readonly test: boolean;
  readonly state: SendState;
  readonly outcome: SendOutcome | null;
  readonly outcomeReason: string | null;
  readonly prospectId: string;
  readonly addressId: string;
  readonly recipientDomain: string;
  readonly attemptCount: number;
  readonly slot: number;
  readonly nextSlot: number | null;
  readonly scheduleSeconds: readonly number[];
  readonly scheduleStartedAt: Date | null;
  readonly nextAttemptAt: Date | null;
  /** Why it is to be cancelled, in codes, where that was asked for while an attempt was in the air. */
  readonly cancelBecause: string | null;
  /** Whether the prospect still exists and has this address; a test send goes to nobody's prospect. */
  readonly recipientCurrent: boolean;
  /** Whether it is a marketing email and the account's kill switch holds these. */
  readonly marketingPaused: boolean;
  readonly suppression: SuppressionDecision;
}

interface Row {
  id: string;
  run: number;
  kind: EmailKind;
  test: boolean;
  state: SendState;
  outcome: SendOutcome | null;
  outcome_reason: string | null;
  prospect_id: string;
  address_id: string;
  recipient_domain: string;
  attempt_count: number;
  slot: number;
  next_slot: number | null;
  schedule_seconds: number[];
  schedule_started_at: Date | null;
  next_attempt_at: Date | null;
  cancel_requested_at: Date | null;
  recipient_current: boolean;
  email_opt_out: boolean;
  bounced: boolean;
  address_reasons: SuppressionReason[] | null;
  list_reasons: SuppressionReason[] | null;
  domain_entries: string[] | null;
  transactional_passes_opt_out: boolean;
  marketing_paused: boolean;
}

/** The schedule of a send: its own, or that of its broadcast, which a hundred thousand of them would each repeat. */
export const scheduleOf = (send: string): string =>
  `coalesce(${send}.schedule_seconds, (select b.schedule_seconds from broadcast b where b.id = ${send}.broadcast_id))`;

const textOf = (which: string) => `
   select s.id, s.run, s.kind, s.test, s.state, s.outcome, s.outcome_reason, s.prospect_id, s.address_id, s.recipient_domain,
     s.attempt_count, s.slot, s.next_slot, ${scheduleOf('s')} as schedule_seconds, s.schedule_started_at, s.next_attempt_at, s.cancel_requested_at,
     s.test or (p.deleted_at is null and p.address_id = s.address_id) as recipient_current, p.email_opt_out, p.bounced,
     (select array_agg(x.reason) from suppression x where x.address_id = s.address_id and x.list_id is null) as address_reasons,
     (select array_agg(x.reason) from suppression x where x.address_id = s.address_id and x.list_id = s.list_id) as list_reasons,
     (select array_agg(d.domain) from domain_suppression d where d.domain = any($2::text[])) as domain_entries,
     setting.transactional_passes_opt_out, setting.marketing_paused
   from send s join prospect p on p.id = s.prospect_id cross join setting
   where ${which} order by s.id`;
const READ = prepared('send_facts', textOf('s.id = any($1::uuid[])'));
/** PostgreSQL takes an array of unknown length for a long one and would plan anew for each one send. */
const READ_ONE = prepared('send_facts_of_one', textOf('s.id = $1'));

/**
 * Reads sends with their suppressions. Where a decision follows from it, the caller holds the locks of `locks.ts` and
 * this is a statement after them.
 *
 * @param recipientDomains the domains of these sends; what they are suppressed by is looked up in the same statement
 */
export async function readSendFacts(
  on: Session,
  sendIds: readonly string[],
  recipientDomains: readonly string[],
): Promise<SendFacts[]> {
  const domains = parentsOf(recipientDomains);
  const rows = await (sendIds.length === 1
    ? on.query<Row & Record<string, unknown>>(READ_ONE, [sendIds[0], domains])
    : on.query<Row & Record<string, unknown>>(READ, [sendIds, domains]));
  return rows.map(toFacts);
}

/** A send that has ended keeps the reason of its end in that place. */
function cancelBecause(row: Row): string | null {
  if (row.cancel_requested_at === null) return null;
  return row.state === 'final' ? 'cancelled' : (row.outcome_reason ?? 'cancelled');
}

function toFacts(row: Row): SendFacts {
  const parents = new Set(parentDomains(row.recipient_domain));
  return {
    id: row.id,
    run: row.run,
    kind: row.kind,
    test: row.test,
    state: row.state,
    outcome: row.outcome,
    outcomeReason: row.outcome_reason,
    prospectId: row.prospect_id,
    addressId: row.address_id,
    recipientDomain: row.recipient_domain,
    attemptCount: row.attempt_count,
    slot: row.slot,
    nextSlot: row.next_slot,
    scheduleSeconds: row.schedule_seconds,
    scheduleStartedAt: row.schedule_started_at,
    nextAttemptAt: row.next_attempt_at,
    cancelBecause: cancelBecause(row),
    recipientCurrent: row.recipient_current,
    marketingPaused: row.marketing_paused && row.kind === 'marketing',
    suppression: decideSuppression({
      kind: row.kind,
      // A test send borrows a prospect's fields but goes to somebody else.
      optedOut: row.email_opt_out && !row.test,
      bounced: row.bounced && !row.test,
      addressReasons: row.address_reasons ?? [],
      listReasons: row.list_reasons ?? [],
      domainEntries: (row.domain_entries ?? []).filter((domain) => parents.has(domain)),
      transactionalPassesOptOut: row.transactional_passes_opt_out,
    }),
  };
}
