CREATE TABLE "broadcast" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"email_id" uuid NOT NULL,
	"email_version" integer,
	"audience" jsonb NOT NULL,
	"state" text NOT NULL,
	"per_minute" integer,
	"start_at" timestamp (3) with time zone,
	"idempotency_key" text,
	"request_hash" "bytea",
	"run" integer DEFAULT 0 NOT NULL,
	"schedule_seconds" jsonb,
	"prepared_after" uuid,
	"prepared_at" timestamp (3) with time zone,
	"recipients" integer DEFAULT 0 NOT NULL,
	"pages" integer DEFAULT 0 NOT NULL,
	"paced_until" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone NOT NULL,
	"started_at" timestamp (3) with time zone,
	"finished_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "broadcast_page" (
	"broadcast_id" uuid NOT NULL,
	"number" integer NOT NULL,
	"first_id" uuid NOT NULL,
	"last_id" uuid NOT NULL,
	"recipients" integer NOT NULL,
	"state" text NOT NULL,
	"epoch" integer DEFAULT 0 NOT NULL,
	"lane" integer,
	"gate_windows" integer[] DEFAULT '{}' NOT NULL,
	"finished_at" timestamp (3) with time zone,
	CONSTRAINT "broadcast_page_broadcast_id_number_pk" PRIMARY KEY("broadcast_id","number")
);
--> statement-breakpoint
CREATE TABLE "broadcast_recipient" (
	"broadcast_id" uuid NOT NULL,
	"prospect_id" uuid NOT NULL,
	"list_id" uuid,
	CONSTRAINT "broadcast_recipient_broadcast_id_prospect_id_pk" PRIMARY KEY("broadcast_id","prospect_id")
);
--> statement-breakpoint
ALTER TABLE "send" ADD COLUMN "broadcast_id" uuid;--> statement-breakpoint
ALTER TABLE "broadcast" ADD CONSTRAINT "broadcast_email_id_email_id_fk" FOREIGN KEY ("email_id") REFERENCES "public"."email"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "broadcast_page" ADD CONSTRAINT "broadcast_page_broadcast_id_broadcast_id_fk" FOREIGN KEY ("broadcast_id") REFERENCES "public"."broadcast"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "broadcast_idempotency" ON "broadcast" USING btree ("idempotency_key") WHERE idempotency_key is not null;--> statement-breakpoint
CREATE INDEX "broadcast_unfinished" ON "broadcast" USING btree ("id") WHERE state in ('scheduled', 'sending', 'paused');--> statement-breakpoint
CREATE INDEX "broadcast_page_undone" ON "broadcast_page" USING btree ("broadcast_id","number") WHERE state <> 'done';--> statement-breakpoint
CREATE UNIQUE INDEX "send_broadcast_address" ON "send" USING btree ("broadcast_id","address_id") WHERE broadcast_id is not null;