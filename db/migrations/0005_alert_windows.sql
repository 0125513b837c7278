CREATE INDEX "delivery_event_at" ON "delivery_event" USING btree ("at");--> statement-breakpoint
CREATE INDEX "attempt_gated" ON "attempt" USING brin ("gated_at");