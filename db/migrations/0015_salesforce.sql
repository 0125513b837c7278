CREATE TABLE "salesforce_connection" (
	"id" integer PRIMARY KEY NOT NULL,
	"org_id" text,
	"stopped" text,
	"stopped_at" timestamp (3) with time zone,
	"paused_until" timestamp (3) with time zone,
	"pause_kind" text,
	"pauses" integer DEFAULT 0 NOT NULL,
	"api_used" integer,
	"api_allowed" integer,
	"api_at" timestamp (3) with time zone,
	CONSTRAINT "salesforce_connection_one_row" CHECK ("salesforce_connection"."id" = 1)
);
--> statement-breakpoint
CREATE TABLE "salesforce_cursor" (
	"object" text PRIMARY KEY NOT NULL,
	"modstamp" timestamp (3) with time zone NOT NULL,
	"moved_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "salesforce_failure" (
	"id" uuid PRIMARY KEY NOT NULL,
	"key" text NOT NULL,
	"side" text NOT NULL,
	"kind" text NOT NULL,
	"code" text NOT NULL,
	"message" text NOT NULL,
	"count" integer NOT NULL,
	"first_at" timestamp (3) with time zone NOT NULL,
	"last_at" timestamp (3) with time zone NOT NULL,
	"dismissed_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "salesforce_push" (
	"key" text PRIMARY KEY NOT NULL,
	"version" bigint DEFAULT 1 NOT NULL,
	"queued_at" timestamp (3) with time zone NOT NULL,
	"failures" integer DEFAULT 0 NOT NULL,
	"due_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "salesforce_record" (
	"id" text PRIMARY KEY NOT NULL,
	"object" text NOT NULL,
	"state" text NOT NULL,
	"address_id" uuid,
	"prospect_id" uuid,
	"successor_id" text,
	"base" jsonb NOT NULL,
	"written" jsonb,
	"opted_out" boolean NOT NULL,
	"synced_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "salesforce_run" (
	"id" uuid PRIMARY KEY NOT NULL,
	"mode" text NOT NULL,
	"state" text NOT NULL,
	"actor" text NOT NULL,
	"place" jsonb,
	"marks" jsonb,
	"counts" jsonb NOT NULL,
	"samples" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"requests" integer DEFAULT 0 NOT NULL,
	"failure" text,
	"created_at" timestamp (3) with time zone NOT NULL,
	"started_at" timestamp (3) with time zone,
	"finished_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "salesforce_setting" (
	"id" integer PRIMARY KEY NOT NULL,
	"opt_out_direction" text DEFAULT 'both' NOT NULL,
	"may_take_back" boolean DEFAULT false NOT NULL,
	"prospects_from" text[] DEFAULT '{}' NOT NULL,
	"creates_leads" boolean DEFAULT false NOT NULL,
	"mappings" jsonb NOT NULL,
	"allowed_at" timestamp (3) with time zone,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "salesforce_setting_one_row" CHECK ("salesforce_setting"."id" = 1)
);
--> statement-breakpoint
CREATE UNIQUE INDEX "salesforce_failure_once" ON "salesforce_failure" USING btree ("key","side");--> statement-breakpoint
CREATE INDEX "salesforce_failure_open" ON "salesforce_failure" USING btree ("id") WHERE dismissed_at is null;--> statement-breakpoint
CREATE INDEX "salesforce_push_due" ON "salesforce_push" USING btree ("due_at");--> statement-breakpoint
CREATE INDEX "salesforce_record_address" ON "salesforce_record" USING btree ("address_id") WHERE address_id is not null;--> statement-breakpoint
CREATE INDEX "salesforce_record_prospect" ON "salesforce_record" USING btree ("prospect_id") WHERE prospect_id is not null;--> statement-breakpoint
CREATE INDEX "salesforce_record_successor" ON "salesforce_record" USING btree ("successor_id") WHERE successor_id is not null;--> statement-breakpoint
CREATE INDEX "salesforce_record_in_order" ON "salesforce_record" USING btree ("object",("id" collate "C"));--> statement-breakpoint
CREATE INDEX "salesforce_run_mode" ON "salesforce_run" USING btree ("mode","id");--> statement-breakpoint
-- By whatever way prospects and suppressions come to be other than they were, their records are looked at again, and
-- written where they differ. Nothing of it happens while no record is known.
create function salesforce_queue(keys text[]) returns void language plpgsql as $$
begin
  if keys is null then return; end if;
  insert into salesforce_push (key, queued_at, due_at)
  select distinct k, clock_timestamp(), clock_timestamp() from unnest(keys) k order by k
  on conflict (key) do update
    set version = salesforce_push.version + 1, failures = 0, due_at = excluded.due_at;
  insert into outbox (aggregate, message, created_at)
  values ('salesforce:' || gen_random_uuid(), '{"type": "pushToSalesforce"}', clock_timestamp());
  perform pg_notify('heed_outbox', '');
end $$;
--> statement-breakpoint
-- What comes from Salesforce is compared with all records of the person as it is applied: those that differ are queued
-- there, and it does not go back to where it came from.
create function salesforce_is_applying() returns boolean language sql stable as
  $$ select coalesce(current_setting('heed.salesforce', true), '') = 'applying' $$;
--> statement-breakpoint
create function salesforce_prospects_changed() returns trigger language plpgsql as $$
begin
  if salesforce_is_applying() then return null; end if;
  if exists (select from salesforce_record) then
    perform salesforce_queue((select array_agg(r.id) from changed c join salesforce_record r
      on (r.prospect_id = c.id or r.address_id = c.address_id) and r.state = 'active' where c.deleted_at is null));
  end if;
  if tg_op = 'INSERT' and exists (select from salesforce_setting where creates_leads and allowed_at is not null) then
    perform salesforce_queue((select array_agg('prospect:' || c.id) from changed c where c.deleted_at is null
      and not exists (select from salesforce_record r where r.address_id = c.address_id and r.state = 'active')));
  end if;
  return null;
end $$;
--> statement-breakpoint
create function salesforce_suppressions_changed() returns trigger language plpgsql as $$
begin
  if salesforce_is_applying() or not exists (select from salesforce_record) then return null; end if;
  perform salesforce_queue((select array_agg(r.id) from changed c join salesforce_record r
    on r.address_id = c.address_id and r.state = 'active'
    where c.reason in ('opt_out', 'bounced') and c.list_id is null));
  return null;
end $$;
--> statement-breakpoint
create trigger salesforce_prospect_added after insert on prospect referencing new table as changed
  for each statement execute function salesforce_prospects_changed();
--> statement-breakpoint
create trigger salesforce_prospect_changed after update on prospect referencing new table as changed
  for each statement execute function salesforce_prospects_changed();
--> statement-breakpoint
create trigger salesforce_suppression_added after insert on suppression referencing new table as changed
  for each statement execute function salesforce_suppressions_changed();
--> statement-breakpoint
create trigger salesforce_suppression_removed after delete on suppression referencing old table as changed
  for each statement execute function salesforce_suppressions_changed();
