CREATE TABLE "bulk_update" (
	"id" uuid PRIMARY KEY NOT NULL,
	"state" text NOT NULL,
	"criteria" jsonb,
	"field" text NOT NULL,
	"value" jsonb,
	"undoes" uuid,
	"actor" text NOT NULL,
	"reason" text,
	"idempotency_key" text NOT NULL,
	"request_hash" "bytea" NOT NULL,
	"epoch" integer DEFAULT 0 NOT NULL,
	"next_page" integer DEFAULT 0 NOT NULL,
	"pages" integer,
	"total" integer,
	"changed" integer DEFAULT 0 NOT NULL,
	"already_so" integer DEFAULT 0 NOT NULL,
	"refused" integer DEFAULT 0 NOT NULL,
	"failure" text,
	"created_at" timestamp (3) with time zone NOT NULL,
	"decided_at" timestamp (3) with time zone,
	"finished_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "bulk_update_page" (
	"bulk_update_id" uuid NOT NULL,
	"number" integer NOT NULL,
	"prospect_ids" uuid[] NOT NULL,
	CONSTRAINT "bulk_update_page_bulk_update_id_number_pk" PRIMARY KEY("bulk_update_id","number")
);
--> statement-breakpoint
CREATE TABLE "bulk_update_row" (
	"bulk_update_id" uuid NOT NULL,
	"prospect_id" uuid NOT NULL,
	"outcome" text NOT NULL,
	"refusal" text,
	"before" jsonb,
	"after" jsonb,
	"at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "bulk_update_row_bulk_update_id_prospect_id_pk" PRIMARY KEY("bulk_update_id","prospect_id")
);
--> statement-breakpoint
ALTER TABLE "bulk_update_page" ADD CONSTRAINT "bulk_update_page_bulk_update_id_bulk_update_id_fk" FOREIGN KEY ("bulk_update_id") REFERENCES "public"."bulk_update"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "bulk_update_idempotency" ON "bulk_update" USING btree ("idempotency_key");--> statement-breakpoint
CREATE UNIQUE INDEX "bulk_update_undone_once" ON "bulk_update" USING btree ("undoes") WHERE undoes is not null and state not in ('cancelled', 'failed');--> statement-breakpoint
CREATE INDEX "bulk_update_unfinished" ON "bulk_update" USING btree ("id") WHERE state in ('queued', 'running', 'paused');--> statement-breakpoint
CREATE INDEX "bulk_update_row_refused" ON "bulk_update_row" USING btree ("bulk_update_id","prospect_id") WHERE outcome = 'refused';--> statement-breakpoint
CREATE INDEX "bulk_update_row_values" ON "bulk_update_row" USING btree ("prospect_id") WHERE outcome = 'changed';--> statement-breakpoint
-- The recipients themselves said what somebody else had said for them: that is new of them.
create trigger suppression_changed after update on suppression referencing new table as changed
  for each statement execute function suppressions_changed();
