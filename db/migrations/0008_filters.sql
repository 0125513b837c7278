DROP INDEX "prospect_last_name";--> statement-breakpoint
DROP INDEX "prospect_company";--> statement-breakpoint
ALTER TABLE "list" ADD COLUMN "criteria" jsonb;--> statement-breakpoint
CREATE INDEX "address_domain" ON "address" USING btree ("domain");--> statement-breakpoint
CREATE INDEX "address_domain_reversed" ON "address" USING btree ((reverse("domain") collate "C"));--> statement-breakpoint
CREATE INDEX "prospect_country" ON "prospect" USING btree (replace(lower("country" collate "pg_c_utf8"), 'ς', 'σ') text_pattern_ops);--> statement-breakpoint
CREATE INDEX "prospect_opted_out" ON "prospect" USING btree ("id") WHERE email_opt_out and deleted_at is null;--> statement-breakpoint
CREATE INDEX "prospect_bounced" ON "prospect" USING btree ("id") WHERE bounced and deleted_at is null;--> statement-breakpoint
CREATE INDEX "prospect_created" ON "prospect" USING brin ("created_at");--> statement-breakpoint
CREATE INDEX "prospect_last_name" ON "prospect" USING btree (replace(lower("last_name" collate "pg_c_utf8"), 'ς', 'σ') text_pattern_ops);--> statement-breakpoint
CREATE INDEX "prospect_company" ON "prospect" USING btree (replace(lower("company" collate "pg_c_utf8"), 'ς', 'σ') text_pattern_ops);