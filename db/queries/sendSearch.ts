import type { Category } from '../../domain/bounce/verdict.ts';
import type {
  AttemptOutcome,
  AttemptState,
  AttemptTrigger,
  EmailKind,
  SendOutcome,
  SendState,
} from '../../domain/words.ts';
import { plain, type Session } from '../connection.ts';
import { scheduleOf } from './facts.ts';
import { Conditions } from './keyset.ts';

/** A send as people see it. */
export interface SendView {
  readonly id: string;
  readonly emailId: string;
  readonly emailVersion: number;
  readonly kind: EmailKind;
  readonly prospectId: string;
  readonly addressId: string;
  /** `null` once the person was erased. */
  readonly recipient: string | null;
  readonly recipientDomain: string;
  readonly listId: string | null;
  /** The broadcast that it is part of. */
  readonly broadcastId: string | null;
  readonly test: boolean;
  readonly messageId: string;
  readonly state: SendState;
  /** Why it is held, in codes; `null` where it is not. */
  readonly heldReason: string | null;
  readonly outcome: SendOutcome | null;
  readonly outcomeReason: string | null;
  /** Whether it ended by a fault of ours, so that its end counts against nobody (I5). */
  readonly faultOurs: boolean;
  /** Number of the workflow run that owns it; 0 while its broadcast makes its first attempt. */
  readonly run: number;
  readonly attemptCount: number;
  readonly scheduleSeconds: readonly number[];
  readonly firstAttemptAt: Date | null;
  readonly nextAttemptAt: Date | null;
  readonly cancelRequestedAt: Date | null;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
}

/** One try to deliver it. */
export interface AttemptView {
  readonly number: number;
  readonly state: AttemptState;
  readonly trigger: AttemptTrigger;
  readonly outcome: AttemptOutcome | null;
  readonly category: Category | null;
  readonly faultOurs: boolean;
  readonly rule: string | null;
  readonly phase: string | null;
  readonly replyCode: number | null;
  readonly enhancedCode: string | null;
  readonly replyText: string | null;
  readonly remoteHost: string | null;
  readonly gatedAt: Date;
  readonly handingOverAt: Date | null;
  readonly finishedAt: Date | null;
  readonly nextAttemptAt: Date | null;
}

/** All that is given must hold. */
export interface SendFilter {
  readonly state?: SendState | undefined;
  readonly outcome?: SendOutcome | undefined;
  readonly prospectId?: string | undefined;
  readonly emailId?: string | undefined;
  readonly test?: boolean | undefined;
}

/** What the last attempt was at fault for says nothing of a send that was delivered after all, or ended by somebody's no. */
const FAULT_OURS = `fault_ours and outcome is not null and outcome not in ('delivered', 'suppressed', 'cancelled')`;
const COLUMNS = `id, email_id as "emailId", email_version as "emailVersion", kind, prospect_id as "prospectId",
  address_id as "addressId", recipient, recipient_domain as "recipientDomain", list_id as "listId",
  broadcast_id as "broadcastId", test,
  message_id as "messageId", state,
  case when state = 'held' then held_reason end as "heldReason", outcome,
  case when outcome is not null then outcome_reason end as "outcomeReason",
  ${FAULT_OURS} as "faultOurs", run,
  attempt_count as "attemptCount", ${scheduleOf('send')} as "scheduleSeconds", first_attempt_at as "firstAttemptAt",
  next_attempt_at as "nextAttemptAt", cancel_requested_at as "cancelRequestedAt", created_at as "createdAt",
  finished_at as "finishedAt"`;

/** Columns of an attempt in the names of {@link AttemptView}. */
export const ATTEMPT_COLUMNS = `number, state, trigger, outcome, category, fault_ours as "faultOurs", rule, phase,
  reply_code as "replyCode", enhanced_code as "enhancedCode", reply_text as "replyText", remote_host as "remoteHost",
  gated_at as "gatedAt", handing_over_at as "handingOverAt", finished_at as "finishedAt",
  next_attempt_at as "nextAttemptAt"`;

const READ = plain(`select ${COLUMNS} from send where id = any($1::uuid[])`);
const ATTEMPTS = plain(`select ${ATTEMPT_COLUMNS} from attempt where send_id = $1 order by number`);
const UNKNOWN = plain(`
  select id from send
  where standing = 'unknown' and id > $1 and created_at < $2
    and ($3::uuid is null or email_id = $3) and ($4::text is null or recipient_domain = $4)
  order by id limit $5`);

/** Sends, newest first. */
export async function searchSends(
  on: Session,
  filter: SendFilter,
  beforeId: string | undefined,
  limit: number,
): Promise<SendView[]> {
  const conditions = new Conditions();
  conditions.add('state = ?', filter.state);
  conditions.add('outcome = ?', filter.outcome);
  // Said once more where an index tells.
  conditions.add('standing = ?', standingOf(filter));
  conditions.add('prospect_id = ?', filter.prospectId);
  conditions.add('email_id = ?', filter.emailId);
  conditions.add('test = ?', filter.test);
  conditions.add('id < ?', beforeId);
  return on.query<SendView & Record<string, unknown>>(
    plain(`select ${COLUMNS} from send ${conditions.where} order by id desc ${conditions.limit(limit)}`),
    conditions.values,
  );
}

function standingOf({ state, outcome }: SendFilter): string | undefined {
  if (outcome !== undefined) return outcome === 'delivered' ? undefined : outcome;
  return state === 'final' || state === 'attempting' ? undefined : state;
}

/** @returns `null` where there is no such send */
export async function readSend(on: Session, id: string): Promise<SendView | null> {
  const [send] = await readSends(on, [id]);
  return send ?? null;
}

/** Sends by id, in no order. */
export async function readSends(on: Session, ids: readonly string[]): Promise<SendView[]> {
  return on.query<SendView & Record<string, unknown>>(READ, [ids]);
}

/** Attempts of a send, in their order. */
export async function readAttempts(on: Session, sendId: string): Promise<AttemptView[]> {
  return on.query<AttemptView & Record<string, unknown>>(ATTEMPTS, [sendId]);
}

/** Ids of sends whose outcome is unknown, oldest first, to be settled page by page. */
export async function readUnknownSends(
  on: Session,
  filter: { emailId: string | null; recipientDomain: string | null; createdBefore: Date },
  afterId: string,
  limit: number,
): Promise<string[]> {
  const rows = await on.query<{ id: string }>(UNKNOWN, [
    afterId,
    filter.createdBefore,
    filter.emailId,
    filter.recipientDomain,
    limit,
  ]);
  return rows.map((row) => row.id);
}
