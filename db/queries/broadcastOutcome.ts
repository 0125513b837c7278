import { integerArray, textArray, uuidArray } from '../arrays.ts';
import { type Database, prepared } from '../connection.ts';
import type { OwnedSend } from './broadcastGate.ts';
import { queryByIndex } from './byIndex.ts';
import type { AttemptEnd } from './outcome.ts';

/** A message that was accepted. */
export interface Delivery extends OwnedSend {
  readonly end: AttemptEnd;
}

const DELIVERED = prepared(
  'record_deliveries',
  `with locked as materialized (
     select t.*, s.recipient is not null as kept
     from unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::text[], $6::text[], $7::text[])
       as t(id, number, epoch, reply_code, enhanced_code, reply_text, remote_host)
     join send s on s.id = t.id
     order by t.id for no key update of s
   ), done as (
     update attempt a set state = 'finished', outcome = 'delivered', finished_at = $8, phase = 'final',
       reply_code = l.reply_code, enhanced_code = l.enhanced_code, remote_host = l.remote_host,
       -- A reply may name the person, who may have been erased meanwhile.
       reply_text = case when l.kept then l.reply_text end
     from locked l
     where a.send_id = l.id and a.number = l.number and a.epoch = l.epoch and (a.state <> 'finished' or a.outcome = 'unknown')
     returning a.send_id, a.number
   ), moved as (
     -- A report that came first is the stronger evidence, and stands.
     update send s set state = 'final', outcome = 'delivered', outcome_reason = null, finished_at = $8,
       next_attempt_at = null, next_slot = null
     from done where s.id = done.send_id and (s.state <> 'final' or s.outcome not in ('exhausted', 'rejected', 'bounced'))
     returning s.id, s.prospect_id, s.address_id, done.number
   ), noted as (
     insert into audit_entry (at, action, way, actor, prospect_id, address_id, send_id, subject, before, after)
     select $8, 'attempt.finished', 'system', 'heed', prospect_id, address_id, id, number::text,
       '{"state":"attempting"}', '{"state":"final","outcome":"delivered"}' from moved
   )
   select count(*)::int as recorded from done`,
);

/**
 * Records that these were delivered, in one statement: final whatever was suppressed meanwhile, so it does without the
 * locks. Telling it twice changes nothing.
 *
 * @returns for how many it was recorded; the others were recorded before, or belong to somebody else now
 */
export async function recordDeliveries(
  db: Database,
  now: Date,
  deliveries: readonly Delivery[],
): Promise<number> {
  // In the order of their ids, as everybody locks sends.
  const all = deliveries.toSorted((a, b) => (a.sendId < b.sendId ? -1 : 1));
  const [row] = await queryByIndex<{ recorded: number }>(db, DELIVERED, [
    uuidArray(all.map((one) => one.sendId)),
    integerArray(all.map((one) => one.attempt.number)),
    integerArray(all.map((one) => one.attempt.epoch)),
    integerArray(all.map((one) => one.end.replyCode)),
    textArray(all.map((one) => one.end.enhancedCode)),
    textArray(all.map((one) => one.end.replyText)),
    textArray(all.map((one) => one.end.remoteHost)),
    now,
  ]);
  return row!.recorded;
}
