CREATE TABLE "automation" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"state" text NOT NULL,
	"mode" text NOT NULL,
	"draft" jsonb NOT NULL,
	"current_version" integer DEFAULT 0 NOT NULL,
	"run" integer DEFAULT 0 NOT NULL,
	"activated_xid" bigint,
	"enrolls_since" timestamp (3) with time zone,
	"enrolled_at" timestamp (3) with time zone,
	"webhook_secret" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "automation_version" (
	"automation_id" uuid NOT NULL,
	"version" integer NOT NULL,
	"definition" jsonb NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "automation_version_automation_id_version_pk" PRIMARY KEY("automation_id","version")
);
--> statement-breakpoint
CREATE TABLE "enrollment" (
	"id" uuid PRIMARY KEY NOT NULL,
	"automation_id" uuid NOT NULL,
	"version" integer NOT NULL,
	"prospect_id" uuid NOT NULL,
	"state" text NOT NULL,
	"reason" text,
	"position" text,
	"run" integer DEFAULT 1 NOT NULL,
	"entered_at" timestamp (3) with time zone NOT NULL,
	"finished_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "enrollment_step" (
	"enrollment_id" uuid NOT NULL,
	"step_id" text NOT NULL,
	"state" text NOT NULL,
	"reason" text,
	"waiting_until" timestamp (3) with time zone,
	"begun_at" timestamp (3) with time zone NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "enrollment_step_enrollment_id_step_id_pk" PRIMARY KEY("enrollment_id","step_id")
);
--> statement-breakpoint
ALTER TABLE "setting" ADD COLUMN "marketing_paused" boolean DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE "setting" ADD COLUMN "frequency_cap" jsonb;--> statement-breakpoint
ALTER TABLE "setting" ADD COLUMN "quiet_hours" jsonb;--> statement-breakpoint
ALTER TABLE "send" ADD COLUMN "enrollment_id" uuid;--> statement-breakpoint
ALTER TABLE "send" ADD COLUMN "step_id" text;--> statement-breakpoint
ALTER TABLE "automation_version" ADD CONSTRAINT "automation_version_automation_id_automation_id_fk" FOREIGN KEY ("automation_id") REFERENCES "public"."automation"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "enrollment" ADD CONSTRAINT "enrollment_automation_id_automation_id_fk" FOREIGN KEY ("automation_id") REFERENCES "public"."automation"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "enrollment" ADD CONSTRAINT "enrollment_prospect_id_prospect_id_fk" FOREIGN KEY ("prospect_id") REFERENCES "public"."prospect"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "enrollment_step" ADD CONSTRAINT "enrollment_step_enrollment_id_enrollment_id_fk" FOREIGN KEY ("enrollment_id") REFERENCES "public"."enrollment"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "automation_continuous" ON "automation" USING btree ("id") WHERE mode = 'continuous' and state = 'active';--> statement-breakpoint
CREATE UNIQUE INDEX "automation_name" ON "automation" USING btree (lower("name"));--> statement-breakpoint
CREATE UNIQUE INDEX "enrollment_once" ON "enrollment" USING btree ("automation_id","prospect_id");--> statement-breakpoint
CREATE INDEX "enrollment_prospect" ON "enrollment" USING btree ("prospect_id");--> statement-breakpoint
CREATE INDEX "enrollment_state" ON "enrollment" USING btree ("automation_id","state","id");--> statement-breakpoint
CREATE INDEX "enrollment_unfinished" ON "enrollment" USING btree ("id") WHERE state in ('running', 'suspended');--> statement-breakpoint
CREATE INDEX "enrollment_step_waiting" ON "enrollment_step" USING btree ("reason","enrollment_id") WHERE state = 'waiting';--> statement-breakpoint
ALTER TABLE "send" ADD CONSTRAINT "send_enrollment_id_enrollment_id_fk" FOREIGN KEY ("enrollment_id") REFERENCES "public"."enrollment"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "send_enrollment_step" ON "send" USING btree ("enrollment_id","step_id") WHERE enrollment_id is not null;--> statement-breakpoint
-- Whoever writes the first outcome of a send that a step made (gate, attempt, suppression, cancellation), its
-- enrollment is told in the same transaction. Retries tell nothing: the enrollment has gone on by then.
create function send_tells_enrollment() returns trigger language plpgsql as $$
begin
  insert into outbox (aggregate, message, created_at)
  values ('enrollment:' || new.enrollment_id,
    jsonb_build_object('type', 'wakeEnrollment', 'enrollmentId', new.enrollment_id), clock_timestamp());
  perform pg_notify('heed_outbox', '');
  return null;
end $$;
--> statement-breakpoint
create trigger send_tells_enrollment after update of state on send for each row
  when (new.enrollment_id is not null and new.state in ('waiting', 'final') and old.state <> new.state and new.attempt_count <= 1)
  execute function send_tells_enrollment();
--> statement-breakpoint
-- By whatever way prospects come to be other than they were, running continuous automations look at them again.
create function prospects_changed(ids uuid[]) returns void language plpgsql as $$
begin
  if ids is null or not exists (select from automation where mode = 'continuous' and state = 'active') then return; end if;
  insert into outbox (aggregate, message, created_at)
  values ('changed:' || gen_random_uuid(),
    jsonb_build_object('type', 'prospectsChanged', 'prospectIds', to_jsonb(ids)), clock_timestamp());
  perform pg_notify('heed_outbox', '');
end $$;
--> statement-breakpoint
create function prospect_rows_changed() returns trigger language plpgsql as $$
begin
  perform prospects_changed((select array_agg(id) from changed where deleted_at is null));
  return null;
end $$;
--> statement-breakpoint
create function prospect_links_changed() returns trigger language plpgsql as $$
begin
  perform prospects_changed((select array_agg(distinct prospect_id) from changed));
  return null;
end $$;
--> statement-breakpoint
create function suppressions_changed() returns trigger language plpgsql as $$
begin
  perform prospects_changed((select array_agg(distinct p.id) from changed c
    join prospect p on p.address_id = c.address_id and p.deleted_at is null));
  return null;
end $$;
--> statement-breakpoint
create function send_changed() returns trigger language plpgsql as $$
begin
  perform prospects_changed(array[new.prospect_id]);
  return null;
end $$;
--> statement-breakpoint
create trigger prospect_added after insert on prospect referencing new table as changed
  for each statement execute function prospect_rows_changed();
--> statement-breakpoint
create trigger prospect_changed after update on prospect referencing new table as changed
  for each statement execute function prospect_rows_changed();
--> statement-breakpoint
create trigger list_member_added after insert on list_member referencing new table as changed
  for each statement execute function prospect_links_changed();
--> statement-breakpoint
create trigger list_member_removed after delete on list_member referencing old table as changed
  for each statement execute function prospect_links_changed();
--> statement-breakpoint
create trigger enrollment_added after insert on enrollment referencing new table as changed
  for each statement execute function prospect_links_changed();
--> statement-breakpoint
create trigger suppression_added after insert on suppression referencing new table as changed
  for each statement execute function suppressions_changed();
--> statement-breakpoint
create trigger suppression_removed after delete on suppression referencing old table as changed
  for each statement execute function suppressions_changed();
--> statement-breakpoint
create trigger send_changed after update of state on send for each row
  when (new.state in ('waiting', 'final') and old.state <> new.state and not new.test)
  execute function send_changed();
