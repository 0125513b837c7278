ALTER TABLE "enrollment_step" ADD COLUMN "tries" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
-- A send that waits for its next attempt has told its enrollment already, and what ends it then is the send's own matter.
create or replace trigger send_tells_enrollment after update of state on send for each row
  when (new.enrollment_id is not null and new.state in ('waiting', 'final') and old.state not in ('waiting', new.state)
    and new.attempt_count <= 1)
  execute function send_tells_enrollment();
--> statement-breakpoint
-- A report that comes after the end, or a person, may give a send another outcome.
create or replace trigger send_changed after update of state, outcome on send for each row
  when (new.state in ('waiting', 'final') and (old.state <> new.state or old.outcome is distinct from new.outcome) and not new.test)
  execute function send_changed();
