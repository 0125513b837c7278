ALTER TABLE "attempt" DROP CONSTRAINT "attempt_send_id_send_id_fk";
--> statement-breakpoint
ALTER TABLE "send" DROP CONSTRAINT "send_prospect_id_prospect_id_fk";
--> statement-breakpoint
ALTER TABLE "send" DROP CONSTRAINT "send_address_id_address_id_fk";
--> statement-breakpoint
ALTER TABLE "send" DROP CONSTRAINT "send_list_id_list_id_fk";
--> statement-breakpoint
DROP INDEX "send_unfinished_address";--> statement-breakpoint
DROP INDEX "send_unfinished_prospect";--> statement-breakpoint
DROP INDEX "send_unfinished_domain";--> statement-breakpoint
DROP INDEX "send_address_finals";--> statement-breakpoint
DROP INDEX "send_state";--> statement-breakpoint
DROP INDEX "send_unfinished";--> statement-breakpoint
DROP INDEX "audit_prospect";--> statement-breakpoint
DROP INDEX "audit_address";--> statement-breakpoint
ALTER TABLE "send" ADD COLUMN "standing" text GENERATED ALWAYS AS (case when state = 'final' then nullif(outcome, 'delivered') when state = 'attempting' and run = 0 then null else state end) STORED;--> statement-breakpoint
CREATE INDEX "send_address" ON "send" USING btree ("address_id","first_attempt_at");--> statement-breakpoint
CREATE INDEX "send_standing" ON "send" USING btree ("standing","id") WHERE standing is not null;--> statement-breakpoint
CREATE INDEX "send_resting_domain" ON "send" USING btree (reverse(recipient_domain) text_pattern_ops) WHERE standing in ('queued', 'waiting', 'held');--> statement-breakpoint
CREATE INDEX "send_unfinished" ON "send" USING btree ("id") WHERE standing in ('queued', 'waiting', 'held', 'attempting');--> statement-breakpoint
CREATE INDEX "audit_prospect" ON "audit_entry" USING btree ("prospect_id","id") WHERE action not in ('attempt.gated', 'attempt.finished');--> statement-breakpoint
CREATE INDEX "audit_address" ON "audit_entry" USING btree ("address_id","id") WHERE action not in ('attempt.gated', 'attempt.finished');--> statement-breakpoint
-- An attempt is written three times, at its gate, its mark and its end: with room in its page the last two stay out of the index.
ALTER TABLE "attempt" SET (fillfactor = 50);--> statement-breakpoint
-- So does a send that is delivered at once, with the room for a second one of its kind.
ALTER TABLE "send" SET (fillfactor = 45);--> statement-breakpoint
-- Once a statement, not once a send: a broadcast finishes hundreds in one.
drop trigger send_changed on send;--> statement-breakpoint
create or replace function send_changed() returns trigger language plpgsql as $$
begin
  if exists (select from automation where mode = 'continuous' and state = 'active') then
    perform prospects_changed((select array_agg(distinct n.prospect_id) from new_sends n join old_sends o on o.id = n.id
      where n.state in ('waiting', 'final') and not n.test
        and (o.state <> n.state or o.outcome is distinct from n.outcome)));
  end if;
  return null;
end $$;--> statement-breakpoint
create trigger send_changed after update on send referencing old table as old_sends new table as new_sends
  for each statement execute function send_changed();
