CREATE TABLE "delivery_event" (
	"inbound_id" uuid NOT NULL,
	"n" integer NOT NULL,
	"kind" text NOT NULL,
	"category" text,
	"fault_ours" boolean NOT NULL,
	"status" text,
	"reply_code" integer,
	"diagnostic" text,
	"rule" text NOT NULL,
	"send_id" uuid,
	"result" text NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "delivery_event_inbound_id_n_pk" PRIMARY KEY("inbound_id","n")
);
--> statement-breakpoint
CREATE TABLE "inbound" (
	"id" uuid PRIMARY KEY NOT NULL,
	"source" text NOT NULL,
	"dedupe_key" text NOT NULL,
	"content" "bytea" NOT NULL,
	"size" integer NOT NULL,
	"recipients" text[] NOT NULL,
	"state" text NOT NULL,
	"failure" text,
	"received_at" timestamp (3) with time zone NOT NULL,
	"applied_at" timestamp (3) with time zone
);
--> statement-breakpoint
ALTER TABLE "setting" ADD COLUMN "complaint_sets_opt_out" boolean DEFAULT true NOT NULL;--> statement-breakpoint
ALTER TABLE "delivery_event" ADD CONSTRAINT "delivery_event_inbound_id_inbound_id_fk" FOREIGN KEY ("inbound_id") REFERENCES "public"."inbound"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "delivery_event" ADD CONSTRAINT "delivery_event_send_id_send_id_fk" FOREIGN KEY ("send_id") REFERENCES "public"."send"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "delivery_event_send" ON "delivery_event" USING btree ("send_id");--> statement-breakpoint
CREATE INDEX "delivery_event_result" ON "delivery_event" USING btree ("result","inbound_id");--> statement-breakpoint
CREATE UNIQUE INDEX "inbound_once" ON "inbound" USING btree ("source","dedupe_key");--> statement-breakpoint
CREATE INDEX "inbound_state" ON "inbound" USING btree ("state","id");