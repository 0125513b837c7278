CREATE TABLE "alert" (
	"id" uuid PRIMARY KEY NOT NULL,
	"key" text NOT NULL,
	"kind" text NOT NULL,
	"detail" text NOT NULL,
	"count" integer NOT NULL,
	"raised_at" timestamp (3) with time zone NOT NULL,
	"last_seen_at" timestamp (3) with time zone NOT NULL,
	"cleared_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "api_key" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"hash" "bytea" NOT NULL,
	"scopes" text[] NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"revoked_at" timestamp (3) with time zone,
	CONSTRAINT "api_key_hash" UNIQUE("hash")
);
--> statement-breakpoint
CREATE TABLE "hold" (
	"destination" text PRIMARY KEY NOT NULL,
	"category" text NOT NULL,
	"level" integer NOT NULL,
	"since" timestamp (3) with time zone NOT NULL,
	"until" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "import_chunk" (
	"import_id" uuid NOT NULL,
	"offset" bigint NOT NULL,
	"data" "bytea" NOT NULL,
	CONSTRAINT "import_chunk_import_id_offset_pk" PRIMARY KEY("import_id","offset")
);
--> statement-breakpoint
CREATE TABLE "import_job" (
	"id" uuid PRIMARY KEY NOT NULL,
	"kind" text NOT NULL,
	"state" text NOT NULL,
	"file_name" text NOT NULL,
	"mapping" jsonb NOT NULL,
	"total_bytes" bigint NOT NULL,
	"cursor_bytes" bigint NOT NULL,
	"cursor_line" bigint NOT NULL,
	"rows" integer NOT NULL,
	"created" integer NOT NULL,
	"updated" integer NOT NULL,
	"unchanged" integer NOT NULL,
	"rejected" integer NOT NULL,
	"opt_outs" integer NOT NULL,
	"failure" text,
	"actor" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"finished_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "import_problem" (
	"import_id" uuid NOT NULL,
	"line" bigint NOT NULL,
	"column" text NOT NULL,
	"code" text NOT NULL,
	"message" text NOT NULL,
	CONSTRAINT "import_problem_import_id_line_column_pk" PRIMARY KEY("import_id","line","column")
);
--> statement-breakpoint
CREATE TABLE "setting" (
	"id" integer PRIMARY KEY NOT NULL,
	"schedule_seconds" jsonb NOT NULL,
	"soft_bounce_limit" integer NOT NULL,
	"transactional_passes_opt_out" boolean NOT NULL,
	"address_key_check" "bytea" NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "setting_one_row" CHECK ("setting"."id" = 1)
);
--> statement-breakpoint
CREATE TABLE "address" (
	"id" uuid PRIMARY KEY NOT NULL,
	"hash" "bytea" NOT NULL,
	"email" text,
	"domain" text,
	"created_at" timestamp (3) with time zone NOT NULL,
	"erased_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "custom_field" (
	"key" text PRIMARY KEY NOT NULL,
	"label" text NOT NULL,
	"type" text NOT NULL,
	"choices" text[] DEFAULT '{}' NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "list" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "list_member" (
	"list_id" uuid NOT NULL,
	"prospect_id" uuid NOT NULL,
	"added_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "list_member_list_id_prospect_id_pk" PRIMARY KEY("list_id","prospect_id")
);
--> statement-breakpoint
CREATE TABLE "prospect" (
	"id" uuid PRIMARY KEY NOT NULL,
	"address_id" uuid NOT NULL,
	"email" text NOT NULL,
	"first_name" text,
	"last_name" text,
	"company" text,
	"title" text,
	"phone" text,
	"country" text,
	"state" text,
	"city" text,
	"postal_code" text,
	"website" text,
	"lead_source" text,
	"time_zone" text,
	"custom" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"email_opt_out" boolean DEFAULT false NOT NULL,
	"bounced" boolean DEFAULT false NOT NULL,
	"version" integer DEFAULT 1 NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	"deleted_at" timestamp (3) with time zone,
	"merged_into" uuid
);
--> statement-breakpoint
CREATE TABLE "attempt" (
	"send_id" uuid NOT NULL,
	"number" integer NOT NULL,
	"epoch" integer NOT NULL,
	"state" text NOT NULL,
	"trigger" text NOT NULL,
	"outcome" text,
	"category" text,
	"fault_ours" boolean DEFAULT false NOT NULL,
	"rule" text,
	"phase" text,
	"reply_code" integer,
	"enhanced_code" text,
	"reply_text" text,
	"remote_host" text,
	"gated_at" timestamp (3) with time zone NOT NULL,
	"handing_over_at" timestamp (3) with time zone,
	"finished_at" timestamp (3) with time zone,
	"next_attempt_at" timestamp (3) with time zone,
	CONSTRAINT "attempt_send_id_number_pk" PRIMARY KEY("send_id","number")
);
--> statement-breakpoint
CREATE TABLE "email" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"kind" text NOT NULL,
	"version" integer NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	"archived_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "email_version" (
	"email_id" uuid NOT NULL,
	"version" integer NOT NULL,
	"subject" text NOT NULL,
	"from_name" text,
	"from_address" text NOT NULL,
	"reply_to" text,
	"html" text,
	"text" text,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "email_version_email_id_version_pk" PRIMARY KEY("email_id","version")
);
--> statement-breakpoint
CREATE TABLE "outbox" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "outbox_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"aggregate" text NOT NULL,
	"message" jsonb NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "send" (
	"id" uuid PRIMARY KEY NOT NULL,
	"email_id" uuid NOT NULL,
	"email_version" integer NOT NULL,
	"kind" text NOT NULL,
	"prospect_id" uuid NOT NULL,
	"address_id" uuid NOT NULL,
	"recipient" text,
	"recipient_domain" text NOT NULL,
	"list_id" uuid,
	"test" boolean DEFAULT false NOT NULL,
	"idempotency_key" text,
	"request_hash" "bytea",
	"message_id" text NOT NULL,
	"schedule_seconds" jsonb NOT NULL,
	"state" text NOT NULL,
	"outcome" text,
	"outcome_reason" text,
	"fault_ours" boolean DEFAULT false NOT NULL,
	"run" integer DEFAULT 1 NOT NULL,
	"attempt_count" integer DEFAULT 0 NOT NULL,
	"slot" integer DEFAULT -1 NOT NULL,
	"schedule_started_at" timestamp (3) with time zone,
	"first_attempt_at" timestamp (3) with time zone,
	"next_attempt_at" timestamp (3) with time zone,
	"next_slot" integer,
	"cancel_requested_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone NOT NULL,
	"finished_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "audit_entry" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "audit_entry_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"at" timestamp (3) with time zone NOT NULL,
	"action" text NOT NULL,
	"way" text NOT NULL,
	"actor" text NOT NULL,
	"reason" text,
	"request_id" text,
	"prospect_id" uuid,
	"address_id" uuid,
	"send_id" uuid,
	"subject" text,
	"before" jsonb,
	"after" jsonb
);
--> statement-breakpoint
CREATE TABLE "domain_suppression" (
	"id" uuid PRIMARY KEY NOT NULL,
	"domain" text NOT NULL,
	"way" text NOT NULL,
	"actor" text NOT NULL,
	"note" text,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "domain_suppression_once" UNIQUE("domain")
);
--> statement-breakpoint
CREATE TABLE "suppression" (
	"id" uuid PRIMARY KEY NOT NULL,
	"address_id" uuid NOT NULL,
	"reason" text NOT NULL,
	"list_id" uuid,
	"way" text NOT NULL,
	"actor" text NOT NULL,
	"note" text,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "suppression_once" UNIQUE NULLS NOT DISTINCT("address_id","reason","list_id")
);
--> statement-breakpoint
ALTER TABLE "import_chunk" ADD CONSTRAINT "import_chunk_import_id_import_job_id_fk" FOREIGN KEY ("import_id") REFERENCES "public"."import_job"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "import_problem" ADD CONSTRAINT "import_problem_import_id_import_job_id_fk" FOREIGN KEY ("import_id") REFERENCES "public"."import_job"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "list_member" ADD CONSTRAINT "list_member_list_id_list_id_fk" FOREIGN KEY ("list_id") REFERENCES "public"."list"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "list_member" ADD CONSTRAINT "list_member_prospect_id_prospect_id_fk" FOREIGN KEY ("prospect_id") REFERENCES "public"."prospect"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "prospect" ADD CONSTRAINT "prospect_address_id_address_id_fk" FOREIGN KEY ("address_id") REFERENCES "public"."address"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "attempt" ADD CONSTRAINT "attempt_send_id_send_id_fk" FOREIGN KEY ("send_id") REFERENCES "public"."send"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "email_version" ADD CONSTRAINT "email_version_email_id_email_id_fk" FOREIGN KEY ("email_id") REFERENCES "public"."email"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "send" ADD CONSTRAINT "send_prospect_id_prospect_id_fk" FOREIGN KEY ("prospect_id") REFERENCES "public"."prospect"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "send" ADD CONSTRAINT "send_address_id_address_id_fk" FOREIGN KEY ("address_id") REFERENCES "public"."address"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "send" ADD CONSTRAINT "send_list_id_list_id_fk" FOREIGN KEY ("list_id") REFERENCES "public"."list"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "suppression" ADD CONSTRAINT "suppression_address_id_address_id_fk" FOREIGN KEY ("address_id") REFERENCES "public"."address"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "suppression" ADD CONSTRAINT "suppression_list_id_list_id_fk" FOREIGN KEY ("list_id") REFERENCES "public"."list"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "alert_open" ON "alert" USING btree ("key") WHERE cleared_at is null;--> statement-breakpoint
CREATE INDEX "alert_raised" ON "alert" USING btree ("raised_at");--> statement-breakpoint
CREATE UNIQUE INDEX "address_hash" ON "address" USING btree ("hash");--> statement-breakpoint
CREATE INDEX "address_email_prefix" ON "address" USING btree ("email" text_pattern_ops);--> statement-breakpoint
CREATE UNIQUE INDEX "list_name" ON "list" USING btree (lower("name"));--> statement-breakpoint
CREATE INDEX "list_member_prospect" ON "list_member" USING btree ("prospect_id");--> statement-breakpoint
CREATE UNIQUE INDEX "prospect_address" ON "prospect" USING btree ("address_id") WHERE deleted_at is null;--> statement-breakpoint
CREATE INDEX "prospect_last_name" ON "prospect" USING btree (lower("last_name") text_pattern_ops);--> statement-breakpoint
CREATE INDEX "prospect_company" ON "prospect" USING btree (lower("company") text_pattern_ops);--> statement-breakpoint
CREATE INDEX "outbox_aggregate" ON "outbox" USING btree ("aggregate","id");--> statement-breakpoint
CREATE UNIQUE INDEX "send_idempotency" ON "send" USING btree ("idempotency_key") WHERE idempotency_key is not null;--> statement-breakpoint
CREATE INDEX "send_unfinished_address" ON "send" USING btree ("address_id") WHERE state <> 'final';--> statement-breakpoint
CREATE INDEX "send_unfinished_prospect" ON "send" USING btree ("prospect_id") WHERE state <> 'final';--> statement-breakpoint
CREATE INDEX "send_unfinished_domain" ON "send" USING btree (reverse(recipient_domain) text_pattern_ops) WHERE state <> 'final';--> statement-breakpoint
CREATE INDEX "send_unfinished" ON "send" USING btree ("id") WHERE state <> 'final';--> statement-breakpoint
CREATE INDEX "send_address_finals" ON "send" USING btree ("address_id","first_attempt_at") WHERE state = 'final';--> statement-breakpoint
CREATE INDEX "send_prospect" ON "send" USING btree ("prospect_id","id");--> statement-breakpoint
CREATE INDEX "send_state" ON "send" USING btree ("state","outcome","id");--> statement-breakpoint
CREATE INDEX "send_email" ON "send" USING btree ("email_id","id");--> statement-breakpoint
CREATE INDEX "audit_prospect" ON "audit_entry" USING btree ("prospect_id","id");--> statement-breakpoint
CREATE INDEX "audit_address" ON "audit_entry" USING btree ("address_id","id");--> statement-breakpoint
CREATE INDEX "audit_send" ON "audit_entry" USING btree ("send_id","id");