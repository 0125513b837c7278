-- By prospect and by address in two halves, each with an index of its own: of many records few are touched.
create or replace function salesforce_prospects_changed() returns trigger language plpgsql as $$
begin
  if salesforce_is_applying() then return null; end if;
  if exists (select from salesforce_record) then
    perform salesforce_queue((select array_agg(id) from (
      select r.id from changed c join salesforce_record r on r.prospect_id = c.id
        where r.state = 'active' and c.deleted_at is null
      union
      select r.id from changed c join salesforce_record r on r.address_id = c.address_id
        where r.state = 'active' and c.deleted_at is null
    ) touched));
  end if;
  if tg_op = 'INSERT' and exists (select from salesforce_setting where creates_leads and allowed_at is not null) then
    perform salesforce_queue((select array_agg('prospect:' || c.id) from changed c where c.deleted_at is null
      and not exists (select from salesforce_record r where r.address_id = c.address_id and r.state = 'active')));
  end if;
  return null;
end $$;
