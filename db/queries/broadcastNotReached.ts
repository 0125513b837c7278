import { plain, type Session } from '../connection.ts';

/** Why a recipient has no send, the first that holds. */
export const NOT_REACHED_BECAUSE = ['prospect_gone', 'address_had_copy', 'cancelled', 'not_yet'] as const;

/** A recipient who has no send. */
export interface NotReached {
  readonly prospectId: string;
  /** `null` where the prospect was deleted. */
  readonly email: string | null;
  readonly because: (typeof NOT_REACHED_BECAUSE)[number];
}

const NOT_REACHED = plain(`
  select r.prospect_id as "prospectId", case when p.deleted_at is null then p.email end as email,
    case
      when p.deleted_at is not null then 'prospect_gone'
      when exists (select from send s where s.broadcast_id = r.broadcast_id and s.address_id = p.address_id) then 'address_had_copy'
      when b.state = 'cancelled' then 'cancelled'
      -- It was with somebody else whose address has changed since.
      when b.state = 'sent' then 'address_had_copy'
      else 'not_yet'
    end as because
  from broadcast_recipient r join broadcast b on b.id = r.broadcast_id join prospect p on p.id = r.prospect_id
  where r.broadcast_id = $1 and ($2::uuid is null or r.prospect_id > $2)
    -- Written so that only the prospect's own sends are looked through.
    and not exists (select from send s where s.prospect_id = r.prospect_id and s.broadcast_id is not distinct from r.broadcast_id)
  order by r.prospect_id limit $3`);

/** Recipients of a broadcast who have no send, in the order of their ids. */
export async function readNotReached(
  on: Session,
  broadcastId: string,
  after: string | undefined,
  limit: number,
): Promise<NotReached[]> {
  return on.query<NotReached & Record<string, unknown>>(NOT_REACHED, [broadcastId, after ?? null, limit]);
}
