-- A record may come twice in one statement, by its prospect and by its address, and is queued once.
create or replace function salesforce_queue(keys text[]) returns void language plpgsql as $$
declare
  moment timestamptz := clock_timestamp();
begin
  if keys is null then return; end if;
  insert into salesforce_push (key, queued_at, due_at)
  select distinct k, moment, moment from unnest(keys) k order by k
  on conflict (key) do update
    set version = salesforce_push.version + 1, failures = 0, due_at = excluded.due_at;
  insert into outbox (aggregate, message, created_at)
  values ('salesforce:' || gen_random_uuid(), '{"type": "pushToSalesforce"}', moment);
  perform pg_notify('heed_outbox', '');
end $$;
