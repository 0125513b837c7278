DROP INDEX "enrollment_once";--> statement-breakpoint
CREATE UNIQUE INDEX "enrollment_once" ON "enrollment" USING btree ("automation_id","prospect_id") WHERE reason is distinct from 'merged';