-- Whoever waits for the first attempt of a send is told of the first that came to something, which is a later one where an
-- attempt was broken off before anything was sent: its worker was lost, and marketing email paused or the way out held back.
create or replace function send_tells_enrollment() returns trigger language plpgsql as $$
begin
  if new.attempt_count > 1 and not exists (select from enrollment_step
    where enrollment_id = new.enrollment_id and step_id = new.step_id and state in ('waiting', 'suspended')) then
    return null;
  end if;
  insert into outbox (aggregate, message, created_at)
  values ('enrollment:' || new.enrollment_id,
    jsonb_build_object('type', 'wakeEnrollment', 'enrollmentId', new.enrollment_id), clock_timestamp());
  perform pg_notify('heed_outbox', '');
  return null;
end $$;
--> statement-breakpoint
create or replace trigger send_tells_enrollment after update of state on send for each row
  when (new.enrollment_id is not null and new.state in ('waiting', 'final') and old.state not in ('waiting', new.state))
  execute function send_tells_enrollment();
--> statement-breakpoint
-- What waits on the clock of its prospect looks at it again when the prospect comes to another time zone.
create function time_zone_changed() returns trigger language plpgsql as $$
begin
  insert into outbox (aggregate, message, created_at)
  select 'enrollment:' || e.id, jsonb_build_object('type', 'wakeEnrollment', 'enrollmentId', e.id), clock_timestamp()
  from enrollment e join enrollment_step s on s.enrollment_id = e.id and s.step_id = e.position
  where e.prospect_id = new.id and e.state = 'running' and s.state = 'waiting' and s.reason in ('time', 'quiet_hours');
  if found then perform pg_notify('heed_outbox', ''); end if;
  return null;
end $$;
--> statement-breakpoint
create trigger prospect_time_zone_changed after update of time_zone on prospect for each row
  when (new.time_zone is distinct from old.time_zone) execute function time_zone_changed();
--> statement-breakpoint
-- Who takes an enrollment over in a merge has entered that automation, too.
create function enrollment_taken_over() returns trigger language plpgsql as $$
begin
  perform prospects_changed(array[new.prospect_id]);
  return null;
end $$;
--> statement-breakpoint
create trigger enrollment_taken_over after update of prospect_id on enrollment for each row
  when (new.prospect_id is distinct from old.prospect_id) execute function enrollment_taken_over();
--> statement-breakpoint
-- Those who were never told.
insert into outbox (aggregate, message, created_at)
select 'enrollment:' || s.enrollment_id, jsonb_build_object('type', 'wakeEnrollment', 'enrollmentId', s.enrollment_id), clock_timestamp()
from enrollment_step s join send d on d.enrollment_id = s.enrollment_id and d.step_id = s.step_id
where s.state = 'waiting' and s.reason = 'first_attempt' and d.state in ('waiting', 'final');
