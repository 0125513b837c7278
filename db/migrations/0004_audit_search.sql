CREATE INDEX "audit_action" ON "audit_entry" USING btree ("action","id") WHERE action not in ('attempt.gated', 'attempt.finished');--> statement-breakpoint
CREATE INDEX "audit_way" ON "audit_entry" USING btree ("way","id") WHERE way <> 'system';--> statement-breakpoint
CREATE INDEX "audit_at" ON "audit_entry" USING brin ("at");